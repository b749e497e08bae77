"""From plain fact rows of many agreements to lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from subsidy.proof.balance import Fact
from subsidy.proof.loan import Assessment, Limits, Line, Loan
from subsidy.proof.rules import Policy
from subsidy.proof.shadow import State, state_of
from subsidy.proof.status import AS_OF

#: Every column that is read, per fact table: no name, address or identity number, nothing of where a row came from.
READS: dict[str, tuple[str, ...]] = {
    "agreement": (
        "agreement_no", "contract_no", "centre_code", "subsidised_principal_fen", "home_order", "signed_on", "subsidy_start_on",
        "subsidy_months", "payee_kind",
    ),
    "contract": ("contract_no", "due_day", "repayment_method", "amount_fen", "loan_kind", "term_months", "rate_ppm", "signed_on"),
    "account": ("account_no", "contract_no", "disbursed_fen", "disbursed_on", "rate_ppm", "term_months"),
    "opening": ("agreement_no", "paid_fen", "shadow_balance_fen", "shadow_instalment_fen", "overdue_run", "overdue_total"),
    "transaction": (
        "account_no", "serial_no", "kind", "paid_on", "principal_repaid_fen", "interest_fen", "instalment", "booked_on", "accrual_from",
        "accrual_to", "base_principal_fen", "rate_ppm", "due_on", "reverses", "balance_after_fen",
    ),
    "status": ("account_no", "as_of", "balance_fen", "overdue_run", "overdue_total", "contribution_status", "loan_status"),
    "change": (
        "change_no", "agreement_no", "effective_on", "kind", "range_from", "range_to", "new_term_months", "new_repayment_method",
    ),
    "other_subsidy": ("account_no", "serial_no", "amount_fen"),
}  # fmt: skip

_BY_EFFECT = itemgetter("effective_on", "change_no")
_NONE: Mapping[Any, Any] = {}


def recompute(
    rows: Mapping[str, Any],
    policy: Mapping[str, Any] | Policy,
    only: Collection[str] | None = None,
    shadow_state: Iterable[Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Lines of all agreements in `rows`, sorted by (agreement_no, accrual end, serial number as text).

    `rows`: fact table name -> rows as dicts of plain values (names, fen, ppm and dates of the fact schema; columns beside `READS` are
    ignored), the latest version of each only; ``claims`` -> agreement numbers with a duplicate claim. `policy`: the centre policy as
    plain data, or made ready once for several calls. `only`: agreement numbers; None means all. `shadow_state`: stored rows of
    the shadow table; an instalment is continued from the stored state of the previous one where there is one, else from the disbursement
    or the opening. A night gives none: every shadow line is recomputed from the beginning, the whole instead of a sample, which proves
    more and costs the same (each instalment is advanced once either way).

    A line is a dict of agreement_no, account_no, serial_no, figure_fen, entitled_fen, payable_fen, outcome, reason, and
    shadow_balance_fen, shadow_interest_fen, shadow_principal_fen (-1 where no shadow applies). Handbook sections 3 to 6.
    """
    prepared = policy if isinstance(policy, Policy) else Policy(policy)
    stored: dict[str, dict[int, State]] = defaultdict(dict)
    for row in shadow_state or ():
        stored[row["agreement_no"]][row["instalment"]] = state_of(row)
    lines = []
    for loans in _loans(rows, only, stored):
        lines += _agreement(loans, prepared)
    return lines


def _loans(rows: Mapping[str, Any], only: Collection[str] | None, stored: Mapping[str, Mapping[int, State]]) -> Iterator[list[Loan]]:
    contracts = {row["contract_no"]: row for row in rows.get("contract", ())}
    accounts = _grouped(rows.get("account", ()), "contract_no")
    transactions = _grouped(rows.get("transaction", ()), "account_no")
    statuses = _grouped(rows.get("status", ()), "account_no")
    changes = _grouped(rows.get("change", ()), "agreement_no")
    openings = {row["agreement_no"]: row for row in rows.get("opening", ())}
    claims = frozenset(rows.get("claims", ()))
    others: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows.get("other_subsidy", ()):
        others[row["account_no"]][row["serial_no"]] += row["amount_fen"]
    for agreement in sorted(rows.get("agreement", ()), key=lambda row: row["agreement_no"]):
        number = agreement["agreement_no"]
        contract = contracts.get(agreement["contract_no"])
        if contract is None or (only is not None and number not in only):
            continue
        owned = accounts.get(contract["contract_no"], ())
        mine = _sorted(changes.get(number, ()), _BY_EFFECT)
        yield [
            Loan(
                agreement=agreement,
                contract=contract,
                account=account,
                transactions=transactions.get(account["account_no"], ()),
                statuses=_sorted(statuses.get(account["account_no"], ()), AS_OF),
                changes=mine,
                opening=openings.get(number),
                others=others.get(account["account_no"], _NONE),
                claimed=number in claims,
                ambiguous=len(owned) > 1,
                stored=stored.get(number, _NONE),
            )
            for account in owned
        ]


def _sorted(rows: Sequence[Fact], key: Callable[[Fact], Any]) -> Sequence[Fact]:
    return rows if len(rows) < 2 else sorted(rows, key=key)


def _grouped(rows: Iterable[Fact], column: str) -> dict[str, list[Fact]]:
    groups: dict[str, list[Fact]] = defaultdict(list)
    for row in rows:
        groups[row[column]].append(row)
    return groups


def _agreement(loans: Sequence[Loan], policy: Policy) -> list[dict[str, Any]]:
    lines = [(line, loan) for loan in loans for line in Assessment(loan, policy).lines()]
    if len(loans) > 1:
        lines.sort(key=lambda pair: (pair[0].row["accrual_to"], pair[0].row["serial_no"], pair[1].account["account_no"]))
    if not lines:
        return []
    limits = Limits(loans[0].opening)
    found = []
    for line, loan in lines:
        limits.apply(line)
        found.append(_plain(line, loan))
    return found


def _plain(line: Line, loan: Loan) -> dict[str, Any]:
    state = line.state
    return {
        "agreement_no": loan.agreement["agreement_no"],
        "account_no": loan.account["account_no"],
        "serial_no": line.row["serial_no"],
        "figure_fen": line.figure,
        "entitled_fen": line.entitled,
        "payable_fen": line.payable,
        "outcome": line.outcome,
        "reason": line.reason,
        "shadow_balance_fen": -1 if state is None else state.balance_fen,
        "shadow_interest_fen": -1 if state is None else state.interest_fen,
        "shadow_principal_fen": -1 if state is None else state.principal_fen,
    }
