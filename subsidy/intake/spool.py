"""Rows on their way: kept in memory while they are few, in scratch files by range of buckets when they are many.

Memory is bounded by what is held at once plus the largest range; a file of any length gives ranges of about that size, as far as its rows
belong to many contracts.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from subsidy.facts.schema import BUCKETS

#: Bytes held before they go to scratch files.
HELD_BYTES = 64 << 20


class Spool:
    """Rows with a column ``bucket``, handed back in ascending ranges of buckets."""

    def __init__(self, schema: pa.Schema, scratch: Path | None = None, ranges: int = 1, held_bytes: int = HELD_BYTES) -> None:
        """There is one range until more than `held_bytes` have come; then there are `ranges`, a power of two up to 256."""
        assert ranges in (1, 2, 4, 8, 16, 32, 64, 128, 256)
        self.schema = schema
        self.rows = 0
        self.ranges = 1
        self.scratch = scratch
        self._ranges = ranges
        self._held: list[list[pa.Table]] = [[]]
        self.held_bytes = held_bytes
        self._held_bytes = 0
        self._files: list[tuple[Path, Any, Any] | None] = [None]
        self._paths: list[list[Path]] = [[]]

    def add(self, table: pa.Table) -> None:
        """Take rows of any buckets."""
        if not table.num_rows:
            return
        self.rows += table.num_rows
        self._held_bytes += table.nbytes
        if self.ranges == 1:
            self._held[0].append(table)
            if self._ranges > 1 and self._held_bytes > self.held_bytes:
                self._divide()
            return
        self._distribute(table)
        if self._held_bytes > self.held_bytes:
            self._flush()

    def _divide(self) -> None:
        """From one range in memory to several, which are spilled."""
        whole = self._held[0]
        self.ranges = self._ranges
        self._held = [[] for _ in range(self.ranges)]
        self._files, self._paths = [None] * self.ranges, [[] for _ in range(self.ranges)]
        while whole:
            self._distribute(whole.pop(0))
        self._flush()

    def _distribute(self, table: pa.Table) -> None:
        index = table["bucket"].to_numpy().astype(np.int32) // (BUCKETS // self.ranges)
        order = np.argsort(index, kind="stable")
        edges = np.searchsorted(index[order], np.arange(self.ranges + 1))
        sorted_rows = table.take(pa.array(order))
        for i in range(self.ranges):
            if edges[i + 1] > edges[i]:
                # A slice would keep the whole block alive.
                self._held[i].append(sorted_rows.slice(edges[i], edges[i + 1] - edges[i]))

    def _flush(self) -> None:
        for i, tables in enumerate(self._held):
            if tables:
                self._writer(i).write_table(pa.concat_tables(tables))
                self._held[i] = []
        self._held_bytes = 0

    def _writer(self, i: int) -> Any:
        opened = self._files[i]
        if opened is None:
            descriptor, name = tempfile.mkstemp(suffix=".arrow", dir=self.scratch)
            os.close(descriptor)
            sink = pa.OSFile(name, "wb")
            opened = (Path(name), sink, pa.ipc.new_stream(sink, self.schema))
            self._files[i] = opened
            # Whoever reads a range ends its file: what comes later goes into another.
            self._paths[i].append(opened[0])
        return opened[2]

    def parts(self) -> Iterator[pa.Table]:
        """The rows of each range that has any, ascending, in the order in which they were added. May be read more than once."""
        for _, part in self.numbered():
            yield part()

    def numbered(self) -> Iterator[tuple[int, Callable[[], pa.Table]]]:
        """(range, function that reads its rows) of each range that has any."""
        for i in range(self.ranges):
            if self._held[i] or self._paths[i]:
                yield i, partial(self._part, i)

    def _part(self, i: int) -> pa.Table:
        opened = self._files[i]
        if opened is not None:
            opened[2].close()
            opened[1].close()
            self._files[i] = None
        tables = []
        for path in self._paths[i]:
            with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as reader:
                tables.append(reader.read_all())
        return pa.concat_tables([*tables, *self._held[i]])

    @property
    def span(self) -> int:
        """Buckets a range covers."""
        return BUCKETS // self.ranges

    def close(self) -> None:
        """Drop the rows and remove the scratch files."""
        for opened in self._files:
            if opened is not None:
                opened[1].close()
        for path in (path for paths in self._paths for path in paths):
            path.unlink(missing_ok=True)
        self._held = [[] for _ in range(self.ranges)]
        self._paths = [[] for _ in range(self.ranges)]
        self._files = [None] * self.ranges
