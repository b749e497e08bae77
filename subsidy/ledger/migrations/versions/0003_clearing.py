"""What clearing remembers beside amounts: why they were carried or held, and the number a bank gave to a batch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("settlement", sa.Column("detail", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("batch", sa.Column("bank_batch_no", sa.Text(), nullable=False, server_default=""))
    dead = sa.text("state IN ('failed', 'returned', 'released')")
    op.create_index("ix_payment_event_dead", "payment_event", ["centre", "payment_no"], sqlite_where=dead, postgresql_where=dead)
    serial = sa.text("host_serial <> ''")
    op.create_index("ix_payment_event_serial", "payment_event", ["centre", "host_serial"], sqlite_where=serial, postgresql_where=serial)
    op.create_index("ix_payment_account", "payment", ["centre", "payee_account"])
