"""What the database itself refuses: changing or deleting what is append-only, and anything that must only grow going back."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

APPEND_ONLY = (
    "quarantine",
    "quarantine_release",
    "finding",
    "posting",
    "posting_cause",
    "journal",
    "journal_block",
    "payment",
    "payment_item",
    "payment_event",
    "movement",
    "write_off",
    "approval",
    "audit",
    "segment",
    "seal",
    "restoration",
    "restoration_match",
)
ONLY_GROWS = {"lease": "token", "counter": "next_no", "centre_state": "open_business_date"}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            """
            CREATE FUNCTION subsidy_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
            END $$
            """
        )
        op.execute(
            """
            CREATE FUNCTION subsidy_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
            END $$
            """
        )
        for table in APPEND_ONLY:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION subsidy_append_only()"
            )
        for table, column in ONLY_GROWS.items():
            op.execute(
                f"CREATE TRIGGER {table}_only_grows BEFORE UPDATE ON {table} FOR EACH ROW "
                f"WHEN (NEW.{column} < OLD.{column}) EXECUTE FUNCTION subsidy_only_grows()"
            )
            op.execute(
                f"CREATE TRIGGER {table}_stays BEFORE DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION subsidy_only_grows()"
            )
        return
    for table in APPEND_ONLY:
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    for table, column in ONLY_GROWS.items():
        op.execute(
            f"CREATE TRIGGER {table}_only_grows BEFORE UPDATE ON {table} WHEN NEW.{column} < OLD.{column} "
            f"BEGIN SELECT RAISE(ABORT, '{table} only grows'); END"
        )
        op.execute(f"CREATE TRIGGER {table}_stays BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, '{table} only grows'); END")
