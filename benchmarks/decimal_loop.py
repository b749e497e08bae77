"""What the engine does, one row after the other with Decimal: the peer of the benchmarks, written as one would write it without columns.

It does the steps of the engine for method `ratio` or `spread` (monthly), next_january, split, pro_rata, a monthly limit and the gates of
`portfolio.GATES`: domain checks, reversals, rule version, verification, status, gates, window with changes, segments, instalments in parts,
other subsidies, limits, a whole line. Facts are turned into Python rows before the clock starts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

from subsidy.facts.schema import Facts
from subsidy.policy.model import CentrePolicy, RuleVersion, Series

ZERO, FEN = Decimal(0), Decimal(1)
FIRST_DAY, LAST_DAY = date(1990, 1, 1), date(2099, 12, 31)
AMOUNT_LIMIT = 10**13
#: Columns of a line that are those of the row.
COPIED = (
    "account_no", "bucket", "kind", "instalment", "accrual_from", "accrual_to", "due_on", "paid_on", "booked_on", "interest_fen",
    "base_principal_fen", "rate_ppm", "file_no", "line_no",
)  # fmt: skip
Row = dict[str, Any]


class World:
    """Rows joined by key."""

    def __init__(self, facts: dict[str, list[Row]], claims: frozenset[str], policy: CentrePolicy) -> None:
        self.policy = policy
        self.claims = claims
        self.agreements = {r["contract_no"]: r for r in facts["agreement"]}
        self.contracts = {r["contract_no"]: r for r in facts["contract"]}
        self.accounts = {r["account_no"]: r for r in facts["account"]}
        self.openings = {r["agreement_no"]: r for r in facts["opening"]}
        self.others = {(r["account_no"], r["serial_no"]): r["amount_fen"] for r in facts["other_subsidy"]}
        self.changes: dict[str, list[Row]] = defaultdict(list)
        for r in facts["change"]:
            self.changes[r["agreement_no"]].append(r)
        self.statuses: dict[str, tuple[list[date], list[Row]]] = defaultdict(lambda: ([], []))
        for r in facts["status"]:
            self.statuses[r["account_no"]][0].append(r["as_of"])
            self.statuses[r["account_no"]][1].append(r)
        self.rows = facts["transaction"]


def rows_of(facts: Facts) -> dict[str, list[Row]]:
    """Facts as Python rows."""
    return {name: table.to_pylist() for name, table in facts.tables.items()}


def assess(facts: dict[str, list[Row]], claims: frozenset[str], policy: CentrePolicy, method: str) -> list[tuple[Any, ...]]:
    """One line (agreement, serial, figure, entitled, payable, outcome, and the other columns of a line) of each row, in order of account,
    accrual end, serial."""
    world = World(facts, claims, policy)
    lines = []
    parts: dict[tuple[str, int], tuple[Row, Decimal, Decimal, Decimal]] = {}
    used: dict[tuple[str, int, int], Decimal] = defaultdict(Decimal)
    lifetime: dict[str, Decimal] = defaultdict(Decimal)
    reversed_rows = {(r["account_no"], r["reverses"]) for r in world.rows if r["reverses"] is not None}
    settled = {r["account_no"]: r["accrual_to"] for r in world.rows if r["kind"] == "06" and r["reverses"] is None}
    rows = sorted(world.rows, key=lambda r: (r["account_no"], r["accrual_to"], r["serial_no"]))
    for row in rows:
        account = world.accounts[row["account_no"]]
        contract = world.contracts[account["contract_no"]]
        agreement = world.agreements[account["contract_no"]]
        rule = policy.rules_on(row["accrual_from"])
        opening = world.openings.get(agreement["agreement_no"])
        changes = world.changes.get(agreement["agreement_no"], ())
        if row["reverses"] is not None or (row["account_no"], row["serial_no"]) in reversed_rows:
            raise NotImplementedError("the portfolio has no reversals")
        if _problem(row, account, contract, agreement, settled):
            raise NotImplementedError("the portfolio has no rows to quarantine")
        start = max(agreement["subsidy_start_on"], account["disbursed_on"])
        months = agreement["subsidy_months"] if rule.months_limit is None else min(agreement["subsidy_months"], rule.months_limit)
        end = _months_after(start, months)
        for change in changes:
            if change["kind"] in ("stop", "convert"):
                end = min(end, change["effective_on"])
        status = _status(world, row)
        if row["accrual_to"] < policy.go_live:
            outcome = "opening"
        elif any(c["kind"] == "clawback" and c["range_from"] <= row["accrual_to"] <= c["range_to"] for c in changes):
            outcome = "clawback"
        else:
            outcome = _gate(world, rule, row, account, contract, agreement, opening, status)
        first, last = max(row["accrual_from"], start), min(row["accrual_to"], end)
        inside = max((last - first).days, 0)
        interest, base = Decimal(row["interest_fen"]), Decimal(row["base_principal_fen"])
        earlier = ZERO
        if row["kind"] in ("02", "04", "05") and row["instalment"] > 0:
            key = (row["account_no"], row["instalment"])
            if key in parts:
                begun, earlier_interest, earlier_base, earlier = parts[key]
                if any(begun[name] != row[name] for name in ("accrual_from", "accrual_to", "rate_ppm")):
                    raise NotImplementedError("the portfolio has no parts that differ")
                interest, base = interest + earlier_interest, base + earlier_base
        tier = "LE5" if contract["term_months"] <= 60 else "GT5"
        fund = policy.parameters.series[("FIRST_" if agreement["home_order"] == "01" else "SECOND_") + tier]
        days = (row["accrual_to"] - row["accrual_from"]).days
        disbursed = account["disbursed_on"]
        fund_rate = _fund_rate(fund, disbursed, first)
        rate = Decimal(row["rate_ppm"])
        weighted = ZERO
        day = first
        while day < last:
            turn = min(last, date(day.year + 1, 1, 1))
            spread = max(ZERO, rate - Decimal(_fund_rate(fund, disbursed, day)))
            weighted += (turn - day).days * spread
            day = turn
        bottom = Decimal(account["disbursed_fen"])
        top = min(Decimal(agreement["subsidised_principal_fen"]), bottom)
        if method == "ratio":
            total = (top * interest * weighted) / (bottom * days * rate)
        else:
            total = (top * base * weighted * _monthly(row, contract)) / (bottom * days * 360 * 1_000_000)
        limit = (top * interest * inside) / (bottom * days)
        figure = min(total, limit).quantize(FEN, ROUND_HALF_UP)
        if row["kind"] in ("02", "04", "05") and row["instalment"] > 0:
            parts[key] = (row, interest, base, max(earlier, figure))
        figure = max(figure - earlier, ZERO)
        entitled, reason = ZERO, outcome
        if outcome in ("pay", "hold", "stop"):
            reason = "" if outcome == "pay" else outcome
            other = Decimal(world.others.get((row["account_no"], row["serial_no"]), 0))
            entitled = min(figure, max(Decimal(row["interest_fen"]) - other, ZERO))
            if entitled < figure:
                reason = "LIMIT-OTHER"
            if rule.monthly_limit_fen is not None:
                month = (row["account_no"], row["accrual_to"].year, row["accrual_to"].month)
                left = max(Decimal(rule.monthly_limit_fen) - used[month], ZERO)
                if left < entitled:
                    entitled, reason = left, "LIMIT-MONTH"
                used[month] += entitled
            if rule.lifetime_limit_fen is not None:
                left = max(Decimal(rule.lifetime_limit_fen) - lifetime[row["account_no"]], ZERO)
                if left < entitled:
                    entitled, reason = left, "LIMIT-LIFE"
            lifetime[row["account_no"]] += entitled
        payable = entitled if outcome in ("pay", "stop") else ZERO
        if outcome == "pay" and figure == 0:
            reason = "NO-INTEREST" if row["interest_fen"] == 0 else "WINDOW" if inside == 0 else "NO-SPREAD" if weighted == 0 else ""
        own = [row[name] for name in COPIED]
        head = (agreement["agreement_no"], row["serial_no"], int(figure), int(entitled), int(payable), outcome)
        lines.append((*head, *own, fund_rate, days, inside, method, reason, rule.version_id, -1, -1, -1))
    return lines


def _problem(row: Row, account: Row, contract: Row, agreement: Row, settled: dict[str, date]) -> str:
    if row["kind"] not in ("02", "03", "04", "05", "06"):
        return "ROW-KIND" if row["interest_fen"] else ""
    for name in ("accrual_from", "accrual_to", "due_on", "paid_on", "booked_on"):
        if not FIRST_DAY <= row[name] <= LAST_DAY:
            return "DATE-DOMAIN"
    for name in ("principal_repaid_fen", "base_principal_fen"):
        if not 0 <= row[name] <= AMOUNT_LIMIT:
            return "AMOUNT-DOMAIN"
    if row["balance_after_fen"] is not None and not 0 <= row["balance_after_fen"] <= AMOUNT_LIMIT:
        return "AMOUNT-DOMAIN"
    if row["interest_fen"] < 0:
        return "NEGATIVE-INTEREST"
    if row["interest_fen"] != 0:
        if row["accrual_to"] <= row["accrual_from"]:
            return "NO-DAYS"
        if row["base_principal_fen"] <= 0:
            return "NO-PRINCIPAL"
        if not 0 < row["rate_ppm"] <= 1_000_000:
            return "RATE-DOMAIN"
    if account["disbursed_fen"] <= 0 or agreement["subsidised_principal_fen"] < 0:
        return "LOAN-DOMAIN"
    if row["account_no"] in settled and row["accrual_to"] > settled[row["account_no"]]:
        return "AFTER-SETTLEMENT"
    if row["instalment"] > contract["term_months"]:
        return "ABOVE-TERM"
    return ""


def _status(world: World, row: Row) -> Row | None:
    days, statuses = world.statuses[row["account_no"]]
    place = bisect_right(days, row["due_on"])
    return statuses[place - 1] if place else None


def _gate(
    world: World, rule: RuleVersion, row: Row, account: Row, contract: Row, agreement: Row, opening: Row | None, status: Row | None
) -> str:
    check = rule.verification
    terms = world.policy.settlement_on(row["accrual_from"])
    verified = (
        contract["loan_kind"] in check.loan_kinds
        and contract["repayment_method"] in check.repayment_methods
        and agreement["subsidised_principal_fen"] <= contract["amount_fen"]
        and account["disbursed_fen"] <= contract["amount_fen"]
        and account["term_months"] == contract["term_months"]
        and agreement["centre_code"] == world.policy.code
        and agreement["payee_kind"] == ("01" if terms.payee == "borrower" else "02")
        and (contract["signed_on"] < world.policy.go_live or abs(account["rate_ppm"] - contract["rate_ppm"]) <= check.rate_tolerance_ppm)
        and (check.maximum_amount_fen is None or contract["amount_fen"] <= check.maximum_amount_fen)
    )
    run = status["overdue_run"] if status is not None else opening["overdue_run"] if opening is not None else 0
    total = status["overdue_total"] if status is not None else opening["overdue_total"] if opening is not None else 0
    loan_status = status["loan_status"] if status is not None else "normal"
    if not verified:
        return "hold"
    if agreement["agreement_no"] in world.claims:
        return "hold"
    if account["disbursed_on"] < world.policy.go_live and opening is None:
        return "hold"
    if total >= 6:
        return "stop"
    if run >= 3:
        return "hold"
    if (row["paid_on"] - row["due_on"]).days > 30:
        return "forfeit"
    if loan_status == "written_off":
        return "stop"
    return "pay"


def _months_after(day: date, months: int) -> date:
    month = day.year * 12 + day.month - 1 + months
    year, month = divmod(month, 12)
    following = date(year + month // 11, (month + 1) % 12 + 1, 1)
    return date(year, month + 1, min(day.day, (following - timedelta(1)).day))


def _monthly(row: Row, contract: Row) -> int:
    """360ths of a year from due date to due date; odd days one each. Due days here are at most 28."""
    start, end, due = row["accrual_from"], row["accrual_to"], contract["due_day"]
    first = start.replace(day=due) if start.day <= due else _months_after(start.replace(day=due), 1)
    last = end.replace(day=due) if end.day >= due else _months_after(end.replace(day=due), -1)
    if last <= first:
        return int((end - start).days)
    months = (last.year - first.year) * 12 + last.month - first.month
    return int(30 * months + (first - start).days + (end - last).days)


def shadow(loan: Row, fund: Series, exact: bool) -> list[tuple[int, int]]:
    """(interest, principal) in fen of each instalment of one shadow loan: equal instalments, next_january, split, nothing prepaid.

    `loan`: balance, term, due_day, disbursed_on. With `exact` by fractions, else by Decimal, whose 28 digits are not enough for every
    annuity; nothing tells when they are not.
    """
    number: Any = Fraction if exact else Decimal
    balance, term, due_day, disbursed = loan["balance"], loan["term"], loan["due_day"], loan["disbursed_on"]
    first_of_month = disbursed.replace(day=1)
    start, before, annuity, out = disbursed, None, 0, []
    for k in range(1, term + 1):
        due = _months_after(first_of_month, k).replace(day=due_day)
        rate = _fund_rate(fund, disbursed, start)
        total, day = 0, start
        while day < due:
            turn = min(due, date(day.year + 1, 1, 1))
            total += (turn - day).days * _fund_rate(fund, disbursed, day)
            day = turn
        days = (due - start).days
        if rate != before:
            monthly = number(rate) / 12_000_000
            growth = (1 + monthly) ** (term - k + 1)
            annuity = _rounded(balance * monthly * growth / (growth - 1))
            before = rate
        month_interest = _rounded(number(balance * total) / (days * 12_000_000))
        principal = balance if k == term else annuity - month_interest
        interest = _rounded(number(balance * total * _monthly({"accrual_from": start, "accrual_to": due}, loan)) / (days * 360_000_000))
        out.append((interest, principal))
        balance -= principal
        start = due
    return out


def shadow_steps(loan: Row, fund: Series) -> list[tuple[int, int, int, int, int, bool, int]]:
    """(instalment, ppm-days of the period, days, 360ths, rate on its first day, rebuilds, months left) of each shadow instalment of a loan."""
    term, disbursed = loan["term"], loan["disbursed_on"]
    start, before, out = disbursed, None, []
    for k in range(1, term + 1):
        due = _months_after(disbursed.replace(day=1), k).replace(day=loan["due_day"])
        rate = _fund_rate(fund, disbursed, start)
        total, day = 0, start
        while day < due:
            turn = min(due, date(day.year + 1, 1, 1))
            total += (turn - day).days * _fund_rate(fund, disbursed, day)
            day = turn
        part = _monthly({"accrual_from": start, "accrual_to": due}, loan)
        out.append((k, total, (due - start).days, part, rate, rate != before, term - k + 1))
        start, before = due, rate
    return out


def _fund_rate(fund: Series, disbursed: date, day: date) -> int:
    seen = disbursed if day.year == disbursed.year else date(day.year - 1, 12, 31)
    return fund.ppm[bisect_right(fund.effective_on, seen) - 1]


def _rounded(value: Any) -> int:
    if isinstance(value, Decimal):
        return int(value.quantize(FEN, ROUND_HALF_UP))
    return int(value + Fraction(1, 2))
