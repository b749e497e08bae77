"""Delimited text with any separator, with or without one after the last field. Decoded first, split after."""

from __future__ import annotations

from dataclasses import dataclass

from subsidy.intake.delivery import Block
from subsidy.intake.dialects.cut import column_names, cut
from subsidy.intake.dialects.lines import decode
from subsidy.intake.profile import Profile, TableSpec


@dataclass(frozen=True, slots=True)
class DelimitedChunk:
    """Whole lines of a delimited file, from line `first_line`."""

    profile: Profile
    spec: TableSpec
    first_line: int
    data: bytes

    def parse(self) -> Block:
        """Decode, split, cut. FileRefused ``FILE-ENCODING`` when it does not decode."""
        utf8 = decode(self.data, self.profile, self.first_line)
        names = column_names(self.spec, self.profile.separator_after_last)
        wanted = [c.column.code for c in self.spec.columns if c.column is not None]
        return cut(utf8, self.data, self.first_line, names, wanted, self.profile.separator)


def split_line(line: str, profile: Profile) -> list[str]:
    """Fields of a header, trailer or flag line. An unclosed last field where the separator must follow gives an empty list."""
    fields = line.split(profile.separator)
    if profile.separator_after_last:
        if fields[-1]:
            return []
        fields.pop()
    return fields
