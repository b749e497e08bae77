"""The shell: shows, publishes, reads, asks, lists; it cannot approve, and says by its exit code what is the matter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from clearing_house import LINE, STAMP, House

from subsidy.calendar.settlement import SettlementDates
from subsidy.clearing import approval, settle
from subsidy.cli import main as shell
from subsidy.entitlement.lines import LINES
from subsidy.ledger import lease, postings, tables
from subsidy.ledger.database import next_numbers, open_database
from subsidy.ledger.journal import RunRef
from subsidy.ledger.postings import Part
from subsidy.night import api, context
from subsidy.settings import Settings

DATES = SettlementDates("2026-09", date(2026, 9, 20), date(2026, 9, 19), date(2026, 9, 19))


@dataclass
class Shell:
    house: House
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *argv: str, centre: bool = True) -> tuple[int, Any, str]:
        """Exit code, what was printed (JSON when it is), and what was said on standard error."""
        code = shell.main([*argv, *(["--centre", "hangzhou"] if centre else []), "--json"])
        said = self.capsys.readouterr()
        return code, json.loads(said.out) if said.out.strip() else None, said.err


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """杭州 after a night whose lines were posted by hand, with a settlement that waits."""
    monkeypatch.setenv("SUBSIDY_HOME", str(settings.home))
    monkeypatch.setenv("SUBSIDY_KEY", settings.key)
    (settings.home / "inbox" / "hangzhou").mkdir(parents=True)
    opened = api.open_night(settings, "hangzhou", DATES.night, "scheduler")
    ctx = context.load(settings, "hangzhou", opened["run_no"])
    db = open_database(settings)
    house = House(db, settings, ctx.policy, run_no=opened["run_no"])
    house.lines = {"X1": {"S1": 30000}, "X2": {"S1": 20000}}
    rows = [
        LINE
        | {"agreement_no": a, "account_no": f"A{a}", "serial_no": "S1", "payable_fen": 30000, "figure_fen": 30000, "entitled_fen": 30000}
        for a in house.lines
    ]
    with db.transaction("hangzhou", house.token) as conn:
        row = dict.fromkeys(("rows_in", "rows_booked", "rows_quarantined", "rows_duplicate"), 0) | {"sha256": "f", "name": "f", "bytes": 1}
        row |= {"profile": "p", "identity": "i", "version": 1, "state": "booked", "known_on": DATES.night}
        number = next_numbers(conn, "hangzhou", "file")
        conn.execute(sa.insert(tables.file).values(centre="hangzhou", file_no=number, run_no=house.run_no, **row))
        reference = RunRef("hangzhou", house.run_no, DATES.night, ctx.policy.version)
        part = Part(pa.Table.from_pylist(rows, schema=LINES), list(house.lines))
        postings.post(conn, reference, ctx.policy.scheme, ctx.policy.settlement[0].accounts, part)
    house.settle(DATES)
    lease.release(db, "hangzhou", house.token)
    capsys.readouterr()
    return Shell(house, capsys)


def approve(house: House) -> None:
    with house.db.read() as conn:
        stored = settle.load(conn, house.policy, "2026-09")
    assert stored is not None
    for person in ("甲", "乙"):
        approval.answer(house.db, "hangzhou", "2026-09", person, "approve", stored.content_hash, STAMP)


def test_a_month_from_the_shell(run: Shell) -> None:
    house = run.house
    code, shown, _ = run("settlement", "show")
    assert (code, shown["state"], shown["sent_fen"], "FIRST-BATCH" in shown["reasons"]) == (5, "waiting", 60000, True)

    code, said, error = run("settlement", "publish", "--period", "2026-09")
    assert (code, said["code"]) == (3, "PUBLISH-NOT-APPROVED")
    assert "处理办法" in error

    approve(house)
    code, published, _ = run("settlement", "publish", "--period", "2026-09")
    assert (code, published["state"], len(published["files"])) == (0, "published", 3)
    assert all((house.settings.home / path).exists() for path in published["files"])

    code, waiting, _ = run("query", "list", "--date", "2026-09-23")
    assert (code, [(w["payment_no"], w["age_days"]) for w in waiting]) == (1, [("TX2026090000000001", 3), ("TX2026090000000002", 3)])
    assert "account" not in json.dumps(waiting)
    code, said, _ = run("query", "write", "--date", "2099-09-23")
    assert (code, said["code"]) == (3, "BANK-DATE-FAR")
    code, asked, _ = run("query", "write", "--date", "2026-09-23")
    assert (code, asked["payments"], len(asked["files"])) == (0, 2, 2)

    (house.results / "odd.txt").write_text("x")
    house.answer(house.batches("2026-09")[0], {1: "failed"})
    code, counts, _ = run("results", "read", "--date", "2026-09-22")
    assert (code, counts["blocked"]) == (1, 1)
    assert house.states() == ["failed", "confirmed"]
    assert run("query", "list", "--date", "2026-09-23")[:2] == (0, [])

    assert run("receivables", "list", "--date", "2026-09-23")[:2] == (0, [])
    code, written, _ = run("vouchers", "write", "--period", "2026-09")
    assert (code, (house.outbox / written["file"]).exists()) == (0, True)

    code, cleared, _ = run("clearing", "run", "--period", "2026-09", centre=False)
    assert code == 1
    assert "wenzhou" in cleared["missing"]
    assert (house.settings.home / cleared["file"]).exists()
    assert run("settlement", "show", "--period", "2026-09")[1]["reconciliation"][0]["failed_fen"] == 30000


def test_republish_is_refused_without_the_banks_word(run: Shell) -> None:
    approve(run.house)
    run("settlement", "publish", "--period", "2026-09")
    code, said, _ = run("settlement", "republish", "--batch", "1")
    assert (code, said["code"]) == (3, "REPUBLISH-REFUSED")


def test_the_shell_has_no_word_for_approving(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["settlement", "approve"], ["settlement", "answer"], ["approve"]):
        with pytest.raises(SystemExit) as left:
            shell.main(words)
        assert left.value.code == 2
    capsys.readouterr()


@pytest.mark.parametrize("period", ["２０２６-10", "2026-1_0", " 2026-10\n", "2100-10", "2026-13", "2026", "0000-10", "../../x-1", ""])
@pytest.mark.parametrize(
    "words", ["clearing run", "vouchers write --centre hangzhou", "settlement publish --centre hangzhou", "report write --centre hangzhou"]
)
def test_what_is_no_period_is_said_before_anything_is_read(capsys: pytest.CaptureFixture[str], words: str, period: str) -> None:
    with pytest.raises(SystemExit) as left:
        shell.main([*words.split(), "--period", period])
    assert left.value.code == 2
    assert "不是期间" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("settlement republish --centre hangzhou --batch 99999999999999999999", "不是编号"),
        ("ledger match --centre hangzhou --batch ７ --how result --evidence x", "不是编号"),
        ("query write --centre hangzhou --date 2026-02-30", "不是日期"),
    ],
)
def test_numbers_and_dates_that_cannot_be_are_said(capsys: pytest.CaptureFixture[str], words: str, told: str) -> None:
    with pytest.raises(SystemExit) as left:
        shell.main(words.split())
    assert left.value.code == 2
    assert told in capsys.readouterr().err


def test_an_amount_that_is_none_is_not_asked_for(run: Shell) -> None:
    for amount in ("1e5", "１.00", "-0.00"):
        code, said, _ = run("ledger", "write-off", "--agreement", "X1", f"--amount={amount}", "--reason", "r")
        assert (code, said["code"]) == (3, "WRITE-OFF-AMOUNT")


def test_unknown_period_and_centre_that_never_ran(run: Shell) -> None:
    assert run("settlement", "show", "--period", "2026-08")[1]["code"] == "SETTLE-UNKNOWN"
    code = shell.main(["query", "list", "--centre", "wenzhou", "--date", "2026-09-23", "--json"])
    assert code == 3
    assert json.loads(run.capsys.readouterr().out)["code"] == "RUN-NONE"


def test_somebody_else_at_work_is_named(run: Shell) -> None:
    house = run.house
    import time

    lease.acquire(house.db, "hangzhou", "夜间 2026-09-20", time.time(), 600.0)
    code, said, _ = run("vouchers", "write", "--period", "2026-09")
    assert (code, said["code"]) == (4, "LEASE-BUSY")
    assert "夜间 2026-09-20" in said["what"]


def test_open_payments_are_listed_as_of_the_open_business_date(run: Shell) -> None:
    approve(run.house)
    run("settlement", "publish", "--period", "2026-09")
    with run.house.db.transaction_system() as conn:  # three nights later
        conn.execute(sa.update(tables.centre_state).values(open_business_date=date(2026, 9, 22)))
    assert run("query", "list") == run("query", "list", "--date", "2026-09-22")
    assert {row["age_days"] for row in run("query", "list")[1]} == {2}


def test_reading_the_banks_files_says_a_sentence(run: Shell) -> None:
    (run.house.results / "odd.txt").write_text("x")
    assert shell.main(["results", "read", "--centre", "hangzhou", "--date", "2026-09-22"]) == 1
    text = run.capsys.readouterr().out
    assert "银行文件：有差异未入账 1 个" in text and "odd.txt" in text and "=" not in text and "{" not in text


def test_plain_text(run: Shell) -> None:
    assert shell.main(["settlement", "show", "--centre", "hangzhou"]) == 5
    text = run.capsys.readouterr().out
    assert "应付 600.00 = 发送 600.00" in text
    assert "本中心的首个批次" in text
