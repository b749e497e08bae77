"""Which centres have a settlement in a period. A folder that cannot be loaded counts as due: it is waited for and named, not forgotten."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from subsidy.errors import SubsidyError


def centres_due(rules: Path, period: str) -> list[str]:
    """Folder names, sorted, of the centres whose settlement has the cut-off month `period` (2026-10).

    Airflow's scheduler asks every second while a month waits, so an answer is kept until a file of the rules changes."""
    files = sorted([*rules.glob("*/policy.yaml"), *rules.glob("*/outbound.yaml"), *rules.glob("parameters/*")])
    stamps = tuple((str(path), path.stat().st_mtime_ns) for path in files if path.is_file())
    return list(_due(rules, period, stamps))


@lru_cache(maxsize=64)
def _due(rules: Path, period: str, _stamps: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    from subsidy.policy import centre_names  # every process of Airflow loads the plugin; only the scheduler asks

    return tuple(centre for centre in sorted(centre_names(rules)) if _settles(rules, centre, period))


def _settles(rules: Path, centre: str, period: str) -> bool:
    from subsidy.clearing.overall import settles_in
    from subsidy.policy import load_centre

    try:
        return settles_in(load_centre(rules, centre), period)
    except SubsidyError:
        return True
