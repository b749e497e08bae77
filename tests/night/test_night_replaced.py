"""A file in the inbox is replaced at the very moment in which the night puts it away: the new one stays and is read next. Any name can be
put away."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fixtures import story
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import api, desk
from subsidy.night.take_in import TAKEN
from subsidy.settings import Settings

CENTRE, FIRST = "wenzhou", date(2026, 9, 11)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_replaced_while_it_is_put_away(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    story.deliver(settings.home, CENTRE, 1)
    inbox = settings.inbox(CENTRE)
    delivered = contents(inbox)
    replaced: set[str] = set()

    def meanwhile(move: Any) -> Any:
        def moved(source: Any, target: Any, **named: Any) -> None:
            path = Path(source)
            if path.parent == inbox and path.name in delivered and path.name not in replaced:
                replaced.add(path.name)
                path.unlink()
                path.write_bytes(b"another one")
            move(source, target, **named)

        return moved

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, meanwhile(getattr(os, name)))
    api.run_night(settings, CENTRE, FIRST, "夜间")
    registered = tables.file.c
    with open_database(settings).read() as conn:
        names = set(conn.execute(sa.select(registered.name).where(registered.centre == CENTRE)).scalars())
    assert names and names <= replaced
    assert {name: data for name, data in contents(inbox).items() if name in names} == dict.fromkeys(names, b"another one")
    assert not [path for path in (inbox / TAKEN).rglob("*") if path.is_file() and path.read_bytes() == b"another one"]


def test_two_files_of_one_name_in_one_night_are_both_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first was booked and put away, the step was interrupted, and another came under its name before it was run again."""
    inbox = settings.inbox(CENTRE)
    inbox.mkdir(parents=True)
    opened = api.open_night(settings, CENTRE, FIRST, "夜间")

    def put(text: str) -> None:
        (inbox / "notes.txt").write_text(text)
        os.utime(inbox / "notes.txt", (1e9, 1e9))  # long ago, as a file that is whole

    put("first")
    with monkeypatch.context() as cut:
        cut.setattr(desk, "release_asked", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            api.take_in(settings, CENTRE, opened["run_no"])
    put("second")
    assert api.take_in(settings, CENTRE, opened["run_no"])["files"] == 2
    assert contents(inbox / TAKEN / str(FIRST)) == {"notes.txt": b"first", "notes.txt.2": b"second"}


def test_name_that_is_no_utf8_or_very_long_is_refused_and_stops_nobody(settings: Settings) -> None:
    story.deliver(settings.home, CENTRE, 1)
    inbox = os.fsencode(settings.inbox(CENTRE))
    names = {"贷款.txt".encode("gbk"): r"\xb4\xfb\xbf\xee.txt", b"x" * 255: "x" * 255}
    for name in names:
        with open(os.path.join(inbox, name), "wb") as handle:
            handle.write(b"hello " + name)
        os.utime(os.path.join(inbox, name), (0, 0))
    api.run_night(settings, CENTRE, FIRST, "夜间")
    registered = tables.file.c
    with open_database(settings).read() as conn:
        states = dict(conn.execute(sa.select(registered.name, registered.state).where(registered.centre == CENTRE)).all())
    assert {states.pop(shown) for shown in names.values()} == {"refused"}
    assert states and set(states.values()) == {"booked"}
    assert set(names) <= set(os.listdir(os.path.join(inbox, TAKEN.encode(), str(FIRST).encode())))
