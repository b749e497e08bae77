"""A sample of every dialect cut at every byte and with every byte flipped: refused, quarantined, or the amounts are the ones sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from intake_desk import CENTRES, RULES
from intake_samples import NIGHT, arrival, deliver, rows

from subsidy.facts.schema import TRANSACTION
from subsidy.intake import Arrival, Intake, Profiles, load_profiles, read
from subsidy.intake.check import NothingKnown
from subsidy.intake.profile import Profile

AMOUNTS = [c.name for c in TRANSACTION.columns if c.kind == "fen"]
SENT = rows("GB305", {}, {"serial_no": "LS002", "instalment": 2, "principal_repaid_fen": 78_918, "amount_fen": 224_751})


class Known(NothingKnown):
    """One account is known."""

    def parents(self, table: str) -> pa.Table:
        return pa.table({"key": pa.array(["DK001"]), "contract_no": pa.array(["JK001"])}) if table == "account" else super().parents(table)


def jsonl(base: Profile) -> Profile:
    """A profile of JSON lines: the provincial one in another form."""
    assert base.flag is not None
    return dataclasses.replace(base, form="jsonl", encoding="utf-8", names="none", pattern="JL_{table}_{date}_{sequence}{*}.jsonl")


def gz(base: Profile) -> Profile:
    """Hangzhou's text, compressed, protected by the archive's checksum alone."""
    return dataclasses.replace(base, container="gz", pattern="GZ_{table}_{date}_{sequence}{*}.gz")


def profiles() -> dict[str, Profiles]:
    found = {centre: load_profiles(RULES, centre) for centre in CENTRES}
    for name, make, base in (("jsonl", jsonl, "zhejiang-provincial"), ("gz", gz, "hangzhou")):
        found[name] = Profiles(name, {"main": make(found[base].profiles["main"])})
    return found


ALL = profiles()


def sample(name: str, folder: Path) -> Arrival:
    [path] = deliver(ALL[name].profiles["main"], folder, {"GB305": SENT})
    return arrival(path, ALL[name])


def judge(name: str, arrived: Arrival) -> Intake:
    return read(arrived, ALL[name], Known(), file_no=1, known_on=NIGHT, workers=1)


def unharmed(name: str, intake: Intake) -> None:
    """Nothing lost, no amount changed: whatever was booked has the amounts that were sent on its line."""
    counts = intake.counts
    assert counts.rows_in == counts.booked + counts.quarantined + counts.duplicates
    if intake.state != "booked":
        assert intake.state == "refused" and intake.message and counts.rows_in == 0
        return
    assert set(intake.tables) == {"transaction"} and counts.rows_in == SENT.num_rows
    lines = {line: i for i, line in enumerate(LINES[name])}
    sent = SENT.to_pylist()
    for part in intake.tables["transaction"].batches():
        for row in part.to_pylist():
            for amount in AMOUNTS:
                if amount == "balance_after_fen" and row[amount] is None:
                    continue
                assert row[amount] == sent[lines[row["line_no"]]][amount], (amount, row)


#: Lines of the two rows in each form.
LINES = {
    "hangzhou": (2, 3), "zhejiang-provincial": (2, 3), "zhoushan": (2, 3), "wenzhou": (2, 3), "shaoxing": (1, 2), "huzhou": (3, 4),
    "quzhou": (2, 3), "jsonl": (1, 2), "gz": (2, 3),
}


@pytest.mark.parametrize("name", LINES)
def test_the_sample_itself_is_sound(name: str, tmp_path: Path) -> None:
    with judge(name, sample(name, tmp_path)) as intake:
        assert (intake.state, intake.counts.booked) == ("booked", 2), (intake.message, intake.findings)
        unharmed(name, intake)


def places(name: str, data: bytes) -> Iterator[int]:
    """Every byte; of workbooks, which a digest protects whole, every 23rd."""
    return iter(range(0, len(data), 23 if name == "zhoushan" else 1))


@pytest.mark.parametrize("name", LINES)
def test_cut_at_every_byte(name: str, tmp_path: Path) -> None:
    arrived = sample(name, tmp_path)
    data = arrived.path.read_bytes()
    for at in places(name, data):
        arrived.path.write_bytes(data[:at])
        with judge(name, dataclasses.replace(arrived, size=at)) as intake:
            unharmed(name, intake)
            # Only line ends may be missing from a file that is taken.
            assert intake.state == "refused" or not data[at:].strip(b"\r\n"), at


def protection(name: str) -> tuple[str, ...]:
    return ALL[name].profiles["main"].tables["GB305"].amounts[0].protection


@pytest.mark.parametrize("name", LINES)
def test_every_byte_flipped(name: str, tmp_path: Path) -> None:
    arrived = sample(name, tmp_path)
    data = bytearray(arrived.path.read_bytes())
    for at in places(name, bytes(data)):
        # Where a digest covers the whole file one flip is as good as another.
        for bits in (0x01,) if "digest" in protection(name) else (0x01, 0xFF):
            data[at] ^= bits
            arrived.path.write_bytes(data)
            with judge(name, arrived) as intake:
                unharmed(name, intake)
            data[at] ^= bits


@pytest.mark.parametrize("name", [n for n in LINES if ALL[n].profiles["main"].suffixes])
def test_every_byte_of_a_companion_flipped_or_cut(name: str, tmp_path: Path) -> None:
    arrived = sample(name, tmp_path)
    [companion] = arrived.companions.values()
    data = bytearray(companion.read_bytes())
    for at in range(len(data)):
        data[at] ^= 0x01
        companion.write_bytes(data)
        with judge(name, arrived) as intake:
            unharmed(name, intake)
        data[at] ^= 0x01
        companion.write_bytes(data[:at])
        with judge(name, arrived) as intake:
            unharmed(name, intake)
