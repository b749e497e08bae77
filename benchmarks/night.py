"""One centre's whole night, raw files to payment file and workbook, beside the plain pipeline on the same files in the same run.

Both run in a process of their own, one after the other, so that each has its own peak memory. The benchmark fails when a line or
a payment of the two differs by a fen.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import peaks, plain

CENTRE, DAY, CUTOFF = "hangzhou", date(2026, 9, 30), date(2026, 9, 19)
GOAL = 10.0
LABELS = {
    "take_in": "receive, check, book", "compute": "compute", "check": "second computation", "post": "post and journal", "verify": "prove invariants",
    "settle": "gather into batches", "report": "workbook", "close_night": "close", "publish": "payment files",
}  # fmt: skip


def make_inbox(home: Path, loans: int, months: int = 1) -> None:
    """The inbox of one night: everything in one delivery, one row in two hundred thousand wrong."""
    from fixtures.__main__ import main

    arguments = ["inbox", "--centre", CENTRE, "--loans", str(loans), "--months", str(months), "--together", "--out", str(home / "inbox")]
    main(arguments)


def ours(home: Path, day: date = DAY, listed: bool = True) -> dict[str, Any]:
    """Run the night through the same functions as the shell and publish every settlement that it built; seconds and peak memory per step,
    and what came out (with `listed` every line)."""
    import pyarrow.compute as pc

    from subsidy.facts.store import Store
    from subsidy.ledger.database import open_database
    from subsidy.night import api, line_store, manifest
    from subsidy.settings import Settings

    rules = Path(__file__).resolve().parent.parent / "rules"
    settings = Settings(home, rules, f"sqlite:///{home / 'ledger.db'}", f"file://{home / 'store'}", "benchmark-key-" + "0" * 32)
    seconds: dict[str, float] = {}
    held: dict[str, int] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        with peaks.watched() as peak:
            began = time.perf_counter()
            result = work()
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began
        held[name] = max(held.get(name, 0), peak.megabytes)
        return result

    opened = api.open_night(settings, CENTRE, day, "benchmark")
    for name, _, _ in api.STEPS:
        timed(name, lambda name=name: api.step(settings, CENTRE, opened["run_no"], name))
    sent = 0
    while (waiting := api.pending_settlement(settings, CENTRE)) is not None:
        for person in ("a", "b")[: waiting["approvals_needed"]]:
            api.answer_settlement(settings, CENTRE, waiting["period"], person, "approve", waiting["content_hash"])
        timed("publish", lambda period=waiting["period"]: api.publish(settings, CENTRE, period))
        sent += waiting["amount_fen"]
    with open_database(settings).read() as conn:
        known = manifest.segments(conn, CENTRE, day)
    lines = line_store.known_lines(Store(settings.store_url), known)
    paid = lines.filter(pc.greater(lines["payable_fen"], 0))
    columns = [paid[name].to_pylist() if listed else [] for name in ("agreement_no", "serial_no", "payable_fen")]
    return {
        "seconds": seconds,
        "peaks": held,
        "peak_mb": max(held.values()),
        "sent_fen": sent,
        "lines": lines.num_rows,
        "listed": sorted(zip(*columns, strict=True)),
    }


def theirs(inbox: Path, folder: Path) -> dict[str, Any]:
    """Run the plain pipeline; the same figures."""
    outcome, seconds, held = plain.run(inbox, folder, CUTOFF)
    listed = sorted((x.agreement_no, x.serial_no, x.payable_fen) for x in outcome.lines if x.payable_fen)
    return {
        "seconds": seconds,
        "peaks": held,
        "peak_mb": max(held.values()),
        "sent_fen": outcome.sent_fen,
        "lines": len(outcome.lines),
        "rows": outcome.rows,
        "listed": listed,
    }


def apart(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Do `work` in a fresh process and return what it returned."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main(size: int = 100_000, against_plain: bool = True) -> int:
    """Measure a night of `size` loans; 1 when the outcomes differ, else 0."""
    with tempfile.TemporaryDirectory(prefix="subsidy-bench-") as name:
        home = Path(name)
        print(f"night     making the inbox of {size:,} loans …", flush=True)
        make_inbox(home, size)
        copy = home / "copy"
        shutil.copytree(home / "inbox" / CENTRE, copy)
        mine = apart(ours, home)
        total = sum(mine["seconds"].values())
        plainly: dict[str, Any] = {"seconds": {}, "peaks": {}, "peak_mb": 0}
        if against_plain:
            (home / "plain").mkdir()
            plainly = apart(theirs, copy, home / "plain")
        print(f"night     {'stage':<24}{'ours s':>10}{'plain s':>10}{'ratio':>8}{'ours MB':>10}{'plain MB':>10}")
        for stage, seconds in mine["seconds"].items():
            other = plainly["seconds"].get(stage)
            ratio = f"{other / seconds:.1f}" if other else ""
            theirs_said = ["", ""] if other is None else [f"{other:.2f}", f"{plainly['peaks'][stage]:,}"]
            print(f"night     {LABELS[stage]:<24}{seconds:10.2f}{theirs_said[0]:>10}{ratio:>8}{mine['peaks'][stage]:10,}{theirs_said[1]:>10}")
        other_total = sum(plainly["seconds"].values())
        print(f"night     {'whole night':<24}{total:10.2f}{other_total:10.2f}{other_total / total:8.1f}   goal {GOAL:.0f}")
        print(f"night     peak memory: ours {mine['peak_mb']} MB, plain {plainly['peak_mb']} MB; lines {mine['lines']:,}")
        if not against_plain:
            return 0
        same = mine["listed"] == plainly["listed"] and mine["sent_fen"] == plainly["sent_fen"]
        said = {"lines": mine["listed"] == plainly["listed"], "sent_fen": [mine["sent_fen"], plainly["sent_fen"]]}
        print(f"night     every line and the sum sent {'agree to the fen' if same else 'DIFFER: ' + json.dumps(said)}")
        behind = [LABELS[s] for s, o in plainly["seconds"].items() if o < GOAL * mine["seconds"][s]]
        print(f"night     stages below {GOAL:.0f} times: {', '.join(behind) or 'none'}")
    return int(not same)


if __name__ == "__main__":
    import sys

    sys.exit(main(*(int(a) for a in sys.argv[1:2])))
