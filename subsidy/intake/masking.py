"""Personal data as it may be shown: by character, never by byte (standards section 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

STAR = "*"


def mask_name(name: str) -> str:
    """李某某 → 李**: the first character stays."""
    return name[:1] + STAR * (len(name) - 1)


def _ends(text: str, head: int, tail: int) -> str:
    if len(text) <= head + tail:
        # Too short to keep both ends: keep less than half, so that nothing can be read off.
        keep = len(text) // 4
        return text[:keep] + STAR * (len(text) - keep)
    return text[:head] + STAR * (len(text) - head - tail) + text[-tail:]


def mask_id(number: str) -> str:
    """First 3 and last 4 characters of an identity document number stay."""
    return _ends(number, 3, 4)


def mask_account(number: str) -> str:
    """First 6 and last 4 characters of an account number stay."""
    return _ends(number, 6, 4)


def mask_phone(number: str) -> str:
    """First 3 and last 4 characters of a telephone number stay."""
    return _ends(number, 3, 4)


def mask_address(text: str) -> str:
    """The first 6 characters of an address stay."""
    return text[:6] + STAR * max(0, len(text) - 6)


_MASKS: dict[str, Callable[[str], str]] = {
    "": lambda text: text, "name": mask_name, "id": mask_id, "account": mask_account, "address": mask_address,
}


def mask(kind: Literal["", "name", "id", "account", "address"], text: str, limit: int = 60) -> str:
    """`text` as it may be shown in a finding: masked by its kind, control characters made visible, at most `limit` characters."""
    masked = _MASKS[kind](text)
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in masked[:limit])
    return shown + ("…" if len(masked) > limit else "")
