"""Find the movements of a payment or a batch without reading every statement."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("ix_movement_payment", "movement", ["centre", "payment_no"])
    op.create_index("ix_movement_batch", "movement", ["centre", "batch_no"])
