"""What DAGs and shell call.

Every function takes the settings and plain values and returns counts, ids and dates only: no rows, no personal data.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import date
from typing import Any

from subsidy.errors import TerminalError, refuse_control
from subsidy.facts import memory
from subsidy.ledger import audit
from subsidy.ledger.database import open_database
from subsidy.night import bank, clock, context, opening, posting, proving, reporting, secret, settling, tally, trouble, upgrade
from subsidy.night import compute as computing
from subsidy.night import recompute as recomputing
from subsidy.night import take_in as taking
from subsidy.night.context import Context
from subsidy.settings import Settings

Step = Callable[[Context, int], dict[str, Any]]

#: The steps of a night in order, with what people call them.
STEPS: tuple[tuple[str, str, Step], ...] = tuple(
    (name, context.STEPS[name], step)
    for name, step in (
        ("take_in", taking.take_in),
        ("compute", computing.compute),
        ("check", computing.check),
        ("post", posting.post),
        ("verify", proving.verify),
        ("settle", settling.settle),
        ("report", reporting.report),
        ("close_night", opening.close_run),
    )
)
_BY_NAME = {name: step for name, _, step in STEPS}


@trouble.told
def open_night(settings: Settings, centre: str, business_date: date, actor: str, mode: str = "night", reason: str = "") -> dict[str, Any]:
    """Open (or find again) the run of a business date. Returns run_no, business_date, policy_version, rerun.

    TerminalError as `opening.open_run` raises, and ``NIGHT-UPGRADE`` when the program was upgraded to one that computes posted amounts
    differently."""
    refuse_control(actor, reason)
    if mode == "night" and not opening.is_open(settings, centre, business_date):
        upgrade.refuse_unapproved(settings, centre)
    run = opening.open_run(settings, centre, business_date, actor, mode, reason)
    return {"run_no": run.run_no, "business_date": str(run.business_date), "policy_version": run.policy_version, "rerun": run.closed}


@trouble.told
def opened_night(settings: Settings, centre: str, business_date: date, actor: str) -> dict[str, Any]:
    """As `open_night` for a night that was opened before. TerminalError ``NIGHT-NOT-OPEN`` when it was not."""
    if not opening.is_open(settings, centre, business_date):
        raise TerminalError(
            "NIGHT-NOT-OPEN",
            f"{centre} {business_date} 还没有打开，不能只运行其中一步。",
            "没有打开这一天，没有改动任何数据。",
            "核对日期；要处理这一天，运行整夜（subsidy night 不带 --step）。",
        )
    return open_night(settings, centre, business_date, actor)


@trouble.told
def step(settings: Settings, centre: str, run_no: int, name: str) -> dict[str, Any]:
    """Run one step of an opened run under the centre's lease. BusyError when somebody else works on the centre, TerminalError
    ``NIGHT-INCOMPLETE`` while a step before it is not done."""
    ctx = context.load(settings, centre, run_no)
    with context.working(ctx.db, centre, f"{ctx.run.mode} {ctx.run.business_date} {name}") as token:
        with ctx.db.read() as conn:
            context.finished(conn, ctx.run, *itertools.takewhile(lambda other: other != name, _BY_NAME))
        try:
            return _BY_NAME[name](upgrade.pinned(ctx, token) if name == "compute" else ctx, token)
        finally:
            memory.give_back()  # lest the next step's peak stands upon this one's


def take_in(settings: Settings, centre: str, run_no: int) -> dict[str, Any]:
    """Receive, check and book the complete files of the inbox."""
    return step(settings, centre, run_no, "take_in")


def compute(settings: Settings, centre: str, run_no: int) -> dict[str, Any]:
    """Assess every touched agreement."""
    return step(settings, centre, run_no, "compute")


def check(settings: Settings, centre: str, run_no: int) -> dict[str, Any]:
    """Compute every new or changed line a second time."""
    return step(settings, centre, run_no, "check")


def post(settings: Settings, centre: str, run_no: int) -> dict[str, Any]:
    """Post the differences."""
    return step(settings, centre, run_no, "post")


def verify(settings: Settings, centre: str, run_no: int) -> dict[str, Any]:
    """Prove the invariants over what the run touched and a rolling part of the rest."""
    return step(settings, centre, run_no, "verify")


def settle(settings: Settings, centre: str, run_no: int) -> dict[str, Any]:
    """Build the settlement that is due, if any; `blocked` in the result says why it was not."""
    return step(settings, centre, run_no, "settle")


def refuse_blocked(settings: Settings, centre: str, run_no: int) -> None:
    """TerminalError ``SETTLE-BLOCKED`` when a night could not build what was due and no later one has: the last word of such a night."""
    settling.refuse_blocked(settings, centre, run_no)


def report(settings: Settings, centre: str, run_no: int) -> dict[str, Any]:
    """Write the workbook of the period, and of every period that the ledger has left behind."""
    return step(settings, centre, run_no, "report")


@trouble.told
def close_night(settings: Settings, centre: str, run_no: int) -> dict[str, Any]:
    """Close the run."""
    closed = step(settings, centre, run_no, "close_night")
    tally.refresh(settings, centre)
    return closed


def run_night(
    settings: Settings,
    centre: str,
    business_date: date,
    actor: str,
    progress: Callable[[str, dict[str, Any]], None] | None = None,
    reason: str = "",
) -> dict[str, dict[str, Any]]:
    """A whole night from a shell. `progress` is told each step's Chinese name and result."""
    opened = open_night(settings, centre, business_date, actor, reason=reason)
    results = {"open_night": opened}
    for name, label, _ in STEPS:
        results[name] = step(settings, centre, opened["run_no"], name)
        if progress is not None:
            progress(label, results[name])
    return results


@trouble.told
def preview(settings: Settings, centre: str, business_date: date) -> dict[str, Any]:
    """What a recompute with today's rules and knowledge would change; writes nothing. Returns amounts, loans, lines, per cause."""
    return recomputing.preview(settings, centre, business_date)


@trouble.told
def recompute(
    settings: Settings, centre: str, business_date: date, actor: str, reason: str, approvals: list[dict[str, str]]
) -> dict[str, Any]:
    """Post what a recompute changes, on the open business date. When money changes it needs a reason and an approval by another person
    (`approvals`: {person, answer, content_hash} as `preview` gave it). TerminalError ``RECOMPUTE-…`` otherwise."""
    refuse_control(actor, reason)
    return recomputing.recompute(settings, centre, business_date, actor, reason, approvals)


def pending_settlement(settings: Settings, centre: str, period: str | None = None) -> dict[str, Any] | None:
    """The oldest settlement that waits for people (or the one of `period`), None when none does.

    Keys: period, content_hash, amount_fen, count, reasons, state, approvals_needed, settlement_on."""
    return next(iter(settling.pending(settings, centre, period)), None)


def pending_settlements(settings: Settings, centre: str) -> list[dict[str, Any]]:
    """Every settlement that waits for people, oldest first, as `pending_settlement` tells it."""
    return settling.pending(settings, centre, None)


def answer_settlement(settings: Settings, centre: str, period: str, person: str, answer: str, content_hash: str) -> dict[str, Any]:
    """Record a person's answer (approve | reject). Returns accepted, message, state."""
    return settling.answer(settings, centre, period, person, answer, content_hash)


@trouble.told
def publish(settings: Settings, centre: str, period: str) -> dict[str, Any]:
    """Publish the approved payment files of a period; again does nothing."""
    published = settling.publish(settings, centre, period)
    memory.give_back()
    tally.refresh(settings, centre, period)
    return published


@trouble.told
def read_results(settings: Settings, centre: str, business_date: date, actor: str) -> dict[str, Any]:
    """Read result, movement and answer files of the banks."""
    counts = bank.read_results(settings, centre, business_date, actor)
    tally.refresh(settings, centre)
    return counts


@trouble.told
def refresh_reports(settings: Settings, centre: str) -> dict[str, Any]:
    """Write the workbooks of the periods whose ledger moved on since, as new versions: after an answer, a publication, bank files.
    Months that were cleared over all centres before, and of which the centre's part moved on, are cleared again. Returns periods, paths,
    and `cleared` (period and version of each new clearing); all empty when everything is current. `uncleared`, when it is there, says which
    months could not be cleared again because of another centre."""
    written = reporting.refresh(settings, centre)
    return {**written, **bank.clear_again(settings, centre)}


@trouble.told
def clear_month(settings: Settings, period: str) -> dict[str, Any]:
    """Clear a month over all centres: a new numbered version when anything changed. Names the centres that are missing."""
    return bank.clear_month(settings, period)


def record_act(settings: Settings, centre: str, person: str, act: str, subject: str, reason: str) -> None:
    """Append a human act to the audit chain."""
    if not person:
        raise TerminalError("AUDIT-NOBODY", "没有操作人。", "没有记录。", "以登录用户的身份操作。")
    db = open_database(settings)
    secret.hold(db, settings.key)
    with db.transaction_system() as conn:
        audit.record(conn, centre, person, act, subject, reason, clock.stamp())
