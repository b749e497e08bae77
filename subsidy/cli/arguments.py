"""What is typed after an option, read strictly: a period, a date, a number. What cannot be read ends with exit code 2 and a sentence."""

from __future__ import annotations

import argparse
import re
from datetime import date

from subsidy.calendar import read_period


def period(text: str) -> str:
    """A period such as 2026-10."""
    try:
        return read_period(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"不是期间：{text!r}，应如 2026-10（2000-01 至 2099-12，半角数字）") from None


def day(text: str) -> date:
    """A date such as 2026-10-20."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"不是日期：{text!r}，应如 2026-10-20") from None


def number(text: str) -> int:
    """A number that the system gave: of a batch, a run."""
    if not re.fullmatch("[0-9]{1,15}", text):
        raise argparse.ArgumentTypeError(f"不是编号：{text!r}，应为至多 15 位的半角数字")
    return int(text)
