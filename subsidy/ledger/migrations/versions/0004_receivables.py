"""An index over the few entries that move a receivable, so that receivables are found without reading the whole journal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

REASONS = (
    "collect", "net", "opening", "opening_less", "overpaid", "reclass", "restore", "return_collect", "return_net", "unwrite", "write_off",
)  # fmt: skip


def upgrade() -> None:
    moves = sa.text("reason IN (" + ", ".join(f"'{reason}'" for reason in REASONS) + ")")
    op.create_index("ix_journal_receivable", "journal", ["centre", "agreement_no"], sqlite_where=moves, postgresql_where=moves)
