"""Find what is known of one contract, and which lines a period's figures are made of, for explanations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from subsidy.entitlement.periods import booked_between, nights_between
from subsidy.errors import TerminalError
from subsidy.facts.hashing import bucket_of
from subsidy.facts.schema import Facts
from subsidy.facts.store import Store
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import claims, context, manifest
from subsidy.policy import CentrePolicy
from subsidy.reports import ledger_rows
from subsidy.reports.ledger_rows import Earlier, Key, Window
from subsidy.settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """The lines that a period's figures are made of: those that the bank booked after `low` up to `high`, and the earlier ones that the
    period's runs posted anything to."""

    low: date
    high: date
    earlier: Mapping[Key, Earlier]

    def own(self, line: Mapping[str, Any]) -> bool:
        """Whether the bank booked a line (columns of `LINES`) in the period."""
        return bool(self.low < line["booked_on"] <= self.high)

    def posted(self, line: Mapping[str, Any]) -> Earlier | None:
        """What the period's runs posted to a line of an earlier period; None when it is none, or they posted nothing to it."""
        return None if self.own(line) else self.earlier.get((line["agreement_no"], line["account_no"], line["serial_no"]))

    def takes(self, line: Mapping[str, Any]) -> bool:
        """Whether a line is one of them."""
        return self.own(line) or self.posted(line) is not None


def asked(settings: Settings, policy: CentrePolicy, period: str, agreements: Collection[str]) -> Asked | None:
    """The lines of some agreements that a period's figures are made of; None when the centre has no such period."""
    with open_database(settings).read() as conn:
        window = ledger_rows.window(conn, policy.centre, period) or _unsettled(conn, policy, period)
        return None if window is None else Asked(window.low, window.high, ledger_rows.posted_earlier(conn, window, agreements))


def _unsettled(conn: Connection, policy: CentrePolicy, period: str) -> Window | None:
    """As `ledger_rows.window` will be when the period is settled, by the centre's calendar."""
    span, nights = booked_between(policy, period), nights_between(policy, period)
    if span is None:
        return None
    r, s = tables.run, tables.settlement
    settled = sa.select(sa.func.max(s.c.run_no)).where(s.c.centre == policy.centre, s.c.period < period)
    runs = sa.select(sa.func.max(r.c.run_no)).where(r.c.centre == policy.centre)
    after, last = (0, 0) if nights is None else (
        max(int(conn.execute(q).scalar_one() or 0) for q in (settled, runs.where(r.c.business_date < nights[0]))),
        int(conn.execute(runs.where(r.c.business_date <= nights[1])).scalar_one() or 0),
    )  # fmt: skip
    low = span[0] - timedelta(days=1) if span[0] > date.min else date.min
    return Window(policy.centre, period, date.min, low, span[1], after, last)


def load_for_contract(settings: Settings, centre: str, contract_no: str) -> tuple[Facts, CentrePolicy, dict[int, str]]:
    """Facts of one contract as the centre's last closed run knew them, the policy that run pinned, and file names by number.

    TerminalError ``LOOKUP-NO-RUN`` / ``LOOKUP-UNKNOWN`` when nothing ran yet or the contract is not known."""
    db = open_database(settings)
    r, f = tables.run, tables.file
    with db.read() as conn:
        run_no = conn.execute(sa.select(sa.func.max(r.c.run_no)).where(r.c.centre == centre, r.c.state == "closed")).scalar_one_or_none()
    if run_no is None:
        raise TerminalError("LOOKUP-NO-RUN", f"{centre} 还没有完成过夜间处理。", "没有改动任何数据。", "先运行该中心的夜间处理。")
    ctx = context.load(settings, centre, int(run_no))
    with db.read() as conn:
        known = manifest.segments(conn, centre, ctx.run.business_date, through_run=ctx.run.run_no)
        claimed = claims.seen(conn, ctx.run)
        names = {int(n): str(name) for n, name in conn.execute(sa.select(f.c.file_no, f.c.name).where(f.c.centre == centre))}
    bucket = int(bucket_of(pa.array([contract_no]))[0])
    facts = manifest.facts_of(Store(settings.store_url), known, ctx.run.business_date, range(bucket, bucket + 1), claimed)
    facts = manifest.only_contracts(facts, pa.array([contract_no]))
    if facts["agreement"].num_rows == 0:
        raise TerminalError(
            "LOOKUP-UNKNOWN", f"{centre} 没有借款合同 {contract_no} 的贴息协议。", "没有改动任何数据。", "核对中心和合同编号。"
        )
    return facts, ctx.policy, names
