"""A loan that makes the program fail is found and set aside with its trace; the others come out as if it were not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from playing import play

from fixtures import story
from fixtures.centres import CENTRES
from fixtures.writers import Delivery
from subsidy.entitlement.engine import assess
from subsidy.entitlement.explain import explain_agreements
from subsidy.errors import Finding, TerminalError
from subsidy.facts.schema import Facts
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import api, isolate, second
from subsidy.settings import Settings

CENTRE, PERIOD, SECOND = "wenzhou", "2026-09", date(2026, 9, 14)  # the night in which wenzhou settles
PAID = sorted({line.agreement_no for line in story.expected(CENTRE).settlements[0].lines if line.payable_fen > 0})
POISON = PAID[0]
SECRET = "张三 6217000000000000001"
EMPTY = dict.fromkeys(("QSRQ", "ZZRQ", "XDKQS", "XDKHKFS"))


@pytest.fixture
def run(settings: Settings) -> Iterator[Callable[[int], dict[str, Any]]]:
    """Runs the night so many days after SECOND."""
    play(settings, CENTRE, (1,))
    yield lambda later: api.run_night(settings, CENTRE, SECOND + timedelta(days=later), "夜间")
    open_database(settings).dispose()


def fails_at(work: Callable[..., Any], *numbers: str) -> Callable[..., Any]:
    """`work` of facts and more, that cannot bear some agreements."""

    def failing(facts: Facts, *more: Any) -> Any:
        if set(facts["agreement"]["agreement_no"].to_pylist()) & set(numbers):
            raise KeyError(SECRET)
        return work(facts, *more)

    return failing


STEPS = {"compute": ("subsidy.night.compute.assess", assess), "check": ("subsidy.night.second.compare", second.compare)}


def due_of(settings: Settings, agreement_no: str) -> int:
    """What the ledger owes an agreement by its newest postings, in fen."""
    p = tables.posting
    with open_database(settings).read() as conn:
        rows = conn.execute(sa.select(p.c.serial_no, p.c.due_fen).where(p.c.agreement_no == agreement_no).order_by(p.c.seq))
        return sum(dict(rows.tuples().all()).values())


def payable_fen(*numbers: str) -> int:
    return sum(line.payable_fen for line in story.expected(CENTRE).settlements[0].lines if not numbers or line.agreement_no in numbers)


def built_fen(night: dict[str, Any]) -> int:
    (built,) = night["settle"]["settlements"]
    return int(built["sent_fen"] + built["netted_fen"] + built["carried_fen"])


def new_payee(settings: Settings, agreement_no: str) -> None:
    """Deliver something that touches an agreement and moves no money."""
    loan = next(f for f in story.facts(CENTRE, 2) if f.agreement["TXXYBH"] == agreement_no)
    new = {"XSKZHHM": "6217000000000000001", "XSKZHMC": loan.agreement["SKZHMC"], "XSKHLHH": loan.agreement["SKHLHH"]}
    delivery = Delivery(CENTRE, CENTRES[CENTRE].code, settings.inbox(CENTRE), SECOND, 7)
    delivery.add("TX03", {"BGLSH": "BG999", "TXXYBH": agreement_no, "SXRQ": SECOND, "BGLX": "payee", "BGYY": "换卡"} | EMPTY | new)
    delivery.close()


def told(settings: Settings) -> list[Any]:
    f = tables.finding
    with open_database(settings).read() as conn:
        return list(conn.execute(sa.select(f).where(f.c.code == "LOAN-FAILED").order_by(f.c.finding_no)).mappings())


@pytest.mark.parametrize("step", STEPS)
def test_nothing_of_such_a_loan_is_posted_and_the_next_night_tries_again(
    step: str, settings: Settings, run: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    story.deliver(settings.home, CENTRE, 2)
    before = due_of(settings, POISON)
    name, work = STEPS[step]
    with monkeypatch.context() as patched:
        patched.setattr(name, fails_at(work, POISON))
        nights = [run(0), run(1)]
        for night in nights:
            assert night[step]["failed"] == [POISON] and night["check"]["differences"] == 0
            assert due_of(settings, POISON) == before
        assert nights[1]["compute"].get("agreements", 0) == (step == "check")  # nothing arrived for that night
        assert built_fen(nights[0]) == payable_fen() - payable_fen(POISON)
        assert run(0)["compute"]["rerun_differences"] == 0
    for finding in told(settings):
        assert (finding["agreement_no"], finding["severity"], finding["stage"]) == (POISON, "error", "assess")
        assert "KeyError" in finding["what"] and f"{Path(__file__).name} 第" in finding["what"]
        assert SECRET[:2] not in finding["what"] + finding["todo"]
    assert len(told(settings)) == 2
    night = run(2)
    assert "failed" not in night["compute"] | night["check"] and night["compute"]["agreements"] == 1
    assert due_of(settings, POISON) == payable_fen(POISON) > 0
    assert run(3)["compute"].get("agreements", 0) == 0


@pytest.mark.parametrize("step", STEPS)
def test_a_program_that_can_bear_such_a_loan_posts_it_in_the_next_night(
    step: str, settings: Settings, run: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old program never posted is no difference between the two."""
    story.deliver(settings.home, CENTRE, 2)
    name, work = STEPS[step]
    with monkeypatch.context() as patched:
        patched.setattr(name, fails_at(work, POISON))
        run(0)
    for module in ("upgrade", "opening", "recompute", "compute"):
        monkeypatch.setattr(f"subsidy.night.{module}.ENGINE_VERSION", "mended")
    run(1)
    assert due_of(settings, POISON) == payable_fen(POISON)


@pytest.mark.parametrize("step", STEPS)
def test_what_was_posted_for_such_a_loan_stays_and_is_not_paid(
    step: str, settings: Settings, run: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    story.deliver(settings.home, CENTRE, 2)
    with monkeypatch.context() as patched:  # something else keeps the first night from settling
        patched.setattr(second, "compare", lambda *_: [Finding("PROOF-DIFFERS", "error", "不一致", "查明", agreement_no=PAID[1])])
        assert run(0)["settle"]["blocked"]
    due = due_of(settings, POISON)
    assert due == payable_fen(POISON) > 0
    new_payee(settings, POISON)
    name, work = STEPS[step]
    monkeypatch.setattr(name, fails_at(work, POISON))
    monkeypatch.setattr("subsidy.night.reporting.explain_agreements", fails_at(explain_agreements, POISON))
    night = run(1)
    assert night[step]["failed"] == [POISON] and due_of(settings, POISON) == due
    s, i = tables.settlement, tables.payment_item
    with open_database(settings).read() as conn:
        carried = json.loads(conn.execute(sa.select(s.c.detail).where(s.c.period == PERIOD)).scalar_one())["carried"]
        paid = set(conn.execute(sa.select(i.c.agreement_no)).scalars())
    assert carried["LOAN-FAILED"] == due and built_fen(night) == payable_fen()
    assert paid >= {PAID[1], PAID[-1]} and POISON not in paid


@pytest.mark.parametrize("step", STEPS)
def test_many_of_them_stop_the_centre(
    step: str, settings: Settings, run: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    story.deliver(settings.home, CENTRE, 2)
    name, work = STEPS[step]
    monkeypatch.setattr(isolate, "MOST", 2)
    with monkeypatch.context() as patched:
        patched.setattr(name, fails_at(work, *PAID[:3]))
        with pytest.raises(TerminalError, match="LOAN-FAILED-MANY") as caught:
            run(0)
    assert SECRET[:2] not in str(caught.value) and not told(settings)
    night = run(0)
    assert night["check"]["differences"] == 0 and built_fen(night) == payable_fen()


def test_a_preview_leaves_such_a_loan_out_and_says_so(
    settings: Settings, run: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subsidy.night.posting.assess", fails_at(assess, POISON))
    assert api.preview(settings, CENTRE, SECOND)["failed"] == [POISON]


def test_where_nothing_fails_the_work_is_done_once(settings: Settings) -> None:
    seen: list[Facts] = []
    facts = Facts({}, frozenset())
    assert isolate.apart(lambda known: seen.append(known), facts) == ([None], []) and seen == [facts]
