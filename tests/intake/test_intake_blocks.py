"""Blocks of a file: however it is cut, the same lines and the same rows, also where a quoted field holds line feeds."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from intake_desk import RULES
from intake_samples import NIGHT, D, arrival, deliver, rows

from subsidy.intake import load_profiles, read
from subsidy.intake.check import NothingKnown
from subsidy.intake.dialects.lines import Lines
from subsidy.intake.profile import Limits

FIELD = st.text('ab",\n李', max_size=6)


class Pipe(io.RawIOBase):
    """A stream that cannot go back, as archives are."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        return self._data.readinto(buffer)  # type: ignore[arg-type]


@given(st.lists(st.lists(FIELD, min_size=2, max_size=2), min_size=1, max_size=12), st.integers(1, 40), st.booleans())
@example([['a"\n', "b"], ["a", "b"]], 4, True)
def test_records_stay_whole_wherever_a_block_ends(records: list[list[str]], block: int, seekable: bool) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(records)
    data = out.getvalue().encode()
    stream = io.BufferedReader(io.BytesIO(data) if seekable else Pipe(data))  # type: ignore[arg-type]
    # A record beyond a block is refused; so let no record be longer.
    longest = max(sum(2 * len(field.encode()) + 3 for field in record) for record in records)
    lines = Lines(stream, Limits(), quoted=True, block_bytes=block + longest)
    blocks = list(lines.blocks(trailer=False))
    assert b"".join(part for _, part in blocks) == data
    number = 1
    for first, part in blocks:
        assert first == number and part.count(b'"') % 2 == 0 and part.endswith(b"\n")
        number += part.count(b"\n")


@given(st.binary(max_size=200), st.integers(1, 64), st.booleans(), st.booleans())
def test_lines_are_lines_wherever_a_block_ends(data: bytes, block: int, seekable: bool, trailer: bool) -> None:
    stream = io.BufferedReader(io.BytesIO(data) if seekable else Pipe(data))  # type: ignore[arg-type]
    lines = Lines(stream, Limits(), block_bytes=block)
    blocks = list(lines.blocks(trailer))
    assert all(part.endswith(b"\n") for _, part in blocks[:-1])
    body = b"".join(part for _, part in blocks)
    if not trailer:
        assert body == data
        return
    last = data[data.rfind(b"\n", 0, max(len(data) - 1, 0)) + 1 :]
    assert body + last == data
    assert lines.last() == last.removesuffix(b"\n").removesuffix(b"\r")


@pytest.mark.parametrize("block", [64, 100, 333, 1 << 20])
def test_a_quoted_line_feed_at_the_end_of_a_block(block: int, tmp_path: Path) -> None:
    """Whatever the size of the blocks, the same rows stand aside for the line feed in their text."""
    profiles = load_profiles(RULES, "zhejiang-provincial")
    base = profiles.profiles["main"]
    changes = [{"change_no": f"BG{n:03d}", "reason": "停\n缴" if n % 3 == 0 else "停缴", "effective_on": D(2026, 9, 1)} for n in range(30)]
    [path] = deliver(base, tmp_path, {"TX03": rows("TX03", *changes)})
    found = read(
        arrival(path, profiles), profiles, NothingKnown(), file_no=1, known_on=NIGHT, checking=True, block_bytes=block, workers=1
    )
    assert found.state == "booked" and (found.counts.booked, found.counts.quarantined) == (20, 10), (found.message, found.counts)
    assert [q.line_no for q in found.quarantined] == [2 + n + n // 3 for n in range(0, 30, 3)]
    assert all(q.code == "TEXT-CONTROL" and b"\n" in q.raw for q in found.quarantined)
