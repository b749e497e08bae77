"""Requests to write a receivable off, until another person answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "write_off_request",
        sa.Column("centre", sa.Text(), nullable=False),
        sa.Column("request_no", sa.BigInteger(), nullable=False),
        sa.Column("agreement_no", sa.Text(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.CheckConstraint("amount_fen > 0", name=op.f("ck_write_off_request_positive")),
        sa.PrimaryKeyConstraint("centre", "request_no", name=op.f("pk_write_off_request")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER write_off_request_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON write_off_request "
            "FOR EACH STATEMENT EXECUTE FUNCTION subsidy_append_only()"
        )
        return
    for act in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER write_off_request_no_{act.lower()} BEFORE {act} ON write_off_request "
            "BEGIN SELECT RAISE(ABORT, 'write_off_request is append-only'); END"
        )
