"""Screenshots for people, in ``tests/output``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).resolve().parent.parent / "output"


def picture(page: Any, name: str, width: int = 0) -> Path:
    """A screenshot of the whole page."""
    OUTPUT.mkdir(exist_ok=True)
    if width:
        page.set_viewport_size({"width": width, "height": 844})
    path = OUTPUT / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    return path
