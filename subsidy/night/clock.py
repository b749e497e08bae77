"""The only place that reads the wall clock. Nothing computed depends on it: it times leases and stamps who did what when."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")


def seconds() -> float:
    """Wall clock seconds, for leases."""
    return time.time()


def stamp() -> str:
    """ISO 8601 time in Asia/Shanghai, for people."""
    return datetime.now(SHANGHAI).isoformat(timespec="seconds")
