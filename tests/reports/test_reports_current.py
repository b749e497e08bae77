"""The stored workbook of a period follows its ledger: what the page offers for download is what became of the payments."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import sqlalchemy as sa
from reports_samples import CENTRE, PERIODS

from fixtures import bank, story
from subsidy.clearing import events
from subsidy.errors import BusyError
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import api, board, context, moved, previewing, recovering, reporting, settling
from subsidy.night import bank as night_bank
from subsidy.reports import fingerprint
from subsidy.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "night"))
from playing import approve, play, read_results, state, visible_files

DAYS = {n.number: n.business_date for n in story.nights() if n.centre == CENTRE}


def answer(settings: Settings, day: date) -> None:
    """The bank takes the files on the settlement day and has answered by `day`."""
    for today in (DAYS[2] + timedelta(days=1), day):
        bank.run(settings.home, CENTRE, "story", today)


def newest(settings: Settings, period: str) -> Path:
    """What the download page offers first."""
    (found,) = board.newest_books(settings, CENTRE, period)
    return settings.home / str(found["path"])


def versions(settings: Settings, period: str) -> list[str]:
    return sorted(p.name for p in settings.reports(CENTRE).glob(f"{CENTRE}-{period}-V*.xlsx"))


def rows(path: Path, title: str) -> list[dict[str, Any]]:
    sheet = openpyxl.load_workbook(path, data_only=True)[title]
    labels, *found = sheet.iter_rows(min_row=3, values_only=True)
    return [dict(zip(labels, row, strict=True)) for row in found if not str(row[0]).endswith("合计")]


def cover(path: Path) -> dict[str, Any]:
    sheet = openpyxl.load_workbook(path, data_only=True)["封面"]
    return {str(row[at]): row[at + 1] for row in sheet.iter_rows(min_row=3, values_only=True) for at in (0, 3) if row[at]}


def ties(path: Path) -> bool:
    return all(row["结果"] == "相符" and row["差额"] == 0 for row in rows(path, "勾稽表")) and fingerprint.read(path).matches


def test_the_stored_workbook_says_what_became_of_the_payments(settings: Settings) -> None:
    period = PERIODS[0]
    play(settings, CENTRE, (1,))
    story.deliver(settings.home, CENTRE, 2)
    api.run_night(settings, CENTRE, DAYS[2], "夜间")
    first = newest(settings, period)
    assert cover(first)["截至"] == f"账簿营业日期 {DAYS[2]}，银行还没有结果"
    assert "等待审批" in cover(first)["清算状态"] and {r["状态"] for r in rows(first, "回盘与退汇")} == {"待发送"}
    approve(settings, CENTRE)
    sent = newest(settings, period)
    assert sent != first and cover(sent)["清算状态"].startswith("已发送") and {r["状态"] for r in rows(sent, "回盘与退汇")} == {"未决"}
    answer(settings, DAYS[3])
    read_results(settings, CENTRE, DAYS[3])
    story.deliver(settings.home, CENTRE, 3)
    api.run_night(settings, CENTRE, DAYS[3], "夜间")
    answered = newest(settings, period)
    seen = rows(answered, "回盘与退汇")
    assert {r["状态"] for r in seen} == {"已付", "失败", "未决"}
    shown = cover(answered)
    for word in ("已付", "失败", "未决"):
        assert shown[f"发送结果：{word}"] == round(sum(r["金额"] for r in seen if r["状态"] == word), 2) > 0
    last = max(r["状态日期"] for r in seen if r["状态"] in ("已付", "失败")).date()
    assert shown["截至"] == f"账簿营业日期 {DAYS[2]}，银行结果截至 {last}"  # booked before the third night was opened
    booked = [r["记账日期"].date() for r in rows(answered, "凭证")]
    assert f"截至 {max(booked)}；" in openpyxl.load_workbook(answered)["凭证"]["A2"].value and max(booked) > DAYS[2]
    bank.run(settings.home, CENTRE, "story", DAYS[3] + timedelta(days=3))
    read_results(settings, CENTRE, DAYS[3])
    returned = newest(settings, period)
    e = tables.payment_event
    with open_database(settings).read() as conn:
        sent_on = dict(conn.execute(sa.select(e.c.payment_no, e.c.event_on).where(e.c.centre == CENTRE, e.c.state == "sent")).all())  # type: ignore[arg-type]
    waiting = [r for r in rows(returned, "回盘与退汇") if r["状态"] == "未决"]
    assert waiting and all(r["未决天数"] == (DAYS[3] - sent_on[r["付款编号"]]).days > 0 for r in waiting)
    assert any(r["状态日期"].date() > sent_on[r["付款编号"]] for r in waiting)  # the bank asked for patience: the days go on
    assert "退汇" in {r["状态"] for r in rows(returned, "回盘与退汇")} and cover(returned)["发送结果：退汇"] > 0
    assert all(ties(path) for path in (first, sent, answered, returned))
    assert [p.name for p in (first, sent, answered, returned)] == versions(settings, period)


def test_a_bank_that_is_paid_is_named(settings: Settings) -> None:
    """Where the loan's bank is the payee, the workbook says which: only persons are masked."""
    play(settings, "shaoxing", (1, 2))
    p = tables.payment
    with open_database(settings).read() as conn:
        paid = set(conn.execute(sa.select(p.c.payee_account, p.c.payee_name).where(p.c.centre == "shaoxing")).tuples())
    path = settings.home / reporting.write_report(settings, "shaoxing", PERIODS[0])
    assert {(r["收款账号"], r["收款户名"]) for r in rows(path, "回盘与退汇")} == paid
    assert {r["收款户名"] for r in rows(path, "贴息明细") if r["应付金额"]} <= {name for _, name in paid}


def test_nothing_booked_writes_nothing(told: Settings) -> None:
    before, files = state(told), visible_files(told)
    assert api.refresh_reports(told, CENTRE) == {"periods": [], "workbooks": [], "cleared": []}
    api.read_results(told, CENTRE, DAYS[4] + timedelta(days=3), "夜间")
    assert api.refresh_reports(told, CENTRE)["workbooks"] == []
    assert (state(told), visible_files(told)) == (before, files)


def test_a_centre_that_never_ran_has_no_reports_to_refresh(settings: Settings) -> None:
    assert api.refresh_reports(settings, CENTRE) == {"periods": [], "workbooks": [], "cleared": []}


def reject_the_first(settings: Settings) -> int:
    """The first settlement is built and rejected. Returns its amount in fen."""
    play(settings, CENTRE, (1,))
    story.deliver(settings.home, CENTRE, 2)
    api.run_night(settings, CENTRE, DAYS[2], "夜间")
    waiting = api.pending_settlement(settings, CENTRE)
    assert waiting is not None
    assert api.answer_settlement(settings, CENTRE, PERIODS[0], "审批甲", "reject", waiting["content_hash"])["accepted"]
    return int(waiting["amount_fen"])


def test_a_rejected_settlement_says_so(settings: Settings) -> None:
    reject_the_first(settings)
    assert api.refresh_reports(settings, CENTRE)["periods"] == [PERIODS[0]]
    assert cover(newest(settings, PERIODS[0]))["清算状态"].startswith("已驳回")


def test_a_return_of_an_old_period_rewrites_that_one_and_leaves_the_later_alone(settings: Settings) -> None:
    play(settings, CENTRE)
    before = {period: versions(settings, period) for period in PERIODS}
    p, b, e = tables.payment, tables.batch, tables.payment_event
    with open_database(settings).transaction_system() as conn:  # what `movements` appends when a credit comes in for it
        number = conn.execute(
            sa.select(p.c.payment_no)
            .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
            .join(e, sa.and_(e.c.centre == p.c.centre, e.c.payment_no == p.c.payment_no))
            .where(p.c.centre == CENTRE, b.c.period == PERIODS[0], e.c.state == "confirmed")
            .order_by(p.c.payment_no)
        ).scalars().first()  # fmt: skip
        events.append(conn, CENTRE, [str(number)], "returned", DAYS[4], run_no=4)
    assert api.refresh_reports(settings, CENTRE)["periods"] == [PERIODS[0]]
    assert len(versions(settings, PERIODS[0])) == len(before[PERIODS[0]]) + 1
    assert versions(settings, PERIODS[1]) == before[PERIODS[1]]


def sources(path: Path) -> dict[str, float]:
    assert ties(path)
    return {r["项目"]: r["金额"] for r in rows(path, "三方对账") if r["部分"] == "应清算的来源"}


def test_what_failed_or_came_back_or_was_written_off_is_in_the_next_computed_sum(settings: Settings) -> None:
    """October's computed sum comes from its details and from what the bank did to September's payments before October was built."""
    play(settings, CENTRE, (1, 2))
    answer(settings, DAYS[3])
    bank.run(settings.home, CENTRE, "story", DAYS[3] + timedelta(days=3))
    read_results(settings, CENTRE, DAYS[3])
    story.deliver(settings.home, CENTRE, 3)
    api.run_night(settings, CENTRE, DAYS[3], "夜间")
    owed = recovering.shown(settings, CENTRE)["receivables"][0]
    number = recovering.ask(settings, CENTRE, owed["agreement_no"], "0.05", "申请人", "收不回")
    (waiting,) = recovering.shown(settings, CENTRE)["waiting"]
    recovering.answer(settings, CENTRE, number, "审批甲", "approve", waiting["content_hash"])
    story.deliver(settings.home, CENTRE, 4)
    api.run_night(settings, CENTRE, DAYS[4], "夜间")
    seen = rows(newest(settings, PERIODS[0]), "回盘与退汇")
    found = sources(newest(settings, PERIODS[1]))
    assert found["付款失败，款项重新计入"] == round(sum(r["金额"] for r in seen if r["状态"] == "失败"), 2) > 0
    assert found["退汇，款项重新计入"] == round(sum(r["金额"] for r in seen if r["状态"] == "退汇"), 2) > 0
    assert found["核销应收款"] == 0.05


def test_what_a_rejected_batch_gives_back_is_in_the_next_computed_sum(settings: Settings) -> None:
    rejected_fen = reject_the_first(settings)
    for number in (3, 4):
        story.deliver(settings.home, CENTRE, number)
        api.run_night(settings, CENTRE, DAYS[number], "夜间")
    found = sources(newest(settings, PERIODS[1]))
    assert found["批次驳回，款项退回待付"] == round(rejected_fen / 100, 2) > 0


def test_what_later_periods_list_as_open_is_mended_there_too(settings: Settings) -> None:
    """An open payment of September that the bank answers after October was settled stands in both workbooks."""
    play(settings, CENTRE, (1, 2))
    story.deliver(settings.home, CENTRE, 3)
    api.run_night(settings, CENTRE, DAYS[3], "夜间")
    story.deliver(settings.home, CENTRE, 4)
    api.run_night(settings, CENTRE, DAYS[4], "夜间")
    october = newest(settings, PERIODS[1])
    assert any(r["期间"] == PERIODS[0] and r["状态"] == "未决" and r["未决天数"] > 20 for r in rows(october, "回盘与退汇"))
    answer(settings, DAYS[3])
    api.read_results(settings, CENTRE, DAYS[4], "夜间")
    assert api.refresh_reports(settings, CENTRE)["periods"] == list(PERIODS)
    waiting = [r["付款编号"] for r in rows(newest(settings, PERIODS[0]), "回盘与退汇") if r["状态"] == "未决"]
    listed = [r["付款编号"] for r in rows(newest(settings, PERIODS[1]), "回盘与退汇") if r["期间"] == PERIODS[0]]
    assert listed == waiting and len(waiting) < len([r for r in rows(october, "回盘与退汇") if r["期间"] == PERIODS[0]])


def test_the_vouchers_of_a_month_are_complete_when_it_is_over_and_a_write_off_shows_at_once(settings: Settings) -> None:
    play(settings, CENTRE)
    period = PERIODS[1]
    before = newest(settings, period)
    note = openpyxl.load_workbook(before)["凭证"]["A2"].value
    assert "截至 2026-10-" in note and "月份结束后自动补齐" in note
    owed = next(r for r in recovering.shown(settings, CENTRE)["receivables"] if r["receivable_fen"] > r["in_process_fen"])
    number = recovering.ask(settings, CENTRE, owed["agreement_no"], "0.01", "申请人", "收不回")
    (waiting,) = recovering.shown(settings, CENTRE)["waiting"]
    recovering.answer(settings, CENTRE, number, "审批甲", "approve", waiting["content_hash"])
    assert board.period(settings, CENTRE, period)["behind"]
    assert period in api.refresh_reports(settings, CENTRE)["periods"]
    assert not board.period(settings, CENTRE, period)["behind"]
    assert {r["指标"]: r["本月金额"] for r in rows(newest(settings, period), "年度口径")}["核销金额"] == 0.01
    written = versions(settings, period)
    api.run_night(settings, CENTRE, date(2026, 10, 30), "夜间")
    assert versions(settings, period) == written
    api.run_night(settings, CENTRE, date(2026, 10, 31), "夜间")
    assert len(versions(settings, period)) == len(written) + 1
    assert "截至" not in openpyxl.load_workbook(newest(settings, period))["凭证"]["A2"].value
    api.run_night(settings, CENTRE, date(2026, 11, 1), "夜间")
    assert len(versions(settings, period)) == len(written) + 1


def test_a_difference_that_became_overdue_stands_in_the_workbook(settings: Settings) -> None:
    """The bank never answers: time alone makes it a matter for people, once."""
    play(settings, CENTRE, (1, 2))
    period, seen = PERIODS[0], []
    for day in (date(2026, 9, 29), date(2026, 9, 30), date(2026, 10, 1), date(2026, 10, 2)):
        api.run_night(settings, CENTRE, day, "夜间")
        classes = {r["类别"] for r in rows(newest(settings, period), "对账差异")}
        seen.append((len(versions(settings, period)), classes))
    first = seen[0][0]
    assert seen == [(first, {"时间差"}), (first + 1, {"时间差"}), (first + 2, {"缺失"}), (first + 2, {"缺失"})]


@pytest.mark.parametrize("days", [0, 1])
def test_the_mark_is_moved_only_with_what_was_written(settings: Settings, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """A failure while workbooks are written leaves them behind for the next call."""
    play(settings, CENTRE, (1, 2))
    answer(settings, DAYS[3])
    api.read_results(settings, CENTRE, DAYS[3], "夜间")

    write = reporting.workbook.write
    monkeypatch.setattr(reporting.workbook, "write", lambda *_: (_ for _ in ()).throw(RuntimeError("dies")))
    with pytest.raises(RuntimeError):
        api.refresh_reports(settings, CENTRE)
    monkeypatch.setattr(reporting.workbook, "write", write)
    if days:
        api.run_night(settings, CENTRE, DAYS[3], "夜间")
    else:
        api.refresh_reports(settings, CENTRE)
    assert "已付" in {r["状态"] for r in rows(newest(settings, PERIODS[0]), "回盘与退汇")}
    with open_database(settings).read() as conn:
        assert moved.mark(conn, CENTRE) == moved.now(conn, CENTRE)


def test_the_clearing_page_names_who_was_answered_after_its_version(settings: Settings) -> None:
    period = PERIODS[0]
    play(settings, CENTRE, (1, 2))
    assert api.clear_month(settings, period)["version"] == 1
    assert board.clearing(settings, period)["since"] == []
    answer(settings, DAYS[3])
    api.read_results(settings, CENTRE, DAYS[3], "夜间")
    assert board.clearing(settings, period)["since"] == [CENTRE]
    assert api.clear_month(settings, period)["version"] == 2
    assert board.clearing(settings, period)["since"] == []


def test_a_cleared_month_is_cleared_again_when_answers_come_in(settings: Settings) -> None:
    period = PERIODS[0]
    play(settings, CENTRE, (1, 2))
    assert api.refresh_reports(settings, CENTRE)["cleared"] == []  # never cleared: nobody asked for it yet
    assert board.clearing(settings, period)["versions"] == []
    open_fen = api.clear_month(settings, period)["positions"][0]["open_fen"]

    answer(settings, DAYS[3])
    api.read_results(settings, CENTRE, DAYS[3], "夜间")
    assert api.refresh_reports(settings, CENTRE)["cleared"] == [{"period": period, "version": 2}]
    shown = board.clearing(settings, period)
    assert shown["since"] == [] and [v["version"] for v in shown["versions"]] == [2, 1]
    assert shown["versions"][0]["detail"]["positions"][0]["open_fen"] < open_fen
    assert len([f for f in shown["files"] if f["kind"] == "transfer"]) == 2
    assert api.refresh_reports(settings, CENTRE)["cleared"] == []

    api.read_results(settings, CENTRE, DAYS[3], "夜间")  # nothing new
    assert api.refresh_reports(settings, CENTRE)["cleared"] == []


def test_a_clearing_that_fails_is_made_by_the_next_call(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    period = PERIODS[0]
    play(settings, CENTRE, (1, 2))
    api.clear_month(settings, period)
    answer(settings, DAYS[3])
    api.read_results(settings, CENTRE, DAYS[3], "夜间")
    for broken in ((night_bank.overall, "clear"), (night_bank.reporting, "write_clearing"), (night_bank.moved, "remember")):
        with monkeypatch.context() as patched:
            patched.setattr(*broken, lambda *_, **__: (_ for _ in ()).throw(RuntimeError("dies")))
            with pytest.raises(RuntimeError):
                night_bank.clear_again(settings, CENTRE)
    night_bank.clear_again(settings, CENTRE)
    shown = board.clearing(settings, period)
    assert [v["version"] for v in shown["versions"]] == [2, 1] and shown["since"] == []
    assert {f["kind"] for f in shown["files"] if "V002" in f["path"]} == {"transfer", "workbook"}


def test_a_broken_folder_drops_no_centre_from_a_cleared_month(settings: Settings, tmp_path: Path) -> None:
    """Nothing is cleared again while another centre's folder cannot be loaded; when it is mended, what was put off is made up."""
    play(settings, CENTRE, (1, 2))
    assert api.clear_month(settings, PERIODS[0])["version"] == 1
    rules = tmp_path / "rules"
    shutil.copytree(settings.rules, rules)
    (rules / "quzhou" / "policy.yaml").write_text("centre: none\n", encoding="utf-8")
    broken = dataclasses.replace(settings, rules=rules)
    answer(settings, DAYS[3])
    api.read_results(broken, CENTRE, DAYS[3], "夜间")
    assert api.refresh_reports(broken, CENTRE)["cleared"] == []
    assert api.refresh_reports(settings, CENTRE)["cleared"] == [{"period": PERIODS[0], "version": 2}]
    assert board.clearing(settings, PERIODS[0])["versions"][0]["missing"] == board.clearing(settings, PERIODS[0])["versions"][1]["missing"]


def test_a_fault_of_another_centre_fails_no_refresh(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workbooks are written, what cannot be cleared is said; when it can be read again, what was put off is made up."""
    play(settings, CENTRE, (1, 2))
    assert api.clear_month(settings, PERIODS[0])["version"] == 1
    answer(settings, DAYS[3])
    api.read_results(settings, CENTRE, DAYS[3], "夜间")
    state_of = night_bank.overall._state

    def fails(conn: Any, policy: Any, period: str) -> str:
        if policy.centre == "quzhou":
            raise KeyError("2010-01-04")
        return state_of(conn, policy, period)

    with monkeypatch.context() as patched:
        patched.setattr(night_bank.overall, "_state", fails)
        told = api.refresh_reports(settings, CENTRE)
        assert told["periods"] == [PERIODS[0]] and told["cleared"] == []
        (why,) = told["uncleared"]
        assert "CLEAR-FAULT" in why and "quzhou 的清算数据读不出（程序出错 KeyError，" in why and why in previewing.refreshed(told)
        asked = api.clear_month(settings, PERIODS[0])
        assert asked["version"] == 2 and list(asked["faults"]) == ["quzhou"] and "quzhou" in asked["missing"]
        assert "程序出错 KeyError" in previewing.cleared(asked)
        assert board.clearing(settings, PERIODS[0])["versions"][0]["detail"]["faults"] == asked["faults"]
    assert api.refresh_reports(settings, CENTRE)["cleared"] == [{"period": PERIODS[0], "version": 3}]
    assert "uncleared" not in api.refresh_reports(settings, CENTRE)


def test_a_late_settlement_with_nothing_to_pay_makes_a_new_clearing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when its night finds nothing and books nothing: the centre is no longer missing."""
    period = PERIODS[0]
    monkeypatch.setattr("subsidy.night.register.add_findings", lambda *_: None)
    with monkeypatch.context() as patched:
        patched.setattr(settling, "due_settlements", lambda _: [])
        api.run_night(settings, CENTRE, date(2026, 10, 2), "夜间")
        assert CENTRE in api.clear_month(settings, period)["missing"]
        api.refresh_reports(settings, CENTRE)
    built = api.run_night(settings, CENTRE, date(2026, 10, 3), "夜间")["settle"]["settlements"]
    assert [(s["period"], s["state"]) for s in built] == [(period, "empty")]
    assert {"period": period, "version": 2} in api.refresh_reports(settings, CENTRE)["cleared"]
    assert CENTRE not in board.clearing(settings, period)["versions"][0]["missing"]
    assert api.refresh_reports(settings, CENTRE)["cleared"] == []


def test_two_clearings_of_a_month_wait_for_each_other(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looked at the ledger first must not make the newer version."""
    play(settings, CENTRE, (1, 2))
    db = open_database(settings)
    with ThreadPoolExecutor(1) as beside:
        with context.working(db, night_bank.overall.CLEARING, "别人的清算"):
            with monkeypatch.context() as patched:
                patched.setattr(night_bank, "PATIENCE_SECONDS", 0)
                with pytest.raises(BusyError, match="别人的清算"):
                    api.clear_month(settings, PERIODS[0])
            waiting = beside.submit(api.clear_month, settings, PERIODS[0])
            with pytest.raises(TimeoutError):
                waiting.result(2)
        assert waiting.result(30)["version"] == 1
