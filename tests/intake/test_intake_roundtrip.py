"""What is read in a centre's form, written again in that form and read again is the same, in every centre and every table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from intake_desk import CENTRES, Desk
from intake_samples import NIGHT, SOUND, D, rows, take

from subsidy.facts.schema import TABLES
from subsidy.intake import Profiles
from subsidy.intake.profile import CONTAINERS, ENCODINGS, FORMS, Units

TABLE_ROWS = {
    "TX01": rows("TX01", {}, {"agreement_no": "XY002", "contract_no": "JK002", "payee_name": "欧阳𬭎·艾力"}),
    "GB301": rows(
        "GB301", {}, {"contract_no": "JK002", "house_contract_no": "GF002", "borrower_name": "欧阳𬭎·艾力", "rate_ppm": 30_750},
    ),
    "GB304": rows("GB304", {}, {"account_no": "DK002", "contract_no": "JK002", "settled_on": D(2026, 8, 1), "rate_ppm": 30_750}),
    "TX04": rows("TX04", {}, {"agreement_no": "XY002", "account_no": "DK002", "paid_fen": 123, "shadow_balance_fen": 1}),
    "GB305": rows(
        "GB305", {},
        {"serial_no": "LS002", "amount_fen": -224_522, "principal_repaid_fen": -78_689, "interest_fen": -145_833, "reverses": "LS001"},
    ),
    "GB306": rows("GB306", {}, {"received_on": D(2026, 5, 1), "repaid_instalment": 2, "received_principal_fen": 5}),
    "TX02": rows("TX02", {}, {"as_of": D(2026, 8, 31), "loan_status": "overdue", "overdue_run": 1, "overdue_total": 2}),
    "TX03": rows(
        "TX03", {}, {"change_no": "BG002", "kind": "clawback", "range_from": D(2026, 1, 1), "range_to": D(2026, 2, 1)},
        {"change_no": "BG003", "kind": "payee", "new_payee_account": "6222020000000000000", "new_payee_name": "李䶮",
         "new_payee_bank_no": "105331000018"},
        {"change_no": "BG004", "kind": "term", "new_term_months": 240, "new_repayment_method": "02", "reason": "缩期，\"急\""},
    ),
    "TX05": rows("TX05", {}, {"scheme_name": "购房补贴<一>&二", "amount_fen": 1}),
}


#: Forms that no centre of ours uses: (profile to start from, what is different). Every other form is some centre's own.
OTHERS: dict[str, tuple[str, dict[str, object]]] = {
    "JSON lines": ("zhejiang-provincial", {"form": "jsonl", "encoding": "utf-8", "names": "none"}),
    "text in gz": ("hangzhou", {"container": "gz"}),
    "separator between fields": ("hangzhou", {"separator_after_last": False}),
    "a word as separator": ("shaoxing", {"separator": "<|>"}),
    "semicolons in UTF-8": ("zhejiang-provincial", {"separator": ";", "encoding": "utf-8"}),
    "CSV in GB18030": ("zhejiang-provincial", {"encoding": "gb18030"}),
    "fixed width in UTF-8": ("wenzhou", {"encoding": "utf-8"}),
    "amounts in fen": ("hangzhou", {"units": Units("fen", "percent", "YYYY-MM-DD")}),
}


def opened(name: str, folder: Path) -> Desk:
    """The desk of a centre, or of one of `OTHERS`."""
    centre, change = OTHERS.get(name, (name, {}))
    desk = Desk.open(centre, folder)
    if change:
        changed = dataclasses.replace(desk.profiles.profiles["main"], **change)  # type: ignore[arg-type]
        desk.profiles = Profiles(centre, {"main": changed})
    return desk


def test_every_form_is_among_them() -> None:
    known = [opened(name, Path("unused")).profiles.profiles["main"] for name in (*CENTRES, *OTHERS)]
    assert {p.form for p in known} == set(FORMS) and {p.container for p in known} == set(CONTAINERS)
    assert {p.encoding for p in known} == set(ENCODINGS)


@pytest.mark.parametrize("centre", [*CENTRES, *OTHERS])
def test_read_write_read(centre: str, tmp_path: Path) -> None:
    assert set(TABLE_ROWS) == set(SOUND)
    first = opened(centre, tmp_path / "store")
    for intake in take(first, tmp_path / "inbox", TABLE_ROWS):
        assert intake.state == "booked", intake.message
        assert intake.counts.quarantined == 0, intake.findings
    second = opened(centre, tmp_path / "store2")
    read = {t.code: first.facts(t.name, NIGHT) for t in TABLES.values()}
    for intake in take(second, tmp_path / "inbox2", read):
        assert intake.counts.quarantined == 0, intake.findings
    for table in TABLES.values():
        names = [c.name for c in table.columns]
        again = second.facts(table.name, NIGHT).select(names)
        assert again.equals(read[table.code].select(names))
        wanted = TABLE_ROWS[table.code]
        if OTHERS.get(centre, (centre, {}))[0] in ("zhejiang-provincial", "wenzhou", "quzhou") and table.name == "transaction":
            names.remove("balance_after_fen")  # these centres do not send it
        keys = list(table.key) or names[:4]
        got = again.select(names).sort_by([(k, "ascending") for k in keys]).to_pylist()
        sent = wanted.select(names).sort_by([(k, "ascending") for k in keys]).to_pylist()
        if table.name == "agreement":
            for row in sent:
                row["centre_code"] = first.profiles.profiles["main"].centre_code
        assert got == sent


def test_files_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for centre in ("hangzhou", "huzhou", "quzhou"):
        desk = Desk.open(centre, tmp_path / centre)
        take(desk, tmp_path / centre / "a", TABLE_ROWS)
        take(desk, tmp_path / centre / "b", TABLE_ROWS)
        for path in sorted((tmp_path / centre / "a").iterdir()):
            assert path.read_bytes() == (tmp_path / centre / "b" / path.name).read_bytes()
