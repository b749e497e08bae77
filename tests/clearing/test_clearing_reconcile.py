"""Three-way reconciliation, vouchers, figures, and the clearing over all centres of a month."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from clearing_house import OCTOBER, RULES, SEPTEMBER, STAMP, House, policy_of

from subsidy.clearing import approval, figures, overall, vouchers
from subsidy.clearing.reconcile import three_way
from subsidy.errors import TerminalError, TransientError
from subsidy.facts.schema import TABLES
from subsidy.ledger import tables
from subsidy.ledger.database import Database
from subsidy.policy import load_centre
from subsidy.settings import Settings

NewHouse = Callable[..., House]
NIGHT = date(2026, 9, 20)


def test_everything_ties(new_house: NewHouse) -> None:
    house = new_house(minimum_fen=100)
    house.night(NIGHT, {f"X{i}": {"S1": 1000 * i} for i in (1, 2, 3, 4)} | {"X5": {"S1": 99}})
    house.send(SEPTEMBER)
    house.answer(house.batches("2026-09")[0], {2: "failed", 3: "pending"})
    house.read(date(2026, 9, 22))
    house.night(OCTOBER.night, {"X1": {"S1": 400, "S2": 5000}})
    house.settle(OCTOBER, held={"GATE-OVERDUE": 7})
    with house.db.read() as conn:
        september, october, all_ = (three_way(conn, house.centre, p) for p in ("2026-09", "2026-10", None))
    assert september.computed_ties
    assert (september.computed_fen, september.sent_fen, september.carried_fen) == (10099, 10000, 99)
    (batch,) = september.batches
    assert batch.sent_ties
    assert (batch.confirmed_fen, batch.failed_fen, batch.open_fen, batch.returned_fen) == (5000, 2000, 3000, 0)
    assert (batch.confirmed_count, batch.failed_count, batch.open_count) == (2, 1, 1)
    assert october.batches == ()  # not sent yet
    assert (october.computed_fen, october.sent_fen, october.netted_fen, october.carried_fen, october.held_fen) == (7106, 6400, 600, 99, 7)
    assert all_.computed_fen == september.computed_fen + october.computed_fen
    # By the open business date of October nobody has answered for too long: no longer a matter of time.
    assert sorted((d.kind, d.amount_fen) for d in september.differences) == [("missing", 1000), ("missing", 3000), ("missing", 4000)]
    assert not september.ties
    with house.db.read() as conn:
        early = three_way(conn, house.centre, "2026-09", date(2026, 9, 23))
    assert {d.kind for d in early.differences} == {"timing"}
    assert early.ties
    assert early.total().sent_fen == 10000


def test_withdrawn_batches_are_not_sent(house: House) -> None:
    house.night(NIGHT, {"X1": {"S1": 300}})
    built = house.settle(SEPTEMBER)
    approval.answer(house.db, house.centre, "2026-09", "甲", "reject", built.content_hash, STAMP)
    house.night(OCTOBER.night, {"X1": {"S2": 100}})
    house.send(OCTOBER)
    with house.db.read() as conn:
        assert three_way(conn, house.centre, "2026-09").batches == ()
        assert three_way(conn, house.centre, "2026-10").total().open_fen == 400


# --- vouchers ------------------------------------------------------------------------------------------------------------


def story(house: House) -> House:
    house.night(NIGHT, {"X1": {"S1": 30000}, "X2": {"S1": 20000}})
    house.send(SEPTEMBER)
    house.answer(house.batches("2026-09")[0])
    house.read(date(2026, 9, 22))
    house.night(OCTOBER.night, {"X1": {"S1": 25000, "S2": 1000}})
    house.send(OCTOBER)
    return house


def test_vouchers_balance_and_tie_to_the_journal(house: House) -> None:
    story(house)
    with house.db.read() as conn:
        september, october = (vouchers.rows(conn, house.centre, period) for period in ("2026-09", "2026-10"))
        total = vouchers.journal_total(conn, house.centre, "2026-09")
        assert sum(r[3] for r in october) == vouchers.journal_total(conn, house.centre, "2026-10")
    assert [(r[1].split("（")[0], r[2], r[3], r[4], r[6]) for r in september] == [
        ("计提应付贴息", "411", 50000, 0, NIGHT), ("计提应付贴息", "219", 0, 50000, NIGHT),
        ("支付贴息", "219", 50000, 0, date(2026, 9, 21)), ("支付贴息", "102", 0, 50000, date(2026, 9, 21)),
    ]  # fmt: skip
    assert {(r[1].split("（")[0], r[3]) for r in october if r[3]} == {
        ("计提应付贴息", 1000),
        ("确认应收追回", 5000),
        ("追回抵扣贴息", 1000),
    }
    assert sum(r[3] for r in september) == sum(r[4] for r in september) == total
    for found in (september, october):
        for number in {r[0] for r in found}:
            assert len(number) <= 20
            mine = [r for r in found if r[0] == number]
            assert sum(r[3] for r in mine) == sum(r[4] for r in mine)


def test_voucher_file_has_a_new_version_only_for_new_content(house: House) -> None:
    story(house)

    def write() -> str:
        return vouchers.write(
            house.db, house.token, house.settings, house.policy, "2026-09", business_date=date(2026, 10, 1), run_no=house.run_no
        )

    name = write()
    assert name == f"TX_VCH_{house.policy.code}_202609_V001.TXT"
    first = (house.outbox / name).read_text(encoding="gb18030")
    assert first.startswith(
        "JZPZH|ZhaiYao|KMBH|JFFSE|DFFSE|FJDJS|JZRQ|\nJZ20260920000000101|计提应付贴息（记账批 1）|411|500.00|0.00|1|20260920|\n"
    )
    assert first.endswith("#END|4|1000.00|1000.00|\n")
    rows = house.dump()
    assert write() == name
    assert house.dump() == rows
    # A return dated in September comes to be known later: a new version, in which the earlier vouchers stand unchanged.
    number = house.payments()[0]["payment_no"]
    account = house.payee_of("X1")[0]
    house.statement([{"host_serial": "R1", "account": account, "amount": 30000, "summary": number}], date(2026, 9, 29))
    house.read(date(2026, 10, 20))
    assert write() == name.replace("V001", "V002")
    second = (house.outbox / name.replace("V001", "V002")).read_text(encoding="gb18030")
    assert set(first.splitlines()[:-1]) < set(second.splitlines())
    assert "贴息退汇" in second


def test_crash_between_intent_and_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    story(house)

    def write() -> str:
        return vouchers.write(house.db, house.token, house.settings, house.policy, "2026-09", business_date=NIGHT, run_no=1)

    with monkeypatch.context() as patched:
        patched.setattr(vouchers.outbox, "write_whole", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write()
    assert (house.outbox / write()).exists()
    with house.db.read() as conn:
        f = tables.published_file
        assert conn.execute(sa.select(f.c.state).where(f.c.kind == "voucher")).scalars().all() == ["published"]


def test_every_booking_stands_in_exactly_one_file_of_new_vouchers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.night(NIGHT, {"X1": {"S1": 30000}, "X2": {"S1": 20000}})

    def write(day: date) -> list[str]:
        return vouchers.write_new(house.db, house.token, house.settings, house.policy, business_date=day, run_no=house.run_no)

    unit = house.policy.code
    assert write(NIGHT) == [f"TX_VCH_{unit}_20260920_V001.TXT"]
    assert write(NIGHT) == []
    house.send(SEPTEMBER)
    house.answer(house.batches("2026-09")[0])
    house.read(date(2026, 9, 22))
    with monkeypatch.context() as patched:
        patched.setattr(vouchers.outbox, "write_whole", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write(NIGHT)
    house.night(OCTOBER.night, {"X1": {"S1": 25000, "S2": 1000}})
    # What was begun before the crash is finished, and what was booked since comes in a file of its own.
    assert write(OCTOBER.night) == [f"TX_VCH_{unit}_20260920_V002.TXT", f"TX_VCH_{unit}_{OCTOBER.night:%Y%m%d}_V001.TXT"]
    assert write(OCTOBER.night) == []
    files = [path.read_text(encoding="gb18030").splitlines() for path in sorted(house.outbox.glob("TX_VCH_*"))]
    written = [line for file in files for line in file[1:-1]]
    assert len(written) == len(set(written))
    with house.db.read() as conn:
        every = [
            line for month in ("2026-09", "2026-10") for line in vouchers.text(vouchers.rows(conn, house.centre, month)).splitlines()[1:-1]
        ]
        total = sum(vouchers.journal_total(conn, house.centre, month) for month in ("2026-09", "2026-10"))
        assert sorted(every) == sorted(written)
        f = tables.published_file
        assert set(conn.execute(sa.select(f.c.state).where(f.c.kind == "voucher")).scalars()) == {"published"}
    amounts = [line.split("|")[3:5] for line in written]
    assert sum(round(float(d) * 100) for d, _ in amounts) == sum(round(float(c) * 100) for _, c in amounts) == total


def test_every_reason_of_the_journal_has_a_voucher_text() -> None:
    from subsidy.ledger.journal import ROLES

    assert set(vouchers.SUMMARIES) == set(ROLES)
    assert len({code for code, _ in vouchers.SUMMARIES.values()}) == len(ROLES)


# --- figures -------------------------------------------------------------------------------------------------------------


def test_figures_of_month_year_and_all(house: House) -> None:
    story(house)
    schema = TABLES["account"].arrow

    def account(no: str, fen: int, on: date, settled: date | None = None) -> dict[str, Any]:
        row = {"account_no": no, "disbursed_fen": fen, "disbursed_on": on, "balance_fen": fen, "settled_on": settled}
        return {name: row.get(name) for name in schema.names}

    accounts = pa.Table.from_pylist(
        [account("A1", 100, date(2025, 1, 1), date(2026, 9, 30)), account("A2", 20, date(2026, 1, 1)), account("A3", 3, date(2026, 9, 1)),
         account("A4", 7, date(2026, 10, 1))], schema=schema,
    )  # fmt: skip
    status = TABLES["status"].arrow
    statuses = pa.Table.from_pylist(
        [
            {n: {"account_no": "A2", "as_of": day, "balance_fen": fen}.get(n) for n in status.names}
            for day, fen in ((date(2026, 10, 5), 1), (date(2026, 9, 5), 15), (date(2026, 8, 5), 18))
        ],
        schema=status,
    )
    of_loans = figures.loans(accounts, statuses, "2026-09")
    shares = [figures.loans(accounts.slice(start, 2), statuses, "2026-09") for start in (0, 2)]
    assert figures.added(shares) == of_loans, "counted in shares of the loans, it comes to the same"
    with house.db.read() as conn:
        found = {
            f.label: (f.month, f.year, f.in_all)
            for f in figures.annual(conn, house.centre, "2026-09", of_loans)
        }
        october = {f.label: (f.month, f.year, f.in_all) for f in figures.annual(conn, house.centre, "2026-10")}
    assert found == {
        "发放贷款笔数": (1, 2, 3), "发放贷款金额": (3, 23, 123), "结清贷款笔数": (1, 1, 1), "贷款余额": (125, 125, 125),
        "支付贴息户数": (2, 2, 2), "支付贴息金额": (50000, 50000, 50000), "追回金额": (0, 0, 0), "核销金额": (0, 0, 0),
    }  # fmt: skip
    assert october["支付贴息金额"] == (0, 50000, 50000)
    assert october["追回金额"] == (1000, 1000, 1000)


# --- over all centres ----------------------------------------------------------------------------------------------------


@pytest.fixture
def centres(database: Database, tmp_path: Path) -> dict[str, House]:
    """杭州, 温州 and 衢州 with their own policies, on one database."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    settings = Settings(home=home, rules=RULES, database_url="", store_url=f"file://{home / 'store'}", key="k" * 40)
    made = {}
    for name in ("hangzhou", "wenzhou", "quzhou"):
        shipped = load_centre(RULES, name)
        policy = replace(
            policy_of(name), settlement=tuple(replace(t, minimum_fen=1) for t in shipped.settlement), parameters=shipped.parameters
        )
        made[name] = House(database, settings, policy)
    return made


def cleared(centres: dict[str, House], period: str, **options: Any) -> overall.Clearing:
    first = next(iter(centres.values()))
    return overall.clear(first.db, first.settings, [h.policy for h in centres.values()], period, **options)


def test_clearing_grows_by_versions(centres: dict[str, House]) -> None:
    hangzhou, wenzhou = centres["hangzhou"], centres["wenzhou"]
    october = replace(OCTOBER, settlement_on=date(2026, 10, 20))
    hangzhou.night(october.night, {"X1": {"S1": 30000}, "X2": {"S1": 20000}})
    hangzhou.send(october)
    first = cleared(centres, "2026-10", broken=["huzhou"])
    assert (first.version, first.changed, first.complete, first.idle, first.missing) == (
        1,
        True,
        ("hangzhou",),
        ("quzhou",),
        ("huzhou", "wenzhou"),
    )
    (position,) = first.positions
    assert (position.sent_fen, position.open_fen, position.payable_fen, position.net_fen) == (50000, 50000, 50000, 50000)
    path = hangzhou.settings.home / first.file
    account = hangzhou.policy.settlement[0].paying_account.number
    assert path.read_text() == f"BDC109|202610|1|1|50000|\n1|330100000000000|105|{account}|50000|0|50000|\n#END\n"

    again = cleared(centres, "2026-10", broken=["huzhou"])
    assert (again.version, again.changed) == (1, False)

    # A result comes in: a new version, whose transfer leaves out what failed.
    hangzhou.answer(hangzhou.batches("2026-10")[0], {1: "failed"})
    hangzhou.read(date(2026, 10, 21))
    second = cleared(centres, "2026-10", broken=["huzhou"])
    assert (second.version, second.positions[0].failed_fen, second.positions[0].net_fen) == (2, 30000, 20000)

    # The late centre comes in: another.
    wenzhou.night(date(2026, 10, 14), {"W1": {"S1": 700}})
    built = wenzhou.settle(replace(OCTOBER, settlement_on=date(2026, 10, 15), cutoff_on=date(2026, 10, 14), night=date(2026, 10, 14)))
    assert cleared(centres, "2026-10", broken=["huzhou"]).missing == ("huzhou", "wenzhou")
    approval.answer(wenzhou.db, "wenzhou", "2026-10", "甲", "approve", built.content_hash, STAMP)
    wenzhou.publish("2026-10")
    last = cleared(centres, "2026-10")
    assert (last.missing, last.complete, last.net_fen) == ((), ("hangzhou", "wenzhou"), 20700)
    assert path.read_text().splitlines()[0] == "BDC109|202610|1|1|50000|"  # earlier versions stay
    with hangzhou.db.read() as conn:
        t = tables.clearing
        assert conn.execute(sa.select(sa.func.count()).select_from(t)).scalar_one() == last.version


def test_a_centre_that_the_program_fails_at_stops_no_other(centres: dict[str, House], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hangzhou", "wenzhou"):
        centres[name].night(OCTOBER.night, {"X1": {"S1": 30000}})
        centres[name].send(OCTOBER)
    assert cleared(centres, "2026-10").complete == ("hangzhou", "wenzhou")
    s, home = tables.settlement, centres["hangzhou"].settings.home
    before = {path: path.read_bytes() for path in home.glob("outbox/clearing/BDC109_*")}
    with centres["wenzhou"].db.raw() as conn:  # a day on which no terms of the centre apply
        conn.execute(sa.update(s).where(s.c.centre == "wenzhou").values(settlement_on=date(2010, 1, 4)))
    with pytest.raises(TerminalError, match=r"CLEAR-FAULT.*wenzhou"):
        cleared(centres, "2026-10", whole=True)
    assert {path: path.read_bytes() for path in home.glob("outbox/clearing/BDC109_*")} == before
    found = cleared(centres, "2026-10")
    assert (found.version, found.complete, found.missing) == (2, ("hangzhou",), ("wenzhou",))
    assert [p.centre for p in found.positions] == ["hangzhou"] and list(found.faults) == ["wenzhou"]
    with monkeypatch.context() as patched:  # want of the machine is no fault of a centre
        patched.setattr(overall, "three_way", lambda *_: (_ for _ in ()).throw(TransientError("DB-AWAY", "", "", "")))
        with pytest.raises(TransientError):
            cleared(centres, "2026-10")


def test_missing_may_be_refused(centres: dict[str, House]) -> None:
    with pytest.raises(TerminalError, match=r"CLEAR-MISSING.*hangzhou"):
        cleared(centres, "2026-10", missing_ok=False)
    assert not (centres["hangzhou"].settings.home / "outbox" / "clearing").exists()


def test_month_without_settlement_is_complete_and_an_unknown_calendar_is_not(centres: dict[str, House]) -> None:
    assert overall.settles_in(centres["quzhou"].policy, "2026-12")
    assert not overall.settles_in(centres["quzhou"].policy, "2026-11")
    assert not overall.settles_in(centres["hangzhou"].policy, "2026-08")  # before go-live
    found = cleared(centres, "2027-01")
    assert (found.missing, found.idle) == (("hangzhou", "wenzhou"), ("quzhou",))  # a quarterly centre has none in January


def test_crash_between_version_and_file(centres: dict[str, House], monkeypatch: pytest.MonkeyPatch) -> None:
    centres["hangzhou"].night(OCTOBER.night, {"X1": {"S1": 30000}})
    centres["hangzhou"].send(OCTOBER)
    with monkeypatch.context() as patched:
        patched.setattr(overall.outbox, "write_whole", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cleared(centres, "2026-10")
    found = cleared(centres, "2026-10")
    assert (found.version, found.changed) == (1, False)
    assert (centres["hangzhou"].settings.home / found.file).exists()
