"""Preview writes nothing; recompute needs a reason and another person, posts each difference once, and changes nothing that was posted."""

from __future__ import annotations

import dataclasses
import re
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from playing import play, state

from subsidy.errors import Finding, TerminalError
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import api, opening
from subsidy.settings import Settings

CENTRE, TODAY = "quzhou", date(2026, 9, 23)


def test_preview_then_recompute(settings: Settings, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(settings.rules, rules)
    settings = dataclasses.replace(settings, rules=rules)
    play(settings, CENTRE, (1, 2, 3))
    assert api.preview(settings, CENTRE, TODAY)["lines"] == 0
    path = rules / CENTRE / "policy.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("share: 25%", "share: 26%"), encoding="utf-8")
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
    given: list[dict[str, str]] = [{"person": "乙", "answer": "approve", "content_hash": shown["content_hash"]}]
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


@pytest.mark.parametrize("step", ["compute.compute", "compute.check", "posting.post", "proving.verify", "opening.close_run"])
def test_an_interrupted_recompute_is_finished_by_the_next_and_keeps_no_night_waiting(
    step: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(settings.rules, rules)
    settings = dataclasses.replace(settings, rules=rules)
    play(settings, CENTRE, (1, 2, 3))
    path = rules / CENTRE / "policy.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("share: 25%", "share: 26%"), encoding="utf-8")
    shown = api.preview(settings, CENTRE, TODAY)
    given: list[dict[str, str]] = [{"person": "乙", "answer": "approve", "content_hash": shown["content_hash"]}]

    def crash(*_: Any) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(f"subsidy.night.recompute.{step}", crash)
        with pytest.raises(Crash):
            api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    done = api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert (done["posted"], done["amount_fen"], done["changed"]) == (shown["lines"], shown["amount_fen"], True)
    assert api.preview(settings, CENTRE, TODAY)["lines"] == 0
    assert api.open_night(settings, CENTRE, TODAY + timedelta(days=1), "夜间")["run_no"] == done["run_no"] + 1


def test_a_recompute_that_the_second_computation_doubts_is_checked_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(settings.rules, rules)
    settings = dataclasses.replace(settings, rules=rules)
    play(settings, CENTRE, (1, 2, 3))
    path = rules / CENTRE / "policy.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("share: 25%", "share: 26%"), encoding="utf-8")
    shown = api.preview(settings, CENTRE, TODAY)
    given: list[dict[str, str]] = [{"person": "乙", "answer": "approve", "content_hash": shown["content_hash"]}]
    before = postings(settings)
    doubt = Finding(code="PROOF-DIFFERS", severity="error", what="不一致", todo="查明")
    with monkeypatch.context() as patched:
        patched.setattr("subsidy.night.second.compare", lambda *_: [doubt])
        for _ in range(2):
            with pytest.raises(TerminalError, match="RECOMPUTE-PROOF"):
                api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert postings(settings) == before
    done = api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert (done["posted"], done["amount_fen"]) == (shown["lines"], shown["amount_fen"])


def test_what_was_approved_is_posted_although_the_rules_change_meanwhile(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(settings.rules, rules)
    settings = dataclasses.replace(settings, rules=rules)
    play(settings, CENTRE, (1, 2, 3))
    path = rules / CENTRE / "policy.yaml"

    def share(percent: int) -> None:
        path.write_text(re.sub(r"share: \d+%", f"share: {percent}%", path.read_text(encoding="utf-8")), encoding="utf-8")

    share(26)
    shown = api.preview(settings, CENTRE, TODAY)
    given: list[dict[str, str]] = [{"person": "乙", "answer": "approve", "content_hash": shown["content_hash"]}]
    open_run, before = opening.open_run, state(settings)

    def changed_just_before(*args: Any, **kwargs: Any) -> Any:
        share(27)
        return open_run(*args, **kwargs)

    monkeypatch.setattr(opening, "open_run", changed_just_before)
    with pytest.raises(TerminalError, match="RUN-POLICY"):
        api.recompute(settings, CENTRE, TODAY, "甲", "更正比例", given)
    assert state(settings) == before


def postings(settings: Settings) -> list[dict[str, Any]]:
    p = tables.posting
    with open_database(settings).read() as conn:
        return [dict(row) for row in conn.execute(sa.select(p).order_by(p.c.posting_no)).mappings()]


def before_rows(before: dict[str, list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """The postings of an earlier state, in order of their numbers."""
    at = [c.name for c in tables.posting.c].index("posting_no")
    return sorted(before["posting"], key=lambda row: row[at])
