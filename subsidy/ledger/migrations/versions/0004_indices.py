"""Indices: over the few entries that move a receivable, and over the files of a batch, so that neither is found by reading everything."""

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
    op.create_index("ix_published_file_batch", "published_file", ["centre", "batch_no"])
