"""One agreement: from its facts to its lines (handbook sections 4 to 6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from operator import itemgetter
from typing import Any, NamedTuple

from subsidy.proof.balance import Balances, Fact, Numbering, is_part
from subsidy.proof.dates import BASE, add_months, nominal_month
from subsidy.proof.rules import FundRate, Policy, Unknown, Version
from subsidy.proof.shadow import MILLION, Shadow, State, terms_on
from subsidy.proof.status import Asked, History, by_change, by_status, joined, status_facts

REPAYMENTS = ("02", "03", "04", "05", "06")
FIRST_DAY, LAST_DAY = date(1990, 1, 1), date(2099, 12, 31)
MAXIMUM_FEN = 10**13
_BY_SERIAL = itemgetter("serial_no")
_BY_END = itemgetter("accrual_to", "serial_no")
#: What all parts of an instalment have in common.
_OF_INSTALMENT = itemgetter("accrual_from", "accrual_to", "rate_ppm")


class Loan(NamedTuple):
    """All facts of one agreement and one account, as plain rows. `statuses` and `changes` are sorted by day."""

    agreement: Fact
    contract: Fact
    account: Fact
    transactions: Sequence[Fact]
    statuses: Sequence[Fact]
    changes: Sequence[Fact]
    opening: Fact | None
    others: Mapping[str, int]  # serial number -> what other subsidies pay, fen
    claimed: bool
    ambiguous: bool  # the contract has several accounts
    stored: Mapping[int, State]  # stored shadow states to continue from; empty: from disbursement or opening


class Beside(NamedTuple):
    """The shadow instalment, and B_k: the principal that the bank's instalment is paid on."""

    state: State
    due_fen: int


class Line:
    """A row on its way to a line."""

    __slots__ = ("entitled", "facts", "figure", "outcome", "part", "payable", "reason", "room", "row", "sent", "state", "version")

    version: Version  # from the check of the row on
    facts: dict[str, Any]  # from the gates on

    def __init__(self, row: Fact) -> None:
        self.row = row
        self.sent = row["instalment"]  # as the bank numbers it; the row may come to bear another number
        self.part = is_part(row)
        self.figure = self.entitled = self.payable = 0
        self.room = 0  # what other subsidies leave of its interest, fen
        self.outcome = self.reason = ""
        self.state: State | None = None

    def renumber(self, instalment: int) -> None:
        """Take the row for one of another instalment."""
        self.row = {**self.row, "instalment": instalment}
        self.part = is_part(self.row)

    def end(self, outcome: str, reason: str) -> None:
        """Settle the outcome; the first to do so wins."""
        if not self.outcome:
            self.outcome, self.reason = outcome, reason


class Assessment:
    """Computes the lines of one `Loan` under a policy."""

    # Made when first asked for.
    _groups: dict[int, Fact] | None = None
    _numbering: Numbering | None = None
    _balances: Balances | None = None
    _shadow: Shadow | None = None

    def __init__(self, loan: Loan, policy: Policy) -> None:
        self.loan, self.policy = loan, policy
        self.start = max(loan.agreement["subsidy_start_on"], loan.account["disbursed_on"])
        self.disbursed_fen = loan.account["disbursed_fen"]
        self.subsidised_fen = loan.agreement["subsidised_principal_fen"]
        self.history = History(loan.statuses, loan.opening)
        self.stop_day = self._first_unsubsidised_day()
        self._verified: dict[tuple[Version, str], bool] = {}
        self.term_changes = [c for c in loan.changes if c["kind"] == "term" and (c["new_term_months"] or c["new_repayment_method"])]
        self.live: list[Line] = []  # rows that are assessed
        self.set_aside: dict[str, str] = {}  # serial number of a row quarantined by itself -> reason
        self.real: list[Fact] = []  # also the quarantined ones: their principal is real; no reversals and nothing reversed

    def lines(self) -> list[Line]:
        """All lines in the order (accrual end, serial number as text), without limits yet applied across rows."""
        wrong_loan = self._wrong_loan()
        lines = self._reversals(wrong_loan)
        real = [line for line in lines if not line.outcome]
        self._odd_first(real)
        settled_on = LAST_DAY
        for line in real:
            self.real.append(line.row)
            if line.row["kind"] == "06":
                settled_on = min(settled_on, line.row["accrual_to"])
        for line in real:
            self._check(line, settled_on, wrong_loan)
            if line.outcome:
                self.set_aside[line.row["serial_no"]] = line.reason
        groups = self._instalments(real)
        self.live = [line for line in real if not line.outcome]
        self._gates()
        for group in groups:
            self._figures(group)
        return lines

    # --- which rows count -------------------------------------------------------------------------------------------

    def _reversals(self, wrong_loan: str) -> list[Line]:
        """Lines of all rows that carry one; reversals and what they cancel are settled as `reversed`, bad reversals quarantined."""
        rows = self.loan.transactions
        cancelled, bad = self._cancelled(rows)
        lines = []
        for row in sorted(rows, key=_BY_END):
            line = Line(row)
            if row["serial_no"] in cancelled:
                line.end("reversed", "REVERSED")
            elif row["serial_no"] in bad:
                line.end("quarantined", "BAD-REVERSAL")
            elif row["kind"] not in REPAYMENTS:
                if row["interest_fen"] == 0:
                    continue
                line.end("quarantined", wrong_loan or "ROW-KIND")
            lines.append(line)
        return lines

    @staticmethod
    def _cancelled(rows: Sequence[Fact]) -> tuple[set[str], set[str]]:
        """Serial numbers of rows that cancel each other, and of reversals that cancel nothing."""
        cancelled: set[str] = set()
        bad: set[str] = set()
        reversals = [row for row in rows if row["reverses"]]
        by_serial = {row["serial_no"]: row for row in rows} if reversals else {}
        for row in sorted(reversals, key=_BY_SERIAL):
            target = by_serial.get(row["reverses"])
            if (
                target is None
                or target["reverses"]
                or target["serial_no"] in cancelled
                or target["interest_fen"] + row["interest_fen"] != 0
                or target["principal_repaid_fen"] + row["principal_repaid_fen"] != 0
            ):
                bad.add(row["serial_no"])
            else:
                cancelled.update((row["serial_no"], target["serial_no"]))
        return cancelled, bad

    def _odd_first(self, real: Sequence[Line]) -> None:
        """A first period that repays no principal is no instalment: one that the bank numbers 1 gets the number 0 (interpretation 11).

        Later rows, where the bank goes on counting from it, get the number before theirs."""
        first = min(real, key=lambda line: _BY_END(line.row), default=None)
        if first is None or not first.part:
            return
        row = first.row
        if row["instalment"] != 1 or row["principal_repaid_fen"] or row["base_principal_fen"] < self.disbursed_fen:
            return
        later = sorted((line for line in real if line.part and line is not first), key=lambda line: _BY_END(line.row))
        ones = [line.row for line in later if line.row["instalment"] == 1]
        if any((one["accrual_from"], one["accrual_to"]) == (row["accrual_from"], row["accrual_to"]) for one in ones):
            return
        first.renumber(0)
        if ones or not later:
            return
        following = later[0].row
        dues = row["due_on"], following["due_on"]
        due_day = min(max(self.loan.contract["due_day"], 1), 31)
        if (
            min(dues) >= FIRST_DAY
            and max(dues) <= LAST_DAY
            and nominal_month(dues[1], due_day) - nominal_month(dues[0], due_day) == following["instalment"] - 1
        ):
            for line in later:
                line.renumber(line.row["instalment"] - 1)

    def _wrong_loan(self) -> str:
        """Why no row of this loan can be assessed; empty when one can."""
        agreement, contract, account = self.loan.agreement, self.loan.contract, self.loan.account
        if self.loan.ambiguous:
            return "ACCOUNT-AMBIGUOUS"
        if not 1 <= contract["term_months"] <= 1200:
            return "TERM-DOMAIN"
        days = (agreement["signed_on"], agreement["subsidy_start_on"], account["disbursed_on"])
        if not 0 < self.disbursed_fen <= MAXIMUM_FEN or not 0 <= self.subsidised_fen <= MAXIMUM_FEN:
            return "LOAN-DOMAIN"
        if agreement["home_order"] not in ("01", "02") or min(days) < FIRST_DAY or max(days) > LAST_DAY:
            return "LOAN-DOMAIN"
        return ""

    def _check(self, line: Line, settled_on: date, wrong_loan: str) -> None:
        """Quarantine a row that is outside its domain by itself (handbook section 4, interpretations 22 and 24)."""
        row = line.row
        reason = wrong_loan or self._outside_domain(row)
        if not reason and row["accrual_to"] > settled_on:
            reason = "AFTER-SETTLEMENT"
        if not reason and line.part and row["instalment"] > terms_on(row["due_on"], self.loan.contract, self.term_changes)[0]:
            reason = "ABOVE-TERM"
        if reason:
            line.end("quarantined", reason)
            return
        try:
            version = line.version = self.policy.version_on(row["accrual_from"])
        except Unknown as unknown:
            line.end(unknown.outcome, unknown.reason)
            return
        contract = self.loan.contract
        if version.shadow and contract["repayment_method"] not in ("01", "02"):
            line.end("quarantined", "METHOD-UNKNOWN")
        elif version.by_due_day and not 1 <= contract["due_day"] <= 31:
            line.end("quarantined", "DUE-DAY-DOMAIN")

    @staticmethod
    def _outside_domain(row: Fact) -> str:
        """Why the row's dates, amounts or rate are not such as loans have; empty when they are."""
        interest, rate = row["interest_fen"], row["rate_ppm"]
        days = (row["accrual_from"], row["accrual_to"], row["due_on"], row["paid_on"], row["booked_on"])
        amounts = (row["base_principal_fen"], row["principal_repaid_fen"], row["balance_after_fen"] or 0, abs(interest))
        if min(days) < FIRST_DAY or max(days) > LAST_DAY:
            return "DATE-DOMAIN"
        if min(amounts) < 0 or max(amounts) > MAXIMUM_FEN:
            return "AMOUNT-DOMAIN"
        if interest < 0:
            return "NEGATIVE-INTEREST"
        if interest and row["accrual_from"] >= row["accrual_to"]:
            return "NO-DAYS"
        if interest and row["base_principal_fen"] <= 0:
            return "NO-PRINCIPAL"
        return "RATE-DOMAIN" if interest and not 0 < rate <= MILLION else ""

    @staticmethod
    def _instalments(real: Sequence[Line]) -> list[list[Line]]:
        """Rows that are assessed together, in serial order: the parts of an instalment, any other row alone."""
        parts: dict[int, list[Line]] = defaultdict(list)
        groups = []
        for line in real:
            if line.outcome:
                continue
            if line.part:
                parts[line.row["instalment"]].append(line)
            else:
                groups.append([line])
        for lines in parts.values():
            if len(lines) > 1:
                lines.sort(key=lambda line: line.row["serial_no"])
                shared = _OF_INSTALMENT(lines[0].row)
                for line in lines[1:]:
                    if _OF_INSTALMENT(line.row) != shared:
                        line.end("quarantined", "PART-DIFFERS")
                lines = [line for line in lines if not line.outcome]
            groups.append(lines)
        return groups

    # --- gates, suspension, window ----------------------------------------------------------------------------------

    def _first_unsubsidised_day(self) -> date:
        """Conversion or stop by TX03; conversion by TX02 when no TX03 tells of one."""
        first, told = date.max, False
        for change in self.loan.changes:
            if change["kind"] in ("convert", "stop"):
                first = min(first, change["effective_on"])
                told = told or change["kind"] == "convert"
        for status in self.loan.statuses:
            if status["loan_status"] == "converted" and not told:
                first = min(first, status["as_of"])
        return first

    def _condition_facts(self, line: Line) -> dict[str, Any]:
        row, loan = line.row, self.loan
        return {
            **status_facts(self.history.on(row["due_on"])),
            "verified": self._is_verified(line.version, row["accrual_from"]),
            "duplicate_claim": loan.claimed,
            "opening_missing": loan.opening is None and loan.account["disbursed_on"] < self.policy.go_live,
            "days_late": (row["paid_on"] - row["due_on"]).days,
            "suspended": False,
            "cured": False,
            "suspension_count": 0,
            "instalment": line.sent,
            "transaction_kind": row["kind"],
            "home_order": loan.agreement["home_order"],
            "payee_kind": loan.agreement["payee_kind"],
            "repayment_method": loan.contract["repayment_method"],
            "term_months": loan.contract["term_months"],
            "disbursed_amount": self.disbursed_fen,
            "interest": row["interest_fen"],
            "accrual_from": row["accrual_from"],
            "accrual_to": row["accrual_to"],
            "due_on": row["due_on"],
            "paid_on": row["paid_on"],
            "signed_on": loan.agreement["signed_on"],
            "disbursed_on": loan.account["disbursed_on"],
            "commercial_rate": row["rate_ppm"],
        }

    def _first_rate(self) -> int:
        """The rate first charged (interpretation 25): of the first row, of the account while there is none."""
        rows = [
            (row["accrual_from"], row["accrual_to"], row["serial_no"], row["rate_ppm"])
            for row in self.loan.transactions
            if row["kind"] in ("02", "03", "04", "05", "06") and not row["reverses"] and row["rate_ppm"] > 0
        ]
        return int(min(rows)[3] if rows else self.loan.account["rate_ppm"])

    def _is_verified(self, version: Version, day: date) -> bool:
        """合同核定: the contract agrees with its agreement and account, and the centre accepts it."""
        key = version, self.policy.payee(day)
        if key not in self._verified:
            self._verified[key] = self._agrees(*key)
        return self._verified[key]

    def _agrees(self, version: Version, payee: str) -> bool:
        agreement, contract, account = self.loan.agreement, self.loan.contract, self.loan.account
        wanted = version.data["verification"]
        terms = [contract["term_months"], *[c["new_term_months"] for c in self.loan.changes if c["kind"] == "term"]]
        return (
            contract["loan_kind"] in wanted["loan_kinds"]
            and contract["repayment_method"] in wanted["repayment_methods"]
            and self.subsidised_fen <= contract["amount_fen"]
            and self.disbursed_fen <= contract["amount_fen"]
            and account["term_months"] in terms
            and agreement["centre_code"] == self.policy.code
            and agreement["payee_kind"] == ("01" if payee == "borrower" else "02")
            and (
                contract["signed_on"] < self.policy.go_live
                or abs(self._first_rate() - contract["rate_ppm"]) <= wanted["rate_tolerance_ppm"]
            )
            and (wanted["maximum_amount_fen"] is None or contract["amount_fen"] <= wanted["maximum_amount_fen"])
        )

    def _gates(self) -> None:
        asked = []
        suspends = False
        for line in self.live:
            if line.row["accrual_to"] < self.policy.go_live:
                line.end("opening", "OPENING")
                continue
            line.facts = self._condition_facts(line)
            asked.append(line)
            suspends = suspends or (line.version.suspends is not None and line.version.suspends(line.facts))
        intervals = by_change(self.loan.changes)
        if suspends:
            intervals = joined(
                [*intervals, *by_status([Asked(line.row, line.version.suspends, line.facts) for line in asked], self.history)]
            )
        clawbacks = [(c["range_from"], c["range_to"]) for c in self.loan.changes if c["kind"] == "clawback"]
        for line in asked:
            self._gate(line, intervals)
            for first, last in clawbacks:
                if first <= line.row["accrual_to"] <= last:
                    line.outcome, line.reason = "clawback", "CLAWBACK"

    def _gate(self, line: Line, intervals: Sequence[Any]) -> None:
        row, version = line.row, line.version
        cured: list[date] = []
        if intervals:
            line.facts["suspension_count"] = sum(i.begins_on <= row["due_on"] for i in intervals)
            covering = [i for i in intervals if i.covers(row)]
            cured = [i.cured_on for i in covering if i.cured_on is not None]
            line.facts["cured"] = bool(covering) and len(cured) == len(covering)
            line.facts["suspended"] = bool(covering) and not (line.facts["cured"] and version.after_cure is not None)
        line.end(*version.gate(line.facts))
        if line.outcome == "stop":
            self.stop_day = min(self.stop_day, row["due_on"])
        if line.facts["cured"] and version.after_cure is not None and line.outcome != "forfeit":
            self._cure(line, version, max(cured))

    @staticmethod
    def _cure(line: Line, version: Version, cured_on: date) -> None:
        """What the cure takes from a row of the suspended period that the gates would not forfeit (interpretation 19)."""
        limit = version.data["back_pay_months"]
        if version.after_cure == "forfeit":
            line.outcome, line.reason = "forfeit", "SUSPENSION-FORFEIT"
        elif limit is not None and line.outcome != "hold" and add_months(line.row["accrual_to"], limit) < cured_on:
            line.outcome, line.reason = "forfeit", "BACK-PAY"

    # --- figures ----------------------------------------------------------------------------------------------------

    def _fund(self, version: Version) -> FundRate:
        loan = self.loan
        second_home, short_term = loan.agreement["home_order"] == "02", loan.contract["term_months"] <= 60
        return self.policy.fund_rate(version, second_home, short_term, loan.account["disbursed_on"], loan.agreement["signed_on"])

    def _figures(self, group: Sequence[Line]) -> None:
        """Rounded figures of rows that belong together: each the figure of the sum so far less those before it."""
        interest = base = repaid = earlier = others = got = 0
        beside = self._beside(group)
        for line in group:
            line.state = beside.state if isinstance(beside, Beside) else None
            row = line.row
            interest += row["interest_fen"]
            base += row["base_principal_fen"]
            repaid += row["principal_repaid_fen"]
            other = self.loan.others.get(row["serial_no"], 0)
            others += other
            try:
                numerator, denominator, reason = self._exact(group[0], interest, base, repaid, beside)
            except Unknown as unknown:
                if unknown.outcome == "quarantined" or line.outcome in ("pay", "hold", "stop"):
                    line.outcome, line.reason = unknown.outcome, unknown.reason
                continue
            line.figure = max(0, (2 * numerator + denominator) // (2 * denominator) - earlier)
            earlier += line.figure
            # A row for which another subsidy pays is bounded by its own interest too, any other by that of the rows so far.
            line.room = max(0, min(interest - others - got, row["interest_fen"] - other if other else interest))
            if line.outcome in ("pay", "hold", "stop"):
                got += min(line.figure, line.room)
            if line.outcome == "pay" and not numerator:
                line.reason = reason

    def _exact(self, first: Line, interest: int, base: int, repaid: int, beside: Beside | Unknown | None) -> tuple[int, int, str]:
        """The exact amount of the sum of some rows as a fraction, and why it is zero if it is."""
        row, version = first.row, first.version
        if interest <= 0:
            return 0, 1, "NO-INTEREST"
        start, end = row["accrual_from"], row["accrual_to"]
        inside_from = max(start, self.start)
        last = min(self.stop_day, self.policy.window_end(version, self.start, self.loan.agreement["subsidy_months"]))
        inside_to = min(end, last)
        if inside_from >= inside_to:
            return 0, 1, "WINDOW"
        days, inside = (end - start).days, (inside_to - inside_from).days
        method = version.method
        if version.shadow:
            if isinstance(beside, Unknown):
                raise beside
            if beside is not None:
                return self._more_than_shadow(first, interest, base, repaid, Fraction(inside, days), beside)
            if first.part:
                return 0, 1, ""
            method = "ratio"
        due_day = self.loan.contract["due_day"]
        spread = 0
        if method in ("ratio", "spread"):
            fund = self._fund(version)
            spread = self.policy.spread(version, method, fund, row["rate_ppm"], due_day, start, end, inside_from, inside_to)
        share, of = self._subsidised(version, row, base)
        if method == "share":
            return share * interest * version.data["share_ppm"] * inside, of * MILLION * days, ""
        if method == "points":
            yearly = version.data["points_ppm"] * version.units(start, end, due_day, inside_from, inside_to)
            return (*self._at_most(share, of, interest, base, yearly, inside, days, version), "")
        reason = "" if spread else "NO-SPREAD"
        if method == "ratio":
            return share * interest * spread, of * days * row["rate_ppm"], reason
        return (*self._at_most(share, of, interest, base, spread, inside, days, version), reason)

    @staticmethod
    def _at_most(
        share: int, of: int, interest: int, base: int, yearly: int, inside: int, days: int, version: Version
    ) -> tuple[int, int]:
        """The smaller of w · P · Σ rate · yf and w · I · inside / n. `yearly` is Σ rate · yf in ppm and units of the day count."""
        numerator = share * base * yearly
        denominator = of * MILLION * BASE[version.day_count] * (days if version.day_count == "monthly" else 1)
        if numerator * of * days > share * interest * inside * denominator:
            return share * interest * inside, of * days
        return numerator, denominator

    def _subsidised(self, version: Version, row: Fact, base: int) -> tuple[int, int]:
        """w, as a fraction."""
        if not version.on_balance:
            return min(self.subsidised_fen, self.disbursed_fen), self.disbursed_fen
        remains = self.balances().after(row) if row["kind"] == "03" and row["principal_repaid_fen"] else 0
        return min(remains + base, self.subsidised_fen) - min(remains, self.subsidised_fen), base

    def _beside(self, group: Sequence[Line]) -> Beside | Unknown | None:
        """The shadow instalment beside the rows of an instalment, or why it is not known. None: these rows have none."""
        version, row = group[0].version, group[0].row
        if not version.shadow or not group[0].part or (self.loan.opening is not None and group[0].outcome == "opening"):
            return None
        try:
            state = self.shadow().instalment(row["instalment"])
            return Beside(state, self.balances().due_with(row, sum(line.row["base_principal_fen"] for line in group)))
        except Unknown as unknown:
            return unknown

    def _more_than_shadow(
        self, first: Line, interest: int, base: int, repaid: int, inside: Fraction, beside: Beside
    ) -> tuple[int, int, str]:
        """What the instalment costs more than that of the shadow loan; fractions, since these rows are few."""
        version, state = first.version, beside.state
        part = min(Fraction(1), Fraction(base, beside.due_fen))
        share = Fraction(*self._subsidised(version, first.row, base))
        if version.method == "shadow_interest":
            amount = share * interest - part * state.interest_fen
        else:
            amount = share * (repaid + interest) - part * (state.interest_fen + state.principal_fen)
        amount = min(max(Fraction(0), amount), share * interest) * inside
        return amount.numerator, amount.denominator, "NO-SPREAD"

    def groups(self) -> dict[int, Fact]:
        """The first row of each numbered instalment, in serial order."""
        if self._groups is None:
            self._groups = {}
            for row in sorted([line.row for line in self.live if line.part], key=_BY_SERIAL):
                self._groups.setdefault(row["instalment"], row)
        return self._groups

    def numbering(self) -> Numbering:
        """Due dates of the loan's instalments."""
        if self._numbering is None:
            self._numbering = Numbering(self.groups(), min(max(self.loan.contract["due_day"], 1), 31), self.loan.account["disbursed_on"])
        return self._numbering

    def balances(self) -> Balances:
        """Balances by the rows of the loan."""
        if self._balances is None:
            opened = self.loan.opening is not None
            self._balances = Balances(self.real, self.disbursed_fen, self.loan.statuses, opened, self.numbering(), self.set_aside)
        return self._balances

    def shadow(self) -> Shadow:
        """The loan's shadow."""
        if self._shadow is None:
            loan = self.loan
            self._shadow = Shadow(
                start_fen=min(self.subsidised_fen, self.disbursed_fen),
                contract=loan.contract,
                disbursed_on=loan.account["disbursed_on"],
                groups=self.groups(),
                odd_rows=[
                    r for r in self.real
                    if r["kind"] in ("02", "04", "05") and r["instalment"] <= 0 and r["serial_no"] not in self.set_aside
                ],
                prepayments=[r for r in self.real if r["kind"] == "03" and r["principal_repaid_fen"] != 0],
                changes=self.term_changes,
                opening=loan.opening,
                go_live=self.policy.go_live,
                numbering=self.numbering(),
                balances=self.balances,
                version_on=self.policy.version_for_shadow,
                fund_rate=self._fund,
                stored=loan.stored,
            )
        return self._shadow


class Limits:
    """Applies the limits of one agreement, row by row in order; remembers what was used."""

    def __init__(self, opening: Fact | None) -> None:
        self.used_life = opening["paid_fen"] if opening else 0
        self.used_month: dict[tuple[int, int], int] = defaultdict(int)

    def apply(self, line: Line) -> None:
        """Set entitled and payable of `line`; gates come before limits, so a forfeited line uses none."""
        if line.outcome in ("quarantined", "reversed"):
            line.figure = 0
        if line.outcome not in ("pay", "hold", "stop"):
            return
        amount, reason = line.figure, ""
        if line.room < amount:
            amount, reason = line.room, "LIMIT-OTHER"
        end, version = line.row["accrual_to"], line.version
        month = end.year, end.month
        for limit, used, code in (
            (version.monthly_limit_fen, self.used_month[month], "LIMIT-MONTH"),
            (version.lifetime_limit_fen, self.used_life, "LIMIT-LIFE"),
        ):
            if limit is not None and max(0, limit - used) < amount:
                amount, reason = max(0, limit - used), code
        self.used_month[month] += amount
        self.used_life += amount
        line.entitled = amount
        if line.outcome != "hold":
            line.payable = amount
        if line.outcome == "pay" and amount == 0 and line.row["interest_fen"] == 0:
            reason = "NO-INTEREST"
        if line.outcome == "pay" and reason:
            line.reason = reason
