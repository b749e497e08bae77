"""Facts outside their domain: the line is quarantined with a finding, and nothing else stops."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from entitlement_facts import INSTALMENTS, change, day, facts, fen, policy, row, rule

from subsidy.entitlement.codes import PROBLEMS, REASONS, Problem
from subsidy.entitlement.engine import assess
from subsidy.facts.schema import Facts

FIRST, SECOND, THIRD = INSTALMENTS

#: A wrong fact of one row -> the code on its line.
WRONG_ROWS: list[tuple[str, dict[str, Any]]] = [
    ("NO-DAYS", {"accrual_to": day("2026-01-10")}),
    ("NO-DAYS", {"accrual_to": day("2026-01-09")}),
    ("NO-PRINCIPAL", {"base_principal_fen": 0}),
    ("AMOUNT-DOMAIN", {"base_principal_fen": -1}),
    ("AMOUNT-DOMAIN", {"base_principal_fen": 10**13 + 1}),
    ("AMOUNT-DOMAIN", {"interest_fen": 2**63 - 1}),
    ("AMOUNT-DOMAIN", {"interest_fen": -(2**63)}),
    ("AMOUNT-DOMAIN", {"principal_repaid_fen": -1}),
    ("AMOUNT-DOMAIN", {"balance_after_fen": -1}),
    ("RATE-DOMAIN", {"rate_ppm": 0}),
    ("RATE-DOMAIN", {"rate_ppm": -35_000}),
    ("RATE-DOMAIN", {"rate_ppm": 1_000_001}),
    ("NEGATIVE-INTEREST", {"interest_fen": -1}),
    ("DATE-DOMAIN", {"accrual_from": date(1, 1, 1)}),
    ("DATE-DOMAIN", {"accrual_to": date(9999, 12, 31)}),
    ("DATE-DOMAIN", {"due_on": date(1926, 2, 10)}),
    ("DATE-DOMAIN", {"paid_on": date(2126, 2, 10)}),
    ("DATE-DOMAIN", {"booked_on": date(1989, 12, 31)}),
    ("ROW-KIND", {"kind": "01"}),
    ("ROW-KIND", {"kind": "09"}),
    ("ROW-KIND", {"kind": "77"}),
    ("ABOVE-TERM", {"instalment": 361}),
    ("ABOVE-TERM", {"instalment": 2**31 - 1}),
    ("BAD-REVERSAL", {"reverses": "777"}),
    ("BAD-REVERSAL", {"reverses": "001"}),
    ("FACT-MISSING", {"accrual_to": None}),
    ("FACT-MISSING", {"rate_ppm": None}),
    ("FACT-MISSING", {"paid_on": None}),
]
#: A wrong fact of the loan -> the code on all of its lines.
WRONG_LOANS: list[tuple[str, str, dict[str, Any]]] = [
    ("TERM-DOMAIN", "contract", {"term_months": 0}),
    ("TERM-DOMAIN", "contract", {"term_months": 2**31 - 1}),
    ("LOAN-DOMAIN", "account", {"disbursed_fen": 0}),
    ("LOAN-DOMAIN", "account", {"disbursed_fen": None}),
    ("LOAN-DOMAIN", "account", {"disbursed_on": date(1899, 1, 1)}),
    ("LOAN-DOMAIN", "account", {"disbursed_on": None}),
    ("LOAN-DOMAIN", "agreement", {"subsidised_principal_fen": -1}),
    ("LOAN-DOMAIN", "agreement", {"subsidy_start_on": date(9999, 1, 1)}),
    ("LOAN-DOMAIN", "agreement", {"home_order": "03"}),
    ("LOAN-DOMAIN", "agreement", {"subsidy_months": None}),
    ("DUE-DAY-DOMAIN", "contract", {"due_day": 0}),
    ("DUE-DAY-DOMAIN", "contract", {"due_day": 32}),
    ("METHOD-UNKNOWN", "contract", {"repayment_method": "03"}),
    ("METHOD-UNKNOWN", "contract", {"repayment_method": None}),
]


def beside(**wrong: Any) -> Facts:
    """Loan A, and a second loan like it that has something wrong."""
    rows = [{**r, "account_no": "ZH2"} for r in wrong.pop("transaction", INSTALMENTS)]
    second = {"agreement": {"agreement_no": "XY2", "contract_no": "HT2"}, "contract": {"contract_no": "HT2"}}
    second["account"] = {"account_no": "ZH2", "contract_no": "HT2"}
    tables = {name: [{}, {**second[name], **wrong.get(name, {})}] for name in second}
    return facts(*INSTALMENTS, *rows, **tables)


@pytest.mark.parametrize("method", ["ratio", "shadow_interest"])
@pytest.mark.parametrize(("code", "wrong"), WRONG_ROWS)
def test_a_wrong_row_is_quarantined_alone(code: str, wrong: dict[str, Any], method: str) -> None:
    rules = policy(rule(method=method))
    found = assess(beside(transaction=({**FIRST, **wrong}, SECOND, THIRD)), rules)
    lines = found.lines.to_pylist()
    assert lines[:3] == assess(beside(), rules).lines.to_pylist()[:3]
    bad = [x for x in lines if x["agreement_no"] == "XY2" and x["outcome"] == "quarantined"]
    assert [(x["serial_no"], x["reason"]) for x in bad] == [("001", code)]
    assert (bad[0]["figure_fen"], bad[0]["entitled_fen"], bad[0]["payable_fen"]) == (0, 0, 0)
    assert len(lines) == 6
    finding = next(f for f in found.findings if f.code == code)
    assert (finding.severity, finding.file_no, finding.line_no, finding.serial_no) == ("error", 3, 4, "001")
    assert finding.what.startswith("业务流水 001：")
    assert finding.todo


@pytest.mark.parametrize(("code", "table", "wrong"), WRONG_LOANS)
def test_a_wrong_loan_is_quarantined_alone(code: str, table: str, wrong: dict[str, Any]) -> None:
    rules = policy(rule(method="shadow_interest"))
    lines = assess(beside(**{table: wrong}), rules).lines.to_pylist()
    assert lines[:3] == assess(beside(), rules).lines.to_pylist()[:3]
    assert [(x["outcome"], x["reason"]) for x in lines[3:]] == [("quarantined", code)] * 3


def test_due_day_and_method_matter_only_where_they_are_used() -> None:
    wrong = facts(*INSTALMENTS, contract={"due_day": 0, "repayment_method": "03"})
    for more in ({"method": "ratio"}, {"method": "spread", "day_count": "actual/360"}, {"method": "share"}):
        assert assess(wrong, policy(rule(**more))).lines["outcome"].to_pylist() == ["pay"] * 3


@pytest.mark.parametrize("missing", ["contract", "account"])
def test_missing_parents(missing: str) -> None:
    whole = beside()
    tables = dict(whole.tables)
    tables[missing] = tables[missing].slice(0, 1)
    found = assess(Facts(tables), policy())
    assert found.lines.to_pylist()[:3] == assess(whole, policy()).lines.to_pylist()[:3]
    assert {f.code for f in found.findings} == {"PARENT-MISSING"}
    if missing == "contract":
        assert [x["reason"] for x in found.lines.to_pylist()[3:]] == ["PARENT-MISSING"] * 3
    else:
        assert found.lines.num_rows == 3
        assert [(f.account_no, f.serial_no) for f in found.findings] == [("ZH2", s) for s in ("001", "002", "003")]


def test_a_loan_without_an_agreement_has_no_line() -> None:
    whole = beside()
    found = assess(Facts({**whole.tables, "agreement": whole["agreement"].slice(0, 1)}), policy())
    assert (found.lines.num_rows, found.findings) == (3, ())


def test_several_accounts_of_one_contract() -> None:
    given = facts(*INSTALMENTS, {**FIRST, "account_no": "ZH2", "serial_no": "004"}, account=[{}, {"account_no": "ZH2"}])
    lines = assess(given, policy()).lines
    assert set(lines["reason"].to_pylist()) == {"ACCOUNT-AMBIGUOUS"}
    assert lines["serial_no"].to_pylist() == ["001", "004", "002", "003"]


def test_kinds_without_interest_have_no_line() -> None:
    plain = row("000", "2026-01-10", "2026-01-10", "0", "0", kind="01", principal_repaid_fen=fen("500,000"))
    lines = assess(facts(plain, *INSTALMENTS), policy()).lines
    assert lines["serial_no"].to_pylist() == ["001", "002", "003"]


def test_interest_zero_is_a_line_of_zero() -> None:
    zero = {**FIRST, "interest_fen": 0, "rate_ppm": 0, "base_principal_fen": 0}
    line = assess(facts(zero), policy()).lines.to_pylist()[0]
    assert (line["outcome"], line["reason"], line["figure_fen"]) == ("pay", "NO-INTEREST", 0)


def test_parts_that_differ_from_the_first() -> None:
    """The first part in serial order rules, whatever its place in the file; one set aside by itself does not."""
    part = {"instalment": 1, "base_principal_fen": fen("250,000"), "interest_fen": fen("729.17"), "principal_repaid_fen": 0}
    one, two = {**FIRST, **part, "serial_no": "10"}, {**FIRST, **part, "serial_no": "9", "rate_ppm": 36_000}
    assert [(x["serial_no"], x["reason"]) for x in assess(facts(two, one), policy()).lines.to_pylist()] == [
        ("10", ""),
        ("9", "PART-DIFFERS"),
    ]
    wrong = {**one, "rate_ppm": 0}
    found = assess(facts(two, wrong), policy()).lines.to_pylist()
    assert [(x["serial_no"], x["reason"]) for x in found] == [("10", "RATE-DOMAIN"), ("9", "")]


def test_a_smaller_later_sum_takes_nothing_back() -> None:
    """A part without interest of its own that lowers nothing; figures of parts are never below zero."""
    part = {"instalment": 1, "principal_repaid_fen": 0}
    rows = [
        {**FIRST, **part, "serial_no": "1", "base_principal_fen": fen("200,000"), "interest_fen": fen("583.33")},
        {**FIRST, **part, "serial_no": "2", "base_principal_fen": fen("300,000"), "interest_fen": 0},
        {**FIRST, **part, "serial_no": "3", "base_principal_fen": 1, "interest_fen": fen("875.00")},
    ]
    lines = assess(facts(*rows, agreement={"subsidised_principal_fen": fen("100,000")}), policy(rule(principal_cap="on_balance"))).lines
    assert lines["figure_fen"].to_pylist() == [fen("75.00"), 0, 0]
    assert lines["reason"].to_pylist() == ["", "NO-INTEREST", ""]


@pytest.mark.parametrize("late", ["2026-03-10", "2026-02-11"])
def test_rows_after_the_settlement(late: str) -> None:
    settled = row("005", "2026-01-10", "2026-02-10", "100.00", "499,213.11", kind="06", principal_repaid_fen=fen("499,213.11"))
    after = row("006", "2026-02-10", late, "10.00", "1,000")
    lines = assess(facts(FIRST, settled, after), policy()).lines.to_pylist()
    assert [(x["serial_no"], x["outcome"], x["reason"]) for x in lines] == [
        ("001", "pay", ""),
        ("005", "pay", ""),
        ("006", "quarantined", "AFTER-SETTLEMENT"),
    ]


def test_an_extended_term_allows_more_instalments() -> None:
    beyond = {**THIRD, "instalment": 361}
    longer = [change("B1", "term", "2026-04-09", new_term_months=361)]
    assert assess(facts(beyond), policy()).lines["reason"].to_pylist() == ["ABOVE-TERM"]
    assert assess(facts(beyond, change=longer), policy()).lines["outcome"].to_pylist() == ["pay"]
    from_due_day_on = [change("B1", "term", "2026-04-10", new_term_months=361)]
    assert assess(facts(beyond, change=from_due_day_on), policy()).lines["reason"].to_pylist() == ["ABOVE-TERM"]


REVERSAL = {**FIRST, "serial_no": "004", "reverses": "001", "interest_fen": -FIRST["interest_fen"], "principal_repaid_fen": -fen("786.89")}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([FIRST, REVERSAL], {"001": "REVERSED", "004": "REVERSED"}),
        ([FIRST, {**REVERSAL, "interest_fen": -1}], {"001": "", "004": "BAD-REVERSAL"}),
        ([FIRST, {**REVERSAL, "principal_repaid_fen": 0}], {"001": "", "004": "BAD-REVERSAL"}),
        ([FIRST, {**REVERSAL, "account_no": "ZH9"}], {"001": ""}),
        ([FIRST, {**REVERSAL, "reverses": "002"}], {"001": "", "004": "BAD-REVERSAL"}),
        ([FIRST, REVERSAL, {**REVERSAL, "serial_no": "005"}], {"001": "REVERSED", "004": "REVERSED", "005": "BAD-REVERSAL"}),
        (
            [FIRST, REVERSAL, {**FIRST, "serial_no": "005", "reverses": "004"}],
            {"001": "REVERSED", "004": "REVERSED", "005": "BAD-REVERSAL"},
        ),
    ],
)
def test_reversals(rows: list[dict[str, Any]], expected: dict[str, str]) -> None:
    found = assess(facts(*rows), policy()).lines.to_pylist()
    assert {x["serial_no"]: x["reason"] for x in found} == expected
    assert all(x["figure_fen"] == 0 for x in found if x["reason"])


def test_a_day_before_the_rates_begin() -> None:
    old = facts(
        row("001", "2010-12-01", "2011-01-01", "100.00", "500,000"),
        row("002", "2011-01-01", "2011-02-01", "100.00", "500,000"),
        agreement={"subsidy_start_on": day("2010-12-01"), "signed_on": day("2010-12-01")},
        account={"disbursed_on": day("2010-12-01")},
    )
    immediate = policy(rule(fund_rate_reset="immediate"))
    assert assess(old, immediate).lines["reason"].to_pylist() == ["RATE-UNKNOWN", "NO-SPREAD"]
    assert assess(old, policy(rule(fund_rate_reset="frozen"))).lines["reason"].to_pylist() == ["RATE-UNKNOWN"] * 2
    assert assess(old, policy(rule(method="points"))).lines["outcome"].to_pylist() == ["pay"] * 2
    shadow = policy(rule(method="shadow_interest", fund_rate_reset="immediate"))
    numbered = facts(
        row("001", "2010-12-01", "2011-01-01", "100.00", "500,000", instalment=1),
        agreement={"subsidy_start_on": day("2010-12-01")},
        account={"disbursed_on": day("2010-12-01")},
    )
    assert assess(numbered, shadow).lines["reason"].to_pylist() == ["RATE-UNKNOWN"]


def test_a_day_that_no_version_covers() -> None:
    rules = policy(rule(effective_from=day("2026-02-10"), effective_to=day("2026-03-10")))
    assert assess(facts(*INSTALMENTS), rules).lines["reason"].to_pylist() == ["RULE-MISSING", "", "RULE-MISSING"]


def test_changes_that_say_too_little_are_findings() -> None:
    poor = [change("B1", "clawback", "2026-02-01"), change("B2", "term", "2026-02-01"), change("B3", "nonsense", "2026-02-01")]
    found = assess(facts(*INSTALMENTS, change=poor), policy())
    assert found.lines.equals(assess(facts(*INSTALMENTS), policy()).lines)
    assert [f.code for f in found.findings] == ["CHANGE-INCOMPLETE"] * 3


def test_facts_in_several_chunks_and_with_other_nulls() -> None:
    whole = facts(*INSTALMENTS)
    chunked = Facts({name: pa.concat_tables([t.slice(0, 1), t.slice(1)]) for name, t in whole.tables.items()})
    assert assess(chunked, policy()).lines.equals(assess(whole, policy()).lines)


def test_every_code_has_its_sentence() -> None:
    assert set(PROBLEMS) == set(Problem) - {Problem.NONE}
    assert all(p.code in REASONS for p in PROBLEMS)
    assert all(ord(s.what[0]) > 0x4E00 or s.what[0].isalpha() for s in PROBLEMS.values())
