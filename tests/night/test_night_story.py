"""The story of every centre through real files, real databases, the engine, its second computation, the ledger and the bank.

The lines are compared with the fixtures' own plain answers: three implementations that share no code agree to the fen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from playing import approve, play, state, visible_files

from fixtures import bank, story
from subsidy.errors import BusyError, TerminalError
from subsidy.facts.store import Store
from subsidy.ledger import tables
from subsidy.ledger import verify as proofs
from subsidy.ledger.database import open_database
from subsidy.night import api, board, line_store, manifest, previewing
from subsidy.policy import centre_names
from subsidy.reports import fingerprint
from subsidy.settings import Settings

RULES = Path(__file__).resolve().parents[2] / "rules"
CENTRES = centre_names(RULES)
COMPARED = ("figure_fen", "entitled_fen", "payable_fen", "outcome")


@pytest.fixture
def settings_on(settings: Settings, database_url: str) -> Settings:
    """The same home, on SQLite and on PostgreSQL."""
    return dataclasses.replace(settings, database_url=database_url)


def stored_lines(settings: Settings, centre: str) -> dict[tuple[str, str], tuple[object, ...]]:
    with open_database(settings).read() as conn:
        known = manifest.segments(conn, centre, date(2099, 1, 1))
    rows = line_store.known_lines(Store(settings.store_url), known).to_pylist()
    return {(r["agreement_no"], r["serial_no"]): tuple(r[n] for n in COMPARED) for r in rows}


def answers(centre: str, night: int) -> dict[tuple[str, str], tuple[object, ...]]:
    return {(a.agreement_no, a.serial_no): tuple(getattr(a, n) for n in COMPARED) for a in story.lines(centre, night)}


@pytest.mark.parametrize("centre", CENTRES)
def test_every_line_is_the_answer_and_everything_ties(settings: Settings, centre: str) -> None:
    results = play(settings, centre, (1, 2))
    assert stored_lines(settings, centre) == answers(centre, 2)
    results |= play(settings, centre, (3, 4))
    assert stored_lines(settings, centre) == answers(centre, 4)
    for night in results.values():
        assert night["check"]["differences"] == 0
        assert night["verify"]["broken"] == 0
        assert night["take_in"]["rows_in"] == sum(night["take_in"][n] for n in ("rows_booked", "rows_quarantined", "rows_duplicate"))
    assert proofs.verify(open_database(settings), centre) == []
    for number, built in enumerate((results[2]["settle"]["settlements"][0], results[4]["settle"]["settlements"][0])):
        expected = story.expected(centre).settlements[number]
        assert built["period"] == expected.period
        assert built["computed_fen"] == built["sent_fen"] + built["netted_fen"] + built["carried_fen"] + built["held_fen"]
    books = sorted(settings.reports(centre).glob("*.xlsx"))
    assert len(books) >= 4 and {fingerprint.read(path).facts["勾稽结果"] for path in books} == {"20 项全部相符"}
    causes = _causes(settings, centre)
    assert {"correction", "convert", "clawback"} <= causes
    assert {"accrual", "top_up", "recovery"} <= _kinds(settings, centre)


def _kinds(settings: Settings, centre: str) -> set[str]:
    p = tables.posting
    with open_database(settings).read() as conn:
        return set(conn.execute(sa.select(p.c.kind).where(p.c.centre == centre)).scalars())


def _causes(settings: Settings, centre: str) -> set[str]:
    c = tables.posting_cause
    with open_database(settings).read() as conn:
        return set(conn.execute(sa.select(c.c.cause).where(c.c.centre == centre)).scalars())


def test_the_first_settlement_is_what_was_due(settings: Settings) -> None:
    """hangzhou: everything payable by the cut-off is sent, netted or carried; nothing else is."""
    results = play(settings, "hangzhou", (1, 2))
    built = results[2]["settle"]["settlements"][0]
    assert built["sent_fen"] + built["netted_fen"] + built["carried_fen"] == story.expected("hangzhou").settlements[0].payable_fen


def test_both_databases_end_in_the_same_ledger(settings: Settings, postgres_url: str, tmp_path: Path) -> None:
    other = dataclasses.replace(
        settings, home=tmp_path / "other", database_url=postgres_url, store_url=f"file://{tmp_path / 'other' / 'store'}"
    )
    for each in (settings, other):
        each.home.mkdir(exist_ok=True)
        play(each, "wenzhou")
    assert state(settings) == state(other)
    assert visible_files(settings) == visible_files(other)


def test_a_rerun_changes_nothing(settings_on: Settings) -> None:
    play(settings_on, "quzhou")
    before, files = state(settings_on), visible_files(settings_on)
    days = [night.business_date for night in story.nights() if night.centre == "quzhou"]
    for day in days + [days[1]] * 9:  # each night once, and one that settles ten times
        rerun = api.run_night(settings_on, "quzhou", day, "夜间")
        assert rerun["open_night"]["rerun"]
        assert rerun["compute"]["rerun_differences"] == 0
    assert approve(settings_on, "quzhou") is None
    assert state(settings_on) == before
    assert visible_files(settings_on) == files


def test_an_earlier_date_posts_nothing(settings: Settings) -> None:
    play(settings, "shaoxing", (1, 2))
    before = state(settings)
    with pytest.raises(TerminalError, match="NIGHT-PAST"):
        api.open_night(settings, "shaoxing", date(2026, 9, 5), "夜间")
    assert state(settings) == before


def test_a_date_far_ahead_is_opened_for_a_reason_only(settings: Settings) -> None:
    latest = play(settings, "wenzhou", (1, 2))[2]["open_night"]["business_date"]
    before, far = state(settings), date.fromisoformat(latest) + timedelta(days=46)
    for reason in ("", "  "):
        with pytest.raises(TerminalError, match="NIGHT-FAR") as refused:
            api.open_night(settings, "wenzhou", far, "夜间", reason=reason)
    assert latest in refused.value.message.what and "原因" in refused.value.message.todo
    assert state(settings) == before
    api.run_night(settings, "wenzhou", far - timedelta(days=1), "夜间")
    far += timedelta(days=50)
    assert api.open_night(settings, "wenzhou", far, "甲", reason="停机之后只补这一夜")["business_date"] == str(far)
    assert not api.open_night(settings, "wenzhou", far, "夜间")["rerun"], "the night that is open is found again"


def test_bank_files_are_not_read_on_a_date_far_ahead(settings: Settings) -> None:
    play(settings, "wenzhou", (1, 2))
    second = next(n.business_date for n in story.nights() if n.centre == "wenzhou" and n.number == 2)
    for later in (1, 3):
        bank.run(settings.home, "wenzhou", "story", second + timedelta(days=later))
    before, files = state(settings), visible_files(settings)
    with pytest.raises(TerminalError, match="BANK-DATE-FAR"):
        api.read_results(settings, "wenzhou", second + timedelta(days=46), "夜间")
    assert (state(settings), visible_files(settings)) == (before, files)
    assert api.read_results(settings, "wenzhou", second + timedelta(days=45), "夜间")["applied"]["confirmed"] > 0


def test_a_missing_file_stands_on_the_board_with_its_name_and_deadline(settings: Settings) -> None:
    api.run_night(settings, "hangzhou", date(2026, 10, 19), "夜间")
    [row] = board.board(settings, ["hangzhou"], "2026-10")
    files = row.cells[0]
    assert (files.state, files.text) == ("trouble", "缺 2 个文件")
    assert all(f"应于 2026-10-19 前送达的“{name}”文件没有收到" in files.todo for name in ("贷款业务明细", "贷款状态"))


@pytest.mark.parametrize("absent", ["flag", "data"])
def test_a_file_that_waits_for_its_companion_stands_on_the_board_with_what_is_missing(settings: Settings, absent: str) -> None:
    name, *others = story.deliver(settings.home, "zhejiang-provincial", 1)
    there, lacking = (name, f"{name}.ok") if absent == "flag" else (f"{name}.ok", name)
    aside = settings.home / "aside"
    (settings.inbox("zhejiang-provincial") / lacking).rename(aside)
    night = api.run_night(settings, "zhejiang-provincial", date(2026, 9, 1), "夜间")
    assert (night["take_in"]["files"], night["take_in"]["waiting"]) == (len(others), [there])
    [row] = board.board(settings, ["zhejiang-provincial"], "2026-09")
    assert (row.cells[0].state, row.cells[0].text) == ("waiting", "未到齐 1 个文件")
    assert f"文件 {there} 还没有收：等 {lacking}。" in row.cells[0].todo and row.cells[0].place == "findings"
    aside.rename(settings.inbox("zhejiang-provincial") / lacking)
    night = api.run_night(settings, "zhejiang-provincial", date(2026, 9, 2), "夜间")
    assert (night["take_in"]["files"], night["take_in"]["waiting"]) == (1, [])


def test_an_old_task_that_reads_new_answers_books_them_on_the_open_day(settings: Settings) -> None:
    play(settings, "wenzhou", (1, 2))
    second = next(n.business_date for n in story.nights() if n.centre == "wenzhou" and n.number == 2)
    bank.run(settings.home, "wenzhou", "story", second + timedelta(days=1))
    bank.run(settings.home, "wenzhou", "story", second + timedelta(days=3))
    api.read_results(settings, "wenzhou", second - timedelta(days=60), "清除旧任务")
    with open_database(settings).read() as conn:
        files = conn.execute(sa.select(tables.bank_file.c.state, tables.bank_file.c.known_on).distinct()).all()
        codes = set(conn.execute(sa.select(tables.finding.c.code).where(tables.finding.c.stage == "result")).scalars())
    assert files == [("booked", second)]
    assert not codes & {"RESULT-MISMATCH", "MOVE-DATE"}


def test_the_next_night_waits_for_the_one_before(settings: Settings) -> None:
    story.deliver(settings.home, "huzhou", 1)
    api.open_night(settings, "huzhou", date(2026, 9, 1), "夜间")
    with pytest.raises(BusyError, match="夜间"):
        api.open_night(settings, "huzhou", date(2026, 9, 2), "夜间")


def test_the_centres_do_not_touch_each_other(settings: Settings) -> None:
    """A centre ends the same whether or not another one ran before it."""
    play(settings, "zhoushan", (1, 2))
    alone = stored_lines(settings, "zhoushan")
    play(settings, "hangzhou", (1, 2))
    assert stored_lines(settings, "zhoushan") == alone
    assert stored_lines(settings, "hangzhou") == answers("hangzhou", 2)


@pytest.fixture(autouse=True)
def _close(settings: Settings) -> Iterator[None]:
    yield
    open_database(settings).dispose()


def test_a_rejected_settlement_can_be_asked_about_again(settings: Settings) -> None:
    story.deliver(settings.home, "wenzhou", 1)
    api.run_night(settings, "wenzhou", date(2026, 9, 1), "夜间")
    story.deliver(settings.home, "wenzhou", 2)
    api.run_night(settings, "wenzhou", date(2026, 9, 14), "夜间")
    waiting = api.pending_settlement(settings, "wenzhou")
    assert waiting is not None
    api.answer_settlement(settings, "wenzhou", "2026-09", "审批甲", "reject", waiting["content_hash"])
    assert api.pending_settlement(settings, "wenzhou") is None
    with pytest.raises(TerminalError, match="PUBLISH-NOT-APPROVED"):
        api.publish(settings, "wenzhou", "2026-09")
    again = api.pending_settlement(settings, "wenzhou", "2026-09")
    assert again is not None and again["state"] == "rejected"
    assert approve_named(settings, again)["state"] == "published"


def approve_named(settings: Settings, waiting: dict[str, object]) -> dict[str, object]:
    said = api.answer_settlement(settings, "wenzhou", str(waiting["period"]), "审批乙", "approve", str(waiting["content_hash"]))
    assert said["accepted"], said
    return api.publish(settings, "wenzhou", str(waiting["period"]))


def test_files_of_later_days_wait_in_the_inbox_while_a_range_of_days_is_run(settings: Settings, tmp_path: Path) -> None:
    """As after an outage: the files of several nights lie there, and each is taken by its own night, as if it had come that day."""
    one = dataclasses.replace(settings, home=tmp_path / "one", database_url=f"sqlite:///{tmp_path / 'one.db'}")
    nights = [n for n in story.nights() if n.centre == "hangzhou"][:2]
    files = [story.deliver(settings.home, "hangzhou", night.number) for night in nights]
    first, second = (api.run_night(settings, "hangzhou", night.business_date, "夜间")["take_in"] for night in nights[:1] * 2)
    assert first == second and (first["files"], first["states"]) == (len(files[0]), {"booked": len(files[0])})
    assert sorted(first["early"]) == sorted(files[1]) and first["waiting"] == first["missing"] == []
    assert "未到日期" in (previewing.said("take_in", first) or "")
    [row] = board.board(settings, ["hangzhou"], f"{nights[0].business_date:%Y-%m}")
    assert (row.cells[0].state, row.cells[0].text) == ("waiting", f"未到日期 {len(files[1])} 个文件")
    assert row.cells[1].state == "done" and "到日期自动接收" in row.cells[0].todo
    api.run_night(settings, "hangzhou", nights[1].business_date, "夜间")
    for night in nights:
        story.deliver(one.home, "hangzhou", night.number)
        api.run_night(one, "hangzhou", night.business_date, "夜间")
    assert {name: rows for name, rows in state(settings).items() if name in ("file", "posting", "journal", "settlement")} == {
        name: rows for name, rows in state(one).items() if name in ("file", "posting", "journal", "settlement")
    }
    assert visible_files(settings).keys() == visible_files(one).keys()
