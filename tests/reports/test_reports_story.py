"""The workbooks of a centre's story against its ledger: every amount, every tie, and what `subsidy report` says of them."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import python_calamine
import sqlalchemy as sa
from reports_samples import CENTRE, PERIODS

from subsidy.clearing import overall, reconcile, vouchers
from subsidy.cli import main as shell
from subsidy.entitlement.codes import NO_SUBSIDY, REASONS
from subsidy.errors import TerminalError
from subsidy.facts.store import Store
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import bank, line_store, manifest, reporting
from subsidy.reports import fingerprint, ledger_rows, workbook
from subsidy.reports.labels import OUTCOMES
from subsidy.settings import Settings

SHEETS = [
    "封面", "汇总", "网点汇总", "贴息明细", "以前期间首次应付", "计算说明", "变动分析", "补差与追回", "暂停与恢复", "隔离与异常",
    "回盘与退汇", "付款构成", "三方对账", "对账差异", "凭证", "年度口径", "勾稽表",
]  # fmt: skip


LINE_AMOUNTS = {"实还利息": "interest_fen", "计算金额": "figure_fen", "应得金额": "entitled_fen", "计息本金": "base_principal_fen"}


@pytest.fixture(scope="session")
def written(told: Settings) -> dict[str, Path]:
    """The workbook of each period as the ledger has it after the whole story."""
    return {period: told.home / reporting.write_report(told, CENTRE, period) for period in PERIODS}


def rows(path: Path, title: str) -> list[dict[str, Any]]:
    """Rows of a sheet by label, without the total."""
    found = python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_name(title).to_python(skip_empty_area=False)
    labels = [str(v) for v in found[2]]
    return [dict(zip(labels, row, strict=True)) for row in found[3:] if row[0] != "" and not str(row[0]).endswith("合计")]


def fen(value: Any) -> int:
    return int(Decimal(str(value)).scaleb(2).to_integral_exact())


@pytest.mark.parametrize("period", PERIODS)
def test_every_detail_amount_is_the_ledgers(told: Settings, written: dict[str, Path], period: str) -> None:
    """Payable per line = sum of the line's postings up to the settlement's run; the other columns = the stored line."""
    ctx = reporting.of_period(told, CENTRE, period)
    t = tables.posting
    due: dict[tuple[str, str], int] = defaultdict(int)
    with open_database(told).read() as conn:
        for r in conn.execute(sa.select(t).where(t.c.centre == CENTRE, t.c.kind != "opening", t.c.run_no <= ctx.run.run_no)).mappings():
            due[(r["agreement_no"], r["serial_no"])] += r["amount_fen"]
        known = manifest.segments(conn, CENTRE, date(2099, 1, 1), through_run=ctx.run.run_no)
    lines = {(r["agreement_no"], r["serial_no"]): r for r in line_store.known_lines(Store(told.store_url), known).to_pylist()}
    shown = rows(written[period], "贴息明细")
    assert len(shown) > 40
    for row in shown:
        key = (row["协议编号"], row["业务流水号"])
        line = lines[key]
        assert fen(row["应付金额"]) == due[key]
        for label, name in LINE_AMOUNTS.items():
            assert fen(row[label]) == line[name], (key, label)
        nothing = line["outcome"] == "pay" and line["reason"] in NO_SUBSIDY
        assert row["结果"] == ("无贴息" if nothing else OUTCOMES[line["outcome"]])
        assert round(row["执行利率"] * 1_000_000) == line["rate_ppm"]
        assert (row["计息起始日"], row["计息终止日"], row["行号"]) == (line["accrual_from"], line["accrual_to"], line["line_no"])
        assert row["规则版本"] == line["rule_version"]
        assert row["来源文件"]


@pytest.mark.parametrize("period", PERIODS)
def test_payments_and_vouchers_are_the_ledgers(told: Settings, written: dict[str, Path], period: str) -> None:
    p, b = tables.payment, tables.batch
    with open_database(told).read() as conn:
        sent = dict(
            conn.execute(
                sa.select(p.c.payment_no, p.c.amount_fen)
                .join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
                .where(p.c.centre == CENTRE, b.c.period == period)
            ).all()  # type: ignore[arg-type]
        )
        booked = vouchers.rows(conn, CENTRE, period)
    shown = {r["付款编号"]: r for r in rows(written[period], "回盘与退汇")}
    assert {k: fen(v["金额"]) for k, v in shown.items() if v["期间"] == period} == sent
    table = [(r["记账凭证号"], r["科目编号"], fen(r["借方发生额"]), fen(r["贷方发生额"])) for r in rows(written[period], "凭证")]
    assert table == [(v[0], v[2], v[3], v[4]) for v in booked]


@pytest.mark.parametrize("period", PERIODS)
def test_everything_ties_and_reads_without_recalculation(written: dict[str, Path], period: str) -> None:
    opened = openpyxl.load_workbook(written[period], data_only=True)
    assert opened.sheetnames == SHEETS
    ties = list(opened["勾稽表"].iter_rows(min_row=4, values_only=True))
    assert len(ties) == 20
    assert [t[0] for t in ties if t[3] != 0 or t[4] != "相符"] == []
    assert all(t[1] == t[2] for t in ties)


def test_this_month_starts_where_last_month_ended(written: dict[str, Path]) -> None:
    """上期应付 of October is what September's workbook said, although September was corrected since."""
    september, october = (rows(written[p], "变动分析") for p in PERIODS)
    assert sum(fen(r["上期应付"]) for r in october) == sum(fen(r["本期应付"]) for r in september)
    assert all(fen(r["本期应付"]) - fen(r["上期应付"]) == fen(r["变动金额"]) for r in october)
    assert len([r for r in october if r["贷款户数"]]) >= 4


def test_what_is_first_payable_for_an_earlier_period_stands_in_one_sheet(told: Settings, written: dict[str, Path]) -> None:
    """Each line of September that October's nights posted first: with its amount among the resumed ones or in its own sheet, never both."""
    t, s = tables.posting, tables.settlement
    with open_database(told).read() as conn:
        built = {r.period: r for r in conn.execute(sa.select(s).where(s.c.centre == CENTRE))}
        before, now = (built[p] for p in PERIODS)
        mine = (t.c.centre == CENTRE, t.c.booked_on <= before.cutoff_on, t.c.run_no > before.run_no, t.c.run_no <= now.run_no)
        first = {(r[0], r[1]) for r in conn.execute(sa.select(t.c.agreement_no, t.c.serial_no).where(*mine, t.c.kind == "accrual"))}
        due = defaultdict[tuple[str, str], int](int)
        for row in conn.execute(sa.select(t.c.agreement_no, t.c.serial_no, t.c.amount_fen).where(*mine, t.c.kind != "opening")):
            due[(row[0], row[1])] += row[2]
    own = {(r["协议编号"], r["业务流水号"]): fen(r["应付金额"]) for r in rows(written[PERIODS[1]], "以前期间首次应付")}
    resumed = {
        (r["协议编号"], r["业务流水号"]): fen(r["应付金额"])
        for r in rows(written[PERIODS[1]], "暂停与恢复") if r["动态"] == "恢复支付"
    }  # fmt: skip
    assert own and not own.keys() & resumed.keys()
    assert own | resumed == {key: due[key] for key in first if due[key]}
    again = {(r["协议编号"], r["业务流水号"]) for r in rows(written[PERIODS[1]], "补差与追回") if r["归属"] == "以前各期"}
    assert again and not again & first
    assert rows(written[PERIODS[0]], "以前期间首次应付") == []


def test_corrections_name_their_cause_and_what_they_correct(told: Settings, written: dict[str, Path]) -> None:
    shown = rows(written[PERIODS[1]], "补差与追回")
    assert {"补差", "追回"} >= {r["类别"] for r in shown} and shown
    t = tables.posting
    with open_database(told).read() as conn:
        posted = {r["posting_no"]: r for r in conn.execute(sa.select(t).where(t.c.centre == CENTRE)).mappings()}
    for row in shown:
        posting = posted[int(row["记账号"])]
        assert posting["corrects"] == int(row["更正的记账号"]) and row["原因"] and row["原因文件"]
        assert fen(row["更正前应付"]) == posted[posting["corrects"]]["due_fen"]
        assert fen(row["更正后应付"]) == posting["due_fen"]


def test_every_line_says_why(written: dict[str, Path]) -> None:
    """The exact fraction rounds half-up to the figure, and the content names file and line: of each line that a figure of the cover
    counts."""
    path = written[PERIODS[1]]
    resumed = [r for r in rows(path, "暂停与恢复") if r["动态"] == "恢复支付"]
    corrected = [r for r in rows(path, "补差与追回") if r["归属"] == "以前各期"]
    first = rows(path, "以前期间首次应付")
    assert first and resumed and corrected
    detail = {(r["协议编号"], r["业务流水号"]): r for r in [*corrected, *resumed, *first, *rows(path, "贴息明细")]}
    steps = defaultdict(list)
    for step in rows(path, "计算说明"):
        steps[(step["协议编号"], step["业务流水号"])].append(step)
    assert steps.keys() == detail.keys()
    rounded = 0
    for key, found in steps.items():
        place = f"第 {int(detail[key]['行号'])} 行" if "来源文件" in detail[key] else " 行"
        assert place in found[0]["内容"]
        for step in found:
            if step["精确金额（分，分数）"]:
                numerator, _, denominator = str(step["精确金额（分，分数）"]).partition("/")
                limit, _, below = (str(step["利息上限（分，分数）"]) or step["精确金额（分，分数）"]).partition("/")
                least = min(_half_up(numerator, denominator), _half_up(limit, below))
                assert fen(step["四舍五入（元）"]) == least
                rounded += 1
        assert all(step["步骤"] != "注意" for step in found)
    assert rounded > 40
    said = {key: [s["内容"] for s in found if s["步骤"] == "期间"] for key, found in steps.items()}
    for row in first:
        assert said[row["协议编号"], row["业务流水号"]] == [f"以前期间的行，本期首次入账 {fen(row['应付金额']) / 100:.2f} 元"]
    assert all(said[r["协议编号"], r["业务流水号"]][0].startswith("以前期间的行，本期更正") for r in corrected)


def test_every_source_names_its_file(told: Settings, written: dict[str, Path]) -> None:
    with open_database(told).read() as conn:
        f = tables.file
        files = {int(n): str(name) for n, name in conn.execute(sa.select(f.c.file_no, f.c.name).where(f.c.centre == CENTRE))}
    content = "".join(r["内容"] for r in rows(written[PERIODS[1]], "计算说明"))
    named = re.findall(r"文件 (\S+)（登记号 (\d+)）第 \d+ 行", content)
    assert len(named) == content.count("登记号") > 200
    assert {(name, int(number)) for name, number in named} <= {(name, number) for number, name in files.items()}


def _half_up(numerator: str, denominator: str) -> int:
    n, d = int(numerator), int(denominator or 1)
    return (2 * n + d) // (2 * d)


def test_the_cover_says_what_a_signature_needs(told: Settings, written: dict[str, Path]) -> None:
    shown = fingerprint.read(written[PERIODS[1]])
    assert shown.matches
    assert shown.facts["清算日"] == "2026-10-20" and shown.facts["截止日"] == "2026-10-19"
    with open_database(told).read() as conn:
        head = conn.execute(sa.select(tables.journal_block.c.hash).where(tables.journal_block.c.centre == CENTRE)).scalars().all()[-1]
    assert shown.facts["账簿链头"] == head
    assert shown.facts["规则存档"] == reporting.of_period(told, CENTRE, PERIODS[1]).policy.version and "规则版本" not in shown.facts
    text = "".join(str(c.value) for row in openpyxl.load_workbook(written[PERIODS[1]])["封面"].iter_rows() for c in row)
    for word in ("制表", "复核", "审批", "只核对到 2026-10-09"):
        assert word in text


def test_the_cover_adds_up_from_the_details_to_what_was_computed(written: dict[str, Path]) -> None:
    """What a clerk adds up: the sums of the detail sheets and the ledger's own rows make the computed sum, on cover and in 三方对账."""
    path = written[PERIODS[1]]
    sources = [r for r in rows(path, "三方对账") if r["部分"] == "应清算的来源"]
    (computed,) = (fen(r["金额"]) for r in rows(path, "三方对账") if r["部分"] == "应清算")
    assert sum(fen(r["金额"]) for r in sources) == computed > 0
    taken = {r["项目"]: fen(r["金额"]) for r in sources}
    assert taken["本期明细应付"] == sum(fen(r["应付金额"]) for r in rows(path, "贴息明细"))
    assert taken["以前期间首次应付"] == sum(fen(r["应付金额"]) for r in rows(path, "以前期间首次应付")) > 0
    assert taken["补差与追回（以前各期）"] == sum(fen(r["金额"]) for r in rows(path, "补差与追回") if r["归属"] == "以前各期") < 0
    assert {"恢复支付（以前各期）", "暂缓支付的应得金额", "上期转入", "加回应收款"} < taken.keys()
    front = openpyxl.load_workbook(path, data_only=True)["封面"].iter_rows(min_row=3, min_col=4, max_col=5, values_only=True)
    totals = {str(label): fen(value) for label, value in front if isinstance(value, int | float)}
    assert totals["本期应清算"] == computed == sum(totals[name] for name in taken)
    assert fingerprint.read(path).facts["勾稽结果"] == "20 项全部相符"


def test_a_tie_that_does_not_hold_forbids_the_signature(told: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_rows, "corrected", lambda *_: 1)
    cover = reporting.current(reporting.of_period(told, CENTRE, PERIODS[1]), PERIODS[1]).cover
    assert dict(cover.facts)["勾稽结果"] == "有 1 项不符，不得签字"


def test_every_sheet_with_amounts_says_its_unit_and_no_programmers_word(told: Settings, written: dict[str, Path]) -> None:
    opened = openpyxl.load_workbook(written[PERIODS[1]], data_only=True)
    book = reporting.current(reporting.of_period(told, CENTRE, PERIODS[1]), PERIODS[1])
    for sheet in book.sheets:
        if any(c.kind == "money" for c in sheet.columns):
            labelled = all(c.kind != "money" or c.label.endswith("（元）") for c in sheet.columns)
            assert labelled or "金额单位：元" in str(opened[sheet.title]["A2"].value), sheet.title
    assert "金额单位：元" in str(opened["勾稽表"]["A2"].value)
    assert fingerprint.read(written[PERIODS[1]]).facts["金额单位"] == "元"
    words = {str(cell.value) for title in ("封面", "勾稽表") for row in opened[title].iter_rows() for cell in row}
    assert not [w for w in words for bad in ("posting", "settlement", "batch", "journal", "rates.csv", "confirmed_through") if bad in w]


def test_a_quarantined_row_is_listed_once_and_names_its_field(written: dict[str, Path]) -> None:
    shown = rows(written[PERIODS[0]], "隔离与异常")
    places = [(r["来源文件"], r["行号"], r["代码"]) for r in shown if r["行号"] != ""]
    assert "隔离" in {r["类别"] for r in shown} and len(places) == len(set(places))
    assert "利息金额（LXJE）" in {r["字段"] for r in shown}


def test_payments_are_added_up_by_what_they_belong_to(written: dict[str, Path]) -> None:
    """The sum of this period's payments is what the cover says was sent; what is still open of earlier ones stands apart."""
    path = written[PERIODS[1]]
    sheet = python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_name("回盘与退汇").to_python(skip_empty_area=False)
    at = sheet[2].index("金额")
    sums = {row[0]: fen(row[at]) for row in sheet[3:] if str(row[0]).endswith("合计")}
    shown = rows(path, "回盘与退汇")
    (sent,) = (fen(r["金额"]) for r in rows(path, "三方对账") if r["项目"] == "发送银行")
    earlier = sum(fen(r["金额"]) for r in shown if r["期间"] != PERIODS[1])
    assert sums == {"本期付款合计": sent, "本期收款合计": 0, "以前各期未决合计": earlier} and earlier > 0
    assert {r["响应码"] for r in rows(written[PERIODS[0]], "回盘与退汇") if r["状态"] == "退汇"} == {""}


@pytest.mark.parametrize("period", PERIODS)
def test_each_payment_is_traced_to_its_lines_and_each_netted_amount_too(told: Settings, written: dict[str, Path], period: str) -> None:
    p, i, b = tables.payment, tables.payment_item, tables.batch
    with open_database(told).read() as conn:
        query = sa.select(i.c.payment_no, i.c.agreement_no, i.c.serial_no, i.c.amount_fen, b.c.direction)
        query = query.join(p, sa.and_(p.c.centre == i.c.centre, p.c.payment_no == i.c.payment_no))
        query = query.join(b, sa.and_(b.c.centre == p.c.centre, b.c.batch_no == p.c.batch_no))
        items = conn.execute(query.where(b.c.centre == CENTRE, b.c.period == period)).all()
        s = tables.settlement
        built = conn.execute(sa.select(s).where(s.c.centre == CENTRE, s.c.period == period)).one()
    shown = rows(written[period], "付款构成")
    assert sorted((r["付款编号"], r["协议编号"], r["业务流水号"], fen(r["应付"]) - fen(r["抵扣"])) for r in shown) == sorted(
        (item.payment_no, item.agreement_no, item.serial_no, item.amount_fen) for item in items
    )
    assert (sum(fen(r["实付"]) for r in shown), sum(fen(r["抵扣"]) for r in shown)) == (built.sent_fen, built.netted_fen)
    paid = defaultdict[str, int](int)
    for row in shown:
        paid[row["付款编号"]] += fen(row["实付"])
    assert paid == {r["付款编号"]: fen(r["金额"]) for r in rows(written[period], "回盘与退汇") if r["期间"] == period}
    assert {r["类别"] for r in shown} == ({"正常"} if period == PERIODS[0] else {"正常", "补差", "追回"})


def test_a_line_without_subsidy_is_not_called_due(written: dict[str, Path]) -> None:
    detail = [r for period in PERIODS for r in rows(written[period], "贴息明细")]
    nothing = [r for r in detail if r["结果"] == "无贴息"]
    assert nothing and {r["原因"] for r in nothing} <= {REASONS[code] for code in NO_SUBSIDY} and not any(r["应付金额"] for r in nothing)
    assert all(r["应付金额"] or r["原因"].startswith(("已达", "与其他")) for r in detail if r["结果"] == "应付")


@pytest.mark.parametrize("period", PERIODS)
def test_held_and_resumed_lines_are_added_up_apart_as_the_cover_counts_them(written: dict[str, Path], period: str) -> None:
    sheet = python_calamine.CalamineWorkbook.from_path(written[period]).get_sheet_by_name("暂停与恢复").to_python(skip_empty_area=False)
    entitled, payable = (sheet[2].index(label) for label in ("应得金额", "应付金额"))
    sums = {row[0]: (fen(row[entitled]), fen(row[payable])) for row in sheet[3:] if str(row[0]).endswith("合计")}
    front = openpyxl.load_workbook(written[period], data_only=True)["封面"].iter_rows(min_row=3, min_col=4, max_col=5, values_only=True)
    totals = {str(label): fen(value) for label, value in front if isinstance(value, int | float)}
    assert list(sums) == ["本期暂缓合计", "继续暂缓合计", "恢复支付合计", "其余合计"]
    assert sums["本期暂缓合计"][0] + sums["继续暂缓合计"][0] == totals["其中：暂缓支付"] > 0
    assert sums["恢复支付合计"][1] == totals.get("恢复支付（以前各期）", 0)


def test_a_sheet_without_differences_says_so(told: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    three_way = reconcile.three_way
    monkeypatch.setattr(reconcile, "three_way", lambda *given: replace(three_way(*given), differences=()))
    book = reporting.current(reporting.of_period(told, CENTRE, PERIODS[1]), PERIODS[1])
    assert book.sheet("对账差异").data.to_pylist() == [{"类别": "没有差异", "批次": None, "付款编号": "", "金额": None, "说明": ""}]


def test_personal_data_is_masked_unless_allowed(told: Settings, written: dict[str, Path], tmp_path: Path) -> None:
    period, full = PERIODS[1], tmp_path / "full.xlsx"
    reporting.write_unmasked(told, CENTRE, period, full)
    p = tables.payment
    with open_database(told).read() as conn:
        people = conn.execute(sa.select(p.c.payee_account, p.c.payee_name).where(p.c.centre == CENTRE)).all()
    accounts = {account for account, _ in people}
    masked = python_calamine.CalamineWorkbook.from_path(written[period])
    seen = {v for title in masked.sheet_names for row in masked.get_sheet_by_name(title).to_python() for v in row if isinstance(v, str)}
    assert not {a for a in accounts for v in seen if a in v}
    assert not {name for _, name in people if len(name) > 1 and name in seen}
    whole = rows(full, "回盘与退汇")
    assert {r["收款账号"] for r in whole} <= accounts
    assert {r["收款户名"] for r in whole} <= {name for _, name in people}
    for name in (*masked.sheet_names, written[period].name):
        assert not any(who in name for _, who in people if len(who) > 1)
    assert fingerprint.read(full).facts["个人信息"] == "完整"
    assert reporting.still_says(told, CENTRE, period, fingerprint.read(full)) == []


def test_the_same_ledger_writes_no_new_version(told: Settings, written: dict[str, Path]) -> None:
    path = written[PERIODS[0]]
    before = path.read_bytes()
    assert told.home / reporting.write_report(told, CENTRE, PERIODS[0]) == path
    assert path.read_bytes() == before


def test_a_period_that_is_not_there(told: Settings) -> None:
    with pytest.raises(TerminalError, match="REPORT-NONE"):
        reporting.write_report(told, CENTRE, "2030-01")


@pytest.fixture
def at_shell(told: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in (("HOME", told.home), ("RULES", told.rules), ("DATABASE_URL", told.database_url), ("STORE_URL", told.store_url)):
        monkeypatch.setenv(f"SUBSIDY_{name}", str(value))
    monkeypatch.setenv("SUBSIDY_KEY", told.key)
    return told


def test_the_shell_verifies(
    at_shell: Settings, written: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, marked = written[PERIODS[1]], tmp_path / "marked.xlsx"
    assert shell.main(["report", "watermark", str(path), str(marked), "--person", "李某", "--at", "2026-10-21"]) == 0
    assert shell.main(["report", "verify", str(marked)]) == 0
    said = capsys.readouterr().out
    assert "相符，工作簿出具后没有被改动" in said and "账簿现在仍是这些内容" in said
    opened = openpyxl.load_workbook(path)
    opened["贴息明细"]["K4"].value = 0.01
    opened.save(tmp_path / "changed.xlsx")
    assert shell.main(["report", "verify", "--no-ledger", str(tmp_path / "changed.xlsx")]) == 1
    assert "不符，工作簿出具后被改动过" in capsys.readouterr().out


def test_an_earlier_version_names_the_sheets_that_moved_on(
    at_shell: Settings, written: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """September as it was on its settlement night: genuine, and the payments have moved on since."""
    first = written[PERIODS[0]].with_name(f"{CENTRE}-{PERIODS[0]}-V001.xlsx")
    assert first != written[PERIODS[0]]
    assert shell.main(["report", "verify", "--json", str(first)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["matches"] and said["chain"]
    assert "回盘与退汇" in said["changed"] and "贴息明细" not in said["changed"]
    assert shell.main(["report", "verify", str(first)]) == 0
    assert "有后续记录时先取新版本" in capsys.readouterr().out


def test_a_chain_that_the_ledger_does_not_hold(at_shell: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A genuine workbook of another ledger: its fingerprint matches, its chain head is not ours."""
    book = reporting.current(reporting.of_period(at_shell, CENTRE, PERIODS[0]), PERIODS[0])
    facts = tuple((label, "0" * 63 + "1" if label == "账簿链头" else value) for label, value in book.cover.facts)
    foreign = type(book)(type(book.cover)(book.cover.heading, facts, book.cover.totals, ()), book.sheets, book.ties)
    workbook.write(foreign, tmp_path / "foreign.xlsx")
    assert shell.main(["report", "verify", str(tmp_path / "foreign.xlsx")]) == 1
    assert "链头已不在账簿中" in capsys.readouterr().out


def test_a_detail_too_large_goes_into_part_files(told: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "BOOK_ROWS", 30)
    monkeypatch.setattr(reporting, "PART_ROWS", 20)
    path = told.home / reporting.write_report(told, CENTRE, PERIODS[1])
    listed = rows(path, "贴息明细")
    files = [path.parent / f"{CENTRE}-{PERIODS[1]}-{r['分册']}-V001.xlsx" for r in listed]
    assert [len(rows(f, "贴息明细")) for f in files] == [int(r["行数"]) for r in listed]
    for file, row in zip(files, listed, strict=True):
        assert fingerprint.read(file).matches
        assert fingerprint.read(file).sheets["贴息明细"] == row["分册内容指纹"]
        assert sum(fen(r["应付金额"]) for r in rows(file, "贴息明细")) == fen(row["应付金额"])
    ties = openpyxl.load_workbook(path, data_only=True)["勾稽表"].iter_rows(min_row=4, values_only=True)
    assert all(t[4] == "相符" for t in ties)


def test_the_clearing_workbook_ties_over_all_centres(told: Settings) -> None:
    done = bank.clear_month(told, PERIODS[0])
    path = told.home / done["workbook"]
    assert path.parent == told.reports(overall.CLEARING)
    assert fingerprint.read(path).matches
    opened = openpyxl.load_workbook(path, data_only=True)
    assert opened.sheetnames == ["封面", "中心与银行", "资金调拨", "差异", "各中心进度", "勾稽表"]
    assert all(t[4] == "相符" for t in opened["勾稽表"].iter_rows(min_row=4, values_only=True))
    (row,) = rows(path, "中心与银行")
    (position,) = done["positions"]
    amounts = {"应清算": "computed_fen", "发送": "sent_fen", "已付": "confirmed_fen", "失败": "failed_fen", "未决": "open_fen"}
    for label, name in amounts.items():
        assert fen(row[label]) == position[name]
    assert fen(row["退汇"]) == position["returned_fen"] > 0
    assert {r["差异类别"] for r in rows(path, "差异")} >= {"退汇"}
    assert len(rows(path, "各中心进度")) == 7
    assert bank.clear_month(told, PERIODS[0])["workbook"] == done["workbook"]
    assert not cut(path)


def cut(path: Path) -> list[tuple[str, str, str]]:
    """Text cells that are wider than their column and not wrapped, of every sheet but the cover: sheet, cell, text."""
    return [
        (ws.title, cell.coordinate, cell.value)
        for ws in openpyxl.load_workbook(path).worksheets[1:]
        for row in ws.iter_rows(min_row=4)
        for cell in row
        if isinstance(cell.value, str) and not cell.value.startswith("=") and not cell.alignment.wrap_text
        and sum(2 if ord(c) > 0x2000 else 1 for c in cell.value) > ws.column_dimensions[cell.column_letter].width
    ]  # fmt: skip


@pytest.mark.parametrize("period", PERIODS)
def test_no_text_is_cut_off(written: dict[str, Path], period: str) -> None:
    assert not cut(written[period])
