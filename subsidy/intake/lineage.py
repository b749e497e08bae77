"""Which agreements, contracts and accounts are known while a file is read: those of before, and those the file itself has brought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from subsidy.facts.schema import TABLES
from subsidy.intake.context import Context
from subsidy.intake.parents import Parents
from subsidy.intake.result import TableResult


class Lineage(Protocol):
    """Where rows belong."""

    def parents(self, table: str) -> Parents:
        """The known rows of agreement, account or contract, those of the same delivery included."""


class KnownLineage:
    """Known rows of the parent tables. `brought` are the tables of the file so far; it may grow, see `changed`."""

    def __init__(self, context: Context, brought: Mapping[str, TableResult] | None = None) -> None:
        self._context = context
        self._brought = brought if brought is not None else {}
        self._parents: dict[str, Parents] = {}

    def parents(self, table: str) -> Parents:
        """The live rows of `table` (agreement, contract or account). Built once; not to be built by several threads at once."""
        if table not in self._parents:
            known = [self._context.parents(table)]
            if table in self._brought:
                key = TABLES[table].key[0]
                for part in self._brought[table].facts.parts():
                    live = part.filter(pc.invert(part["withdrawn"]))
                    known.append(pa.table({"key": live[key], "contract_no": live["contract_no"]}))
            self._parents[table] = Parents(pa.concat_tables(known))
        return self._parents[table]

    def changed(self, table: str) -> None:
        """Facts of `table` were added: look its rows up anew."""
        self._parents.pop(table, None)
