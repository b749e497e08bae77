"""Memory that was freed goes back to the machine: allocators keep it, and what they keep adds up over the steps of a night."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import pyarrow as pa


def give_back() -> None:
    """Return what Arrow and the C library hold free. Costs milliseconds; decides memory, never a result."""
    pa.default_memory_pool().release_unused()
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trim() -> Any:
    """glibc's malloc_trim; None where the C library has none and gives memory back by itself."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
