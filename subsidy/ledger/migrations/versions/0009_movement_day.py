"""A bank may use a serial again: what makes an account movement one is its day too."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    # SQLite builds the table anew: the empty default must be said again, and the triggers go with the old one.
    with op.batch_alter_table("movement") as table:
        table.drop_constraint("uq_movement_centre_host_serial_amount_fen", type_="unique")
        table.create_unique_constraint(
            "uq_movement_centre_host_serial_amount_fen_moved_on", ["centre", "host_serial", "amount_fen", "moved_on"]
        )
        table.alter_column("payment_no", server_default="")
    if op.get_bind().dialect.name != "postgresql":
        for act in ("UPDATE", "DELETE"):
            refuse = "BEGIN SELECT RAISE(ABORT, 'movement is append-only'); END"
            op.execute(f"CREATE TRIGGER movement_no_{act.lower()} BEFORE {act} ON movement {refuse}")
