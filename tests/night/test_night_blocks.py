"""What a night finds broken stops the money, not the night; what a changed policy posts waits for a person."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from playing import PEOPLE, by_hand, play

from fixtures import story
from fixtures.centres import CENTRES
from fixtures.writers import Delivery
from subsidy.errors import TerminalError
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import api
from subsidy.settings import Settings

SECOND = date(2026, 9, 14)  # the night in which wenzhou settles


@pytest.mark.parametrize(
    ("broken", "mended", "code"),
    [
        (
            "UPDATE posting SET amount_fen = amount_fen + 1, due_fen = due_fen + 1 WHERE posting_no = 3",
            "UPDATE posting SET amount_fen = amount_fen - 1, due_fen = due_fen - 1 WHERE posting_no = 3",
            "INV-5-POSTING",
        ),
        (
            "UPDATE audit SET person = '乙' || person WHERE audit_no = 1",
            "UPDATE audit SET person = substr(person, 2) WHERE audit_no = 1",
            "INV-4-AUDIT",
        ),
    ],
)
def test_a_broken_invariant_blocks_the_settlement(settings: Settings, database_url: str, broken: str, mended: str, code: str) -> None:
    settings = dataclasses.replace(settings, database_url=database_url)
    play(settings, "wenzhou", (1,))
    story.deliver(settings.home, "wenzhou", 2)
    api.record_act(settings, "wenzhou", "甲", "trigger", "night:2026-09-14", "补跑")
    opened = api.open_night(settings, "wenzhou", SECOND, "甲")
    for name in ("take_in", "compute", "check", "post"):
        api.step(settings, "wenzhou", opened["run_no"], name)
    db = open_database(settings)
    by_hand(db, broken)
    assert api.verify(settings, "wenzhou", opened["run_no"])["broken"] > 0
    with db.read() as conn:
        f = tables.finding
        assert code in set(conn.execute(sa.select(f.c.code).where(f.c.stage == "verify")).scalars())
    blocked = api.settle(settings, "wenzhou", opened["run_no"])
    assert blocked["settlements"] == [] and blocked["blocked"]["periods"] == ["2026-09"] and blocked["blocked"]["broken"] > 0
    assert api.pending_settlement(settings, "wenzhou") is None
    assert not list(settings.outbox("wenzhou").glob("*.*")), "neither payments nor vouchers leave"
    by_hand(db, mended)
    assert api.verify(settings, "wenzhou", opened["run_no"])["broken"] == 0
    assert api.settle(settings, "wenzhou", opened["run_no"])["settlements"][0]["period"] == "2026-09"
    assert [path.name for path in settings.outbox("wenzhou").glob("*.*")] == [f"TX_VCH_{CENTRES['wenzhou'].code}_20260914_V001.TXT"]
    db.dispose()


def test_what_a_changed_policy_posts_waits_for_a_person(settings: Settings, tmp_path: Path) -> None:
    """quzhou sends small batches by itself; not the one in which every line is corrected because 25 % became 26 %."""
    rules = tmp_path / "rules"
    shutil.copytree(settings.rules, rules)
    settings = dataclasses.replace(settings, rules=rules)
    path = rules / "quzhou" / "policy.yaml"
    calm = path.read_text(encoding="utf-8").replace("growth_limit_percent: 150", "growth_limit_percent: 10000")
    path.write_text(calm, encoding="utf-8")
    first = play(settings, "quzhou", (1, 2, 3))[2]["settle"]["settlements"][0]
    assert first["reasons"] == ["FIRST-BATCH"]
    path.write_text(calm.replace("share: 25%", "share: 26%"), encoding="utf-8")
    story.deliver(settings.home, "quzhou", 4)
    night = api.run_night(settings, "quzhou", date(2026, 12, 20), "夜间", reason=story.REASON)
    (built,) = night["settle"]["settlements"]
    assert (built["state"], built["reasons"]) == ("held", ["POLICY-CHANGED"])
    assert night["post"]["top_ups"] > 30 and built["sent_fen"] < 500_000_00
    waiting = api.pending_settlement(settings, "quzhou")
    assert waiting is not None and waiting["approvals_needed"] == 1
    assert waiting["reasons"] == ["规则、参数或程序在上一批次之后有变动"]
    with pytest.raises(TerminalError, match="PUBLISH-NOT-APPROVED"):
        api.publish(settings, "quzhou", "2026-12")


def test_a_changed_line_of_the_old_system_is_told_and_never_posted(settings: Settings) -> None:
    centre = CENTRES["quzhou"]
    play(settings, "quzhou", (1, 2))
    loan, old = next((f, r) for f in story.facts("quzhou", 2) for r in f.rows if r["JXZZRQ"] < date(2026, 9, 1) and r["LXJE"] > 0)
    changed = old | {"LXJE": old["LXJE"] - 5, "FSE": old["FSE"] - 5}
    delivery = Delivery(centre.name, centre.code, settings.inbox("quzhou"), date(2026, 9, 20), 7)
    delivery.add("GB305", changed)
    delivery.close()
    posted = api.run_night(settings, "quzhou", date(2026, 9, 20), "夜间")["post"]
    with open_database(settings).read() as conn:
        f = tables.finding
        told = conn.execute(sa.select(f.c.agreement_no, f.c.serial_no, f.c.severity).where(f.c.code == "OPENING-CHANGED")).all()
    assert [tuple(t) for t in told] == [(loan.agreement["TXXYBH"], old["YWLSH"], "warning")]
    assert posted["postings"] == 0


@pytest.mark.parametrize(("effective_on", "is_new"), [(date(2026, 9, 15), True), (date(2026, 9, 16), False)])
def test_a_payee_change_counts_for_what_is_sent_from_its_day_on(settings: Settings, effective_on: date, is_new: bool) -> None:
    """The batch that night SECOND builds is sent the day after, which is the settlement day."""
    play(settings, "wenzhou", (1,))
    story.deliver(settings.home, "wenzhou", 2)
    number, old = paid_agreement()
    new = change_payee(settings, number, SECOND, effective_on)
    api.run_night(settings, "wenzhou", SECOND, "夜间")
    assert accounts_of(settings, number) == {"2026-09": new if is_new else old}


def test_a_payee_change_after_approval_leaves_the_approved_batch_as_it_is(settings: Settings) -> None:
    """What was approved is sent, to the byte; the new account is paid from the next settlement on, which people are asked about anew."""
    play(settings, "wenzhou", (1,))
    story.deliver(settings.home, "wenzhou", 2)
    api.run_night(settings, "wenzhou", SECOND, "夜间")
    waiting = api.pending_settlement(settings, "wenzhou")
    assert waiting is not None
    for person in PEOPLE[: waiting["approvals_needed"]]:
        assert api.answer_settlement(settings, "wenzhou", "2026-09", person, "approve", waiting["content_hash"])["accepted"]
    number, old = paid_agreement()
    new = change_payee(settings, number, SECOND + timedelta(days=1), SECOND)
    api.run_night(settings, "wenzhou", SECOND + timedelta(days=1), "夜间")

    still = api.pending_settlement(settings, "wenzhou")
    assert still is not None and (still["state"], still["content_hash"]) == ("approved", waiting["content_hash"])
    published = api.publish(settings, "wenzhou", "2026-09")
    sent = b"".join((settings.home / name).read_bytes() for name in published["files"])
    assert old.encode() in sent and new.encode() not in sent

    play(settings, "wenzhou", (3,))
    story.deliver(settings.home, "wenzhou", 4)
    api.run_night(settings, "wenzhou", date(2026, 10, 14), "夜间")
    assert accounts_of(settings, number) == {"2026-09": old, "2026-10": new}
    again = api.pending_settlement(settings, "wenzhou")
    assert again is not None and again["content_hash"] != waiting["content_hash"]


def paid_agreement() -> tuple[str, str]:
    """An agreement that the first settlement of wenzhou pays, and its account."""
    number = next(line.agreement_no for line in story.expected("wenzhou").settlements[0].lines if line.payable_fen > 0)
    return number, next(f.agreement["SKZHHM"] for f in story.facts("wenzhou", 2) if f.agreement["TXXYBH"] == number)


def change_payee(settings: Settings, number: str, arrives_on: date, effective_on: date) -> str:
    """A TX03 gives the agreement another account, which is returned."""
    loan = next(f for f in story.facts("wenzhou", 2) if f.agreement["TXXYBH"] == number)
    empty = dict.fromkeys(("QSRQ", "ZZRQ", "XDKQS", "XDKHKFS"))
    new = {"XSKZHHM": "6217000000000000001", "XSKZHMC": loan.agreement["SKZHMC"], "XSKHLHH": loan.agreement["SKHLHH"]}
    centre = CENTRES["wenzhou"]
    delivery = Delivery(centre.name, centre.code, settings.inbox("wenzhou"), arrives_on, 7)
    delivery.add("TX03", {"BGLSH": "BG999", "TXXYBH": number, "SXRQ": effective_on, "BGLX": "payee", "BGYY": "换卡"} | empty | new)
    delivery.close()
    return new["XSKZHHM"]


def accounts_of(settings: Settings, number: str) -> dict[str, str]:
    """Period → the account to which it pays the agreement."""
    b, i, p = tables.batch, tables.payment_item, tables.payment
    query = (
        sa.select(b.c.period, p.c.payee_account)
        .join(p, sa.and_(p.c.centre == b.c.centre, p.c.batch_no == b.c.batch_no))
        .join(i, sa.and_(i.c.centre == p.c.centre, i.c.payment_no == p.c.payment_no))
        .where(i.c.agreement_no == number, i.c.amount_fen > 0)
    )
    with open_database(settings).read() as conn:
        return {str(period): str(account) for period, account in conn.execute(query)}
