"""A period or month as people write it: 2026-10."""

from __future__ import annotations

import re

#: How a period is written, for a form that checks what is typed: 2000-01 to 2099-12, in ASCII digits.
PERIOD = "20[0-9]{2}-(0[1-9]|1[0-2])"


def read_period(text: str) -> str:
    """`text` when it is a period. ValueError for anything else: other digits, blanks, a month 13."""
    if not re.fullmatch(PERIOD, text):
        raise ValueError(f"{text!r} is no period")
    return text
