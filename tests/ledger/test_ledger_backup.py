"""A backup restored is the same ledger, on either database; publication stays locked until everything sent since is accounted for."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledger_house import CENTRE, CHART, DAY, event, lines, night, open_run, opening, pay, run_of
from test_ledger_verify import history

from subsidy.cli.main import main
from subsidy.errors import TerminalError
from subsidy.ledger import chain, lease, payments, restore, tables
from subsidy.ledger.backup import backup, database_hash, ordered
from subsidy.ledger.bulk import bulk_insert
from subsidy.ledger.database import Database, next_numbers
from subsidy.ledger.verify import verify
from subsidy.settings import Settings

AT = "2026-09-21T10:00:00+08:00"
RAW = b"2026|raw"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with the raw file that the house's ledger lists (SHA-256 ``f``), and one segment-like object named by its digest."""
    named = hashlib.sha256(RAW).hexdigest()
    for path in ("raw/f/f", f"raw/{named[:2]}/{named}"):
        file = tmp_path / "store" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(RAW)
    return f"file://{tmp_path / 'store'}"


@pytest.fixture
def fresh(tmp_path: Path, new_postgres: Callable[..., str]) -> Callable[[str], Database]:
    """A function that makes an empty database of a kind."""

    def make(kind: str) -> Database:
        if kind == "postgresql":
            return Database(new_postgres())
        return Database(f"sqlite:///{tmp_path / 'restored' / 'ledger.db'}")

    return make


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restored_ledger_is_the_same(database: Database, store: str, tmp_path: Path, fresh: Callable[[str], Database], kind: str) -> None:
    history(database)
    made = backup(database, store, tmp_path / "backup", AT)
    assert made.rows["posting"] == 7 and made.store_objects == 2
    with database.read() as conn:
        assert database_hash(conn) == made.content_hash
        head = chain.journal_head(conn, CENTRE)
        token = conn.execute(sa.select(tables.lease.c.token)).scalar_one()
    other = fresh(kind)
    done = restore.restore(other, store, tmp_path / "backup", person="管理员", at=AT, known_centres=[CENTRE, "wenzhou"])
    assert done.content_hash == made.content_hash
    assert verify(other, CENTRE) == []
    with other.read() as conn:
        assert chain.journal_head(conn, CENTRE) == head
        for name in ("posting", "posting_cause", "journal", "payment", "payment_item", "payment_event", "seal", "file"):
            table = tables.metadata.tables[name]
            with database.read() as before:
                assert conn.execute(ordered(conn, table)).all() == before.execute(ordered(before, table)).all() != []
        assert "管理员" in restore.locked(conn, CENTRE) and restore.locked(conn, "wenzhou")
    # A process that survived from after the backup holds a token that will not come again soon.
    assert lease.acquire(other, CENTRE, "night", 1e9, 60) > token + 1000
    night(other, 5, lines())
    assert verify(other, CENTRE) == []
    other.dispose()


def test_a_replay_reaches_the_same_hash(database: Database, store: str, tmp_path: Path, fresh: Callable[[str], Database]) -> None:
    def later(db: Database) -> str:
        """What happened after the backup: two nights and a confirmed batch."""
        night(db, 2, lines({"payable_fen": 700}), openings=opening(50))
        with db.transaction_system() as conn:
            pay(conn, {"P1": {("X1", "A1", "S1"): 700}}, 2)
            event(conn, "P1", "sent", 2)
            event(conn, "P1", "confirmed", 3)
            payments.book_confirmed(conn, run_of(2), CHART, ["P1"], DAY)
        return night(db, 3, lines({"payable_fen": 650})).hash

    night(database, 1, lines({"payable_fen": 500}))
    backup(database, store, tmp_path / "backup", AT)
    expected = later(database)
    other = fresh("sqlite")
    restore.restore(other, store, tmp_path / "backup", person="管理员", at=AT)
    assert later(other) == expected
    other.dispose()


def test_a_backup_appears_whole_or_not_at_all(database: Database, store: str, tmp_path: Path) -> None:
    night(database, 1, lines({"payable_fen": 500}))
    backup(database, store, tmp_path / "backup", AT)
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(TerminalError) as caught:
        backup(database, store, tmp_path / "backup", AT)
    assert caught.value.message.code == "BACKUP-EXISTS"
    (tmp_path / "store" / "raw" / "f" / "f").unlink()
    with pytest.raises(TerminalError) as caught:
        backup(database, store, tmp_path / "second", AT)
    assert caught.value.message.code == "BACKUP-STORE"
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".partial")) == before
    (tmp_path / "store" / "raw" / "f" / "f").write_bytes(RAW)
    backup(database, store, tmp_path / "second", AT)
    assert not (tmp_path / "second.partial").exists()


def damage_table(tmp_path: Path) -> None:
    file = tmp_path / "backup" / "tables" / "posting.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def damage_digest(tmp_path: Path) -> None:
    file = tmp_path / "backup" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["tables"]["posting"]["digest"] = "0" * 64
    file.write_text(json.dumps(manifest))


def damage_revision(tmp_path: Path) -> None:
    file = tmp_path / "backup" / "manifest.json"
    manifest = json.loads(file.read_text()) | {"revision": "9999"}
    file.write_text(json.dumps(manifest))


def damage_store(tmp_path: Path) -> None:
    next((tmp_path / "store" / "raw").glob("??/*")).write_bytes(RAW[::-1])


def lose_store(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "store")


def lose_manifest(tmp_path: Path) -> None:
    (tmp_path / "backup" / "manifest.json").unlink()


def lose_table(tmp_path: Path) -> None:
    (tmp_path / "backup" / "tables" / "journal.parquet").unlink()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (damage_table, "RESTORE-BROKEN"), (damage_digest, "RESTORE-BROKEN"), (damage_revision, "RESTORE-NEWER"), (damage_store,
        "RESTORE-STORE"), (lose_store, "RESTORE-STORE"), (lose_manifest, "RESTORE-BROKEN"), (lose_table, "RESTORE-BROKEN"),
    ],
)  # fmt: skip
def test_a_damaged_backup_changes_nothing(
    store: str, tmp_path: Path, fresh: Callable[[str], Database], damage: Callable[[Path], None], code: str
) -> None:
    first = Database(f"sqlite:///{tmp_path / 'home' / 'ledger.db'}")
    first.migrate()
    night(first, 1, lines({"payable_fen": 500}))
    backup(first, store, tmp_path / "backup", AT)
    first.dispose()
    damage(tmp_path)
    other = fresh("sqlite")
    with pytest.raises(TerminalError) as caught:
        restore.restore(other, store, tmp_path / "backup", person="管理员", at=AT)
    assert caught.value.message.code == code
    other.migrate()
    with other.read() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(tables.posting)).scalar_one() == 0
    other.dispose()


def test_a_database_in_use_is_not_overwritten(database: Database, store: str, tmp_path: Path) -> None:
    night(database, 1, lines({"payable_fen": 500}))
    backup(database, store, tmp_path / "backup", AT)
    with pytest.raises(TerminalError) as caught:
        restore.restore(database, store, tmp_path / "backup", person="管理员", at=AT)
    assert caught.value.message.code == "RESTORE-NOT-EMPTY"
    assert verify(database, CENTRE) == []


def restored(database: Database, store: str, tmp_path: Path, fresh: Callable[[str], Database]) -> Database:
    """A ledger restored from before its first batch, with five batches built again since."""
    night(database, 1, lines({"payable_fen": 500}))
    backup(database, store, tmp_path / "backup", AT)
    db = fresh("sqlite")
    restore.restore(db, store, tmp_path / "backup", person="管理员", at=AT)
    with db.transaction_system() as conn:
        open_run(conn, 2)
        for number in range(1, 6):
            pay(conn, {f"P{number}": {("X1", "A1", "S1"): 100}}, 2, "net" if number == 4 else "out")
        bulk_insert(
            conn,
            tables.bank_file,
            [
                {"centre": CENTRE, "bank_file_no": 1, "sha256": "s", "name": "BANK_BAT_2_RST.DAT", "kind": "result", "batch_no": 2,
                 "known_on": DAY, "state": "booked"}
            ],
        )  # fmt: skip
        conn.execute(
            sa.insert(tables.movement).values(
                {"centre": CENTRE, "movement_no": 1, "bank_file_no": 1, "host_serial": "HS1", "amount_fen": -100, "moved_on": DAY,
                "batch_no": 3,
                 "class": "debit"}
            )
        )  # fmt: skip
    return db


def test_publication_is_locked_until_every_number_is_matched_and_a_person_releases(
    database: Database, store: str, tmp_path: Path, fresh: Callable[[str], Database]
) -> None:
    db = restored(database, store, tmp_path, fresh)
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    (outbox / "BDC_BAT_1.DAT").write_bytes(b"x")
    with db.transaction_system() as conn:
        conn.execute(sa.update(tables.batch).where(tables.batch.c.batch_no.in_((1, 5))).values(sha256=hashlib.sha256(b"x").hexdigest()))
        (outbox / "BDC_BAT_5.DAT").write_bytes(b"another file of that name")
        assert restore.pending(conn, CENTRE) == [1, 2, 3, 4, 5]

        def refused(**changes: object) -> str:
            given = {"person": "李四", "reason": "已核对", "at": AT, "replayed_through": run_of(2).business_date} | changes
            with pytest.raises(TerminalError) as caught:
                restore.release(conn, CENTRE, **given)  # type: ignore[arg-type]
            return caught.value.message.code

        assert refused() == "RESTORE-PENDING"
        assert refused(reason="") == refused(person="") == "RESTORE-REASON"
        assert refused(replayed_through=run_of(2).business_date + timedelta(days=1)) == "RESTORE-REPLAY"
        assert refused(sent=[9]) == "RESTORE-REPLAY"
        found = restore.match_known(conn, CENTRE, store, outbox, person="张三", at=AT)
        assert found == {1: "outbox", 2: "result", 3: "statement", 4: "unused"}
        assert restore.pending(conn, CENTRE) == [5] and refused() == "RESTORE-PENDING"
        for wrong in ((5, "guess", "x"), (5, "asked", " "), (1, "asked", "x"), (99, "asked", "x")):
            with pytest.raises(TerminalError):
                restore.match(conn, CENTRE, *wrong, store_url=store, outbox=outbox, person="张三", at=AT)
        said = "BDC107 答复：没有该批次"
        restore.match(conn, CENTRE, 5, "unused", said, store_url=store, outbox=outbox, person="张三", at=AT)
        assert [restore.left_the_house(conn, CENTRE, n) for n in range(1, 6)] == [True, True, True, False, False]
        assert [restore.older_than_a_restore(conn, CENTRE, n) for n in (1, 5, 6)] == [True, True, False]
        restore.release(conn, CENTRE, person="李四", reason="已核对", at=AT, replayed_through=date(2026, 9, 1))
        assert restore.locked(conn, CENTRE) == "" and restore.pending(conn, CENTRE) == []
        acts = conn.execute(sa.select(tables.audit.c.person, tables.audit.c.act).order_by(tables.audit.c.audit_no)).all()
        assert tuple(acts[0]) == ("管理员", "restore") and tuple(acts[-1]) == ("李四", "unlock") and len(acts) == 7
    db.dispose()


def test_from_a_shell(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (
        ("HOME", settings.home),
        ("KEY", settings.key),
        ("DATABASE_URL", settings.database_url),
        ("STORE_URL", settings.store_url),
    ):
        monkeypatch.setenv(f"SUBSIDY_{name}", str(value))
    (settings.home / "store" / "raw" / "f").mkdir(parents=True)
    (settings.home / "store" / "raw" / "f" / "f").write_bytes(RAW)
    db = Database(settings.database_url)
    db.migrate()
    night(db, 1, lines({"payable_fen": 500}))
    night(db, 2, lines({"payable_fen": 500}), openings=opening(300))
    assert main(["ledger", "verify"]) == 0
    assert main(["ledger", "write-offs", "--centre", CENTRE]) == 0
    write_off = ["ledger", "write-off", "--centre", CENTRE, "--agreement", "X1", "--amount", "2.00", "--reason", "查无此人"]
    assert main(write_off) == 5 and main(["ledger", "write-offs", "--centre", CENTRE]) == 5
    assert "hangzhou：通过" in capsys.readouterr().out
    assert main(["backup", str(tmp_path / "backup"), "--json"]) == 0
    content_hash = json.loads(capsys.readouterr().out)["content_hash"]
    with db.transaction_system() as conn:
        conn.execute(sa.text("DROP TRIGGER journal_no_update"))
        conn.execute(sa.update(tables.journal).values(amount_fen=501))
    assert main(["ledger", "verify", "--centre", CENTRE, "--json"]) == 1
    assert "INV-5-CHAIN" in capsys.readouterr().out
    assert main(["restore", str(tmp_path / "backup")]) == 3
    assert "RESTORE-NOT-EMPTY" in capsys.readouterr().err
    db.dispose()
    for file in settings.home.glob("ledger.db*"):
        file.unlink()
    assert main(["restore", str(tmp_path / "backup"), "--json", "--person", "管理员"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["content_hash"] == content_hash and CENTRE in said["locked"] and "wenzhou" in said["locked"]
    with db.transaction_system() as conn:
        pay(conn, {"P1": {("X1", "A1", "S1"): 500}}, 1)
        assert next_numbers(conn, CENTRE, "batch", 0) == 2
    assert main(["ledger", "pending", "--centre", CENTRE]) == 1
    assert main(["ledger", "unlock", "--centre", CENTRE, "--through", "2026-09-02", "--reason", "r"]) == 3
    assert main(["ledger", "match", "--centre", CENTRE, "--batch", "1", "--how", "asked", "--evidence", "BDC107"]) == 0
    assert main(["ledger", "unlock", "--centre", CENTRE, "--through", "2026-09-02", "--reason", "r"]) == 0
    assert main(["ledger", "pending", "--centre", CENTRE]) == 0
    db.dispose()
