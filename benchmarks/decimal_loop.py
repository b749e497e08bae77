"""What the engine does, one row after the other with Decimal: the peer of the benchmarks, written as one would write it without columns.

Method `ratio` or `spread` (monthly), next_january, split, pro_rata, a monthly limit, the default gates. It prepares nothing that the engine
does not: it gets rows and dictionaries by key, ready made.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any

from subsidy.facts.schema import Facts
from subsidy.policy.model import CentrePolicy

FEN = Decimal(1)
Row = dict[str, Any]


class World:
    """Facts as dictionaries by key, and the series of rates; made before the clock starts."""

    def __init__(self, facts: Facts, policy: CentrePolicy) -> None:
        self.policy = policy
        self.agreements = {r["contract_no"]: r for r in facts["agreement"].to_pylist()}
        self.contracts = {r["contract_no"]: r for r in facts["contract"].to_pylist()}
        self.accounts = {r["account_no"]: r for r in facts["account"].to_pylist()}
        self.statuses: dict[str, tuple[list[date], list[Row]]] = defaultdict(lambda: ([], []))
        for r in facts["status"].to_pylist():
            self.statuses[r["account_no"]][0].append(r["as_of"])
            self.statuses[r["account_no"]][1].append(r)
        self.rows = facts["transaction"].to_pylist()


def assess(world: World, method: str) -> list[tuple[str, str, int, int, int, str]]:
    """(agreement, serial, figure, entitled, payable, outcome) of each row, in order of agreement, accrual end, serial."""
    policy, rule = world.policy, world.policy.rules[0]
    series = policy.parameters.series
    lines = []
    parts: dict[tuple[str, int], tuple[Decimal, Decimal, int]] = {}
    used: dict[tuple[str, int, int], int] = defaultdict(int)
    rows = sorted(world.rows, key=lambda r: (r["account_no"], r["accrual_to"], r["serial_no"]))
    for row in rows:
        account = world.accounts[row["account_no"]]
        contract = world.contracts[account["contract_no"]]
        agreement = world.agreements[account["contract_no"]]
        outcome = _gate(world, row, account, contract, agreement)
        start = max(agreement["subsidy_start_on"], account["disbursed_on"])
        end = _months_after(start, agreement["subsidy_months"])
        first, last = max(row["accrual_from"], start), min(row["accrual_to"], end)
        interest, base = Decimal(row["interest_fen"]), Decimal(row["base_principal_fen"])
        key = (row["account_no"], row["instalment"])
        earlier_interest, earlier_base, earlier = parts.get(key, (Decimal(0), Decimal(0), 0))
        interest, base = interest + earlier_interest, base + earlier_base
        tier = "LE5" if contract["term_months"] <= 60 else "GT5"
        fund = series[("FIRST_" if agreement["home_order"] == "01" else "SECOND_") + tier]
        days = (row["accrual_to"] - row["accrual_from"]).days
        weighted = Decimal(0)
        while first < last:
            turn = min(last, date(first.year + 1, 1, 1))
            disbursed = account["disbursed_on"]
            seen = disbursed if first.year == disbursed.year else date(first.year - 1, 12, 31)
            rate = fund.ppm[bisect_right(fund.effective_on, seen) - 1]
            spread = max(0, row["rate_ppm"] - rate)
            weighted += Decimal((turn - first).days) * Decimal(spread)
            first = turn
        share = Decimal(min(agreement["subsidised_principal_fen"], account["disbursed_fen"])), Decimal(account["disbursed_fen"])
        inside = Decimal(max((last - max(row["accrual_from"], start)).days, 0))
        if method == "ratio":
            total = (share[0] * interest * weighted) / (share[1] * days * row["rate_ppm"])
        else:
            total = (share[0] * base * weighted * _monthly(row, contract)) / (share[1] * days * 360 * 1_000_000)
        limit = (share[0] * interest * inside) / (share[1] * days)
        figure = int(min(total, limit).quantize(FEN, ROUND_HALF_UP))
        parts[key] = (interest, base, max(earlier, figure))
        figure = max(figure - earlier, 0)
        entitled = min(figure, row["interest_fen"])
        if outcome == "forfeit":
            entitled = 0
        elif rule.monthly_limit_fen is not None:
            month = (row["account_no"], row["accrual_to"].year, row["accrual_to"].month)
            entitled = min(entitled, max(rule.monthly_limit_fen - used[month], 0))
            used[month] += entitled
        payable = entitled if outcome in ("pay", "stop") else 0
        lines.append((agreement["agreement_no"], row["serial_no"], figure, entitled, payable, outcome))
    return lines


def _gate(world: World, row: Row, account: Row, contract: Row, agreement: Row) -> str:
    check = world.policy.rules[0].verification
    verified = (
        contract["loan_kind"] in check.loan_kinds
        and contract["repayment_method"] in check.repayment_methods
        and agreement["subsidised_principal_fen"] <= contract["amount_fen"]
        and account["disbursed_fen"] <= contract["amount_fen"]
        and account["term_months"] == contract["term_months"]
        and agreement["centre_code"] == world.policy.code
        and agreement["payee_kind"] == "01"
        and abs(account["rate_ppm"] - contract["rate_ppm"]) <= check.rate_tolerance_ppm
    )
    if not verified:
        return "hold"
    days, statuses = world.statuses[row["account_no"]]
    place = bisect_right(days, row["due_on"])
    status = statuses[place - 1] if place else None
    if status is not None and status["overdue_total"] >= 6:
        return "stop"
    if status is not None and status["overdue_run"] >= 3:
        return "hold"
    if (row["paid_on"] - row["due_on"]).days > 30:
        return "forfeit"
    if status is not None and status["loan_status"] == "written_off":
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


def shadow(balance: int, rate_ppm: int, term: int) -> list[tuple[int, int]]:
    """(interest, principal) in fen of each instalment of a shadow loan, equal instalments at one rate, periods of full months.

    28 digits are not enough for half-up of an annuity in every case, and nothing tells when they are not."""
    with localcontext() as context:
        context.rounding = ROUND_HALF_UP
        monthly = Decimal(rate_ppm) / 12_000_000
        left = Decimal(balance)
        growth = (1 + monthly) ** term
        annuity = (left * monthly * growth / (growth - 1)).quantize(FEN)
        out = []
        for number in range(1, term + 1):
            interest = (left * monthly).quantize(FEN)
            principal = left if number == term else annuity - interest
            out.append((int(interest), int(principal)))
            left -= principal
        return out


def shadow_exact(balance: int, rate_ppm: int, term: int) -> list[tuple[int, int]]:
    """The same by fractions."""
    monthly = Fraction(rate_ppm, 12_000_000)
    growth = (1 + monthly) ** term
    half = Fraction(1, 2)
    annuity = int(balance * monthly * growth / (growth - 1) + half)
    left, out = balance, []
    for number in range(1, term + 1):
        interest = int(left * monthly + half)
        principal = left if number == term else annuity - interest
        out.append((interest, principal))
        left -= principal
    return out
