"""Find what is known of one contract, for explanations."""

from __future__ import annotations

import pyarrow as pa
import sqlalchemy as sa

from subsidy.errors import TerminalError
from subsidy.facts.hashing import bucket_of
from subsidy.facts.schema import Facts
from subsidy.facts.store import Store
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import claims, context, manifest
from subsidy.policy import CentrePolicy
from subsidy.settings import Settings


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
