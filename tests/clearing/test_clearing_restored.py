"""What the ledger must not do again after a restore, because it does not know what was done between the backup and the loss."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from clearing_house import OCTOBER, SEPTEMBER, STAMP, House

from subsidy.clearing import approval, overall, publish, query, vouchers
from subsidy.errors import TerminalError
from subsidy.ledger import restore
from subsidy.ledger.backup import backup
from subsidy.ledger.database import Database
from subsidy.ledger.verify import verify
from subsidy.night import visible
from subsidy.night.context import Run

NIGHT = date(2026, 9, 10)


@pytest.fixture
def house(small_house: House) -> House:
    small_house.night(NIGHT, {"X1": {"S1": 300}})
    raw = small_house.settings.home / "store" / "raw" / "f" / "f"  # the file that the lines of this house come from
    raw.parent.mkdir(parents=True)
    raw.write_bytes(b"f")
    return small_house


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Database]:
    """The empty database into which the backup is loaded."""
    db = Database(f"sqlite:///{tmp_path / 'second.db'}")
    yield db
    db.dispose()


def bank_takes(house: House) -> list[str]:
    taken = sorted(path.name for path in house.outbox.iterdir() if not path.name.startswith("."))
    for name in taken:
        (house.outbox / name).unlink()
    return taken


def restored(house: House, db: Database, folder: Path) -> House:
    restore.restore(db, house.settings.store_url, folder, person="管理员", at=STAMP, known_centres=[house.centre])
    return replace(house, db=db)


def matched(house: House, how: str) -> None:
    with house.db.transaction_system() as conn:
        for number in restore.pending(conn, house.centre):
            store, outbox = house.settings.store_url, house.outbox
            restore.match(conn, house.centre, number, how, "银行书面答复", store_url=store, outbox=outbox, person="核对人", at=STAMP)


def unlocked(house: House) -> None:
    with house.db.transaction_system() as conn:
        restore.release(conn, house.centre, person="负责人", reason="核对完毕", at=STAMP, replayed_through=NIGHT)


def test_rejected_in_the_backup_and_sent_after_it_gives_nothing_back(house: House, second: Database, tmp_path: Path) -> None:
    built = house.settle(SEPTEMBER)
    assert approval.answer(house.db, house.centre, "2026-09", "审批甲", "reject", built.content_hash, STAMP).accepted
    backup(house.db, house.settings.store_url, tmp_path / "backup", STAMP)
    shutil.copytree(house.settings.home / "store", tmp_path / "store")
    house.approve("2026-09", "审批乙")
    house.publish("2026-09")
    (batch,) = house.batches("2026-09")
    assert batch.file_name in bank_takes(house)

    shutil.rmtree(house.settings.home / "store")
    shutil.copytree(tmp_path / "store", house.settings.home / "store")
    house = restored(house, second, tmp_path / "backup")
    house.night(OCTOBER.night, {"X2": {"S2": 70}})
    with pytest.raises(TerminalError, match="SETTLE-UNMATCHED"):
        house.settle(OCTOBER)
    paid = house.payments()[0]
    row = {"host_serial": "H1", "account": paid["payee_account"], "amount": -300, "summary": paid["payment_no"]}
    house.statement([row], date(2026, 9, 21))
    house.read(OCTOBER.night)
    with house.db.transaction_system() as conn:
        found = restore.match_known(conn, house.centre, house.settings.store_url, house.outbox, person="核对人", at=STAMP)
    assert found == {batch.batch_no: "statement"}
    assert house.settle(OCTOBER).computed_fen == 70
    assert house.states() == ["reserved", "reserved"]
    matched(house, "unused")  # October's
    unlocked(house)
    # The books are finished, the bank is asked, and it goes on to results.
    house.approve("2026-09", "审批乙")
    assert batch.file_name in house.publish("2026-09").taken
    assert not any(name.startswith(("BDC_BAT", "BDC103")) for name in bank_takes(house))
    house.answer(batch)
    assert house.read(OCTOBER.night).applied.confirmed == 1
    assert house.states() == ["confirmed", "reserved"]
    assert verify(house.db, house.centre) == []


def test_rejected_in_the_backup_and_never_sent_gives_its_lines_to_the_next(house: House, second: Database, tmp_path: Path) -> None:
    built = house.settle(SEPTEMBER)
    assert approval.answer(house.db, house.centre, "2026-09", "审批甲", "reject", built.content_hash, STAMP).accepted
    backup(house.db, house.settings.store_url, tmp_path / "backup", STAMP)
    house = restored(house, second, tmp_path / "backup")
    house.night(OCTOBER.night, {"X2": {"S2": 70}})
    matched(house, "unused")
    assert house.settle(OCTOBER).computed_fen == 370
    with house.db.read() as conn:
        assert restore.pending(conn, house.centre) == [house.batches("2026-10")[0].batch_no]
    assert house.states() == ["released", "reserved", "reserved"]


def cleared(house: House) -> overall.Clearing:
    return overall.clear(house.db, house.settings, [house.policy], "2026-09")


def test_clearing_waits_for_the_lock_and_leaves_numbers_out_that_were_given_out(house: House, second: Database, tmp_path: Path) -> None:
    house.send(SEPTEMBER)
    (batch,) = house.batches("2026-09")
    assert cleared(house).version == 1
    backup(house.db, house.settings.store_url, tmp_path / "backup", STAMP)
    house.accept(batch, "", "3")  # nothing will be paid
    house.read(OCTOBER.night)
    lost = cleared(house)
    path = house.settings.home / lost.file
    before = path.read_bytes()
    assert lost.version == 2

    house = restored(house, second, tmp_path / "backup")
    shutil.rmtree(house.results / "taken")
    house.answer(batch)  # paid after all
    assert house.read(OCTOBER.night).applied.confirmed == 1
    with pytest.raises(TerminalError, match=r"CLEAR-LOCKED.*hangzhou"):
        cleared(house)
    assert len(list(path.parent.iterdir())) == 2
    unlocked(house)
    again = cleared(house)
    assert (again.version, again.changed, cleared(house).version) == (3, True, 3)
    assert path.read_bytes() == before
    assert (house.settings.home / again.file).read_text().startswith("BDC109|202609|3|")


def test_vouchers_and_queries_leave_numbers_out_that_were_given_out(house: House, second: Database, tmp_path: Path) -> None:
    house.send(SEPTEMBER)
    backup(house.db, house.settings.store_url, tmp_path / "backup", STAMP)

    def write(house: House) -> list[str]:
        day, of = date(2026, 9, 22), (house.db, house.token, house.settings, house.policy)
        names = list(query.write(*of, business_date=day, run_no=house.run_no).files)
        return [*names, vouchers.write(*of, "2026-09", business_date=day, run_no=house.run_no)]

    house.night(date(2026, 9, 21), {"X2": {"S2": 70}})
    first = {name: (house.outbox / name).read_bytes() for name in write(house)}
    for name in first:  # the restored ledger would have given the name to these bytes
        (house.outbox / name).write_bytes(b"as it was before the loss")
    house = restored(house, second, tmp_path / "backup")
    unlocked(house)
    house.night(date(2026, 9, 21), {"X2": {"S2": 71}})
    for _ in range(2):
        again = write(house)
        assert len(again) == 3 and not set(again) & set(first)
    assert {(house.outbox / name).read_bytes() for name in first} == {b"as it was before the loss"}


def test_a_shown_file_is_not_replaced_by_another(house: House) -> None:
    folder, run = house.settings.reports(house.centre), Run(house.centre, house.run_no, NIGHT, "night", "", "", 0, "running")

    def shown(data: bytes) -> str:
        where = (house.db, house.settings, house.centre, house.token, "workbook", folder, "book", ".xlsx", run)
        return visible.show(*where, lambda path: path.write_bytes(data)).rsplit("/", 1)[1]

    folder.mkdir(parents=True)
    (folder / "book-V001.xlsx").write_bytes(b"from after the backup")
    (folder / "book-V003.xlsx").write_bytes(b"the same")
    assert [shown(data) for data in (b"new", b"new", b"the same", b"other")] == [f"book-V00{n}.xlsx" for n in (2, 2, 3, 4)]
    assert (folder / "book-V001.xlsx").read_bytes() == b"from after the backup"


def test_a_batch_whose_file_waits_for_the_bank_is_not_unused(house: House, second: Database, tmp_path: Path) -> None:
    house.settle(SEPTEMBER)
    house.approve("2026-09")
    backup(house.db, house.settings.store_url, tmp_path / "backup", STAMP)
    shutil.copytree(house.settings.home / "store", tmp_path / "store")
    house.publish("2026-09")
    (batch,) = house.batches("2026-09")
    shutil.rmtree(house.settings.home / "store")  # the archive went with the loss, the outbox did not
    shutil.copytree(tmp_path / "store", house.settings.home / "store")
    house = restored(house, second, tmp_path / "backup")
    with pytest.raises(TerminalError, match="RESTORE-USED") as refused:
        matched(house, "unused")
    assert batch.file_name in refused.value.message.what
    with pytest.raises(TerminalError, match="RESTORE-PENDING"):
        unlocked(house)
    matched(house, "outbox")
    unlocked(house)
    house.publish("2026-09")
    house.night(OCTOBER.night, {"X2": {"S2": 70}})
    assert house.send(OCTOBER).sent_fen == 70


def test_given_back_before_the_backup_is_not_asked_about(house: House, second: Database, tmp_path: Path) -> None:
    built = house.settle(SEPTEMBER)
    assert approval.answer(house.db, house.centre, "2026-09", "审批甲", "reject", built.content_hash, STAMP).accepted
    house.night(OCTOBER.night, {"X2": {"S2": 70}})
    house.send(OCTOBER)
    backup(house.db, house.settings.store_url, tmp_path / "backup", STAMP)
    house = restored(house, second, tmp_path / "backup")
    with house.db.read() as conn:
        assert restore.pending(conn, house.centre) == []


def test_republication_that_the_backup_does_not_know(house: House, second: Database, tmp_path: Path) -> None:
    house.send(SEPTEMBER)
    (batch,) = house.batches("2026-09")

    def ask(day: int, number: int) -> None:
        query.write(house.db, house.token, house.settings, house.policy, business_date=date(2026, 9, day), run_no=house.run_no)
        house.accept(batch, "", "9", number=number, message=f"asked on {day}")
        house.read(date(2026, 9, day))

    def again() -> str:
        return publish.republish(house.db, house.token, house.settings, house.policy, batch.batch_no)

    bank_takes(house)  # lost on the way
    ask(22, 1)
    backup(house.db, house.settings.store_url, tmp_path / "backup", STAMP)
    again()
    assert batch.file_name in bank_takes(house)

    house = restored(house, second, tmp_path / "backup")
    unlocked(house)
    with pytest.raises(TerminalError, match="REPUBLISH-RESTORED"):
        again()
    ask(23, 2)  # an answer to a question from before the loss looks the same
    with pytest.raises(TerminalError, match="REPUBLISH-RESTORED"):
        again()
    assert not any(name.startswith("BDC_BAT") for name in bank_takes(house))
    # The bank's word that nothing of it was or will be paid lets its lines be paid under a new number.
    house.accept(batch, "", "3", number=3)
    house.read(date(2026, 9, 24))
    house.night(OCTOBER.night, {"X2": {"S2": 70}})
    assert house.send(OCTOBER).sent_fen == 370
