"""Count what is serious among a night's findings without reading them all."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_finding_serious", "finding", ["centre", "severity", "run_no", "stage"])
