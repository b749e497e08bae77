"""A file checked against its profile by itself: nothing is known, nothing is booked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa

from subsidy.facts.schema import TABLES
from subsidy.intake.arrival import Arrival
from subsidy.intake.context import KnownFile
from subsidy.intake.profile import Profiles
from subsidy.intake.read import read
from subsidy.intake.result import Intake, OpenRow


class NothingKnown:
    """A `Context` in which no file was ever booked."""

    def versions(self, identity: str) -> Sequence[KnownFile]:
        """None."""
        return ()

    def latest_full(self, table: str) -> date | None:
        """None."""
        return None

    def file_date(self, file_no: int) -> date | None:
        """None."""
        return None

    def existing(self, table: str, buckets: Collection[int] | None, keys: pa.Table | None) -> pa.Table:
        """No rows."""
        return TABLES[table].arrow.empty_table()

    def parents(self, table: str) -> pa.Table:
        """No rows."""
        return pa.table({"key": pa.array([], pa.string()), "contract_no": pa.array([], pa.string())})

    def open_quarantine(self, table: str) -> Sequence[OpenRow]:
        """None."""
        return ()


def check_file(path: Path, profiles: Profiles, scratch: Path | None = None) -> Intake:
    """Check the file at `path`, its companions beside it, against the profile its name follows. The result must not be booked.

    Whether the rows' agreements and accounts are known is not asked, nor is the business date compared with a night's.
    """
    profile = profiles.for_name(path.name)
    companions = {}
    if profile is not None:
        companions = {s: p for s in profile.suffixes if (p := path.with_name(path.name + s)).is_file()}
    stat = path.stat()
    arrival = Arrival(path, path.name, profile.name if profile is not None else "", companions, stat.st_size, stat.st_mtime_ns)
    return read(arrival, profiles, NothingKnown(), file_no=0, known_on=date(2099, 12, 31), scratch=scratch, checking=True)
