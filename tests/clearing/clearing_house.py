"""A small centre for the tests of clearing: lines posted by hand, payees of one's choice, and a bank that answers what it is told."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from subsidy.calendar.settlement import SettlementDates
from subsidy.clearing import approval, profiles, publish, results, settle
from subsidy.clearing.batches import Batch, load_batches
from subsidy.clearing.gather import PAYEES
from subsidy.entitlement.lines import LINES
from subsidy.ledger import lease, postings, tables
from subsidy.ledger.database import Database, next_numbers
from subsidy.ledger.journal import ROLES, RunRef
from subsidy.ledger.postings import Part
from subsidy.policy.model import Account, ApprovalTerms, CentrePolicy, ChartOfAccounts, Parameters, SettlementTerms
from subsidy.settings import Settings

RULES = Path(__file__).resolve().parents[2] / "rules"
CODES = {
    "hangzhou": "330100000000000",
    "zhejiang-provincial": "330101000000000",
    "wenzhou": "330300000000000",
    "huzhou": "330500000000000",
    "shaoxing": "330600000000000",
    "quzhou": "330800000000000",
    "zhoushan": "330900000000000",
}
PROFILES = {"zhoushan": "header_total_fen", "wenzhou": "po_fen", "quzhou": "header_total_yuan"}
OWN, OTHER = "105331000018", "102331000014"  # 建设银行, 工商银行; check digits by ISO 7064 MOD 11,10
SEPTEMBER = SettlementDates("2026-09", date(2026, 9, 21), date(2026, 9, 20), date(2026, 9, 20))
OCTOBER = SettlementDates("2026-10", date(2026, 10, 20), date(2026, 10, 19), date(2026, 10, 19))
NOVEMBER = SettlementDates("2026-11", date(2026, 11, 20), date(2026, 11, 19), date(2026, 11, 19))
STAMP = "2026-09-21T09:00:00+08:00"

APPROVAL = ApprovalTerms(auto_below_fen=10**12, two_above_fen=10**12, growth_limit_percent=10**6, new_payee_limit_percent=100)

LINE: dict[str, Any] = {
    "bucket": 7,
    "kind": "02",
    "instalment": 1,
    "accrual_from": date(2026, 8, 10),
    "accrual_to": date(2026, 9, 10),
    "due_on": date(2026, 9, 10),
    "paid_on": date(2026, 9, 10),
    "booked_on": date(2026, 9, 10),
    "interest_fen": 145_833,
    "base_principal_fen": 50_000_000,
    "rate_ppm": 35_000,
    "fund_rate_ppm": 26_000,
    "days": 30,
    "days_inside": 30,
    "method": "ratio",
    "outcome": "pay",
    "reason": "",
    "rule_version": "R@1",
    "shadow_balance_fen": -1,
    "shadow_interest_fen": -1,
    "shadow_principal_fen": -1,
    "file_no": 1,
    "line_no": 2,
}


def policy_of(centre: str = "hangzhou", **terms: Any) -> CentrePolicy:
    """A policy with what clearing reads; `terms` replaces fields of its settlement terms."""
    settlement = SettlementTerms(
        effective_from=date(2015, 1, 1),
        effective_to=None,
        frequency="monthly",
        day=20,
        roll="next",
        cutoff="day_before",
        payee="borrower",
        minimum_fen=1,
        recovery="net",
        paying_account=Account("33050161000000000100", "测试公积金中心贴息专户", OWN, "105"),
        payment_profile=PROFILES.get(centre, "bdc103"),
        approval=APPROVAL,
        accounts=ChartOfAccounts(),
        sources={},
    )
    return CentrePolicy(
        centre=centre,
        code=CODES[centre],
        name=f"{centre}公积金中心",
        short_name=centre,
        scheme="公转商贴息",
        go_live=date(2026, 9, 1),
        rules=(),
        settlement=(replace(settlement, **terms),),
        parameters=Parameters({}, date(2026, 10, 9), "p"),
        withdrawal_limit_percent=10,
        deadline_hour=6,
        version="policy-1",
    )


@dataclass
class House:
    """One centre on one database. Lines are agreement → (serial → payable fen); a line's account is ``A`` + agreement."""

    db: Database
    settings: Settings
    policy: CentrePolicy
    payees: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    lines: dict[str, dict[str, int]] = field(default_factory=dict)
    days: dict[str, date] = field(default_factory=dict)
    token: int = 0
    run_no: int = 0

    def __post_init__(self) -> None:
        self.token = lease.acquire(self.db, self.centre, "test", 0.0, 1.0)

    @property
    def centre(self) -> str:
        return self.policy.centre

    @property
    def outbound(self) -> profiles.Outbound:
        return profiles.load(self.settings.rules, self.centre)

    @property
    def outbox(self) -> Path:
        return self.settings.outbox(self.centre)

    @property
    def results(self) -> Path:
        folder = self.settings.results(self.centre)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def payee_of(self, agreement: str) -> tuple[str, str, str]:
        """(account, name, bank number); by default an account of its own at the paying bank."""
        number = zlib.crc32(agreement.encode()) % 10**10
        return self.payees.get(agreement, (f"621700{number:010d}", "测试甲", OWN))

    def payee_table(self) -> pa.Table:
        rows = [(a, *self.payee_of(a), "01") for a in sorted(self.lines)]
        return pa.table([pa.array([row[i] for row in rows], pa.string()) for i in range(5)], schema=PAYEES)

    def night(self, day: date, changes: Mapping[str, Mapping[str, int]]) -> RunRef:
        """Post that lines are payable with these amounts from now on."""
        for agreement, serials in changes.items():
            self.lines.setdefault(agreement, {}).update(serials)
            for serial in serials:
                self.days.setdefault(f"{agreement}/{serial}", day)
        self.run_no += 1
        run = RunRef(self.centre, self.run_no, day, self.policy.version)
        rows = [
            LINE
            | {
                "agreement_no": a,
                "account_no": f"A{a}",
                "serial_no": s,
                "payable_fen": fen,
                "figure_fen": fen,
                "entitled_fen": fen,
                "booked_on": self.days[f"{a}/{s}"],
                "accrual_to": self.days[f"{a}/{s}"],
            }
            for a in sorted(changes)
            for s, fen in sorted(self.lines[a].items())
        ]
        with self.db.transaction(self.centre, self.token) as conn:
            state = tables.centre_state
            if self.run_no == 1:
                conn.execute(sa.insert(state).values(centre=self.centre, open_business_date=day))
                conn.execute(
                    sa.insert(tables.file).values(
                        centre=self.centre,
                        file_no=next_numbers(conn, self.centre, "file"),
                        sha256="f",
                        name="f",
                        bytes=1,
                        profile="p",
                        identity="i",
                        version=1,
                        state="booked",
                        run_no=1,
                        known_on=day,
                        rows_in=0,
                        rows_booked=0,
                        rows_quarantined=0,
                        rows_duplicate=0,
                    )
                )
            else:
                conn.execute(sa.update(state).where(state.c.centre == self.centre).values(open_business_date=day))
            conn.execute(
                sa.insert(tables.run).values(
                    centre=self.centre,
                    run_no=next_numbers(conn, self.centre, "run"),
                    business_date=day,
                    mode="night",
                    policy_version=run.policy_version,
                    engine_version="1",
                    knowledge_date=day,
                    state="closed",
                    started_by="scheduler",
                    started_at="",
                )
            )
            table = pa.Table.from_pylist(rows, schema=LINES)
            postings.post(conn, run, self.policy.scheme, self.policy.settlement[0].accounts, Part(table, sorted(changes)))
        return run

    def settle(self, dates: SettlementDates, held: Mapping[str, int] | None = None) -> settle.SettlementResult:
        with self.db.transaction(self.centre, self.token) as conn:
            return settle.build(conn, self.policy, self.run_no, dates, payees=self.payee_table(), outbound=self.outbound, held=held)

    def approve(self, period: str, *people: str) -> approval.Answer:
        with self.db.read() as conn:
            stored = settle.load(conn, self.policy, period)
        assert stored is not None
        answer = None
        for person in people or ("审批甲",):
            answer = approval.answer(self.db, self.centre, period, person, "approve", stored.content_hash, STAMP)
        assert answer is not None
        return answer

    def publish(self, period: str) -> publish.Published:
        return publish.publish(self.db, self.token, self.settings, self.policy, period, self.run_no)

    def send(self, dates: SettlementDates) -> settle.SettlementResult:
        """Settle, approve when a person must, and publish."""
        built = self.settle(dates)
        if built.state in ("waiting", "held"):
            assert self.approve(dates.period, "审批甲", "审批乙").state == "approved"
        if built.state != "empty":
            self.publish(dates.period)
        return built

    def read(self, day: date) -> results.BankFiles:
        return results.read_bank_files(self.db, self.token, self.settings, self.policy, day, self.run_no)

    def batches(self, period: str) -> list[Batch]:
        with self.db.read() as conn:
            return load_batches(conn, self.centre, period)

    def payments(self, batch_no: int | None = None) -> list[dict[str, Any]]:
        """Payments with their state, by number."""
        p, e = tables.payment, tables.payment_event
        with self.db.read() as conn:
            other = e.alias()
            last = (
                sa.select(sa.func.max(other.c.event_no))
                .where(other.c.centre == p.c.centre, other.c.payment_no == p.c.payment_no)
                .correlate(p)
                .scalar_subquery()
            )
            query = sa.select(p, e.c.state, e.c.event_on, e.c.host_serial)
            query = query.select_from(p).join(e, sa.and_(e.c.centre == p.c.centre, e.c.event_no == last))
            if batch_no is not None:
                query = query.where(p.c.batch_no == batch_no)
            return [dict(row) for row in conn.execute(query.where(p.c.centre == self.centre).order_by(p.c.payment_no)).mappings()]

    def states(self) -> list[str]:
        return [payment["state"] for payment in self.payments()]

    def accounts(self) -> dict[str, int]:
        """Balance per role, debits positive, without accounts at zero."""
        j = tables.journal
        balance: dict[str, int] = {}
        with self.db.read() as conn:
            rows = conn.execute(
                sa.select(j.c.reason, sa.func.sum(j.c.amount_fen)).where(j.c.centre == self.centre).group_by(j.c.reason)
            ).all()
        for reason, amount in rows:
            debit, credit = ROLES[reason]
            balance[debit] = balance.get(debit, 0) + int(amount)
            balance[credit] = balance.get(credit, 0) - int(amount)
        assert sum(balance.values()) == 0
        return {role: fen for role, fen in balance.items() if fen}

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table but the lease, ordered; to compare two worlds."""
        found = {}
        with self.db.read() as conn:
            for table in tables.metadata.sorted_tables:
                if table.name not in ("lease",):
                    rows = [tuple(row) for row in conn.execute(sa.select(table))]
                    found[table.name] = sorted(rows, key=repr)
        return found

    # --- the bank ----------------------------------------------------------------------------------------------------

    def accept(self, batch: Batch, bank_batch_no: str | None = None, status: str = "0", number: int = 1, message: str = "") -> Path:
        """The bank's BDC107 answer about a batch."""
        bank_batch_no = f"B{batch.batch_no:06d}" if bank_batch_no is None else bank_batch_no
        text = (
            f"TxUnitNo={self.policy.code}\nSendSeqNo={batch.send_no}\nBatchNo={bank_batch_no}\nTxStatus={status}\n"
            f"TxDate={batch.settlement_on:%Y%m%d}\nRtnCode={'00000' if status != '3' else 'E9999'}\nRtnMessage={message}\n#END\n"
        )
        path = self.results / f"BDC107_RSP_{self.policy.code}{batch.send_no}_{number:03d}.TXT"
        path.write_bytes(text.encode("gb18030"))
        return path

    def answer(
        self,
        batch: Batch,
        verdicts: Mapping[int, str] | Callable[[int], str] | None = None,
        *,
        day: date | None = None,
        edit: Callable[[list[dict[str, str]], dict[str, str]], None] | None = None,
        name: str | None = None,
    ) -> Path:
        """The bank's result file: ordinal → ok, failed or pending (default ok). `edit` may change rows and summary before it is written."""
        if batch.profile in ("bdc103", "bdc104") and not any(self.results.glob(f"**/BDC107_RSP_*{batch.send_no}_001.TXT*")):
            self.accept(batch)
        layout = self.outbound.layouts[batch.profile]
        result = self.outbound.results[layout.result]
        said = (lambda n: verdicts.get(n, "ok")) if isinstance(verdicts, Mapping) else verdicts or (lambda n: "ok")
        text = (lambda fen: str(fen)) if result.unit == "fen" else (lambda fen: f"{fen // 100}.{fen % 100:02d}")
        when = day or batch.settlement_on
        rows, sums = [], {"good": [0, 0], "bad": [0, 0]}
        for payment in self.payments(batch.batch_no):
            verdict = said(payment["ordinal"])
            party = "payee" if batch.direction == "out" else "payer"
            rows.append(
                {
                    "ordinal": str(payment["ordinal"]),
                    "amount": text(payment["amount_fen"]),
                    "account": payment["payee_account"],
                    "name": payment["payee_name"],
                    f"{party}_account": payment["payee_account"],
                    f"{party}_name": payment["payee_name"],
                    "payment_no": payment["payment_no"],
                    "code": {"ok": "00000", "failed": "E0012", "pending": "99999"}[verdict],
                    "text": {"ok": "成功", "failed": "户名不符", "pending": "处理中"}[verdict],
                    "host_date": f"{when:%Y%m%d}" if verdict == "ok" else "",
                    "host_serial": f"H{batch.batch_no:04d}{payment['ordinal']:08d}" if verdict == "ok" else "",
                }
            )
            if verdict != "pending":
                total = sums["good" if verdict == "ok" else "bad"]
                total[0], total[1] = total[0] + 1, total[1] + payment["amount_fen"]
        summary = {
            "date": f"{when:%Y%m%d}",
            "unit_no": self.policy.code,
            "bank_batch_no": f"B{batch.batch_no:06d}",
            "count": str(batch.payment_count),
            "total": text(batch.amount_fen),
            "good_count": str(sums["good"][0]),
            "good_total": text(sums["good"][1]),
            "bad_count": str(sums["bad"][0]),
            "bad_total": text(sums["bad"][1]),
        }
        if edit is not None:
            edit(rows, summary)
        newline = layout.newline
        tail = result.separator if result.terminated else ""

        def line(fields: Sequence[str], values: Mapping[str, str]) -> str:
            return result.separator.join(values.get(f, "") for f in fields) + tail + newline

        content = (
            result.summary_mark + line(result.summary, summary) + "".join(line(result.detail, row) for row in rows) + result.end + newline
        )
        known = {"unit_no": self.policy.code, "send_no": batch.send_no, "bank_batch_no": f"B{batch.batch_no:06d}"}
        if "{day_no}" in result.file_name:
            known |= {"date": batch.file_name[10:18], "day_no": batch.file_name[19:22]}
        path = self.results / (name or profiles.fill(result.file_name, known))
        path.write_bytes(content.encode(result.encoding))
        return path

    def statement(self, rows: Sequence[Mapping[str, Any]], day: date, number: int = 1) -> Path:
        """A movement file; each row may give host_serial, account, amount (fen, out negative), date, summary, remark."""
        layout = self.outbound.movements
        own = self.policy.settlement[0].paying_account.number
        text = ""
        for i, row in enumerate(rows, 1):
            fen = int(row["amount"])
            values = {"ordinal": str(i), "own_account": own, "name": "测试", "date": f"{row.get('date', day):%Y%m%d}"}
            values |= {"amount": f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d}"}
            values |= {key: str(row[key]) for key in ("host_serial", "account", "summary", "remark", "own_account") if key in row}
            text += "".join(values.get(f, "") + layout.separator for f in layout.fields) + "\n"
        path = self.results / f"BDC_MOV_{self.policy.code}{day:%Y%m%d}_{number:03d}.DAT"
        path.write_bytes((text + f"{layout.end}\n").encode(layout.encoding))
        return path


def later(day: date, days: int) -> date:
    return day + timedelta(days=days)
