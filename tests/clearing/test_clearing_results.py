"""Result files: every outcome of every line, every disagreement, every order of arrival."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from clearing_house import OCTOBER, OWN, SEPTEMBER, House

from subsidy.clearing import aside, bank_text, movements, publish, results
from subsidy.clearing.batches import load_payments
from subsidy.clearing.results import read_result
from subsidy.errors import TransientError
from subsidy.ledger import tables, verify

NewHouse = Callable[..., House]
Rows = list[dict[str, str]]
NIGHT = date(2026, 9, 20)
READ = date(2026, 9, 22)


def sent(house: House, payments: int = 2) -> House:
    """A published batch with payments of 300.00, 301.00 …"""
    house.night(NIGHT, {f"X{i}": {"S1": 30000 + 100 * i} for i in range(payments)})
    house.send(SEPTEMBER)
    return house


def findings(house: House) -> list[tuple[str, str]]:
    f = tables.finding
    with house.db.read() as conn:
        return [(row.code, row.what) for row in conn.execute(sa.select(f).where(f.c.stage == "result").order_by(f.c.finding_no))]


def bank_files(house: House, kind: str = "result") -> list[tuple[str, str]]:
    t = tables.bank_file
    with house.db.read() as conn:
        rows = conn.execute(sa.select(t).where(t.c.kind == kind).order_by(t.c.bank_file_no))
        return [(row.name, row.state) for row in rows]


COMBINATIONS = list(itertools.product(("ok", "failed", "pending"), repeat=3))
KNOWN = {"ok": "confirmed", "failed": "failed", "pending": "open"}


@pytest.mark.parametrize("centre", ["hangzhou", "zhoushan", "wenzhou", "quzhou"])
def test_every_combination_of_outcomes_is_read(new_house: NewHouse, database_url: str, centre: str) -> None:
    """Three lines, each confirmed, failed or pending, in every form of result file; nothing is booked here."""
    house = sent(new_house(centre), 3)
    (batch,) = house.batches("2026-09")
    layout = house.outbound.layouts[batch.profile]
    with house.db.read() as conn:
        payments = load_payments(conn, house.centre, batch.batch_no)
    batch = replace(batch, bank_batch_no=f"B{batch.batch_no:06d}")
    for verdicts in COMBINATIONS:
        data = house.answer(batch, {i + 1: verdict for i, verdict in enumerate(verdicts)}).read_bytes()
        told = read_result(data, batch, payments, layout, house.outbound.results[layout.result], house.policy.code, latest=READ)
        assert told["verdict"].to_pylist() == [{"ok": "confirmed"}.get(v, v) for v in verdicts]


@pytest.mark.parametrize("verdicts", [c for i, c in enumerate(COMBINATIONS) if i % 5 == 0 or len(set(c)) == 1])
def test_outcomes_are_booked_and_late_lines_decided(house: House, verdicts: tuple[str, ...]) -> None:
    sent(house, 3)
    (batch,) = house.batches("2026-09")
    house.answer(batch, {i + 1: verdict for i, verdict in enumerate(verdicts)})
    first = house.read(READ)
    assert first.messages == []
    assert house.states() == [KNOWN[v] for v in verdicts]
    assert (first.applied.confirmed, first.applied.failed, first.applied.opened) == tuple(verdicts.count(v) for v in KNOWN)
    decided = [verdict if verdict != "pending" else ("ok" if i % 2 else "failed") for i, verdict in enumerate(verdicts)]
    house.answer(batch, {i + 1: verdict for i, verdict in enumerate(decided)}, day=date(2026, 9, 25))
    house.read(date(2026, 9, 25))
    assert house.states() == [KNOWN[v] for v in decided]
    assert verify.verify(house.db, house.centre) == []
    paid = sum(p["amount_fen"] for p in house.payments() if p["state"] == "confirmed")
    assert house.accounts().get("cash", 0) == -paid
    # What failed is due again, and only that.
    house.night(OCTOBER.night, {"X9": {"S1": 5}})
    assert house.settle(OCTOBER).sent_fen == 5 + sum(p["amount_fen"] for p in house.payments() if p["state"] == "failed")


def change(row: int, field: str, value: str) -> Callable[[Rows, dict[str, str]], Any]:
    def edit(rows: Rows, _: dict[str, str]) -> None:
        for name in (field, f"payee_{field}") if field in ("account", "name") else (field,):
            rows[row][name] = value

    return edit


def total(**values: str) -> Callable[[Rows, dict[str, str]], Any]:
    return lambda _, summary: summary.update(values)


MISMATCHES: dict[str, tuple[Callable[[Rows, dict[str, str]], Any], str, str]] = {
    "row missing": (lambda rows, _: rows.pop(1), "RESULT-MISMATCH", "没有回盘"),
    "row missing, totals follow": (
        lambda rows, summary: [rows.pop(1), summary.update(count="1", total="300.00", good_count="1", good_total="300.00")],
        "RESULT-MISMATCH", "总笔数 1，批次 2",
    ),
    "row unknown": (lambda rows, _: rows.append(dict(rows[0], ordinal="3")), "RESULT-MISMATCH", "序号 3 不在批次中"),
    "row twice": (lambda rows, _: rows.append(dict(rows[0])), "RESULT-MISMATCH", "序号 1、1 重复出现"),
    "ordinals swapped": (lambda rows, _: [rows[0].update(ordinal="2"), rows[1].update(ordinal="1")], "RESULT-MISMATCH", "不一致"),
    "ordinal is no number": (change(0, "ordinal", "01"), "RESULT-MISMATCH", "没有回盘"),
    "amount differs": (change(0, "amount", "300.01"), "RESULT-MISMATCH", "序号 1 的金额与发出的不一致"),
    "amount is none": (change(0, "amount", "3e2"), "BANK-AMOUNT", "第 1 笔的金额不是金额"),
    "account differs": (change(1, "account", "62"), "RESULT-MISMATCH", "序号 2 的账号与发出的不一致"),
    "name differs": (change(1, "name", "测试乙"), "RESULT-MISMATCH", "序号 2 的户名与发出的不一致"),
    "count differs": (total(count="3"), "RESULT-MISMATCH", "总笔数 3，批次 2"),
    "total differs": (total(total="601.01"), "RESULT-MISMATCH", "总金额与批次不一致"),
    "good count differs": (total(good_count="1"), "RESULT-MISMATCH", "成功笔数 1，明细中 2 笔"),
    "good total differs": (total(good_total="601.01"), "RESULT-MISMATCH", "成功金额与明细不一致"),
    "bad count differs": (total(bad_count="1"), "RESULT-MISMATCH", "失败笔数 1，明细中 0 笔"),
    "bad total differs": (total(bad_total="0.01"), "RESULT-MISMATCH", "失败金额与明细不一致"),
    "count is none": (total(count="二"), "BANK-NUMBER", "不是数字"),
    "no code": (change(0, "code", ""), "RESULT-MISMATCH", "没有响应码"),
    "no host date": (change(0, "host_date", ""), "RESULT-MISMATCH", "主机日期缺失"),
    "host date impossible": (change(0, "host_date", "20260931"), "RESULT-MISMATCH", "主机日期缺失或不可能"),
    "host date too early": (change(0, "host_date", "20260901"), "RESULT-MISMATCH", "主机日期缺失或不可能"),
    "host date in the future": (change(0, "host_date", "20261231"), "RESULT-MISMATCH", "主机日期缺失或不可能"),
    "no host serial": (change(0, "host_serial", " "), "RESULT-MISMATCH", "没有主机流水号"),
    "other unit": (total(unit_no="330300000000000"), "RESULT-MISMATCH", "交易机构号"),
    "other batch number": (total(bank_batch_no="B9"), "RESULT-MISMATCH", "批号与文件名不一致"),
    "separator inside a name": (change(0, "name", "测|试"), "BANK-FIELDS", "栏位数"),
    "control character": (change(0, "text", "\x1f"), "BANK-CONTROL", "第 2 行有控制字符"),
    "NUL in a row": (change(1, "text", "户名\x00不符"), "BANK-CONTROL", "第 3 行有控制字符"),
    "NUL in the summary": (total(date="2026\x00921"), "BANK-CONTROL", "第 1 行有控制字符"),
    "line end inside a field": (change(0, "text", "\r"), "BANK-CONTROL", "第 2 行有控制字符"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISMATCHES)
def test_disagreement_blocks_the_whole_file(small_house: House, case: str) -> None:
    edit, code, words = MISMATCHES[case]
    sent(small_house)
    (batch,) = small_house.batches("2026-09")
    before = small_house.accounts()
    path = small_house.answer(batch, edit=edit)
    found = small_house.read(READ)
    assert (found.blocked, found.applied.total) == (1, 0)
    assert small_house.states() == ["sent", "sent"]
    assert small_house.accounts() == before
    ((seen, what),) = findings(small_house)
    assert seen == code
    assert words in what
    assert "6217" not in what
    assert path.exists()
    # Read again: blocked still, said once. The bank sends a right one: booked, and the blocked one is history.
    assert small_house.read(READ).blocked == 1
    assert len(findings(small_house)) == 1
    small_house.answer(batch)
    assert small_house.read(READ).applied.confirmed == 2
    assert [state for _, state in bank_files(small_house)] == ["superseded", "booked"]


def test_a_dot_that_a_bank_writes_otherwise_is_the_same_name(small_house: House) -> None:
    small_house.payees["X1"] = ("6217000000000001", "阿依古丽·买买提", OWN)
    sent(small_house)
    (batch,) = small_house.batches("2026-09")

    def as_the_bank_writes(rows: Rows, _: dict[str, str]) -> None:
        for row in rows:
            row.update({key: value.replace("·", "．") for key, value in row.items() if key in ("name", "payee_name")})

    small_house.answer(batch, edit=as_the_bank_writes)
    found = small_house.read(READ)
    assert (found.blocked, found.applied.confirmed) == (0, 2)


def test_all_that_disagrees_is_said_at_once(small_house: House) -> None:
    sent(small_house, 3)

    def edit(rows: Rows, summary: dict[str, str]) -> None:
        rows[0]["amount"] = "1.00"
        rows[1]["payee_account"] = "1"
        summary["total"] = "1.00"

    small_house.answer(small_house.batches("2026-09")[0], edit=edit)
    small_house.read(READ)
    ((_, what),) = findings(small_house)
    assert all(words in what for words in ("总金额", "序号 1 的金额", "序号 2 的账号", "成功金额"))


def test_file_cut_at_every_byte_is_never_booked(new_house: NewHouse) -> None:
    house = sent(new_house("quzhou"))
    path = house.answer(house.batches("2026-09")[0])
    data = path.read_bytes()
    for at in range(0, len(data) - 1, 3):
        path.write_bytes(data[:at])
        found = house.read(READ)
        assert (found.booked, found.applied.total) == (0, 0), at
    path.write_bytes(data[:-1])  # the last line end may be missing
    assert house.read(READ).applied.confirmed == 2


def test_incomplete_file_is_waited_for(house: House) -> None:
    sent(house)
    path = house.answer(house.batches("2026-09")[0])
    data = path.read_bytes()
    path.write_bytes(data[:40])
    found = house.read(READ)
    assert (found.incomplete, found.blocked) == (1, 0)
    assert bank_files(house) == []
    path.write_bytes(data)
    assert house.read(READ).applied.confirmed == 2


def test_a_file_that_stays_incomplete_is_found_once_a_night_and_again_when_it_grew(house: House) -> None:
    sent(house)
    path = house.answer(house.batches("2026-09")[0])
    data = path.read_bytes()
    for size in (40, 40, 40, 41, 41):
        path.write_bytes(data[:size])
        assert house.read(READ).incomplete == 1
    (_, first), (_, second) = findings(house)
    assert "40 字节" in first and "41 字节" in second
    house.night(READ, {})
    assert house.read(READ).incomplete == house.read(READ).incomplete == 1
    assert [what for _, what in findings(house)] == [first, second, second]


def test_a_link_is_no_file_of_the_bank(house: House, tmp_path: Path) -> None:
    sent(house)
    path = house.answer(house.batches("2026-09")[0])
    elsewhere = tmp_path / "elsewhere.txt"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert house.read(READ).applied.total == 0 and bank_files(house) == [] and path.is_symlink() and elsewhere.exists()
    path.unlink()
    elsewhere.rename(path)
    assert house.read(READ).applied.confirmed == 2


@pytest.mark.parametrize("change", [b"\r\n", b"\n"])
def test_line_ends_of_either_kind(new_house: NewHouse, change: bytes) -> None:
    house = sent(new_house("wenzhou"))
    path = house.answer(house.batches("2026-09")[0])
    path.write_bytes(path.read_bytes().replace(b"\r\n", change))
    assert house.read(READ).applied.confirmed == 2


@pytest.mark.parametrize("tail", [b"1|x|\n", b"#END\n", b"$20260921|\n#END\n"])
def test_rows_after_the_end_are_refused(new_house: NewHouse, tail: bytes) -> None:
    house = sent(new_house("quzhou"))
    path = house.answer(house.batches("2026-09")[0])
    path.write_bytes(path.read_bytes() + tail)
    assert house.read(READ).blocked == 1
    assert findings(house)[0][0] == "BANK-AFTER-END"


def test_wrong_encoding_is_refused(small_house: House) -> None:
    sent(small_house)
    path = small_house.answer(small_house.batches("2026-09")[0])
    path.write_bytes(path.read_bytes().replace("测试甲".encode("gbk"), "测试甲".encode()))
    assert small_house.read(READ).blocked == 1
    assert findings(small_house)[0][0] in ("BANK-ENCODING", "RESULT-MISMATCH", "BANK-FIELDS")


def test_second_bytes_that_look_like_separators_in_a_result(small_house: House) -> None:
    small_house.payees["X0"] = ("62", b"\x81\x7c\x90\x7c".decode("gbk"), "105331000018")
    sent(small_house, 1)
    small_house.answer(small_house.batches("2026-09")[0])
    assert small_house.read(READ).applied.confirmed == 1


# --- duplicates and order ------------------------------------------------------------------------------------------------


def test_same_file_again_changes_nothing(house: House) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    path = house.answer(batch, {1: "failed"})
    data = path.read_bytes()
    house.read(READ)
    assert not path.exists()
    rows = house.dump()
    path.write_bytes(data)
    again = house.read(READ)
    assert (again.duplicates, again.booked, again.applied.total) == (1, 0, 0)
    assert house.dump() == rows
    assert sorted(p.name for p in (house.results / "taken").iterdir()) == sorted(
        [path.name, f"{path.name}.2", f"BDC107_RSP_{house.policy.code}{batch.send_no}_001.TXT"]
    )


def test_blocked_file_that_was_superseded_is_judged_again(house: House) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    path = house.answer(batch, edit=total(count="3"))
    wrong = path.read_bytes()
    house.read(READ)
    house.answer(batch)
    house.read(READ)
    path.write_bytes(wrong)
    assert house.read(READ).blocked == 1
    assert [state for _, state in bank_files(house)] == ["blocked", "booked"]


def test_crash_after_booking_and_before_moving_the_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(house)
    path = house.answer(house.batches("2026-09")[0])
    with monkeypatch.context() as patched:
        patched.setattr(results, "_take_away", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                house.read(READ)
    again = house.read(READ)
    assert (again.duplicates, again.applied.confirmed, again.booked) == (1, 2, 1)
    assert not path.exists()
    assert verify.verify(house.db, house.centre) == []


def paid_and_returned(house: House) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows of a statement: the debit of the first payment, and its return."""
    first = house.payments()[0]
    debit = {key: first[key] for key in ("host_serial",)} | {"account": first["payee_account"], "summary": first["payment_no"]}
    debit["amount"] = -first["amount_fen"]
    return debit, debit | {"host_serial": "R1", "amount": first["amount_fen"], "summary": f"{first['payment_no']}退汇"}


def test_statement_that_grows_while_it_is_booked_is_read_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0])
    house.read(READ)
    debit, back = paid_and_returned(house)
    path = house.statement([debit], READ)
    short, book = path.read_bytes(), movements.book

    def slowly(*given: Any, **named: Any) -> movements.Moved:
        booked = book(*given, **named)
        house.statement([debit, back], READ)  # the bank puts a longer statement in its place
        return booked

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(movements, "book", slowly)
        assert house.read(READ).movements == {"debit": 1}
    assert path.exists() and path.read_bytes() != short
    assert house.read(READ).movements == {"return": 1}
    assert house.states() == ["returned", "confirmed"]
    assert [p.name for p in house.results.iterdir() if p.is_file()] == []
    assert verify.verify(house.db, house.centre) == []


@pytest.mark.parametrize("content", ["booked", "longer"])
def test_killed_while_a_file_lies_aside(house: House, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0])
    house.read(READ)
    debit, back = paid_and_returned(house)
    path = house.statement([debit], READ)
    short = path.read_bytes()
    with monkeypatch.context() as killed:
        killed.setattr(aside, "decide", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            house.read(READ)
    (hidden,) = aside.left(house.results)
    assert not path.exists() and hidden.name == path.name
    if content == "longer":  # it was replaced just before it was put aside
        house.statement([debit, back], READ)
        path.replace(hidden)
    again = house.read(READ)
    assert (again.booked, again.duplicates, again.applied.returned) == ((1, 0, 1) if content == "longer" else (0, 0, 0))
    taken = house.results / "taken" / path.name
    assert not path.exists() and aside.left(house.results) == [] and (taken.read_bytes() == short) == (content == "booked")


def test_file_that_goes_back_replaces_none(tmp_path: Path) -> None:
    path, target = tmp_path / "a.txt", tmp_path / "taken" / "a.txt"
    path.write_bytes(b"second")

    def looked(found: Path) -> bool:
        path.write_bytes(b"third")  # and a third one comes while the second lies aside
        return False

    assert not aside.take(path, target, looked)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == {"a.txt": b"third", "a.txt.2": b"second"}
    # Killed between going back and giving up the hidden name: both are the same file.
    os.link(path, tmp_path / ".taking" / "a.txt")
    (hidden,) = aside.left(tmp_path)
    assert not aside.decide(hidden, target, lambda _: False)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["a.txt", "a.txt.2"]
    assert aside.take(path, target, lambda _: True) and target.read_bytes() == b"third"


def test_disk_trouble_while_reading(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0])

    def broken(*_: Any) -> None:
        raise OSError(30, "read-only")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", broken)
        with pytest.raises(TransientError, match="RESULT-DISK"):
            house.read(READ)
    house.read(READ)
    assert house.states() == ["confirmed", "confirmed"]


def test_same_answers_in_other_bytes_change_no_payment(house: House) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    house.answer(batch, {1: "failed"})
    house.read(READ)
    accounts = house.accounts()
    house.answer(batch, {1: "failed"}, edit=lambda _, summary: summary.update(date="20260925"))
    again = house.read(READ)
    assert (again.booked, again.applied.total) == (1, 0)
    assert (house.states(), house.accounts()) == (["failed", "confirmed"], accounts)


@pytest.mark.parametrize(("first", "second"), [("ok", "failed"), ("failed", "ok"), ("ok", "pending"), ("failed", "pending")])
def test_contradiction_blocks(house: House, first: str, second: str) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    house.answer(batch, {1: first})
    house.read(READ)
    states = house.states()
    house.answer(batch, {1: second})
    assert house.read(READ).blocked == 1
    assert house.states() == states
    assert findings(house)[0][0] == "RESULT-CONTRADICTS"


def test_result_before_its_status_answer_waits(house: House) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    house.answer(batch)
    answer = next(house.results.glob("BDC107*"))
    data = answer.read_bytes()
    answer.unlink()
    assert house.read(READ).blocked == 1
    assert findings(house)[0][0] == "RESULT-BATCH-UNKNOWN"
    answer.write_bytes(data)
    found = house.read(READ)
    assert (found.booked, found.applied.confirmed) == (2, 2)
    assert bank_files(house)[0][1] == "booked"


def test_result_before_publication_is_finished_waits(house: House) -> None:
    house.night(NIGHT, {"X0": {"S1": 30000}})
    house.settle(SEPTEMBER)
    (batch,) = house.batches("2026-09")
    house.answer(batch)
    assert house.read(READ).blocked == 2
    house.approve("2026-09")
    house.publish("2026-09")
    assert house.read(READ).applied.confirmed == 1


def test_result_of_another_batch_is_not_taken_for_this_one(new_house: NewHouse) -> None:
    house = sent(new_house("zhoushan"))
    (first,) = house.batches("2026-09")
    house.night(OCTOBER.night, {"X0": {"S2": 5}})
    house.send(OCTOBER)
    (second,) = house.batches("2026-10")
    path = house.answer(first)
    other = path.with_name(path.name.replace(first.send_no, second.send_no))
    path.rename(other)
    assert house.read(OCTOBER.settlement_on).blocked == 1
    other.rename(path.with_name(path.name.replace(first.send_no, "9" * 20)))
    assert house.read(OCTOBER.settlement_on).blocked == 1
    assert {code for code, _ in findings(house)} >= {"RESULT-MISMATCH"}
    assert house.states() == ["sent"] * 3


def test_results_days_late_carry_their_own_dates(house: House) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0], day=date(2026, 9, 29))
    house.read(date(2026, 10, 9))
    assert [p["event_on"] for p in house.payments()] == [date(2026, 9, 29)] * 2
    j = tables.journal
    with house.db.read() as conn:
        assert set(conn.execute(sa.select(j.c.entry_on).where(j.c.reason == "pay")).scalars()) == {date(2026, 9, 29)}


def test_unknown_names_are_shown_and_left(small_house: House) -> None:
    sent(small_house)
    (small_house.results / "readme.txt").write_bytes(b"hello")
    (small_house.results / ".half").write_bytes(b"x")
    assert small_house.read(READ).blocked == 1
    assert findings(small_house)[0][0] == "BANK-NAME"
    assert (small_house.results / "readme.txt").exists()


@pytest.mark.parametrize("name", ["回盘.txt".encode("gbk"), b"..taking", b"x" * 255])
def test_no_name_stops_the_other_files(small_house: House, name: bytes) -> None:
    house = sent(small_house)
    house.answer(house.batches("2026-09")[0])
    with open(os.path.join(os.fsencode(house.results), name), "wb") as handle:
        handle.write(b"hello")
    found = house.read(READ)
    assert found.applied.confirmed == 2
    said = [] if name.startswith(b".") else ["BANK-NAME"]
    assert [code for code, _ in findings(house)] == said and found.blocked == len(said)
    assert name in os.listdir(os.fsencode(house.results))
    if name.startswith("回盘".encode("gbk")):
        assert r"\xbb\xd8\xc5\xcc.txt" in findings(house)[0][1] and "UTF-8" in findings(house)[0][1]
    assert house.read(READ).blocked == len(said)


@pytest.mark.parametrize("length", [248, 255])
def test_long_names_are_put_aside_and_numbered(tmp_path: Path, length: int) -> None:
    path, target = tmp_path / ("a" * length), tmp_path / "taken" / ("a" * length)
    for _ in range(2):
        path.write_bytes(b"x")
        assert aside.take(path, aside.free(target), lambda _: True)
    assert len(list((tmp_path / "taken").iterdir())) == 2 and not path.exists()


def test_numbered_files_put_back_after_a_loss_are_read_in_their_order(small_house: House, new_house: NewHouse) -> None:
    """`taken` holds two results of one name; put back as they are, both are read by a ledger that knows of neither."""
    house = sent(small_house)
    (batch,) = house.batches("2026-09")
    first = house.answer(batch, {1: "pending", 2: "pending"}).read_bytes()
    house.read(READ)
    house.answer(batch)
    house.read(READ)
    put_back = {p.name: p.read_bytes() for p in (house.results / "taken").iterdir()}
    name = next(n for n, data in put_back.items() if data == first)
    assert f"{name}.2" in put_back
    shutil.rmtree(house.results / "taken")
    house.db.dispose()
    lost = sent(new_house())
    for put, data in put_back.items():
        (lost.results / put).write_bytes(data)
    assert lost.read(READ).blocked == 0
    assert lost.states() == ["confirmed", "confirmed"]
    assert {p.name for p in (lost.results / "taken").iterdir()} == put_back.keys()


def test_size_is_looked_at_before_a_file_is_read(small_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(small_house)
    small_house.answer(small_house.batches("2026-09")[0])
    monkeypatch.setattr(bank_text, "MAX_BYTES", 1 << 20)
    path, read = small_house.results / f"BDC_MOV_{small_house.policy.code}20260922_001.DAT", Path.read_bytes
    with path.open("wb") as handle:
        handle.truncate((1 << 20) + 1)

    def reads(found: Path) -> bytes:
        assert found != path
        return read(found)

    monkeypatch.setattr(Path, "read_bytes", reads)
    for _ in range(2):
        found = small_house.read(READ)
        assert found.blocked == 1
    assert [code for code, _ in findings(small_house)] == ["BANK-TOO-LARGE"]
    assert small_house.states() == ["confirmed", "confirmed"]


def test_empty_folder(house: House) -> None:
    house.night(NIGHT, {"X0": {"S1": 1}})
    assert house.read(READ).counts()["booked"] == 0


# --- status answers ------------------------------------------------------------------------------------------------------


def test_whole_batch_failed(house: House) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    house.accept(batch, "", "3", message="余额不足")
    assert house.read(READ).applied.failed == 2
    assert house.states() == ["failed", "failed"]
    house.night(OCTOBER.night, {"X0": {"S2": 1}})
    assert house.send(OCTOBER).sent_fen == 30000 + 30100 + 1
    e = tables.payment_event
    with house.db.read() as conn:
        assert set(conn.execute(sa.select(e.c.text).where(e.c.state == "failed")).scalars()) == {"余额不足"}


@pytest.mark.parametrize("answer", ["BDC107", "BDC110"])
@pytest.mark.parametrize("killed", [False, True])
def test_files_of_a_batch_that_failed_cannot_be_fetched_any_more(
    house: House, monkeypatch: pytest.MonkeyPatch, answer: str, killed: bool
) -> None:
    """A bank copies without taking away, or has yet to come: the payments go out anew, so the files must not lie there."""
    sent(house)
    (batch,) = house.batches("2026-09")
    (question,) = asked(house)
    own = {p.name: p.read_bytes() for p in house.outbox.iterdir() if batch.send_no in p.name}
    assert len(own) == 3
    if answer == "BDC107":
        house.accept(batch, "", "3", message="文件不存在")
    else:
        answer_query(house, question, {p["payment_no"]: "1" for p in house.payments()})
    if killed:
        with monkeypatch.context() as patched:
            patched.setattr(results, "_register", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                house.read(READ)
        assert house.states() == ["sent", "sent"]
        assert not [p for p in house.outbox.iterdir() if p.name in own]
    assert house.read(READ).applied.failed == 2
    hidden = house.outbox / ".withdrawn"
    assert {p.name: p.read_bytes() for p in hidden.iterdir()} == own
    # Nothing puts them back, and what is paid anew leaves as always.
    assert house.publish("2026-09").taken == []
    house.night(OCTOBER.night, {"X0": {"S2": 1}})
    house.send(OCTOBER)
    (again,) = house.batches("2026-10")
    seen = {p.name for p in house.outbox.iterdir() if p.is_file()}
    assert not seen & own.keys() and again.file_name in seen
    assert sorted(p.name for p in hidden.iterdir()) == sorted(own)
    with house.db.read() as conn:
        assert publish.unknown_files(conn, house.settings, house.centre) == []
    assert verify.verify(house.db, house.centre) == []


def test_files_stay_when_the_answer_is_refused_or_the_bank_has_read_them(house: House) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    house.answer(batch, {1: "failed"})
    house.read(READ)
    house.accept(batch, "", "3", number=2)
    assert house.read(READ).blocked == 1
    assert (house.outbox / batch.file_name).exists() and not (house.outbox / ".withdrawn").exists()


def test_batch_failed_after_a_confirmation_contradicts(house: House) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    house.answer(batch)
    house.read(READ)
    house.accept(batch, "", "3", number=2)
    house.accept(batch, "", "9", number=3)
    assert house.read(READ).blocked == 2
    assert house.states() == ["confirmed", "confirmed"]


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda t: t.replace("TxStatus=0", "TxStatus=7"), "STATUS-UNKNOWN"),
        (lambda t: t.replace("TxStatus=0\n", ""), "STATUS-UNKNOWN"),
        (lambda t: t.replace("TxUnitNo=33", "TxUnitNo=34"), "STATUS-NOT-OURS"),
        (lambda t: t.replace("SendSeqNo=2", "SendSeqNo=3"), "STATUS-NOT-OURS"),
        (lambda t: t.replace("TxStatus=0", "TxStatus=0\nTxStatus=3"), "STATUS-FIELDS"),
        (lambda t: t.replace("TxStatus=0", "TxStatus"), "STATUS-FIELDS"),
    ],
)
def test_wrong_status_answers(small_house: House, edit: Callable[[str], str], code: str) -> None:
    sent(small_house)
    path = small_house.accept(small_house.batches("2026-09")[0])
    path.write_text(edit(path.read_text()), encoding="ascii")
    assert small_house.read(READ).blocked == 1
    assert findings(small_house)[0][0] == code


@pytest.mark.parametrize("where", ["message", "batch number", "movement"])
def test_nul_blocks_its_file_and_no_other(house: House, where: str) -> None:
    sent(house)
    (batch,) = house.batches("2026-09")
    house.answer(batch)
    if where == "movement":
        debit, _ = paid_and_returned(house)
        house.statement([debit | {"host_serial": "D1", "summary": debit["summary"] + " \x00"}], READ)
    else:
        number, message = ("B\x001", "") if where == "batch number" else ("", "a\x00b")
        house.accept(batch, number, "0", 2, message)
    found = house.read(READ)
    assert (found.blocked, found.applied.confirmed) == (1, 2)
    assert [code for code, _ in findings(house)] == ["BANK-CONTROL"]


def test_bank_batch_number_never_changes(new_house: NewHouse) -> None:
    house = sent(new_house())
    (batch,) = house.batches("2026-09")
    house.accept(batch, "B1")
    house.read(READ)
    house.accept(batch, "B2", number=2)
    house.read(READ)
    assert findings(house)[0][0] == "STATUS-CONTRADICTS"
    house.night(OCTOBER.night, {"X0": {"S2": 1}})
    house.send(OCTOBER)
    house.accept(house.batches("2026-10")[0], "B1")
    house.read(OCTOBER.settlement_on)
    assert [code for code, _ in findings(house)] == ["STATUS-CONTRADICTS"] * 2


def asked(house: House, day: date = READ) -> list[Path]:
    from subsidy.clearing import query

    query.write(house.db, house.token, house.settings, house.policy, business_date=day, run_no=house.run_no)
    return sorted(house.outbox.glob("BDC110_*"))


def answer_query(house: House, question: Path, verdicts: dict[str, str], edit: Callable[[str], str] = lambda t: t) -> Path:
    """The bank's BDC110 answer: payment number → 0, 1 or 2."""
    rows = ""
    for payment in house.payments():
        if payment["payment_no"] in verdicts:
            status = verdicts[payment["payment_no"]]
            day, serial = ("20260921", f"Q{payment['ordinal']}") if status == "0" else ("", "")
            fen = payment["amount_fen"]
            rows += f"1|{payment['payment_no']}|{fen // 100}.{fen % 100:02d}|{status}|E1|已查|{day}|{serial}|\n"
    path = house.results / question.name.replace("BDC110_", "BDC110_RSP_")
    path.write_bytes(edit(rows + "#END\n").encode("gb18030"))
    return path


def test_query_names_what_is_open_and_nothing_else(house: House) -> None:
    sent(house, 3)
    (batch,) = house.batches("2026-09")
    house.answer(batch, {1: "ok", 2: "failed", 3: "pending"})
    house.read(READ)
    (question,) = asked(house)
    assert question.read_text(encoding="gb18030") == (
        f"1|{batch.send_no}|B000001|3|TX2026090000000003|302.00|{house.payee_of('X2')[0]}|\n#END\n"
    )
    (whole,) = house.outbox.glob("BDC107_*")
    assert whole.read_text(encoding="gb18030") == f"1|{batch.send_no}|B000001|3|903.00|\n#END\n"
    # Once a day and batch; asking again the same day writes nothing new.
    before = {p: p.read_bytes() for p in house.outbox.iterdir()}
    asked(house)
    assert {p: p.read_bytes() for p in house.outbox.iterdir()} == before
    assert len(asked(house, date(2026, 9, 23))) == 2


def test_answers_to_queries_decide(house: House) -> None:
    sent(house, 3)
    (question,) = asked(house)
    numbers = [p["payment_no"] for p in house.payments()]
    answer_query(house, question, dict(zip(numbers, "012", strict=True)))
    found = house.read(READ)
    assert (found.applied.confirmed, found.applied.failed, found.applied.opened) == (1, 1, 1)
    assert house.states() == ["confirmed", "failed", "open"]
    # The late result file must agree with them.
    (batch,) = house.batches("2026-09")
    house.answer(batch, {2: "failed"})
    assert house.read(READ).applied.confirmed == 1
    assert house.states() == ["confirmed", "failed", "confirmed"]
    assert verify.verify(house.db, house.centre) == []


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.replace("300.00", "300.01"), "金额与发出的不一致"),
        (lambda t: t.replace("TX2026090000000001", "TX2026090000000009"), "不是本中心发出的"),
        (lambda t: t.replace("|0|", "|5|"), "不认识的状态"),
        (lambda t: t.replace("20260921", ""), "缺主机日期"),
        (lambda t: t.replace("20260921", "20260801"), "主机日期不可能"),
        (lambda t: t.replace("|Q1|", "||"), "流水号"),
        (lambda t: t.replace("#END", t.split("\n")[0] + "\n#END"), "付款编号重复"),
    ],
)
def test_wrong_answers_to_queries(small_house: House, edit: Callable[[str], str], words: str) -> None:
    sent(small_house, 1)
    (question,) = asked(small_house)
    answer_query(small_house, question, {"TX2026090000000001": "0"}, edit)
    assert small_house.read(READ).blocked == 1
    ((code, what),) = findings(small_house)
    assert code == "STATUS-MISMATCH"
    assert words in what
    assert small_house.states() == ["sent"]


def test_answer_to_a_question_nobody_asked(small_house: House) -> None:
    sent(small_house, 1)
    answer_query(small_house, Path(f"BDC110_{small_house.policy.code}{'1' * 20}.TXT"), {"TX2026090000000001": "0"})
    assert small_house.read(READ).blocked == 1
    assert findings(small_house)[0][0] == "STATUS-NOT-OURS"


def test_collection_results(new_house: NewHouse) -> None:
    house = sent(new_house(recovery="collect"), 2)
    house.answer(house.batches("2026-09")[0])
    house.read(READ)
    house.night(OCTOBER.night, {"X0": {"S1": 0}, "X1": {"S1": 0}})
    house.send(OCTOBER)
    (batch,) = house.batches("2026-10")
    assert batch.direction == "in"

    def wrong_party(rows: Rows, _: dict[str, str]) -> None:
        rows[0]["payer_account"] = "1"

    house.answer(batch, edit=wrong_party)
    assert house.read(OCTOBER.settlement_on).blocked == 1
    house.answer(batch, {1: "failed"})
    assert house.read(OCTOBER.settlement_on).applied.confirmed == 1
    assert house.accounts() == {"receivable": 30000, "cash": -30000}
    # What could not be collected is tried again with the next settlement.
    house.night(date(2026, 11, 19), {"X0": {"S9": 0}})
    from clearing_house import NOVEMBER

    again = house.settle(NOVEMBER)
    assert (again.collected_fen, [p["attempt"] for p in house.payments()][-1]) == (30000, 2)


def test_details_are_kept_with_the_file(house: House) -> None:
    sent(house)
    house.answer(house.batches("2026-09")[0], {1: "failed"})
    house.read(READ)
    t: Any = tables.bank_file
    with house.db.read() as conn:
        row = conn.execute(sa.select(t).where(t.c.kind == "result")).mappings().one()
    assert (row["batch_no"], row["known_on"], row["detail"]) == (1, READ, '{"changed": 2, "rows": 2}')
