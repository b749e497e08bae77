"""The peak memory of a whole night, and how it grows with the transactions of the same loans.

Two nights of the same loans, each in a process of its own: one month of transactions, then two in one delivery, whose night builds both
settlements. The peak must stay under `LIMIT_MB`, and the second night's may be a tenth above the first's at most. The limits are meant for
1,000,000 loans, which takes an hour; a smaller size shows where the memory goes.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import date
from pathlib import Path

from benchmarks.night import DAY, LABELS, apart, make_inbox, ours

LIMIT_MB, GROWTH = 2_048, 0.10
NIGHTS = {1: DAY, 2: date(2026, 10, 31)}


def main(size: int = 200_000) -> int:
    """Measure nights of `size` loans; 1 when a limit is missed."""
    whole: dict[int, int] = {}
    stages: dict[int, dict[str, int]] = {}
    for months, day in NIGHTS.items():
        with tempfile.TemporaryDirectory(prefix="subsidy-bench-") as name:
            home = Path(name)
            print(f"memory    making the inbox of {size:,} loans, {months} month(s) …", flush=True)
            make_inbox(home, size, months)
            found = apart(ours, home, day, False)
        whole[months], stages[months] = found["peak_mb"], found["peaks"]
        print(f"memory    {months} month(s), {found['lines']:,} lines: peak {whole[months]:,} MB", flush=True)
    for stage, peak in stages[1].items():
        print(f"memory    {LABELS[stage]:<24}{peak:8,} MB{stages[2][stage]:8,} MB")
    grown = whole[2] / whole[1] - 1
    print(f"memory    peak {max(whole.values()):,} MB (limit {LIMIT_MB:,}), growth {grown:+.1%} (limit {GROWTH:+.0%})")
    return int(max(whole.values()) >= LIMIT_MB or grown >= GROWTH)


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in sys.argv[1:2])))
