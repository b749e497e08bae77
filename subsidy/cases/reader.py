"""``cases.yaml`` -> cases. What a case leaves out is filled in; docs/样例.md describes the form."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from subsidy.cases import names
from subsidy.cases.form import Form
from subsidy.cases.model import Case, Expected, Fact, Settlement
from subsidy.facts.schema import TABLES
from subsidy.policy.document import Mapping, Scalar, Sequence, read_document
from subsidy.policy.model import CentrePolicy
from subsidy.policy.problems import Problems

AGREEMENT_NO, CONTRACT_NO, ACCOUNT_NO = "XY1", "HT1", "ZH1"
OWN_NUMBERS = {"agreement_no": AGREEMENT_NO, "contract_no": CONTRACT_NO, "account_no": ACCOUNT_NO}
#: What a loan must say, itself or by the file's defaults.
LOAN_NEEDS = ("amount", "term", "due_day", "disbursed_on", "rate")
#: Column that says when a fact of a table becomes known unless the case says so.
KNOWN_BY = {"transaction": "booked_on", "status": "as_of", "change": "effective_on"}
PLAIN_TABLES = ("status", "change", "opening", "other_subsidy", "overdue", "agreement", "contract", "account")
META_KEYS = {"知悉日": "known_on", "known_on": "known_on", "撤回": "withdrawn", "withdrawn": "withdrawn"}
_RANGE = re.compile(r"(\d+)\s*(?:\.\.|-|至|到)\s*(\d+)")


class Loan(NamedTuple):
    """What the rows of a case take their defaults from."""

    disbursed_fen: int
    disbursed_on: date
    due_day: int
    rate_ppm: int

    def due(self, instalment: int) -> date:
        """Due date of an instalment; of 0 the day on which interest begins."""
        if instalment == 0:
            return self.disbursed_on
        return month_later(self.disbursed_on, instalment, self.due_day)


def month_later(start: date, months: int, day: int) -> date:
    """Day `day` (or the last) of the month `months` after that of `start`."""
    number = min(start.year * 12 + start.month - 1 + months, 9999 * 12 + 11)
    year, month = number // 12, number % 12 + 1
    return date(year, month, min(day, monthrange(year, month)[1]))


def read_cases(path: Path, policy: CentrePolicy, problems: Problems, shown_as: str = "") -> list[Case]:
    """All cases of a file; its faults go to `problems`, a faulty case is left out.

    `policy` gives what a case need not say: the centre's code and the payee kind. `shown_as`: the file's name in messages.
    """
    file = shown_as or str(path)
    document = read_document(file, path.read_bytes(), problems)
    if document is None:
        return []
    top = Form(problems, file, document, "", _both({"样例": "cases", "默认": "defaults", "说明": "note"}))
    defaults = top.form("defaults", _both({name: names.SECTIONS[name] for name in ("上线日", "贷款")}))
    cases: list[Case] = []
    sections = _both({**names.SECTIONS, **{TABLES[name].label: name for name in PLAIN_TABLES}})
    sections.update({TABLES[name].code: name for name in PLAIN_TABLES})
    if "cases" not in top:
        problems.add("CASE-FAULT", file, 1, "样例", "缺少“样例”列表。")
    before = len(problems)
    for form in top.forms("cases", sections):
        case = CaseReader(form, defaults, policy).case()
        if len(problems) == before and case is not None:
            cases.append(case)
        before = len(problems)
    seen: dict[str, int] = {}
    for case in cases:
        if case.name in seen:
            problems.add("CASE-FAULT", file, case.line_no, "名称", f"与第 {seen[case.name]} 行的样例重名。", value=case.name)
        seen.setdefault(case.name, case.line_no)
    return cases


class CaseReader:
    """Reads one case."""

    def __init__(self, form: Form, defaults: Form | None, policy: CentrePolicy) -> None:
        self.form, self.defaults, self.policy = form, defaults, policy
        self.go_live = form.value("go_live", names.read_date)
        if self.go_live is None and defaults is not None:
            self.go_live = defaults.value("go_live", names.read_date)
        self.facts: list[Fact] = []
        self.current: dict[tuple[str, tuple[Any, ...]], dict[str, Any]] = {}

    def case(self) -> Case | None:
        """The case, or None when it cannot be read."""
        form = self.form
        name = form.value("name", str)
        if name is None:
            form.missing("名称")
        loan = self._loan()
        if loan is None:
            return None
        for table in ("agreement", "contract", "account"):
            for part in form.forms(table, self._names(table)):
                self._table_row(table, part, {}, loan)
        before = len(form.problems)
        self._repayments(loan)
        readable = len(form.problems) == before
        for table in ("status", "change", "opening", "overdue", "other_subsidy"):
            for part in form.forms(table, self._names(table)):
                self._table_row(table, part, self._defaults(table), loan)
        settlements = self._expected(readable)
        claim = form.form("duplicate_claim", _both(names.CLAIM))
        return Case(
            name=name or "",
            note=(form.value("note", str) or "").strip(),
            path=form.file,
            line_no=form.node.line,
            facts=tuple(self.facts),
            settlements=tuple(settlements),
            go_live=self.go_live,
            claimed_on=claim.value("known_on", names.read_date) if claim is not None else None,
            cleared_on=claim.value("cleared_on", names.read_date) if claim is not None else None,
        )

    # --- the loan ---------------------------------------------------------------------------------------------------

    def _loan(self) -> Loan | None:
        keys = {**_both({label: name for label, (name, _) in names.LOAN.items()}), **META_KEYS}
        forms = [part.form("loan", keys) for part in (self.defaults, self.form) if part is not None]
        given: dict[str, Any] = {}
        known_on, line_no = None, self.form.node.line
        for form in forms:
            if form is None:
                continue
            for name, places in names.LOAN.values():
                value = form.value(name, self._read(*places[0]))
                if value is not None:
                    given[name] = value
            known_on = form.value("known_on", names.read_date) or known_on
        absent = [label for label, (name, _) in names.LOAN.items() if name in LOAN_NEEDS and name not in given]
        if absent:
            self.form.missing("贷款的" + "、".join(absent))
            return None
        rows = self._loan_rows(given)
        for table in ("agreement", "contract", "account"):
            self._add(table, rows[table], known_on or given["disbursed_on"], line_no)
        account, contract = rows["account"], rows["contract"]
        return Loan(account["disbursed_fen"], account["disbursed_on"], contract["due_day"], account["rate_ppm"])

    def _loan_rows(self, given: dict[str, Any]) -> dict[str, dict[str, Any]]:
        terms = self.policy.settlement[-1]
        rows: dict[str, dict[str, Any]] = {
            "agreement": {
                "agreement_no": AGREEMENT_NO, "contract_no": CONTRACT_NO, "centre_code": self.policy.code, "home_order": "01",
                "payee_account": "6222000000000000001", "payee_name": "测试甲", "payee_bank_no": "105331000012",
                "payee_kind": "01" if terms.payee == "borrower" else "02",
            },
            "contract": {
                "contract_no": CONTRACT_NO, "house_contract_no": "FW1", "bank_name": "测试银行", "bank_code": "105",
                "repayment_method": "01", "loan_kind": self.policy.rules[-1].verification.loan_kinds[0], "borrower_name": "测试甲",
                "borrower_id_kind": "99", "borrower_id_no": "1",
            },
            "account": {"account_no": ACCOUNT_NO, "contract_no": CONTRACT_NO, "settled_on": None, "overdue_total": 0},
        }  # fmt: skip
        for name, places in names.LOAN.values():
            for table, column in places:
                if name in given:
                    rows[table][column] = given[name]
        rows["account"]["balance_fen"] = rows["account"]["disbursed_fen"]
        start, term = rows["account"]["disbursed_on"], rows["contract"]["term_months"]
        rows["contract"]["maturity_on"] = month_later(start, term, start.day)
        return rows

    # --- rows of tables ---------------------------------------------------------------------------------------------

    def _names(self, table: str) -> dict[str, str]:
        return {**names.column_names(table), **META_KEYS}

    def _defaults(self, table: str) -> dict[str, Any]:
        row: dict[str, Any] = {c.name: None for c in TABLES[table].columns if not c.required}
        row.update({c.name: OWN_NUMBERS[c.name] for c in TABLES[table].columns if c.name in OWN_NUMBERS})
        if table == "status":
            row.update(balance_fen=0, overdue_run=0, overdue_total=0, contribution_status="01", loan_status="normal")
        elif table == "change":
            row.update(change_no=f"BG{sum(f.table == 'change' for f in self.facts) + 1}", reason="样例")
        elif table == "opening":
            row.update(paid_fen=0, months_used=0, overdue_run=0, overdue_total=0, receivable_fen=0)
        elif table == "other_subsidy":
            row.update(scheme_name="其他贴息")
        elif table == "overdue":
            row.update({c.name: 0 for c in TABLES[table].columns if c.kind in ("fen", "int") and c.required})
        return row

    def _table_row(self, table: str, form: Form, defaults: dict[str, Any], loan: Loan) -> None:
        given = self._given(table, form)
        if given is None:
            return
        key = self._key(table, {**OWN_NUMBERS, **defaults, **given})
        row = {**self.current.get((table, key), defaults), **given}  # a second version says only what changes
        known_on = self._known_on(table, form, row, loan)
        self._complete(table, form, row)
        self._add(table, row, known_on, form.node.line, form.value("withdrawn", _yes) or False)

    def _known_on(self, table: str, form: Form, row: dict[str, Any], loan: Loan) -> date:
        given = form.value("known_on", names.read_date)
        if given is not None:
            return given
        if table == "opening":
            return self.go_live or self.policy.go_live
        if table == "other_subsidy":
            of_row = self.current.get(("transaction", (ACCOUNT_NO, row.get("serial_no"))))
            return of_row["booked_on"] if of_row else loan.disbursed_on
        return row.get(KNOWN_BY.get(table, ""), loan.disbursed_on) or loan.disbursed_on

    def _given(self, table: str, form: Form) -> dict[str, Any] | None:
        """The columns written in `form`; None when one of them is wrong."""
        before = len(form.problems)
        given = {c.name: form.value(c.name, self._read(table, c.name)) for c in TABLES[table].columns if c.name in form}
        return given if len(form.problems) == before else None

    def _complete(self, table: str, form: Form, row: dict[str, Any]) -> None:
        for column in TABLES[table].columns:
            if column.required and row.get(column.name) is None:
                form.missing(column.label)

    @staticmethod
    def _read(table: str, column: str) -> Callable[[str], Any]:
        return lambda text: names.read_value(table, TABLES[table].column(column), text)

    @staticmethod
    def _key(table: str, row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in TABLES[table].key)

    def _add(self, table: str, row: dict[str, Any], known_on: date, line_no: int, withdrawn: bool = False) -> None:
        self.facts.append(Fact(table, row, known_on, line_no, withdrawn))
        self.current[table, self._key(table, row)] = row

    # --- repayments -------------------------------------------------------------------------------------------------

    def _repayments(self, loan: Loan) -> None:
        keys = {**self._names("transaction"), "月还": "payment", "payment": "payment"}
        for form in self.form.forms("repayments", keys):
            numbers = form.value("instalment", _numbers) if "instalment" in form else range(1)
            if numbers is None:
                continue
            columns = [c.name for c in TABLES["transaction"].columns if c.name in form and c.name != "instalment"]
            before = len(form.problems)
            given = {name: form.values(name, len(numbers), self._read("transaction", name)) for name in columns}
            payments = form.values("payment", len(numbers), names.read_fen)
            if len(form.problems) != before:
                continue
            for place, number in enumerate(numbers):
                row = {name: values[place] for name, values in given.items() if values is not None}
                payment = payments[place] if payments is not None else None
                self._repayment(form, loan, number, row, payment)

    def _repayment(self, form: Form, loan: Loan, number: int, given: dict[str, Any], payment: int | None) -> None:
        serial = given.get("serial_no", str(number) if number else "")
        if not serial:
            form.missing("流水号")
            return
        earlier = self.current.get(("transaction", (ACCOUNT_NO, serial)))
        if payment is not None and "interest_fen" in given:
            given.setdefault("principal_repaid_fen", payment - given["interest_fen"])
        if earlier is not None:
            if "known_on" not in form:
                form.missing("知悉日（该流水号已有一行，更正须写明何时知悉）")
            row = {**earlier, **given}
        else:
            row = self._new_row(loan, serial, number, given)
        if row.get("interest_fen") is not None:
            row["amount_fen"] = given.get("amount_fen", row["principal_repaid_fen"] + row["interest_fen"] + row["penalty_fen"])
        before = len(form.problems)
        self._complete("transaction", form, row)
        if len(form.problems) != before:
            return
        withdrawn = form.value("withdrawn", _yes) or False
        self._add("transaction", row, self._known_on("transaction", form, row, loan), form.node.line, withdrawn)

    def _new_row(self, loan: Loan, serial: str, number: int, given: dict[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {
            "account_no": ACCOUNT_NO, "serial_no": serial, "bank_code": "105", "instalment": number, "kind": "02", "penalty_fen": 0,
            "rate_ppm": loan.rate_ppm, "reverses": None, "balance_after_fen": None,
        }  # fmt: skip
        reversed_row = self.current.get(("transaction", (ACCOUNT_NO, given.get("reverses"))))
        if reversed_row is not None:  # a reversal repeats its row with the opposite amounts
            row.update(reversed_row, serial_no=serial, balance_after_fen=None)
            for name in ("interest_fen", "principal_repaid_fen", "penalty_fen"):
                row[name] = -reversed_row[name]
        elif number:
            row.update(accrual_from=loan.due(number - 1), accrual_to=loan.due(number))
        row.update(given)
        row.setdefault("principal_repaid_fen", 0)
        if row.get("accrual_to") is not None:
            row.setdefault("due_on", row["accrual_to"])
            row.setdefault("paid_on", row["due_on"])
            row.setdefault("booked_on", row["paid_on"])
            row.setdefault("base_principal_fen", self._base(loan, row))
        return row

    def _base(self, loan: Loan, row: dict[str, Any]) -> int:
        """JXBJ: what a prepayment prepays, else the principal not yet repaid by the rows before."""
        if row["kind"] == "03":
            return int(row["principal_repaid_fen"])
        earlier = [r for (table, _), r in self.current.items() if table == "transaction" and r["accrual_to"] < row["accrual_to"]]
        return loan.disbursed_fen - sum(int(r["principal_repaid_fen"]) for r in earlier)

    # --- expectations -----------------------------------------------------------------------------------------------

    def _expected(self, readable: bool) -> list[Settlement]:
        """The expectations; serial numbers are checked when all rows were `readable`."""
        serials = {f.row["serial_no"] for f in self.facts if f.table == "transaction"} if readable else None
        node = self.form.entries.get("expected")
        if not isinstance(node, Mapping) or not node.entries:
            self.form.missing("预期（结算日: {流水号: 金额}）")
            return []
        settlements = []
        for key, rows in node.entries.items():
            line = node.lines[key]
            day = self.form.read(Scalar(line, key, False), f"预期.{key}", names.read_date)
            if not isinstance(rows, Mapping):
                self.form.fault(line, f"预期.{key}", "应为“流水号: 金额”的形式，没有应写 {}。")
                continue
            found = [
                self._expected_row(f"预期.{key}", serial, rows.lines[serial], value, serials) for serial, value in rows.entries.items()
            ]
            if day is not None:
                settlements.append(Settlement(day, line, tuple(found)))
        days = [s.settlement_on for s in settlements]
        if days != sorted(set(days)):
            self.form.fault(node.line, "预期", "结算日应从早到晚，不重复。")
        return settlements

    def _expected_row(
        self, path: str, serial: str, line: int, node: Scalar | Sequence | Mapping, serials: set[str] | None
    ) -> Expected:
        if serials is not None and serial not in serials:
            self.form.fault(line, f"{path}.{serial}", "还款中没有这个流水号。", value=serial)
        if isinstance(node, Scalar):
            return Expected(serial, line, amount_fen=self.form.read(node, f"{path}.{serial}", names.read_fen))
        if not isinstance(node, Mapping):
            self.form.fault(line, f"{path}.{serial}", "应为金额，或“本次、测算、应贴、结果、原因”。")
            return Expected(serial, line)
        form = Form(self.form.problems, self.form.file, node, f"{self.form.path}.{path}.{serial}", _both(names.EXPECTED))
        return Expected(
            serial,
            line,
            form.value("amount", names.read_fen),
            form.value("figure", names.read_fen),
            form.value("entitled", names.read_fen),
            form.value("outcome", _outcome),
            form.value("reason", str),
        )


def _both(labels: dict[str, str]) -> dict[str, str]:
    return {**labels, **{name: name for name in labels.values()}}


def _numbers(text: str) -> range:
    """``3`` or ``1..3``."""
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2])) if match else (names.read_int(text),) * 2
    if not 0 <= first <= last <= 1200:
        raise ValueError("应为期次，例如 3 或 1..3")
    return range(first, last + 1)


def _yes(text: str) -> bool:
    if text not in ("是", "否"):
        raise ValueError("应为“是”或“否”")
    return text == "是"


def _outcome(text: str) -> str:
    if text not in names.OUTCOMES and text not in names.OUTCOMES.values():
        raise ValueError("应为 " + "、".join(names.OUTCOMES))
    return names.OUTCOMES.get(text, text)
