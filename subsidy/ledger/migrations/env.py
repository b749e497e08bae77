"""Alembic's entry: runs on the connection that `subsidy.ledger.migrate` hands over, inside its transaction."""

from alembic import context

from subsidy.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
