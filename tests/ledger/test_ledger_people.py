"""Acts of people: appended to one chain, and remembered when somebody wants to approve."""

from __future__ import annotations

import pytest

from subsidy.errors import TerminalError
from subsidy.ledger import audit
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


def test_nobody_cannot_act(database: Database) -> None:
    with pytest.raises(TerminalError) as caught, database.transaction_system() as conn:
        audit.record(conn, "hangzhou", "", "trigger", "run:1", "", AT)
    assert caught.value.message.code == "AUDIT-NOBODY"
    with database.transaction_system() as conn:
        assert audit.record(conn, "hangzhou", "张三", "trigger", "run:1", "", AT) == 1
