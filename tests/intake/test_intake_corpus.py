"""Every input that fuzzing has kept is read again: refused or tied, never an accident."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FUZZ = Path(__file__).resolve().parents[1] / "fuzz" / "fuzz_intake.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_intake", FUZZ)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_intake"] = module
    spec.loader.exec_module(module)
    return module


fuzz = load()


@pytest.mark.parametrize("parser", fuzz.PARSERS)
def test_the_corpus_is_read_without_accident(parser: str, tmp_path: Path) -> None:
    target = fuzz.Target(parser, tmp_path)
    seeds = target.seeds()
    assert len(seeds) > 5, "the corpus is kept beside this test"
    for data in seeds:
        target.feed(data)
