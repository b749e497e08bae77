"""The disk fills up at every file that a night writes: each time a plain message, and in the end the same ledger and files."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import traceback
from pathlib import Path
from typing import Any

import pytest
from killing import different
from playing import play, send, state, visible_files

from fixtures import story
from subsidy.errors import TransientError
from subsidy.night import api
from subsidy.settings import Settings

CENTRE = "wenzhou"
#: What people are told, by who was writing.
TOLD = {"MACHINE-REFUSED", "FILE-DISK", "PUBLISH-DISK"}


class Filling:
    """Lets every place that opens a file for writing, copies one or makes a folder fail once."""

    def __init__(self, patched: pytest.MonkeyPatch, home: Path) -> None:
        self.home, self.failed = str(home), set[str]()
        for module, name in ((os, "open"), (os, "mkdir"), (os, "replace"), (shutil, "copyfile")):
            patched.setattr(module, name, self.around(getattr(module, name), name))
        patched.setattr("builtins.open", self.around(open, "open"))
        patched.setattr("io.open", self.around(open, "open"))

    def around(self, original: Any, name: str) -> Any:
        def failing(*args: Any, **kwargs: Any) -> Any:
            if any(isinstance(a, str | Path) and str(a).startswith(self.home) for a in args) and writes(name, args, kwargs):
                self.here(name)
            return original(*args, **kwargs)

        return failing

    def here(self, name: str) -> None:
        """Fail, unless this way to write has failed before."""
        way = name + " " + " ".join(f"{Path(f.filename).stem}.{f.name}" for f in traceback.extract_stack() if "/subsidy/" in f.filename)
        if way not in self.failed:
            self.failed.add(way)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def writes(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if name != "open":
        return True
    mode = kwargs.get("mode", args[1] if len(args) > 1 else "r")
    return bool(mode & (os.O_WRONLY | os.O_RDWR)) if isinstance(mode, int) else not set(mode) <= set("rbt")


def test_a_full_disk_is_said_plainly_and_costs_nothing(settings: Settings, tmp_path: Path) -> None:
    play(settings, CENTRE, (1,))
    story.deliver(settings.home, CENTRE, 2)
    home = tmp_path / "broken"
    shutil.copytree(settings.home, home)
    broken = dataclasses.replace(
        settings, home=home, database_url=f"sqlite:///{home / 'ledger.db'}", store_url=f"file://{home / 'store'}"
    )
    [day] = [n.business_date for n in story.nights() if n.centre == CENTRE and n.number == 2]

    def work(one: Settings) -> None:
        api.run_night(one, CENTRE, day, "夜间")
        send(one, CENTRE)
        api.refresh_reports(one, CENTRE)

    work(settings)
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        filling = Filling(patched, home)
        for _ in range(200):
            try:
                work(broken)
                break
            except TransientError as error:
                told.append(error.message.code)
    assert set(told) == TOLD and len(told) > 25, filling.failed
    assert not different(state(broken), state(settings))
    assert not different(visible_files(broken), visible_files(settings))
