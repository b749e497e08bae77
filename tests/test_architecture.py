"""The house holds: imports run one way, the core touches neither clock nor database nor Airflow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = [
    "errors",
    "settings",
    "money",
    "calendar",
    "policy",
    "facts",
    "intake",
    "entitlement",
    "proof",
    "cases",
    "ledger",
    "clearing",
    "reports",
    "night",
    "cli",
    "portal",
]
CORE = ("money", "calendar", "policy", "facts", "intake", "entitlement", "proof", "cases")
PURE = ("money", "calendar", "entitlement", "proof")
SOURCES = sorted((ROOT / "subsidy").rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "subsidy").parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "subsidy" and len(parts) > 1 and parts[1] in ORDER:
            assert ORDER.index(parts[1]) <= ORDER.index(here), f"{path.name} in {here} imports {name}"
        if here in CORE:
            assert parts[0] not in {"sqlalchemy", "airflow", "alembic", "psycopg"}, f"{path} imports {name}"
        if here not in {"portal"}:
            assert parts[0] != "airflow", f"{path} imports {name}"


@pytest.mark.parametrize("path", [p for p in SOURCES if room(p) in PURE], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_reads_no_clock(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"now", "today", "utcnow", "monotonic", "perf_counter"}, f"{path}:{node.lineno}"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert "time" not in names, f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if room(p) in {*PURE, "policy", "intake", "facts", "ledger", "clearing", "reports", "night"}],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_no_float_makes_an_amount(path: Path) -> None:
    """Names that end in a money or rate unit are never converted to or from float."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            text = ast.unparse(node)
            assert not any(unit in text for unit in ("_fen", "_ppm", "amount", "rate")), f"{path}:{node.lineno} {text}"
