"""``python -m subsidy.ledger.migrations NAME``: write a new revision with the difference between tables.py and the migrations so far."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from subsidy.ledger.database import Database
from subsidy.ledger.migrate import SCRIPTS, configuration


def main(name: str) -> None:
    """Write the revision ``NAME`` (its number is the next free one); look at it before it is committed."""
    number = f"{len(list((SCRIPTS / 'versions').glob('[0-9]*.py'))) + 1:04d}"
    with tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{Path(folder) / 'empty.db'}")
        if number != "0001":
            db.migrate()
        with db.raw() as conn:
            command.revision(configuration(conn), message=name, autogenerate=True, rev_id=number)
        db.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
