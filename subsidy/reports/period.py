"""The workbook of one centre and period: which sheets it has and what stands in them.

Every amount was computed and stored by others. The tie-out takes the ledger's side from the ledger tables, never from a sheet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from subsidy.clearing import events, reconcile, settle
from subsidy.clearing.reconcile import Reconciliation
from subsidy.clearing.vouchers import month_of
from subsidy.entitlement.codes import NO_SUBSIDY
from subsidy.entitlement.wording import NOTHING
from subsidy.errors import Finding
from subsidy.policy import CentrePolicy
from subsidy.policy.horizon import horizon_warnings
from subsidy.reports import gathered, ledger_rows, personal, stream
from subsidy.reports.changes import CLASSES, EXPLAINED
from subsidy.reports.labels import BANKS, METHODS, OUTCOMES, SETTLEMENT_STATES, STATES, reasons
from subsidy.reports.ledger_rows import Composition, Window
from subsidy.reports.sheet import Book, Column, Cover, Sheet, Term, Tie, of_rows, value_of

DETAIL_TITLE, EARLIER_TITLE, ITEMS_TITLE = "贴息明细", "以前期间首次应付", "付款构成"

#: One step of a line's derivation: agreement, serial number, step, content; with the step that has it: exact amount in fen as a fraction,
#: limit likewise, rounded fen, fen that earlier parts of the instalment have.
Derived = tuple[str, str, str, str, str, str, int | None, int | None]


@dataclass(frozen=True)
class ReportInputs:
    """Everything a period's workbook is made of.

    `business_date`: of the night that settled; lines, quarantine and findings stand as known then. `as_of`: the open business date when
    the workbook is made, to which days are counted; what the bank answers before the next one has later dates. `settlement`: the period's
    row of table `settlement`. `window`: which runs and booking days the period covers. `detail` / `earlier` / `moved`: schemas
    `gathered.DETAIL` / `DETAIL` / `MOVED`. `changes`: (class, loans, last period fen, this period fen). `vouchers`: rows of table 8.0.5
    (number, summary, account, debit fen, credit fen, attachments, date). `figures`: annual figures as (label, this month, this year, in
    all, is money). `derivations`: the steps of each line of `detail` and of each earlier one that the period's runs posted to, None
    beyond `derivation_limit` lines.
    `full`: personal data unmasked, for those whose role allows it."""

    policy: CentrePolicy
    period: str
    business_date: date
    as_of: date
    settlement: Mapping[str, Any]
    window: Window
    detail: pa.Table
    earlier: pa.Table
    moved: pa.Table
    changes: Sequence[tuple[str, int, int, int]]
    file_names: Mapping[int, str]
    vouchers: Sequence[tuple[str, str, str, int, int, int, date]]
    figures: Sequence[tuple[str, int, int, int, bool]]
    derivations: Sequence[Derived] | None
    derivation_limit: int
    full: bool = False


def book(conn: Connection, inputs: ReportInputs) -> Book:
    """The workbook of a period, from the ledger and the stored lines."""
    policy, window = inputs.policy, inputs.window
    tied = reconcile.three_way(conn, policy.centre, inputs.period, inputs.as_of)
    composed = ledger_rows.composition(conn, window, inputs.settlement)
    payments = ledger_rows.payments(conn, window, inputs.as_of, inputs.full)
    details = (
        _banks(inputs.detail),
        _branches(inputs.detail),
        detail_sheet(inputs),
        _earlier(inputs),
        _derivations(inputs),
        _changes(inputs),
        ledger_rows.corrections(conn, window, inputs.file_names, inputs.moved),
        _moved(inputs),
        ledger_rows.quarantine(conn, window, inputs.business_date, inputs.file_names),
        payments,
        ledger_rows.payment_items(conn, window, inputs.full),
    )
    sources = _sources(details, ledger_rows.carried_over(conn, window, composed))
    sheets = (*details, _three_way(inputs, tied, composed, sources), _differences(tied), _vouchers(inputs), _figures(inputs))
    ties = _ties(conn, inputs)
    warnings = [*policy.warnings, *(_warning(f) for f in horizon_warnings(policy, _last_day(inputs)))]
    if tied.unexplained:
        warnings.append(f"三方对账有 {tied.unexplained_count} 项差异需要人工查明，见“对账差异”。")
    return Book(_cover(conn, inputs, sheets, ties, warnings, composed, sources), sheets, ties)


def _warning(finding: Finding) -> str:
    return f"{finding.what}{finding.todo}"


def _last_day(inputs: ReportInputs) -> date:
    """The last day that anything in the workbook was computed for."""
    last = pc.max(inputs.detail["accrual_to"]).as_py()
    return max(d for d in (inputs.business_date, inputs.settlement["settlement_on"], last) if d is not None)


def _names(column: pa.ChunkedArray, names: Mapping[str, str]) -> pa.ChunkedArray:
    """A dictionary column with its values replaced by words; a code without a word stays."""
    coded = column.combine_chunks()
    if not isinstance(coded, pa.DictionaryArray):
        coded = coded.dictionary_encode()
    words = pa.array([names.get(v, v) for v in coded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([pa.DictionaryArray.from_arrays(coded.indices, words)])


def _files(numbers: pa.ChunkedArray, names: Mapping[int, str]) -> pa.ChunkedArray:
    """File names of file numbers as a dictionary column; empty where there is no file."""
    coded = numbers.combine_chunks().dictionary_encode()
    words = pa.array([names.get(v, "") for v in coded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([pa.DictionaryArray.from_arrays(coded.indices, words)])


DETAIL_COLUMNS = (
    Column("协议编号", width=19),
    Column("贷款账号", width=20),
    Column("收款户名", width=11),
    Column("贷款银行", width=14),
    Column("业务流水号", width=21),
    Column("期次", "int", 6),
    Column("记账日期", "date", 11),
    Column("实还利息", "money", 12, True),
    Column("计算金额", "money", 12, True),
    Column("应得金额", "money", 12, True),
    Column("应付金额", "money", 12, True),
    Column("结果", width=11),
    Column("原因", width=28, wrap=True),
    Column("应还款日", "date", 11),
    Column("还款日", "date", 11),
    Column("计息起始日", "date", 11),
    Column("计息终止日", "date", 11),
    Column("计息本金", "money", 14),
    Column("执行利率", "rate", 9),
    Column("公积金利率", "rate", 10),
    Column("计息天数", "int", 9),
    Column("贴息天数", "int", 9),
    Column("计算方法", width=11),
    Column("规则版本", width=20),
    Column("来源文件", width=32),
    Column("行号", "int", 7),
)


def detail_sheet(inputs: ReportInputs) -> Sheet:
    """贴息明细: one row per loan transaction, with the columns that say why."""
    notes = ("每一行对应一条贷款业务明细，由银行在本期记账", "金额单位：元", "来源文件与行号是该行的依据", "推导见“计算说明”")
    return _lines(inputs, inputs.detail, DETAIL_TITLE, notes)


def _earlier(inputs: ReportInputs) -> Sheet:
    notes = (
        "以前期间的明细，本期首次应付：银行在上期截止日以前记账，资料迟到、更正或放行后本期才应付",
        "上期暂缓、本期恢复的在“暂停与恢复”，不在此重复",
        "金额单位：元",
    )
    return _lines(inputs, inputs.earlier, EARLIER_TITLE, notes)


def _outcomes(d: pa.Table) -> pa.ChunkedArray:
    """What became of each line, in words; where no subsidy arises, not that it is due."""
    nothing = pc.and_(pc.is_in(d["reason"].cast(pa.string()), pa.array(NO_SUBSIDY)), pc.equal(d["outcome"].cast(pa.string()), "pay"))
    shown = _names(d["outcome"], OUTCOMES).cast(pa.string())
    return pc.if_else(nothing, NOTHING, shown).dictionary_encode()


def _lines(inputs: ReportInputs, d: pa.Table, title: str, notes: tuple[str, ...]) -> Sheet:
    none = pa.scalar(None, pa.int64())
    rate = d["fund_rate_ppm"]
    columns = [
        d["agreement_no"],
        d["account_no"] if inputs.full else personal.mask_accounts(d["account_no"]),
        d["payee_name"] if inputs.full else personal.of_persons(d["payee_name"], d["payee_kind"], personal.mask_names),
        _names(d["bank_code"], BANKS),
        d["serial_no"],
        d["instalment"],
        d["booked_on"],
        d["interest_fen"],
        d["figure_fen"],
        d["entitled_fen"],
        d["payable_fen"],
        _outcomes(d),
        _names(d["reason"], reasons(inputs.policy)),
        d["due_on"],
        d["paid_on"],
        d["accrual_from"],
        d["accrual_to"],
        d["base_principal_fen"],
        d["rate_ppm"],
        pc.if_else(pc.less(rate, 0), none, rate),
        d["days"],
        d["days_inside"],
        _names(d["method"], METHODS),
        d["rule_version"],
        _files(d["file_no"], inputs.file_names),
        d["line_no"],
    ]
    return Sheet(title, DETAIL_COLUMNS, pa.table(columns, names=[c.label for c in DETAIL_COLUMNS]), notes, ("原因",))


_SUMS = (
    Column("明细行数", "int", 10, True),
    Column("贷款户数", "int", 10, True),
    Column("实还利息", "money", 18, True),
    Column("应付贴息", "money", 18, True),
    Column("暂缓贴息", "money", 16, True),
    Column("不付贴息", "money", 16, True),
)
_HELD_NOTE = "暂缓贴息只计本期明细；封面的“暂缓支付”还含以前期间继续暂缓的，逐笔见“暂停与恢复”"
_SUM_NAMES = ("account_no_count", "account_no_count_distinct", "interest_sum", "payable_sum", "held_sum", "forfeited_sum")


def _banks(detail: pa.Table) -> Sheet:
    columns = (Column("银行代码", width=10), Column("贷款银行", width=30), *_SUMS)
    rows = [
        (str(g["bank_code"]), BANKS.get(str(g["bank_code"]), ""), *(g[n] for n in _SUM_NAMES))
        for g in gathered.grouped(detail, ["bank_code"])
    ]
    return of_rows("汇总", columns, rows, ("按贷款银行汇总", _HELD_NOTE, "金额单位：元"))


def _branches(detail: pa.Table) -> Sheet:
    columns = (Column("银行代码", width=10), Column("贷款银行", width=24), Column("网点（受委托银行名称）", width=40), *_SUMS)
    rows = [
        (str(g["bank_code"]), BANKS.get(str(g["bank_code"]), ""), str(g["bank_name"]), *(g[n] for n in _SUM_NAMES))
        for g in gathered.grouped(detail, ["bank_code", "bank_name"])
    ]
    return of_rows("网点汇总", columns, rows, ("按贷款银行与网点汇总", _HELD_NOTE, "金额单位：元"))


def _derivations(inputs: ReportInputs) -> Sheet:
    columns = (
        Column("协议编号", width=19),
        Column("业务流水号", width=21),
        Column("步骤", width=14),
        Column("内容", width=86, wrap=True),
        Column("精确金额（分，分数）", width=24, wrap=True),
        Column("利息上限（分，分数）", width=20, wrap=True),
        Column("四舍五入（元）", "money", 12),
        Column("前次部分已得（元）", "money", 12),
    )
    if inputs.derivations is None:
        said = f"本期明细与本期记入以前期间的行超过 {inputs.derivation_limit} 行，不逐行列出推导"
        return of_rows("计算说明", columns, [], (said, "任何一行都可以用 subsidy explain 或下载页的“为什么”查看"))
    notes = (
        "本期明细，以及本期首次应付、恢复支付和更正的以前期间的行",
        "精确金额是四舍五入之前的有理数，单位：分",
        "整个计算只在最后舍入一次",
    )
    return of_rows("计算说明", columns, list(inputs.derivations), notes)


def _changes(inputs: ReportInputs) -> Sheet:
    columns = (
        Column("变动类别", width=18),
        Column("贷款户数", "int", 12, True),
        Column("上期应付", "money", 20, True),
        Column("本期应付", "money", 20, True),
        Column("变动金额", "money", 20, True),
        Column("口径", width=50),
    )
    rows = [(name, loans, before, now, now - before, EXPLAINED[name]) for name, loans, before, now in inputs.changes]
    assert [r[0] for r in rows] == list(CLASSES)
    notes = ("每户贷款只归入一类，类别相加等于合计", "上期应付是上期报表出具时的金额", "对已付明细的更正另见“补差与追回”", "金额单位：元")
    return of_rows("变动分析", columns, rows, notes)


def _moved(inputs: ReportInputs) -> Sheet:
    m = inputs.moved
    why = reasons(inputs.policy)
    columns = (
        Column("协议编号", width=19),
        Column("贷款账号", width=20),
        Column("业务流水号", width=21),
        Column("应还款日", "date", 11),
        Column("记账日期", "date", 11),
        Column("动态", width=18),
        Column("结果", width=10),
        Column("计算金额", "money", 14, True),
        Column("应得金额", "money", 14, True),
        Column("应付金额", "money", 14, True),
        Column("原因", width=50, wrap=True),
    )
    data = [
        m["agreement_no"],
        m["account_no"] if inputs.full else personal.mask_accounts(m["account_no"]),
        m["serial_no"],
        m["due_on"],
        m["booked_on"],
        m["moved"],
        _names(m["outcome"], OUTCOMES),
        m["figure_fen"],
        m["entitled_fen"],
        m["payable_fen"],
        _names(m["reason"], why),
    ]
    notes = (
        "截至截止日仍暂缓的全部明细，以及本期恢复、取消、不付和终止的明细",
        "暂缓的行在原因消除后支付；不付的行不再支付",
        "本期暂缓与继续暂缓的应得金额之和是封面的“暂缓支付”；恢复支付的应付金额是封面的“恢复支付（以前各期）”",
        "金额单位：元",
    )
    sums = tuple((f"{name}合计", (("动态", name),)) for name in (*gathered.HELD_NOW, gathered.RESUMED))
    return Sheet("暂停与恢复", columns, pa.table(data, names=[c.label for c in columns]), notes, (), sums, "其余合计")


#: Rows of 三方对账 that together make what was computed.
COMPUTED_PART = "应清算的构成"
SENT_PART = "发送的结果"
#: Rows of 三方对账 that say where the computed sum comes from; those whose column 原因或出处 says `LEDGER` stand in no other sheet.
SOURCE_PART, LEDGER = "应清算的来源", "账簿"

#: What this period posted to lines of earlier periods, sheet by sheet.
_OF_EARLIER = {
    "以前期间首次应付": Term(1, EARLIER_TITLE, "应付金额"),
    "恢复支付（以前各期）": Term(1, "暂停与恢复", "应付金额", (("动态", gathered.RESUMED),)),
    "补差与追回（以前各期）": Term(1, "补差与追回", "金额", (("归属", ledger_rows.EARLIER),)),
}
_HELD = tuple(Term(1, "暂停与恢复", "应得金额", (("动态", name),)) for name in gathered.HELD_NOW)

#: Where the computed sum comes from: item, sheet (or `LEDGER`), fen.
Source = tuple[str, str, int]


def _sources(sheets: Sequence[Sheet], carried_over: Sequence[tuple[str, int]]) -> list[Source]:
    by = {sheet.title: sheet for sheet in sheets}

    def of(name: str, *terms: Term) -> Source:
        return name, terms[0].title, sum(by[t.title].total(t.label, t.where) for t in terms)

    lines = [of("本期明细应付", Term(1, DETAIL_TITLE, "应付金额")), *(of(name, term) for name, term in _OF_EARLIER.items())]
    rest = [(name, LEDGER, fen) for name, fen in carried_over if fen]
    return [*lines, of("暂缓支付的应得金额", *_HELD), *rest]


def _three_way(inputs: ReportInputs, tied: Reconciliation, composed: Composition, sources: Sequence[Source]) -> Sheet:
    s = inputs.settlement
    why = reasons(inputs.policy)
    rows: list[tuple[Any, ...]] = [(SOURCE_PART, name, source, None, fen) for name, source, fen in sources]
    rows.append(("应清算", "本期计算应清算金额", "", None, s["computed_fen"]))
    rows.append((COMPUTED_PART, "发送银行", "", composed.sent_count, composed.sent_fen))
    rows.append((COMPUTED_PART, "抵扣追回", "", None, composed.netted_fen))
    rows += [(COMPUTED_PART, "转入下期", settle.CARRIED.get(code, code), None, fen) for code, fen in composed.carried.items()]
    rows += [(COMPUTED_PART, "暂缓支付", why.get(code, code), None, fen) for code, fen in composed.held.items()]
    rows += [(SENT_PART, name, "", count, fen) for name, count, fen in composed.states]
    for view in tied.batches:
        label = f"批次 {view.batch_no} {BANKS.get(view.bank_code, view.bank_code)}"
        rows += [
            ("银行账户", f"{label} 银行{'借' if view.direction == 'out' else '贷'}记", "", None, view.debit_fen),
            ("银行账户", f"{label} 银行退回", "", None, view.bank_return_fen),
            ("银行账户", f"{label} 回盘确认（含后来退汇）", "", view.confirmed_count, view.confirmed_fen),
            ("银行账户", f"{label} 退汇", "", view.returned_count, view.returned_fen),
            ("银行账户", f"{label} 差额（银行净额减账簿净额）", "", None, view.bank_difference_fen),
        ]
    rows.append(("追回", "本期向借款人收款批次", "", None, composed.collected_fen))
    rows.append(("追回", "尚未收回的应收款（出批时）", "", None, composed.receivable_fen))
    columns = (
        Column("部分", width=16),
        Column("项目", width=48),
        Column("原因或出处", width=40, wrap=True),
        Column("笔数", "int", 10),
        Column("金额", "money", 20),
    )
    notes = (
        "应清算 = 来源各行之和 = 发送 + 抵扣 + 转入下期 + 暂缓",
        "加回应收款：应清算只计应付，抵扣、收款和尚未收回的应收款不减少它",
        "发送 = 已付 + 退汇 + 失败 + 未决 + 待发送 + 已释放",
        "银行借记 − 银行退回 = 回盘确认 − 退汇",
        "金额单位：元",
    )
    return of_rows("三方对账", columns, rows, notes)


def _differences(tied: Reconciliation) -> Sheet:
    columns = (
        Column("类别", width=12),
        Column("批次", "int", 8),
        Column("付款编号", width=24),
        Column("金额", "money", 18),
        Column("说明", width=70, wrap=True),
    )
    rows = [(reconcile.CLASSES[d.kind], d.batch_no or None, d.payment_no, d.amount_fen, d.text) for d in tied.differences]
    none = [("没有差异", None, "", None, "")]
    return of_rows("对账差异", columns, rows or none, ("时间差与退汇有解释；其余需要人工查明", f"截至 {tied.on}", "金额单位：元"))


def _vouchers(inputs: ReportInputs) -> Sheet:
    columns = (
        Column("记账凭证号", width=24),
        Column("摘要", width=36),
        Column("科目编号", width=16),
        Column("借方发生额", "money", 20, True),
        Column("贷方发生额", "money", 20, True),
        Column("附件单据数", "int", 10),
        Column("记账日期", "date", 12),
    )
    over = month_of(inputs.period)[1] <= inputs.as_of + timedelta(days=1)
    last = max((row[-1] for row in inputs.vouchers), default=inputs.as_of)
    done = f"记账日期在 {inputs.period} 月内的全部凭证" + ("" if over else f"，截至 {last}；月份结束后自动补齐并出新版本")
    return of_rows("凭证", columns, inputs.vouchers, ("国家标准表 8.0.5 记账凭证信息", done, "金额单位：元"))


def _figures(inputs: ReportInputs) -> Sheet:
    columns = (
        Column("指标", width=24),
        Column("本月数量", "int", 12),
        Column("本年数量", "int", 12),
        Column("累计数量", "int", 12),
        Column("本月金额", "money", 22),
        Column("本年金额", "money", 22),
        Column("累计金额", "money", 22),
    )
    rows = [
        (label, None, None, None, month, year, total) if money else (label, month, year, total, None, None, None)
        for label, month, year, total, money in inputs.figures
    ]
    return of_rows("年度口径", columns, rows, ("与住房公积金年度报告同口径", "余额没有期间，三栏相同", "金额单位：元"))


def _ties(conn: Connection, inputs: ReportInputs) -> tuple[Tie, ...]:
    """The tie-out: the ledger's side of each row is asked of the ledger, not of the sheet that it checks."""
    w, s, period = inputs.window, inputs.settlement, ("期间", inputs.period)
    now, before = ledger_rows.due_booked(conn, w, "now"), ledger_rows.due_booked(conn, w, "before")
    out = (period, ("方向", "付款"))
    sums = {state: Term(1, "回盘与退汇", "金额", (*out, ("状态", state))) for state in ledger_rows.SENT_STATES}
    ledger_sent, collected = (ledger_rows.batch_total(conn, w, direction) for direction in ("out", "in"))
    debit, credit = ledger_rows.journal_sides(conn, w.centre, inputs.period)
    posted = "账簿记账：本期记账窗口内各行金额之和"
    ties = [
        Tie("明细应付金额 = 账簿应付", now, (Term(1, DETAIL_TITLE, "应付金额"),), posted),
        Tie("汇总应付贴息 = 账簿应付", now, (Term(1, "汇总", "应付贴息"),), posted),
        Tie("网点汇总应付贴息 = 账簿应付", now, (Term(1, "网点汇总", "应付贴息"),), posted),
        Tie("变动分析：上期应付 = 上期账簿应付", before, (Term(1, "变动分析", "上期应付"),), "账簿记账：上期窗口，截至上期报表的批次"),
        Tie("变动分析：上期 + 各类变动 = 本期账簿应付", now, (Term(1, "变动分析", "上期应付"), Term(1, "变动分析", "变动金额")), posted),
        Tie("变动分析：变动金额 = 账簿本期减上期", now - before, (Term(1, "变动分析", "变动金额"),), "以上两项账簿金额之差"),
        Tie("补差与追回 = 账簿更正", ledger_rows.corrected(conn, w), (Term(1, "补差与追回", "金额"),), "账簿记账：补差与追回类记账之和"),
        Tie(
            "以前各期的明细：首次应付 + 恢复支付 + 补差与追回 = 账簿记账",
            ledger_rows.posted_to_earlier(conn, w),
            tuple(_OF_EARLIER.values()),
            "账簿记账：本期记入上期截止日以前各行的金额之和",
        ),
        Tie(
            "暂缓应得金额 = 清算暂缓",
            s["held_fen"],
            _HELD,
            "清算表：暂缓金额",
        ),
        Tie(
            "应清算 = 各明细表 + 上期转入、重新计入等（三方对账“来源”）",
            s["computed_fen"],
            (
                Term(1, DETAIL_TITLE, "应付金额"),
                *_OF_EARLIER.values(),
                *_HELD,
                Term(1, "三方对账", "金额", (("部分", SOURCE_PART), ("原因或出处", LEDGER))),
            ),
            "清算表：应清算金额",
        ),
        Tie(
            "应清算 = 发送 + 抵扣 + 转入下期 + 暂缓",
            s["computed_fen"],
            (Term(1, "三方对账", "金额", (("部分", COMPUTED_PART),)),),
            "清算表：应清算金额",
        ),
        Tie("清算发送 = 付款明细", s["sent_fen"], (Term(1, "回盘与退汇", "金额", out),), "清算表：发送金额"),
        Tie(
            "发送 = 已付 + 退汇 + 失败 + 未决 + 待发送 + 已释放", ledger_sent, tuple(sums.values()), "付款批次表：付款方向金额之和"
        ),
        Tie(
            "收款批次 = 收款明细",
            collected,
            (Term(1, "回盘与退汇", "金额", (period, ("方向", "收款"))),),
            "付款批次表：收款方向金额之和",
        ),
        Tie("抵扣追回 = 付款构成", s["netted_fen"], (Term(1, ITEMS_TITLE, "抵扣"),), "清算表：抵扣金额"),
        Tie("发送 + 抵扣追回 = 付款构成", s["sent_fen"] + s["netted_fen"], (Term(1, ITEMS_TITLE, "应付"),), "清算表：发送加抵扣金额"),
        Tie("收款批次 = 付款构成", collected, (Term(1, ITEMS_TITLE, "收款"),), "付款批次表：收款方向金额之和"),
        Tie("凭证借方 = 账簿借方", debit, (Term(1, "凭证", "借方发生额"),), "日记账：本月借方发生额"),
        Tie("凭证贷方 = 账簿贷方", credit, (Term(1, "凭证", "贷方发生额"),), "日记账：本月贷方发生额"),
        Tie("凭证借方 − 贷方 = 0", debit - credit, (Term(1, "凭证", "借方发生额"), Term(-1, "凭证", "贷方发生额")), "日记账：借方减贷方"),
    ]
    return tuple(ties)


def _answered(sheets: Sequence[Sheet]) -> str:
    """How far the bank's answers in 回盘与退汇 go, in words: it answers before the next business date is opened."""
    (payments,) = (sheet.data for sheet in sheets if sheet.title == "回盘与退汇")
    states = pa.array([STATES[state] for state in events.ANSWERED])
    day = pc.max(payments["状态日期"].filter(pc.is_in(payments["状态"].cast(pa.string()), states))).as_py()
    return f"银行结果截至 {day}" if day else "银行还没有结果"


def _cover(
    conn: Connection,
    inputs: ReportInputs,
    sheets: Sequence[Sheet],
    ties: Sequence[Tie],
    warnings: Sequence[str],
    composed: Composition,
    sources: Sequence[Source],
) -> Cover:
    s, policy = inputs.settlement, inputs.policy
    broken = sum(value_of(tie, sheets) != tie.ledger_fen for tie in ties)
    facts = [
        ("中心", f"{policy.name}（{policy.code}）"),
        ("期间", inputs.period),
        ("营业日期", str(inputs.business_date)),
        ("清算日", str(s["settlement_on"])),
        ("截止日", str(s["cutoff_on"])),
        ("清算状态", SETTLEMENT_STATES.get(s["state"], s["state"])),
        ("截至", f"账簿营业日期 {inputs.as_of}，{_answered(sheets)}"),
        ("规则存档", policy.version),
        ("勾稽结果", f"有 {broken} 项不符，不得签字" if broken else f"{len(ties)} 项全部相符"),
        ("账簿链头", ledger_rows.chain_head(conn, policy.centre) or "尚无记账"),
        ("个人信息", "完整" if inputs.full else "已脱敏"),
        ("金额单位", "元"),
    ]
    reason = "；".join(settle.reasons_of(s))
    if reason:
        facts.append(("需人工审批", reason))
    totals = [
        *((name, fen) for name, source, fen in sources if fen or source == DETAIL_TITLE),
        ("本期应清算", s["computed_fen"]),
        ("其中：发送银行", s["sent_fen"]),
        ("其中：抵扣追回", s["netted_fen"]),
        ("其中：转入下期", s["carried_fen"]),
        ("其中：暂缓支付", s["held_fen"]),
        *((f"发送结果：{name}", fen) for name, _, fen in composed.states if name != "待发送" or fen),
    ]
    return Cover(f"{policy.name}　公转商贴息清算报表　{inputs.period}", tuple(facts), tuple(totals), tuple(dict.fromkeys(warnings)))


def without_detail(whole: Book, parts: Sequence[Book]) -> Book:
    """The workbook of a period whose detail lies in part files: in its place the list of the parts, which the tie-out adds up."""
    detail = whole.sheet(DETAIL_TITLE)
    sums = [c for c in detail.columns if c.total]
    columns = (Column("分册", width=12), Column("行数", "int", 12, True), *sums, Column("分册内容指纹", width=68))
    rows = [
        (
            f"D{number:02d}",
            part.sheet(DETAIL_TITLE).data.num_rows,
            *(part.sheet(DETAIL_TITLE).total(c.label) for c in sums),
            stream.digest_of(part.sheet(DETAIL_TITLE)),
        )
        for number, part in enumerate(parts, start=1)
    ]
    notes = (f"明细共 {detail.data.num_rows} 行，分列于 {len(parts)} 个分册文件", "每册有自己的合计")
    listed = of_rows(DETAIL_TITLE, columns, rows, notes)
    return Book(whole.cover, tuple(listed if s.title == DETAIL_TITLE else s for s in whole.sheets), whole.ties)
