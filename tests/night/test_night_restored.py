"""The ledger is lost after a night that paid. The backup is restored, the nights since are run again from the raw files, and nothing is
paid twice: publication stays locked until every batch number is matched and a person has released it. It ends in the same journal.
The same when the backup holds the batch, but not that it left.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from playing import PEOPLE, approve, play, read_results, send, visible_files

from fixtures import bank, story
from subsidy.clearing import outbox, publish
from subsidy.errors import TerminalError
from subsidy.ledger import chain, restore, tables, verify
from subsidy.ledger.backup import backup
from subsidy.ledger.database import Database, open_database
from subsidy.night import api
from subsidy.settings import Settings

CENTRE, AT = "wenzhou", "2026-09-17T10:00:00+08:00"
SECOND, THIRD = date(2026, 9, 14), date(2026, 9, 18)


def head(settings: Settings) -> str:
    with open_database(settings).read() as conn:
        return chain.journal_head(conn, CENTRE)


def lost(settings: Settings, tmp_path: Path) -> tuple[Settings, str, dict[str, str]]:
    """A home as it was when the database was lost after night 3, the head of its journal, and every file that anybody could see."""
    play(settings, CENTRE, (1,))
    backup(open_database(settings), settings.store_url, tmp_path / "backup", AT)
    raw = tmp_path / "raw"
    for number in (2, 3):
        story.deliver(raw / str(number), CENTRE, number)
        shutil.copytree(raw / str(number) / "inbox", settings.home / "inbox", dirs_exist_ok=True)
        if number == 3:
            bank.run(settings.home, CENTRE, "story", THIRD)
            shutil.copytree(settings.results(CENTRE), raw / "results")
            api.read_results(settings, CENTRE, THIRD, "夜间")
        api.run_night(settings, CENTRE, THIRD if number == 3 else SECOND, "夜间")
        approve(settings, CENTRE)
    open_database(settings).dispose()
    return settings, head(settings), visible_files(settings)


def again(settings: Settings, number: int, raw: Path) -> None:
    """Run a night again from its raw files."""
    shutil.copytree(raw / str(number) / "inbox", settings.home / "inbox", dirs_exist_ok=True)
    api.run_night(settings, CENTRE, THIRD if number == 3 else SECOND, "夜间")


@pytest.mark.parametrize("archive", ["kept", "lost"])
def test_restored_and_replayed_to_the_same_hash(
    settings: Settings, tmp_path: Path, postgres_url: str, new_postgres: Callable[..., str], archive: str
) -> None:
    # One of both runs on PostgreSQL and comes back on SQLite, the other the other way round.
    there, back = (settings.database_url, new_postgres()) if archive == "kept" else (postgres_url, settings.database_url)
    settings, expected, seen = lost(dataclasses.replace(settings, database_url=there), tmp_path)
    settings = dataclasses.replace(settings, database_url=back)
    files = sorted(p.name for p in settings.outbox(CENTRE).glob("req_outer_*"))
    sent = {name: (settings.outbox(CENTRE) / name).read_bytes() for name in files}
    for name in files:  # the bank's machine took them away
        (settings.outbox(CENTRE) / name).unlink()
    db = Database(settings.database_url)
    restore.restore(db, settings.store_url, tmp_path / "backup", person="管理员", at=AT, known_centres=[CENTRE])
    if archive == "lost":
        for name in files:
            digest = seen[f"outbox/{CENTRE}/{name}"]
            (settings.home / "store" / "raw" / digest[:2] / digest).unlink()
    again(settings, 2, tmp_path / "raw")
    with db.transaction_system() as conn:
        b = tables.batch
        numbers = list(conn.execute(sa.select(b.c.batch_no).where(b.c.centre == CENTRE)).scalars())
        assert restore.pending(conn, CENTRE) == numbers != []
        found = restore.match_known(conn, CENTRE, settings.store_url, settings.outbox(CENTRE), person="核对人", at=AT)
        assert found == (dict.fromkeys(numbers, "outbox") if archive == "kept" else {})
    with pytest.raises(TerminalError, match="PUBLISH-LOCKED"):
        approve(settings, CENTRE)
    assert not list(settings.outbox(CENTRE).glob("req_outer_*"))
    with db.transaction_system() as conn:
        where: dict[str, Any] = {"store_url": settings.store_url, "outbox": settings.outbox(CENTRE)}
        for number in numbers if archive == "lost" else ():
            with pytest.raises(TerminalError, match="RESTORE-PENDING"):
                restore.release(conn, CENTRE, person="负责人", reason="核对完毕", at=AT, replayed_through=SECOND)
            restore.match(conn, CENTRE, number, "result", "res_outer_20260915_001.txt", **where, person="核对人", at=AT)
        (settings.outbox(CENTRE) / "req_outer_20260915_777.txt").write_bytes(b"")
        strangers = publish.unknown_files(conn, settings, CENTRE)
        assert strangers == ["req_outer_20260915_777.txt"]
        with pytest.raises(TerminalError, match="RESTORE-REPLAY"):
            restore.release(conn, CENTRE, person="负责人", reason="核对完毕", at=AT, replayed_through=SECOND, strangers=strangers)
        (settings.outbox(CENTRE) / strangers[0]).unlink()
        restore.release(conn, CENTRE, person="负责人", reason="核对完毕", at=AT, replayed_through=SECOND)
    published = api.publish(settings, CENTRE, "2026-09")
    assert published["state"] == "published" and set(files) <= set(published["taken"])
    assert not list(settings.outbox(CENTRE).glob("req_outer_*")), "what left before the loss is asked about, not written again"
    assert list(settings.outbox(CENTRE).glob("BDC110_*"))
    shutil.copytree(tmp_path / "raw" / "results", settings.results(CENTRE), dirs_exist_ok=True)
    told = api.read_results(settings, CENTRE, THIRD, "夜间")
    assert (told["blocked"], told["incomplete"]) == (0, 0)
    again(settings, 3, tmp_path / "raw")
    assert head(settings) == expected
    assert verify.verify(db, CENTRE) == [] and verify.verify_audit(db) == []
    now = visible_files(settings) | {f"outbox/{CENTRE}/{name}": seen[f"outbox/{CENTRE}/{name}"] for name in sent}
    vouchers = {name: digest for name, digest in seen.items() if "TX_VCH_" in name}
    assert vouchers and vouchers.items() <= now.items()
    db.dispose()


@pytest.mark.parametrize("upto", ["waiting", "approved", "publishing"])
def test_batch_built_before_the_backup_and_sent_after_it_is_not_sent_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upto: str
) -> None:
    play(settings, CENTRE, (1,))
    story.deliver(settings.home, CENTRE, 2)
    api.run_night(settings, CENTRE, SECOND, "夜间")
    waiting = api.pending_settlement(settings, CENTRE)
    assert waiting is not None
    for person in PEOPLE[: waiting["approvals_needed"]] if upto != "waiting" else ():
        assert api.answer_settlement(settings, CENTRE, "2026-09", person, "approve", waiting["content_hash"])["accepted"]
    if upto == "publishing":
        with monkeypatch.context() as cut:
            cut.setattr(outbox, "room_for", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                api.publish(settings, CENTRE, "2026-09")
    db = open_database(settings)
    with db.read() as conn:
        assert conn.execute(sa.select(tables.settlement.c.state)).scalar_one() == upto
    backup(db, settings.store_url, tmp_path / "backup", AT)
    shutil.copytree(settings.home / "store", tmp_path / "store")
    if upto == "waiting":
        send(settings, CENTRE)
    else:
        api.publish(settings, CENTRE, "2026-09")
    bank.run(settings.home, CENTRE, {"take": True}, SECOND)  # the bank fetches the files
    db.dispose()

    for file in settings.home.glob("ledger.db*"):
        file.unlink()
    shutil.rmtree(settings.home / "store")
    shutil.copytree(tmp_path / "store", settings.home / "store")
    db = Database(settings.database_url)
    restore.restore(db, settings.store_url, tmp_path / "backup", person="管理员", at=AT, known_centres=[CENTRE])
    where: dict[str, Any] = {"store_url": settings.store_url, "outbox": settings.outbox(CENTRE)}
    with db.transaction_system() as conn:
        numbers = list(conn.execute(sa.select(tables.batch.c.batch_no).order_by(tables.batch.c.batch_no)).scalars())
        assert restore.pending(conn, CENTRE) == numbers != []
        assert restore.match_known(conn, CENTRE, settings.store_url, settings.outbox(CENTRE), person="核对人", at=AT) == {}
        for number in numbers:
            with pytest.raises(TerminalError, match="RESTORE-PENDING"):
                restore.release(conn, CENTRE, person="负责人", reason="核对完毕", at=AT, replayed_through=SECOND)
            restore.match(conn, CENTRE, number, "asked", "银行电话答复：已收到", **where, person="核对人", at=AT)
        restore.release(conn, CENTRE, person="负责人", reason="核对完毕", at=AT, replayed_through=SECOND)
    # A person who overlooked it cannot give its lines to the next settlement.
    said = api.answer_settlement(settings, CENTRE, "2026-09", PEOPLE[0], "reject", waiting["content_hash"])
    assert not said["accepted"] and "已经发" in said["message"]
    published = send(settings, CENTRE) or api.publish(settings, CENTRE, "2026-09")
    assert published["state"] == "published" and len(published["taken"]) >= len(numbers)
    assert not list(settings.outbox(CENTRE).glob("req_outer_*")), "the bank has the file already"
    assert list(settings.outbox(CENTRE).glob("BDC110_*"))
    # From here on it is a batch like any other: the bank answers, and what it says is booked.
    bank.run(settings.home, CENTRE, {"take": True}, THIRD)
    told = read_results(settings, CENTRE, THIRD)
    assert told["blocked"] == 0 and told["applied"]["confirmed"] > 0
    assert verify.verify(db, CENTRE) == [] and verify.verify_audit(db) == []
    db.dispose()
