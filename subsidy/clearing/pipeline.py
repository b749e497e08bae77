"""One step ahead: the next piece is worked on in a second thread while this one is used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """`work(item)` for each item in order, one computed ahead; at most two results exist at a time. Errors come where they belong."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for item in items:
            begun = pool.submit(work, item)
            if waiting is not None:
                yield waiting.result()
            waiting = begun
        if waiting is not None:
            yield waiting.result()
