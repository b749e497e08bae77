"""What is already known, as intake asks for it. Intake itself reads no database; the night builds a context from the register."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, Protocol

import pyarrow as pa

from subsidy.facts.schema import TABLES
from subsidy.facts.store import Segment, Store
from subsidy.facts.view import view
from subsidy.intake.result import OpenRow


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file in the register: a version of `identity`."""

    file_no: int
    sha256: str
    identity: str
    version: int
    state: Literal["booked", "refused", "duplicate", "held"]
    business_date: date


class Context(Protocol):
    """The knowledge before the file that is being read."""

    def versions(self, identity: str) -> Sequence[KnownFile]:
        """Files of this identity in the register, of any state, by file number."""

    def latest_full(self, table: str) -> date | None:
        """Business date of the latest booked file that replaced the whole `table`; None when there is none."""

    def file_date(self, file_no: int) -> date | None:
        """Business date of a registered file; None when unknown."""

    def existing(self, table: str, buckets: Collection[int] | None, keys: pa.Table | None) -> pa.Table:
        """Facts of `table` as known now (`FactTable.arrow`), limited to `buckets` and to rows that agree with one of `keys` in all its
        columns."""

    def parents(self, table: str) -> pa.Table:
        """All live rows of agreement, contract or account: columns ``key`` and ``contract_no``."""

    def open_quarantine(self, table: str) -> Sequence[OpenRow]:
        """Rows of `table` that lie in quarantine since intake, by quarantine number."""


@dataclass(slots=True)
class StoreContext:
    """A `Context` over the store and plain rows of the register. `segments`, `files` and `open_rows` are the centre's, all of them up
    to now; of `files` those with state booked, held or refused."""

    store: Store
    segments: Sequence[Segment]
    known_on: date
    files: Sequence[KnownFile] = ()
    open_rows: Sequence[OpenRow] = ()
    #: (table name, business date) of booked files that replaced a whole table.
    full_dates: Sequence[tuple[str, date]] = ()
    _parents: dict[str, pa.Table] = field(default_factory=dict)

    def versions(self, identity: str) -> Sequence[KnownFile]:
        """See `Context`."""
        return sorted((f for f in self.files if f.identity == identity), key=lambda f: f.file_no)

    def latest_full(self, table: str) -> date | None:
        """See `Context`."""
        return max((day for name, day in self.full_dates if name == table), default=None)

    def file_date(self, file_no: int) -> date | None:
        """See `Context`."""
        return next((f.business_date for f in self.files if f.file_no == file_no), None)

    def existing(self, table: str, buckets: Collection[int] | None, keys: pa.Table | None) -> pa.Table:
        """See `Context`."""
        if not any(s.table_name == table for s in self.segments):
            return TABLES[table].arrow.empty_table()
        return view(self.store, self.segments, table, self.known_on, buckets, keys=keys)

    def parents(self, table: str) -> pa.Table:
        """See `Context`."""
        if table not in self._parents:
            rows = view(self.store, self.segments, table, self.known_on)
            self._parents[table] = pa.table({"key": rows[TABLES[table].key[0]], "contract_no": rows["contract_no"]})
        return self._parents[table]

    def open_quarantine(self, table: str) -> Sequence[OpenRow]:
        """See `Context`."""
        return sorted((r for r in self.open_rows if r.table_name == table), key=lambda r: r.quarantine_no)
