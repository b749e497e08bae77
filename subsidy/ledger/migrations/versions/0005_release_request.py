"""Rows that a person asked to be released from quarantine, until the next night books them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "release_request",
        sa.Column("centre", sa.Text(), nullable=False),
        sa.Column("quarantine_no", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("centre", "quarantine_no", name=op.f("pk_release_request")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER release_request_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON release_request "
            "FOR EACH STATEMENT EXECUTE FUNCTION subsidy_append_only()"
        )
        return
    for act in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER release_request_no_{act.lower()} BEFORE {act} ON release_request "
            "BEGIN SELECT RAISE(ABORT, 'release_request is append-only'); END"
        )
