"""Publishing: exactly once, whatever breaks in between; refused when anything is not as it was approved."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from clearing_house import OTHER, RULES, SEPTEMBER, House, policy_of

from subsidy.clearing import outbox, publish, query
from subsidy.errors import SubsidyError, TerminalError, TransientError
from subsidy.facts.store import Store
from subsidy.ledger import faults, lease, tables, verify
from subsidy.ledger.database import Database
from subsidy.night import previewing
from subsidy.policy.model import Account
from subsidy.settings import Settings

NewHouse = Callable[..., House]
NIGHT = date(2026, 9, 20)


def ready(house: House) -> House:
    """An approved settlement with own-bank, other-bank and netting batches."""
    house.payees["X2"] = ("622202", "李四", OTHER)
    house.night(NIGHT, {"X1": {"S1": 30025}, "X2": {"S1": 20000}})
    house.settle(SEPTEMBER)
    house.approve("2026-09", "审批甲")
    return house


def files(house: House) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(house.outbox.iterdir())} if house.outbox.exists() else {}


def state_of(house: House) -> str:
    with house.db.read() as conn:
        return str(conn.execute(sa.select(tables.settlement.c.state)).scalar_one())


def test_publishing_twice_changes_nothing(house: House) -> None:
    ready(house)
    first = house.publish("2026-09")
    seen, rows = files(house), house.dump()
    assert len(seen) == 6
    assert (first.state, first.payments, first.amount_fen, first.taken) == ("published", 2, 50025, [])
    assert house.states() == ["sent", "sent"]
    again = house.publish("2026-09")
    assert (again.files, again.payments) == (first.files, 2)
    assert (files(house), house.dump()) == (seen, rows)
    assert verify.verify(house.db, house.centre) == []


def test_archive_keeps_what_was_sent(house: House) -> None:
    ready(house)
    house.publish("2026-09")
    store = Store(house.settings.store_url)
    with house.db.read() as conn:
        f = tables.published_file
        rows = conn.execute(sa.select(f)).mappings().all()
    assert {row["state"] for row in rows} == {"published"}
    for row in rows:
        with store.open(Store.raw_path(row["sha256"])) as handle:
            assert handle.read() == (house.settings.home / row["path"]).read_bytes()


# --- refused -------------------------------------------------------------------------------------------------------------


def test_not_approved(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 1}})
    house.settle(SEPTEMBER)
    with pytest.raises(TerminalError, match="PUBLISH-NOT-APPROVED"):
        house.publish("2026-09")
    with pytest.raises(TerminalError, match="PUBLISH-NONE"):
        house.publish("2026-10")


def test_locked_after_a_restore(house: House) -> None:
    ready(house)
    with house.db.transaction(house.centre, house.token) as conn:
        conn.execute(sa.update(tables.centre_state).values(publication_locked="2026-09-21 恢复备份"))
    with pytest.raises(TerminalError, match=r"PUBLISH-LOCKED.*恢复备份"):
        house.publish("2026-09")
    assert files(house) == {}


@pytest.mark.parametrize(
    "terms",
    [
        {"paying_account": Account("1", "另一账户", OTHER, "105")},
        {"paying_account": Account("33050161000000000100", "测试公积金中心贴息专户", OTHER, "105", "1")},
    ],
)
def test_changed_paying_account_is_not_what_was_approved(house: House, terms: Any) -> None:
    ready(house)
    house.policy = policy_of("hangzhou", **terms)
    with pytest.raises(TerminalError, match="PUBLISH-CHANGED"):
        house.publish("2026-09")
    assert (files(house), state_of(house)) == ({}, "approved")


def test_changed_profile_is_not_what_was_approved(house: House, tmp_path: Path) -> None:
    ready(house)
    rules = tmp_path / "rules"
    shutil.copytree(RULES / "hangzhou", rules / "hangzhou")
    path = rules / "hangzhou" / "outbound.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("贷款贴息{month}", "贴息{month}"), encoding="utf-8")
    house.settings = replace(house.settings, rules=rules)
    with pytest.raises(TerminalError, match="PUBLISH-CHANGED"):
        house.publish("2026-09")


def test_changed_ledger_row_is_found(new_house: NewHouse, database: Database) -> None:
    house = ready(new_house())
    with database.raw() as conn:  # as somebody with a database tool would, past the triggers
        if database.postgres:
            conn.execute(sa.text("SET session_replication_role = replica"))
        else:
            conn.execute(sa.text("DROP TRIGGER payment_no_update"))
        conn.execute(sa.text("UPDATE payment SET payee_account = '6217' WHERE ordinal = 1 AND batch_no = 1"))
    with pytest.raises(TerminalError, match="PUBLISH-CHANGED"):
        house.publish("2026-09")
    assert files(house) == {}


def test_broken_ledger_blocks(new_house: NewHouse, database: Database) -> None:
    house = ready(new_house())
    with database.raw() as conn:
        if database.postgres:
            conn.execute(sa.text("SET session_replication_role = replica"))
        else:
            conn.execute(sa.text("DROP TRIGGER journal_no_update"))
        conn.execute(sa.text("UPDATE journal SET amount_fen = amount_fen + 1 WHERE entry_no = 1"))
    with pytest.raises(TerminalError, match="PUBLISH-BROKEN"):
        house.publish("2026-09")
    assert (files(house), state_of(house)) == ({}, "approved")


def test_other_file_of_the_same_name_is_not_overwritten(house: House) -> None:
    ready(house)
    name = house.batches("2026-09")[0].file_name
    house.outbox.mkdir(parents=True)
    (house.outbox / name).write_bytes(b"other")
    with pytest.raises(TerminalError, match="PUBLISH-CLASH"):
        house.publish("2026-09")
    assert (house.outbox / name).read_bytes() == b"other"
    (house.outbox / name).unlink()
    assert house.publish("2026-09").state == "published"


def test_zombie_publishes_nothing(house: House) -> None:
    ready(house)
    old = house.token
    fresh = lease.acquire(house.db, house.centre, "another", 1e9, 1.0)
    with pytest.raises(TerminalError, match="LEASE-LOST"):
        house.publish("2026-09")
    assert files(house) == {}
    house.token = fresh
    assert house.publish("2026-09").state == "published"
    house.token = old
    with pytest.raises(TerminalError, match="LEASE-LOST"):
        house.publish("2026-09")


def test_zombie_that_wakes_after_the_bank_took_the_file_leaves_no_copy_to_send_again(tmp_path: Path) -> None:
    store, path, data = Store(f"file://{tmp_path / 'store'}"), tmp_path / "outbox" / "X.DAT", b"1|100.00|\n"
    sha256 = hashlib.sha256(data).hexdigest()

    def release(pieces: Callable[[], list[bytes]], before_leaving: Callable[[], None]) -> str:
        return outbox.release(path, pieces, sha256, store, check=lambda _: None, before_leaving=before_leaving)

    def stopped_for_long() -> list[bytes]:
        assert release(lambda: [data], lambda: None) == "written"  # by whoever took over, and who then crashed
        path.unlink()  # the bank's machine
        return [data]

    def lease_lost() -> None:
        raise TerminalError("LEASE-LOST", "", "", "")

    with pytest.raises(TerminalError, match="LEASE-LOST"):
        release(stopped_for_long, lease_lost)
    assert release(lambda: [data], lambda: None) == "taken"
    assert not path.exists()


@pytest.mark.parametrize("why", ["database away", "another task took the lease"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_trouble_just_before_a_file_leaves_costs_no_file(new_house: NewHouse, monkeypatch: pytest.MonkeyPatch, at: int, why: str) -> None:
    house, asked, refuse = ready(new_house()), [0], lease.refuse_if_lost

    def refuse_at(db: Database, centre: str, token: int) -> None:
        asked[0] += 1
        if asked[0] == at and why == "database away":
            raise TransientError("DB-LOCKED", "", "", "")
        if asked[0] == at:  # it reads bank files, say, and publishes nothing
            lease.acquire(db, centre, "another", 1e9, 1.0)
        refuse(db, centre, token)

    with monkeypatch.context() as patched:
        patched.setattr(lease, "refuse_if_lost", refuse_at)
        with pytest.raises(SubsidyError, match=r"DB-LOCKED|LEASE-LOST"):
            house.publish("2026-09")
    if why != "database away":
        house.token = lease.acquire(house.db, house.centre, "test", 2e9, 1.0)
    assert house.publish("2026-09").taken == []
    assert house.states() == ["sent", "sent"]
    f = tables.published_file
    with house.db.read() as conn:  # what an unbroken run writes: the digests were recorded before the first file
        wanted = {Path(row.path).name: row.sha256 for row in conn.execute(sa.select(f.c.path, f.c.sha256))}
    assert len(wanted) == 6 and {name: hashlib.sha256(data).hexdigest() for name, data in files(house).items()} == wanted


@pytest.mark.parametrize("taken", ["BDC103_", "TX_FUNDS", "BDC_BAT"])
def test_bank_is_asked_when_any_file_of_a_batch_left_before_the_books(house: House, monkeypatch: pytest.MonkeyPatch, taken: str) -> None:
    house.night(NIGHT, {"X1": {"S1": 30025}})
    house.settle(SEPTEMBER)
    house.approve("2026-09")
    with monkeypatch.context() as patched:
        patched.setattr(publish, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            house.publish("2026-09")
    (path,) = house.outbox.glob(f"{taken}*")
    path.unlink()
    done = house.publish("2026-09")
    assert done.taken == [path.name] and path.name in previewing.published(done.counts())
    assert house.states() == ["open"]
    assert list(house.outbox.glob("BDC110_*")) and not path.exists()


def _sqlite(name: str) -> SubsidyError:
    refused = sqlite3.OperationalError("x")
    refused.sqlite_errorname = name
    said = faults.translate(refused)
    assert said is not None
    return said


@pytest.mark.parametrize(
    "trouble",
    [faults.pool_exhausted(), _sqlite("SQLITE_BUSY"), _sqlite("SQLITE_IOERR"), _sqlite("SQLITE_FULL")],
    ids=lambda trouble: trouble.message.code,
)
def test_trouble_in_the_middle_says_that_what_was_done_stands(house: House, monkeypatch: pytest.MonkeyPatch, trouble: SubsidyError) -> None:
    """The intent is committed and the first files are visible: nobody is told that nothing was changed."""
    ready(house)
    checks: list[int] = []

    def refuse(*_: Any) -> None:
        checks.append(1)
        if len(checks) == 3:
            raise trouble

    with monkeypatch.context() as broken:
        broken.setattr(lease, "refuse_if_lost", refuse)
        with pytest.raises(SubsidyError) as caught:
            house.publish("2026-09")
    assert state_of(house) == "publishing" and any(not name.startswith(".") for name in files(house))
    safe = caught.value.message.safe
    assert "此前已完成的部分有效" in safe and "没有改动任何数据" not in safe and "本步骤已整体撤销" not in safe
    assert house.publish("2026-09").state == "published" and verify.verify(house.db, house.centre) == []


def test_lease_lost_between_writing_and_renaming(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(house)
    put = Store.put_file

    def taken_over(store: Store, path: Path) -> str:
        lease.acquire(house.db, house.centre, "another", 1e9, 1.0)
        return put(store, path)

    monkeypatch.setattr(Store, "put_file", taken_over)
    with pytest.raises(TerminalError, match="LEASE-LOST"):
        house.publish("2026-09")
    assert [name for name in files(house) if not name.startswith(".")] == []


# --- disks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        ("open", errno.ENOSPC, "磁盘已满"),
        ("fsync", errno.EIO, "磁盘读写错误"),
        ("replace", errno.EROFS, "目录只读"),
        ("replace", errno.EDQUOT, "配额"),
    ],
)
def test_disk_trouble_says_so_and_leaves_nothing_half_written(
    new_house: NewHouse, monkeypatch: pytest.MonkeyPatch, function: str, code: int, words: str
) -> None:
    house = ready(new_house())

    def broken(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        if function == "open":
            patched.setattr(outbox, "open", broken, raising=False)
        else:
            patched.setattr(outbox.os, function, broken)
        with pytest.raises(TransientError, match=f"PUBLISH-DISK.*{words}"):
            house.publish("2026-09")
    assert [name for name in files(house) if not name.startswith(".")] == []
    assert house.states() == ["reserved", "reserved"]
    assert house.publish("2026-09").state == "published"
    assert len(files(house)) == 6


def test_full_disk_is_known_before_writing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(house)
    with monkeypatch.context() as patched:
        patched.setattr(outbox.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
        with pytest.raises(TransientError, match="磁盘已满"):
            house.publish("2026-09")
    assert house.publish("2026-09").state == "published"


@pytest.mark.parametrize("at", [0, 30, 70, -1])
def test_bytes_that_change_on_the_way_to_the_disk_are_not_published(house: House, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    ready(house)
    write = outbox._write

    def corrupt(path: Path, pieces: Any) -> None:
        write(path, pieces)
        if path.name.endswith(".DAT.part"):
            data = bytearray(path.read_bytes())
            data[at] ^= 1
            path.write_bytes(bytes(data))

    monkeypatch.setattr(outbox, "_write", corrupt)
    with pytest.raises(TerminalError, match="PUBLISH-READBACK"):
        house.publish("2026-09")
    assert not any(name.endswith(".DAT") for name in files(house))


# --- crashes -------------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone."""


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Let the n-th file operation or commit, before or after it is done, be the last thing that happens."""
    left = [10**9]

    def point() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Crash

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            point()
            result = function(*args, **kwargs)
            point()
            return result

        return wrapped

    for name in ("replace", "fsync"):
        monkeypatch.setattr(outbox.os, name, around(getattr(os, name)))
    monkeypatch.setattr(outbox, "open", around(open), raising=False)
    monkeypatch.setattr(Store, "put_file", around(Store.put_file))
    commit = sa.engine.base.RootTransaction.commit

    def counted(transaction: Any) -> None:
        point()
        commit(transaction)
        point()

    monkeypatch.setattr(sa.engine.base.RootTransaction, "commit", counted)

    def arm(n: int) -> None:
        left[0] = n

    yield arm
    left[0] = 10**9


def settings_of(home: Path, url: str) -> Settings:
    return Settings(home=home, rules=RULES, database_url=url, store_url=f"file://{home / 'store'}", key="k" * 40)


# The crash right after a commit makes SQLAlchemy undo a transaction that is over: it says so, and nothing is undone.
@pytest.mark.filterwarnings("ignore:transaction already deassociated from connection")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_crash_at_every_point_ends_in_the_same_ledger_and_bytes(
    kind: str, tmp_path: Path, crashing: Callable[[int], None], request: pytest.FixtureRequest
) -> None:
    def fresh_url(n: int, template: str = "") -> str:
        if kind == "postgresql":
            new = request.getfixturevalue("new_postgres")
            return str(new(sa.make_url(template).database if template else request.getfixturevalue("postgres_template")))
        path = tmp_path / f"{n}.db"
        if template:
            shutil.copyfile(sa.make_url(template).database or "", path)
        return f"sqlite:///{path}"

    template = fresh_url(0)
    db = Database(template, busy_seconds=10)
    db.migrate()
    house = House(db, settings_of(tmp_path / "ready", template), policy_of("hangzhou"))
    house.night(NIGHT, {"X1": {"S1": 30025}})
    house.settle(SEPTEMBER)
    house.approve("2026-09", "审批甲")
    db.dispose()

    def world(n: int) -> House:
        url = fresh_url(n, template)
        home = tmp_path / f"world{n}"
        home.mkdir()
        return House(Database(url, busy_seconds=10), settings_of(home, url), policy_of("hangzhou"))

    unbroken = world(1)
    unbroken.publish("2026-09")
    rows, seen = unbroken.dump(), files(unbroken)
    unbroken.db.dispose()
    # Every point on SQLite; every third on PostgreSQL, where each takes a database of its own.
    point, step = 0, 1 if kind == "sqlite" else 3
    crashed = True
    while crashed:
        point += step
        house = world(point + 1)
        crashing(point)
        try:
            house.publish("2026-09")
            crashed = False
        except Crash:
            pass
        crashing(10**9)
        assert house.publish("2026-09").taken == []
        assert files(house) == seen, point
        assert house.dump() == rows, point
        house.db.dispose()
        shutil.rmtree(house.settings.home)
    assert point > 40


@pytest.mark.filterwarnings("ignore:transaction already deassociated from connection")
def test_file_that_the_bank_took_before_the_books_were_closed_is_asked_about_not_sent_again(
    house: House, crashing: Callable[[int], None]
) -> None:
    ready(house)
    point = 0
    seen: list[str] = []
    asked = b""

    def bank_takes() -> bytes:
        found = b""
        for path in house.outbox.glob("*"):
            if not path.name.startswith("."):
                if path.name.startswith("BDC110_"):
                    found += path.read_bytes()
                else:
                    seen.append(path.name)
                path.unlink()
        return found

    crashed = True
    while crashed:
        point += 1
        crashing(point)
        try:
            house.publish("2026-09")
            crashed = False
        except Crash:
            pass
        crashing(10**9)
        asked += bank_takes()
    # Six files became visible, each once, however often publishing began again; about data files that were taken the bank is asked.
    assert sorted(name for name in seen if not name.startswith("BDC107")) == sorted(set(seen) - {n for n in seen if n.startswith("BDC107")})
    assert len([name for name in seen if name.startswith(("BDC_BAT", "BDC103_", "TX_FUNDS"))]) == 6
    assert house.states() == ["open", "open"]
    assert [number in asked for number in (b"TX2026090000000001", b"TX2026090000000002")] == [True, True]


# --- the same file again -------------------------------------------------------------------------------------------------


def ask(house: House, day: date) -> None:
    query.write(house.db, house.token, house.settings, house.policy, business_date=day, run_no=house.run_no)


def test_republished_only_when_the_bank_says_it_never_came(house: House) -> None:
    ready(house)
    house.publish("2026-09")
    batch = house.batches("2026-09")[0]
    sent = (house.outbox / batch.file_name).read_bytes()

    def again() -> str:
        return publish.republish(house.db, house.token, house.settings, house.policy, batch.batch_no)

    for path in house.outbox.glob("*"):
        path.unlink()
    with pytest.raises(TerminalError, match="REPUBLISH-REFUSED"):
        again()
    house.accept(batch, "", "0")
    house.read(date(2026, 9, 21))
    with pytest.raises(TerminalError, match="REPUBLISH-REFUSED"):
        again()
    ask(house, date(2026, 9, 21))
    house.accept(batch, "", "9", number=2)
    house.read(date(2026, 9, 21))
    assert again() == batch.file_name
    assert (house.outbox / batch.file_name).read_bytes() == sent
    # Nobody has fetched it: saying so again changes nothing.
    assert again() == batch.file_name
    # It came after all: from now on nothing may be repeated.
    house.accept(batch, "B000001", "1", number=3)
    house.answer(batch, name=f"BANK_BAT_B{batch.batch_no:06d}_RST.DAT")
    house.read(date(2026, 9, 22))
    assert house.payments(batch.batch_no)[0]["state"] == "confirmed"
    (house.outbox / batch.file_name).unlink()
    with pytest.raises(TerminalError, match="REPUBLISH-REFUSED"):
        again()


def test_one_answer_of_the_bank_allows_one_republication(house: House) -> None:
    ready(house)
    house.publish("2026-09")
    batch = house.batches("2026-09")[0]

    def bank_takes() -> list[str]:
        taken = sorted(path.name for path in house.outbox.iterdir() if not path.name.startswith("."))
        for name in taken:
            (house.outbox / name).unlink()
        return taken

    def again() -> str:
        return publish.republish(house.db, house.token, house.settings, house.policy, batch.batch_no)

    bank_takes()
    # Nobody asked: a word about what?
    house.accept(batch, "", "9", number=1)
    house.read(date(2026, 9, 21))
    with pytest.raises(TerminalError, match="REPUBLISH-REFUSED"):
        again()
    ask(house, date(2026, 9, 21))
    with pytest.raises(TerminalError, match="REPUBLISH-REFUSED"):
        again()
    house.accept(batch, "", "9", number=2, message="nothing came")
    house.read(date(2026, 9, 21))
    again()
    assert batch.file_name in bank_takes()
    # The answer from before says nothing of the file that the bank has now.
    with pytest.raises(TerminalError, match="REPUBLISH-REFUSED"):
        again()
    assert bank_takes() == []
    ask(house, date(2026, 9, 22))
    house.accept(batch, "", "9", number=3, message="again nothing came")
    house.read(date(2026, 9, 22))
    again()
    assert batch.file_name in bank_takes()
    assert verify.verify(house.db, house.centre) == []


@pytest.mark.parametrize("late", [22, 23])
def test_late_answer_to_an_earlier_question_allows_nothing(house: House, late: int) -> None:
    """Asked on two days; on the first answer the batch goes out again; the second, given before that, is read on day `late`."""
    ready(house)
    house.publish("2026-09")
    batch = house.batches("2026-09")[0]

    def bank_takes() -> bool:
        taken = [path for path in house.outbox.iterdir() if not path.name.startswith(".")]
        for path in taken:
            path.unlink()
        return batch.file_name in {path.name for path in taken}

    def told(number: int, day: int) -> None:
        house.accept(batch, "", "9", number=number, message=f"answer {number}")
        house.read(date(2026, 9, day))

    def again() -> str:
        return publish.republish(house.db, house.token, house.settings, house.policy, batch.batch_no)

    bank_takes()
    ask(house, date(2026, 9, 21))
    ask(house, date(2026, 9, 22))
    told(1, 22)
    again()
    assert bank_takes()
    if late == 22:
        told(2, 22)
        with pytest.raises(TerminalError, match="REPUBLISH-REFUSED"):
            again()
    ask(house, date(2026, 9, 23))
    if late == 23:
        told(2, 23)
    with pytest.raises(TerminalError, match="REPUBLISH-REFUSED"):
        again()
    assert not bank_takes()
    # Now the bank has answered every question: it never received the second one either.
    told(3, 23)
    again()
    assert bank_takes()


@pytest.mark.filterwarnings("ignore:transaction already deassociated from connection")
def test_republication_interrupted_anywhere_shows_a_file_at_most_once_per_answer(house: House, crashing: Callable[[int], None]) -> None:
    ready(house)
    house.publish("2026-09")
    batch = house.batches("2026-09")[0]
    wanted = sorted(path.name for path in house.outbox.iterdir() if batch.send_no in path.name)
    assert len(wanted) == 3

    def bank_takes() -> list[str]:
        taken = [path for path in house.outbox.iterdir() if not path.name.startswith(".")]
        for path in taken:
            path.unlink()
        return [path.name for path in taken]

    bank_takes()
    crashed, point = True, 0
    while crashed:
        point += 1
        ask(house, date(2026, 9, 20) + timedelta(days=point))
        bank_takes()
        house.accept(batch, "", "9", number=point, message=f"asked {point} times")
        house.read(date(2026, 9, 21))
        crashing(point)
        try:
            publish.republish(house.db, house.token, house.settings, house.policy, batch.batch_no)
            crashed = False
        except Crash:
            pass
        crashing(10**9)
        seen = bank_takes()
        try:
            publish.republish(house.db, house.token, house.settings, house.policy, batch.batch_no)
        except TerminalError as refused:
            assert refused.message.code == "REPUBLISH-REFUSED"
        seen += bank_takes()
        assert len(seen) == len(set(seen)), point
    assert sorted(seen) == wanted
    assert point > 10


def test_answer_that_nothing_came_counts_only_when_the_file_has_left(house: House) -> None:
    ready(house)
    house.publish("2026-09")
    batch = house.batches("2026-09")[0]
    # The bank's machine has not fetched the file yet: it lies there and will be fetched.
    ask(house, date(2026, 9, 21))
    house.accept(batch, "", "9")
    house.read(date(2026, 9, 21))
    (house.outbox / batch.file_name).unlink()
    with pytest.raises(TerminalError, match="REPUBLISH-REFUSED"):
        publish.republish(house.db, house.token, house.settings, house.policy, batch.batch_no)


def test_a_batch_that_is_not_there_is_not_republished_and_said_to_be_missing(house: House) -> None:
    with pytest.raises(TerminalError, match=r"REPUBLISH-UNKNOWN.*没有批次 99。"):
        publish.republish(house.db, house.token, house.settings, house.policy, 99)
