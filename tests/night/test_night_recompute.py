"""Preview writes nothing; recompute needs a reason and another person, posts each difference once, and changes nothing that was posted."""

from __future__ import annotations

import dataclasses
import re
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import sqlalchemy as sa
from playing import claimed_elsewhere, play, state

from subsidy.entitlement.engine import Assessment, assess
from subsidy.errors import BusyError, Finding, TerminalError
from subsidy.facts.schema import Facts
from subsidy.facts.store import Store
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import api, line_store, manifest, opening
from subsidy.policy import CentrePolicy
from subsidy.settings import Settings

CENTRE, TODAY = "quzhou", date(2026, 9, 23)


def played(settings: Settings, tmp_path: Path) -> Settings:
    """Three nights of the story, with rules that can be changed."""
    rules = tmp_path / "rules"
    shutil.copytree(settings.rules, rules)
    settings = dataclasses.replace(settings, rules=rules)
    play(settings, CENTRE, (1, 2, 3))
    return settings


def share(settings: Settings, percent: int) -> None:
    """The centre pays another share from now on, and always has."""
    path = settings.rules / CENTRE / "policy.yaml"
    path.write_text(re.sub(r"share: \d+%", f"share: {percent}%", path.read_text(encoding="utf-8")), encoding="utf-8")


def agreed(shown: dict[str, Any]) -> list[dict[str, str]]:
    """Another person's approval of what a preview showed."""
    return [{"person": "乙", "answer": "approve", "content_hash": shown["content_hash"]}]


def test_preview_then_recompute(settings: Settings, tmp_path: Path) -> None:
    settings = played(settings, tmp_path)
    assert api.preview(settings, CENTRE, TODAY)["lines"] == 0
    share(settings, 26)
    before = state(settings)
    shown = api.preview(settings, CENTRE, TODAY)
    assert state(settings) == before
    assert shown["lines"] >= shown["loans"] > 30
    assert shown["causes"] == {"规则或参数更正": shown["amount_fen"]}
    assert shown["amount_fen"] == shown["raised_fen"] - shown["lowered_fen"] == sum(r["new_fen"] - r["old_fen"] for r in shown["listed"])
    assert {r["cause"] for r in shown["listed"]} == {"规则或参数更正"}

    def refused(reason: str, person: str = "乙", content_hash: str = shown["content_hash"], day: date = TODAY) -> str:
        approvals = [{"person": person, "answer": "approve", "content_hash": content_hash}]
        with pytest.raises(TerminalError) as caught:
            api.recompute(settings, CENTRE, day, "甲", reason, approvals)
        return caught.value.message.code

    assert refused(" ") == "RECOMPUTE-REASON"
    assert refused("更正比例", person="甲") == "RECOMPUTE-APPROVAL"
    assert refused("更正比例", content_hash="0" * 64) == "RECOMPUTE-APPROVAL"
    assert state(settings) == before
    given = agreed(shown)
    done = api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert (done["posted"], done["amount_fen"]) == (shown["lines"], shown["amount_fen"])
    assert api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given) == {"posted": 0, "amount_fen": 0, "changed": False}
    assert api.preview(settings, CENTRE, TODAY)["lines"] == 0
    rows = postings(settings)
    added = [row for row in rows if row["run_no"] == done["run_no"]]
    assert rows[: len(rows) - len(added)] == [dict(zip(rows[0], row, strict=True)) for row in before_rows(before)]
    for row in added:
        # One linked correction per line, on the open business date.
        assert row["kind"] == "top_up" and row["corrects"] and row["seq"] > 0 and row["business_date"] == TODAY
    assert len({(r["agreement_no"], r["serial_no"]) for r in added}) == len(added)
    c = tables.posting_cause
    with open_database(settings).read() as conn:
        causes = conn.execute(
            sa.select(c.c.cause, sa.func.sum(c.c.amount_fen))
            .where(c.c.posting_no.in_([r["posting_no"] for r in added]))
            .group_by(c.c.cause)
        ).all()
    assert [tuple(row) for row in causes] == [("policy", shown["amount_fen"])]


class Crash(BaseException):
    """The process is gone."""


def crashes(settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str, given: list[dict[str, str]]) -> None:
    """The recompute of share 26 % is approved and begun, and its process dies at `step`."""

    def crash(*_: Any) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(f"subsidy.night.recompute.{step}", crash)
        with pytest.raises(Crash):
            api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)


@pytest.mark.parametrize("step", ["compute.compute", "compute.check", "posting.post", "proving.verify", "opening.close_run"])
def test_an_interrupted_recompute_is_finished_by_the_next_and_keeps_no_night_waiting(
    step: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = played(settings, tmp_path)
    share(settings, 26)
    shown = api.preview(settings, CENTRE, TODAY)
    given = agreed(shown)

    crashes(settings, monkeypatch, step, given)
    done = api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert (done["posted"], done["amount_fen"], done["changed"]) == (shown["lines"], shown["amount_fen"], True)
    assert api.preview(settings, CENTRE, TODAY)["lines"] == 0
    assert api.open_night(settings, CENTRE, TODAY + timedelta(days=1), "夜间")["run_no"] == done["run_no"] + 1


def test_a_recompute_that_the_second_computation_doubts_is_given_up_and_keeps_no_night_waiting(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = played(settings, tmp_path)
    share(settings, 26)
    shown = api.preview(settings, CENTRE, TODAY)
    given = agreed(shown)
    before, known = postings(settings), lines(settings)
    doubt = Finding(code="PROOF-DIFFERS", severity="error", what="不一致", todo="查明")
    with monkeypatch.context() as patched:
        patched.setattr("subsidy.night.second.compare", lambda *_: [doubt])
        for _ in range(2):
            with pytest.raises(TerminalError, match="RECOMPUTE-PROOF"):
                api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert postings(settings) == before
    t = tables.run
    with open_database(settings).read() as conn:
        assert conn.execute(sa.select(t.c.state).where(t.c.mode == "recompute")).scalars().all() == ["failed", "failed"]
    assert lines(settings) == known
    # With the rules as they were, nothing of it is there for the next night.
    share(settings, 25)
    night = api.run_night(settings, CENTRE, TODAY + timedelta(days=1), "夜间")
    assert night["compute"].get("lines", 0) == 0
    assert postings(settings) == before and api.preview(settings, CENTRE, TODAY + timedelta(days=1))["lines"] == 0
    share(settings, 26)
    given = agreed(api.preview(settings, CENTRE, TODAY + timedelta(days=1)))
    done = api.recompute(settings, CENTRE, TODAY + timedelta(days=1), "甲", "更正比例", given)
    assert (done["posted"], done["amount_fen"]) == (shown["lines"], shown["amount_fen"])


def test_what_was_approved_is_posted_although_the_rules_change_meanwhile(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = played(settings, tmp_path)
    share(settings, 26)
    shown = api.preview(settings, CENTRE, TODAY)
    given = agreed(shown)
    open_run, before = opening.open_run, state(settings)

    def changed_just_before(*args: Any, **kwargs: Any) -> Any:
        share(settings, 27)
        return open_run(*args, **kwargs)

    monkeypatch.setattr(opening, "open_run", changed_just_before)
    with pytest.raises(TerminalError, match="RUN-POLICY"):
        api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert state(settings) == before


def test_what_was_approved_is_posted_although_another_centre_claims_a_contract_meanwhile(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = played(settings, tmp_path)
    share(settings, 26)
    shown = api.preview(settings, CENTRE, TODAY)
    given = agreed(shown)
    open_run, before = opening.open_run, postings(settings)
    agreement_no = shown["listed"][0]["agreement_no"]

    def claimed_just_before(*args: Any, **kwargs: Any) -> Any:
        claimed_elsewhere(settings, CENTRE, agreement_no, TODAY - timedelta(days=1))
        return open_run(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(opening, "open_run", claimed_just_before)
        done = api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert (done["posted"], done["amount_fen"]) == (shown["lines"], shown["amount_fen"])
    listed = {(r["agreement_no"], r["serial_no"]): r["new_fen"] for r in shown["listed"]}
    added = {(r["agreement_no"], r["serial_no"]): r["due_fen"] for r in postings(settings)[len(before) :]}
    assert {key: added[key] for key in listed} == listed
    # The next preview, and the next night, see the claim.
    assert {r["agreement_no"] for r in api.preview(settings, CENTRE, TODAY)["listed"]} == {agreement_no}
    with pytest.raises(TerminalError, match="RECOMPUTE-APPROVAL"):
        api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert api.run_night(settings, CENTRE, TODAY + timedelta(days=1), "夜间")["post"]["recoveries"] > 0


def test_an_upgrade_that_changes_nothing_keeps_no_night_waiting(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    play(settings, CENTRE, (1, 2, 3))
    before = postings(settings)
    upgraded(monkeypatch, 0)
    api.run_night(settings, CENTRE, TODAY + timedelta(days=1), "夜间")
    assert postings(settings) == before


def test_an_upgrade_that_changes_money_waits_for_a_recompute(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    play(settings, CENTRE, (1, 2, 3))
    tomorrow = TODAY + timedelta(days=1)
    posted, before = postings(settings), state(settings)
    upgraded(monkeypatch, 7)
    for _ in range(2):
        with pytest.raises(TerminalError, match="NIGHT-UPGRADE") as caught:
            api.run_night(settings, CENTRE, tomorrow, "夜间")
    assert state(settings) == before
    shown = api.preview(settings, CENTRE, TODAY)
    assert f"{shown['loans']} 笔贷款共 {shown['lines']} 行" in caught.value.message.what
    assert shown["causes"] == {"程序升级": 7 * shown["lines"]}
    # A night that was run before the upgrade is still the night that it was.
    assert api.open_night(settings, CENTRE, TODAY, "夜间")["rerun"]
    given = agreed(shown)
    done = api.recompute(settings, CENTRE, TODAY, "甲", "程序升级", given)
    assert (done["posted"], done["amount_fen"]) == (shown["lines"], 7 * shown["lines"])
    added = postings(settings)[len(posted) :]
    c = tables.posting_cause
    with open_database(settings).read() as conn:
        causes = conn.execute(sa.select(c.c.cause).distinct().where(c.c.posting_no.in_([r["posting_no"] for r in added]))).scalars().all()
    assert causes == ["engine"]
    api.run_night(settings, CENTRE, tomorrow, "夜间")
    assert len(postings(settings)) == len(posted) + len(added)


def test_while_a_night_is_open_an_upgrade_says_nothing_about_money(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What that night posted is not what the run before it knew; and a recompute could not run beside it."""
    play(settings, CENTRE, (1, 2, 3))
    opened = api.open_night(settings, CENTRE, TODAY + timedelta(days=1), "夜间")
    for name in ("take_in", "compute", "check", "post"):
        api.step(settings, CENTRE, opened["run_no"], name)
    upgraded(monkeypatch, 7)
    with pytest.raises(BusyError, match="NIGHT-OPEN"):
        api.open_night(settings, CENTRE, TODAY + timedelta(days=2), "夜间")


def test_a_night_that_another_engine_opened_goes_on_when_both_agree(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    play(settings, CENTRE, (1, 2, 3))
    before, tomorrow = postings(settings), TODAY + timedelta(days=1)
    opened = api.open_night(settings, CENTRE, tomorrow, "夜间")
    with monkeypatch.context() as patched:
        upgraded(patched, 7)
        with pytest.raises(TerminalError, match="RUN-ENGINE"):
            api.run_night(settings, CENTRE, tomorrow, "夜间")
    assert postings(settings) == before
    upgraded(monkeypatch, 0)
    api.run_night(settings, CENTRE, tomorrow, "夜间")
    assert postings(settings) == before
    t = tables.run
    with open_database(settings).read() as conn:
        row = conn.execute(sa.select(t.c.engine_version, t.c.state).where(t.c.run_no == opened["run_no"])).one()
    assert tuple(row) == ("upgraded", "closed")


def test_an_old_night_is_not_judged_by_a_new_engine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    play(settings, CENTRE, (1, 2, 3))
    before = state(settings)
    upgraded(monkeypatch, 7)
    results = api.run_night(settings, CENTRE, TODAY, "夜间")
    assert "rerun_differences" not in results["compute"]
    assert state(settings) == before


def test_an_approved_recompute_is_not_carried_out_by_another_engine(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = played(settings, tmp_path)
    share(settings, 26)
    shown = api.preview(settings, CENTRE, TODAY)
    given = agreed(shown)

    crashes(settings, monkeypatch, "compute.compute", given)
    before = postings(settings)
    with monkeypatch.context() as patched:
        upgraded(patched, 7)
        with pytest.raises(TerminalError, match="RUN-ENGINE"):
            api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert postings(settings) == before
    assert api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)["amount_fen"] == shown["amount_fen"]


def upgraded(monkeypatch: pytest.MonkeyPatch, more_fen: int) -> None:
    """From now on the program is another one, that pays so much more for every line that it pays something for."""

    def more(facts: Facts, policy: CentrePolicy) -> Assessment:
        found = assess(facts, policy)
        at = found.lines.schema.get_field_index("payable_fen")
        paid = found.lines["payable_fen"]
        raised = pc.if_else(pc.greater(paid, 0), pc.add(paid, more_fen), paid)
        return dataclasses.replace(found, lines=found.lines.set_column(at, "payable_fen", raised))

    for module in ("upgrade", "opening", "recompute", "compute"):
        monkeypatch.setattr(f"subsidy.night.{module}.ENGINE_VERSION", "upgraded")
    for module in ("compute", "posting", "causes"):
        monkeypatch.setattr(f"subsidy.night.{module}.assess", more)
    monkeypatch.setattr("subsidy.night.second.compare", lambda *_: [])


def lines(settings: Settings) -> Any:
    """The lines that count by now."""
    with open_database(settings).read() as conn:
        segments = manifest.segments(conn, CENTRE, date(2099, 1, 1))
    return line_store.known_lines(Store(settings.store_url), segments)


def postings(settings: Settings) -> list[dict[str, Any]]:
    p = tables.posting
    with open_database(settings).read() as conn:
        return [dict(row) for row in conn.execute(sa.select(p).order_by(p.c.posting_no)).mappings()]


def before_rows(before: dict[str, list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """The postings of an earlier state, in order of their numbers."""
    at = [c.name for c in tables.posting.c].index("posting_no")
    return sorted(before["posting"], key=lambda row: row[at])
