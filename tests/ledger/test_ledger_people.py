"""Acts of people: appended to one chain, and remembered when somebody wants to approve."""

from __future__ import annotations

import pytest

from subsidy.errors import TerminalError
from subsidy.ledger import audit, write_off_desk
from subsidy.ledger.database import Database
from subsidy.ledger.verify import verify_audit

AT = "2026-09-20T10:00:00+08:00"


def test_who_acted_may_not_approve(database: Database) -> None:
    with database.transaction_system() as conn:
        for number, (centre, person, act, subject) in enumerate(
            [
                ("hangzhou", "张三", "trigger", "run:1"), ("hangzhou", "李四", "clear", "run:2"), ("hangzhou", "王五", "approve", "run:1"),
                ("wenzhou", "赵六", "trigger", "run:1"), ("hangzhou", "孙七", "release", "quarantine:5"), ("", "周八", "mark", "run:2"),
                ("hangzhou", "吴九", "download", "run:1"), ("hangzhou", "郑十", "override", "file:3"),
            ],
            1,
        ):  # fmt: skip
            assert audit.record(conn, centre, person, act, subject, "", AT) == number
    with database.read() as conn:
        assert audit.acted(conn, "hangzhou", ["run:1", "run:2"]) == {"张三", "李四", "周八"}
        assert audit.acted(conn, "hangzhou", ["quarantine:5", "file:3", "run:9"]) == {"孙七", "郑十"}
        assert audit.acted(conn, "hangzhou", []) == set()
    assert verify_audit(database) == [] and verify_audit(database, rolling=2, position=7) == []


@pytest.mark.parametrize("typed", ["核对\x00无误", "\x1b[2J", "\x7f", "\udc80"])
def test_what_nobody_can_see_is_refused_before_it_is_written(database: Database, typed: str) -> None:
    """PostgreSQL keeps no NUL, and no database half a character."""
    for person, subject, reason in ((typed, "run:1", ""), ("张三", typed, ""), ("张三", "run:1", typed)):
        with pytest.raises(TerminalError, match="ACT-TEXT"), database.transaction_system() as conn:
            audit.record(conn, "hangzhou", person, "trigger", subject, reason, AT)
    for agreement_no, reason in ((typed, "死亡"), ("X1", typed)):
        with pytest.raises(TerminalError, match="ACT-TEXT"), database.transaction_system() as conn:
            write_off_desk.request(conn, "hangzhou", agreement_no, 1, person="张三", reason=reason, at=AT)
    with database.transaction_system() as conn:
        assert audit.record(conn, "hangzhou", "张三", "trigger", "run:1", "两行\r\n\t都可以", AT) == 1


def test_nobody_cannot_act(database: Database) -> None:
    with pytest.raises(TerminalError) as caught, database.transaction_system() as conn:
        audit.record(conn, "hangzhou", "", "trigger", "run:1", "", AT)
    assert caught.value.message.code == "AUDIT-NOBODY"
    with database.transaction_system() as conn:
        assert audit.record(conn, "hangzhou", "张三", "trigger", "run:1", "", AT) == 1
