"""What the engine computed on the way to a line, kept when an explanation asks for it. Explanations read it; they compute nothing anew."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from subsidy.entitlement.columns import Index, Int64
from subsidy.entitlement.segments import Pieces

Factor = npt.NDArray[Any] | int


class Trace:
    """Per row of the book: the exact fraction, the limit w·I·(days inside / n), w, the segments, and named intermediate values."""

    def __init__(self) -> None:
        self.fractions: dict[int, Fraction] = {}
        self.limits: dict[int, Fraction] = {}
        self.shares: dict[int, Fraction] = {}
        self.notes: dict[int, dict[str, int]] = {}
        self._pieces: list[tuple[Index, Pieces]] = []

    def fraction(self, at: Index, numerators: Sequence[Factor], denominators: Sequence[Factor]) -> None:
        """The exact amounts of the rows `at` as products of factors."""
        _quotients(self.fractions, at, numerators, denominators)

    def limit(self, at: Index, numerators: Sequence[Factor], denominators: Sequence[Factor]) -> None:
        """The exact interest that the rows `at` may not exceed."""
        _quotients(self.limits, at, numerators, denominators)

    def share(self, at: Index, numerator: Int64, denominator: Int64) -> None:
        """w of the rows `at`."""
        _quotients(self.shares, at, (numerator,), (denominator,))

    def note(self, at: Index, **values: npt.NDArray[Any]) -> None:
        """Named intermediate values of the rows `at`."""
        for name, column in values.items():
            for row, value in zip(at.tolist(), column.tolist(), strict=True):
                self.notes.setdefault(row, {})[name] = value

    def pieces(self, at: Index) -> Pieces:
        """Where the segments of the rows `at` are recorded."""
        pieces = Pieces()
        self._pieces.append((at, pieces))
        return pieces

    def segments(self, row: int) -> list[tuple[int, int, int, int]]:
        """(first day, end, fund rate ppm, spread ppm) of each segment of a row, in order; neighbours with one rate are one segment."""
        found = []
        for at, pieces in self._pieces:
            for place, start, end, rate, spread in zip(pieces.place, pieces.start, pieces.end, pieces.rate, pieces.spread, strict=True):
                for i in np.flatnonzero(at[place] == row).tolist():
                    found.append((int(start[i]), int(end[i]), int(rate[i]), int(spread[i])))
        merged: list[tuple[int, int, int, int]] = []
        for piece in sorted(found):
            if merged and merged[-1][1] == piece[0] and merged[-1][2:] == piece[2:]:
                merged[-1] = (merged[-1][0], *piece[1:])
            else:
                merged.append(piece)
        return merged


def _quotients(target: dict[int, Fraction], at: Index, numerators: Sequence[Factor], denominators: Sequence[Factor]) -> None:
    for place, row in enumerate(at.tolist()):
        top = bottom = 1
        for factor in numerators:
            top *= int(factor if isinstance(factor, int) else factor[place])
        for factor in denominators:
            bottom *= int(factor if isinstance(factor, int) else factor[place])
        target[row] = Fraction(top, bottom)
