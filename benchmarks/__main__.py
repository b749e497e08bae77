"""``python -m benchmarks``: every measurement, or the rooms named; a number sets the size."""

from __future__ import annotations

import importlib
import sys

ROOMS = ("arithmetic", "engine", "intake", "ledger", "clearing", "reports", "pages", "night", "memory", "airflow_share")


def main(argv: list[str]) -> int:
    """Run the measurements; the exit code says whether any outcome differed or any limit was missed."""
    sizes = [int(a) for a in argv if a.isdigit()]
    rooms = [a for a in argv if not a.isdigit()] or list(ROOMS)
    missed = []
    for room in rooms:
        print(f"== {room}", flush=True)
        if importlib.import_module(f"benchmarks.{room}").main(*sizes[:1]):
            missed.append(room)
    print(f"behind or different: {', '.join(missed) or 'none'}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
