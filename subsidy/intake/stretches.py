"""Which lines of a file were booked, as stretches: a file of any length has few, unless its records span several lines each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from subsidy.intake.result import Stretches

#: Beyond these many stretches nobody reads them; memory stays bounded.
MOST = 100_000


class Lines:
    """Ascending line numbers, added block by block."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, int]] = []
        self.whole = True  # False when there were more stretches than `MOST`

    def add(self, numbers: NDArray[np.int64]) -> None:
        """Take the ascending line numbers of a block, none below those before."""
        if not len(numbers):
            return
        breaks = np.flatnonzero(np.diff(numbers) > 1)  # several records may stand on one line
        first = numbers[np.concatenate(([0], breaks + 1))].tolist()
        last = numbers[np.concatenate((breaks, [len(numbers) - 1]))].tolist()
        for begin, end in zip(first, last, strict=True):
            if self._parts and self._parts[-1][1] + 1 >= begin:
                self._parts[-1] = (self._parts[-1][0], end)
            elif len(self._parts) < MOST:
                self._parts.append((begin, end))
            else:
                self.whole = False
                return

    def without(self, lines: Iterable[int]) -> Stretches:
        """The stretches, less single `lines`; empty when not all of them are known."""
        if not self.whole:
            return ()
        gone = sorted(lines)
        kept: list[tuple[int, int]] = []
        at = 0
        for begin, end in self._parts:
            while at < len(gone) and gone[at] <= end:
                if gone[at] >= begin:
                    if gone[at] > begin:
                        kept.append((begin, gone[at] - 1))
                    begin = gone[at] + 1
                at += 1
            if begin <= end:
                kept.append((begin, end))
        return tuple(kept)


def shown(stretches: Stretches) -> str:
    """As people write them: ``2-5 7 9-12``."""
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in stretches)
