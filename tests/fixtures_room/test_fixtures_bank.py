"""The bank: takes payment files of every form and does with each payment what the script says."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fixtures import bank
from fixtures.bank_files import BadFile

UNIT = "330100000000000"
SEND = "20260920000000000001"
DAY = date(2026, 9, 20)
NAMES = ["测试甲", "测试乙", "测试丙", "测试丁", "测试戊", "测试己", "测试庚", "测试辛", "测试壬"]


def put_bdc103(home: Path, count: int = 9, send: str = SEND, own: bool = True) -> str:
    outbox = home / "outbox" / "hangzhou"
    outbox.mkdir(parents=True, exist_ok=True)
    lines, total = [], 0
    for i in range(1, count + 1):
        amount = f"{300 + i}.25"
        total += int(amount.replace(".", ""))
        head = [str(i), amount, f"62220200000000000{i:02d}", NAMES[(i - 1) % 9]]
        middle = ["贷款贴息202609"] if own else ["105331000012", "105331000012", "", "贷款贴息202609"]
        lines.append("@|$".join([*head, *middle, "", f"TX202609{i:010d}", "", amount, "0.00"]) + "@|$\n")
    data = "".join(lines).encode("gbk")
    name = f"BDC_BAT_{UNIT}{send}.DAT"
    (outbox / name).write_bytes(data)
    body = {
        "TxCode": "BDC103", "TxUnitNo": UNIT, "SendSeqNo": send, "TxDate": "20260920", "CurrNo": "156", "CurrIden": "1",
        "FileType": "1" if own else "2", "BusType": "20", "BatchPrjNo": "", "DeAcctNo": "33050161000000000100", "DeAcctName": "专户",
        "DeAcctClass": "2", "BatchCapAmt": f"{total // 100}.{total % 100:02d}", "BatchIntAmt": "0.00", "BatchTotalNum": str(count),
        "BatchTotalAmt": f"{total // 100}.{total % 100:02d}", "BatchFileName": name, "BatchFileHash": hashlib.sha256(data).hexdigest(),
        "Summary": "贷款贴息202609", "Remark": "",
    }  # fmt: skip
    (outbox / f"BDC103_{UNIT}{send}.TXT").write_bytes("".join(f"{k}={v}\n" for k, v in body.items()).encode("gbk"))
    return f"{total // 100}.{total % 100:02d}"


def results(home: Path, pattern: str, centre: str = "hangzhou") -> list[Path]:
    return sorted((home / "results" / centre).glob(pattern))


def detail(path: Path) -> list[list[str]]:
    lines = path.read_bytes().decode("gbk").split("\n")
    assert lines[-2:] == ["#END", ""]
    return [line.split("|") for line in lines[1:-2]]


@pytest.mark.parametrize("own", [True, False])
def test_acknowledges_then_answers_every_line_once(tmp_path: Path, own: bool) -> None:
    total = put_bdc103(tmp_path, own=own)
    assert bank.run(tmp_path, "hangzhou", "accept", DAY) == [f"BDC107_RSP_{UNIT}{SEND}_001.TXT"]
    acknowledged = results(tmp_path, "BDC107_*")[0].read_bytes().decode("gb18030").splitlines()
    assert acknowledged == [f"TxUnitNo={UNIT}", f"SendSeqNo={SEND}", "BatchNo=B000001", "TxStatus=0", "TxDate=20260920", "RtnCode=00000",
                            "RtnMessage=", "#END"]  # fmt: skip
    names = bank.run(tmp_path, "hangzhou", "accept", date(2026, 9, 21))
    assert names == ["BANK_BAT_B000001_RST.DAT", f"BDC_MOV_{UNIT}20260921_001.DAT"]
    path = results(tmp_path, "BANK_BAT_*")[0]
    summary = path.read_bytes().decode("gbk").split("\n")[0].split("|")
    assert summary[0] == "$20260920" and summary[1:3] == [UNIT, "B000001"] and summary[7:13] == ["9", total, "9", total, "0", "0.00"]
    rows = detail(path)
    assert [r[0] for r in rows] == [str(i) for i in range(1, 10)]
    assert rows[0][3:5] == ["301.25", "33050161000000000100"] and rows[0][7:9] == ["6222020000000000001", "测试甲"]
    assert {r[10] for r in rows} == {"00000"} and all(r[12] == "20260921" and r[13] for r in rows)
    moved = results(tmp_path, "BDC_MOV_*")[0].read_bytes().decode("gbk").split("\n")[:-2]
    assert [m.count("|") for m in moved] == [23] * 9
    assert moved[0].split("|")[6] == "-301.25" and moved[0].split("|")[19] == "TX2026090000000001"


def test_a_pass_that_finds_nothing_new_writes_nothing(tmp_path: Path) -> None:
    put_bdc103(tmp_path)
    for day in (20, 21):
        bank.run(tmp_path, "hangzhou", "story", date(2026, 9, day))
    assert bank.run(tmp_path, "hangzhou", "story", date(2026, 9, 21)) == []


def test_story_confirms_most_refuses_some_keeps_one_open_and_returns_one(tmp_path: Path) -> None:
    put_bdc103(tmp_path)
    bank.run(tmp_path, "hangzhou", "story", DAY)
    bank.run(tmp_path, "hangzhou", "story", date(2026, 9, 21))
    codes = {r[0]: r[10] for r in detail(results(tmp_path, "BANK_BAT_*")[0])}
    assert {k: v for k, v in codes.items() if v != "00000"} == {"3": "E1001", "5": "99999", "6": "E1105"}
    assert bank.run(tmp_path, "hangzhou", "story", date(2026, 9, 23)) == []
    assert bank.run(tmp_path, "hangzhou", "story", date(2026, 9, 24)) == [f"BDC_MOV_{UNIT}20260924_001.DAT"]
    row = results(tmp_path, f"BDC_MOV_{UNIT}20260924*")[0].read_bytes().decode("gbk").split("\n")[0].split("|")
    first = results(tmp_path, f"BDC_MOV_{UNIT}20260921*")[0].read_bytes().decode("gbk").split("\n")
    paid = next(m for m in first if "TX2026090000000008" in m)
    assert row[6] == "308.25" and row[19] == "退汇 TX2026090000000008"
    assert row[2] == paid.split("|")[2] and row[4] == paid.split("|")[4]


def test_an_open_payment_is_decided_when_asked(tmp_path: Path) -> None:
    put_bdc103(tmp_path)
    script = {"rules": [{"ordinal": 5, "do": "pending"}]}
    bank.run(tmp_path, "hangzhou", script, DAY)
    bank.run(tmp_path, "hangzhou", script, date(2026, 9, 21))
    query = f"1|{SEND}|B000001|5|TX2026090000000005|305.25|6222020000000000005|\n2|{SEND}|B000001|99|TX2026099999999999|1.00|1|\n#END\n"
    (tmp_path / "outbox/hangzhou" / f"BDC110_{UNIT}20260922000000000002.TXT").write_bytes(query.encode("gb18030"))
    bank.run(tmp_path, "hangzhou", script, date(2026, 9, 22))
    answer = results(tmp_path, "BDC110_RSP_*")[0].read_bytes().decode("gb18030").splitlines()
    assert answer[0].startswith("1|TX2026090000000005|305.25|0|00000|交易成功|20260922|20260922000100000005|")
    assert answer[1:] == ["2|TX2026099999999999|1.00|2|||||", "#END"]


def test_pending_for_days_comes_in_a_second_result_file(tmp_path: Path) -> None:
    put_bdc103(tmp_path, 2)
    for day in (20, 21, 24):
        bank.run(tmp_path, "hangzhou", "pending", date(2026, 9, day))
    rows = detail(results(tmp_path, "BANK_BAT_*")[0])
    assert [(r[10], r[12]) for r in rows] == [("00000", "20260924")] * 2


def test_refused_batch(tmp_path: Path) -> None:
    put_bdc103(tmp_path)
    for day in (20, 21, 22):
        bank.run(tmp_path, "hangzhou", "refuse-batch", date(2026, 9, day))
    answer = results(tmp_path, "*")
    assert [p.name for p in answer] == [f"BDC107_RSP_{UNIT}{SEND}_001.TXT"]
    assert "TxStatus=3" in answer[0].read_text("gb18030")


def test_lost_batch_is_said_to_be_unknown_and_taken_when_published_again(tmp_path: Path) -> None:
    total = put_bdc103(tmp_path)
    assert bank.run(tmp_path, "hangzhou", "lose", DAY) == []
    assert list((tmp_path / "outbox/hangzhou").iterdir()) == []
    query = tmp_path / "outbox/hangzhou" / f"BDC107_{UNIT}20260922000000000002.TXT"
    query.write_bytes(f"1|{SEND}||9|{total}|\n#END\n".encode("gb18030"))
    bank.run(tmp_path, "hangzhou", "lose", date(2026, 9, 22))
    assert "TxStatus=9" in results(tmp_path, "BDC107_*")[0].read_text("gb18030")
    put_bdc103(tmp_path)
    assert bank.run(tmp_path, "hangzhou", "lose", date(2026, 9, 23)) == [f"BDC107_RSP_{UNIT}{SEND}_002.TXT"]
    assert bank.run(tmp_path, "hangzhou", "lose", date(2026, 9, 24))[0] == "BANK_BAT_B000001_RST.DAT"


def test_silence(tmp_path: Path) -> None:
    put_bdc103(tmp_path)
    for day in range(20, 30):
        assert bank.run(tmp_path, "hangzhou", "silent", date(2026, 9, day)) == []


def test_answers_twice_with_the_same_bytes(tmp_path: Path) -> None:
    put_bdc103(tmp_path)
    bank.run(tmp_path, "hangzhou", "twice", DAY)
    bank.run(tmp_path, "hangzhou", "twice", date(2026, 9, 21))
    path = results(tmp_path, "BANK_BAT_*")[0]
    first = path.read_bytes()
    path.unlink()
    assert bank.run(tmp_path, "hangzhou", "twice", date(2026, 9, 22)) == [path.name]
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("spoil", "rows", "name"),
    [("missing_row", 1, "B000001"), ("extra_row", 3, "B000001"), ("row_twice", 3, "B000001"), ("amount", 2, "B000001"),
     ("account", 2, "B000001"), ("name", 2, "B000001"), ("summary", 2, "B000001"), ("foreign_batch", 2, "B999999")],
)  # fmt: skip
def test_spoiled_result_files_differ_from_the_good_one(tmp_path: Path, spoil: str, rows: int, name: str) -> None:
    script: dict[str, Any] = {"batches": [{"spoil": spoil}]}
    put_bdc103(tmp_path, 2)
    bank.run(tmp_path, "hangzhou", script, DAY)
    bank.run(tmp_path, "hangzhou", script, date(2026, 9, 21))
    put_bdc103(tmp_path / "good", 2)
    bank.run(tmp_path / "good", "hangzhou", "accept", DAY)
    bank.run(tmp_path / "good", "hangzhou", "accept", date(2026, 9, 21))
    path = results(tmp_path, "BANK_BAT_*")[0]
    assert path.name == f"BANK_BAT_{name}_RST.DAT" and len(detail(path)) == rows
    assert path.read_bytes() != results(tmp_path / "good", "BANK_BAT_*")[0].read_bytes()


def test_cut_result_file(tmp_path: Path) -> None:
    put_bdc103(tmp_path, 2)
    script: dict[str, Any] = {"batches": [{"spoil": "no_end"}]}
    bank.run(tmp_path, "hangzhou", script, DAY)
    bank.run(tmp_path, "hangzhou", script, date(2026, 9, 21))
    assert b"#END" not in results(tmp_path, "BANK_BAT_*")[0].read_bytes()


def test_po_file_in_fen(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox/wenzhou"
    outbox.mkdir(parents=True)
    text = "PO|2|60050\r\n1|6222020000000000000|李䶮|105333000019|30025|贷款贴息202609|TX2026090000000001\r\n"
    text += "2|6222020000000000001|测试乙|105333000019|30025|贷款贴息202609|TX2026090000000002\r\n########\r\n"
    (outbox / "req_outer_20260915_001.txt").write_bytes(text.encode("gb18030"))
    script = {"rules": [{"ordinal": 2, "do": "refuse", "code": "E1", "text": "户名不符"}]}
    bank.run(tmp_path, "wenzhou", script, date(2026, 9, 15))
    names = bank.run(tmp_path, "wenzhou", script, date(2026, 9, 16))
    assert names == ["res_outer_20260915_001.txt", "BDC_MOV_33030000000000020260916_001.DAT"]
    lines = (tmp_path / "results/wenzhou/res_outer_20260915_001.txt").read_bytes().decode("gb18030").split("\r\n")
    assert lines == [
        "RO|2|60050|1|30025|1|30025",
        "1|30025|6222020000000000000|李䶮|TX2026090000000001|00000|交易成功|20260916|20260916000100000001",
        "2|30025|6222020000000000001|测试乙|TX2026090000000002|E1|户名不符||", "########", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("centre", "amounts", "code"), [("zhoushan", ("30025", "60050"), "gb18030"), ("quzhou", ("300.25", "600.50"), "gbk")]
)
def test_header_total_files(tmp_path: Path, centre: str, amounts: tuple[str, str], code: str) -> None:
    unit = {"zhoushan": "330900000000000", "quzhou": "330800000000000"}[centre]
    outbox = tmp_path / "outbox" / centre
    outbox.mkdir(parents=True)
    text = f"20260921|2|{amounts[1]}|\n"
    for i in (1, 2):
        text += f"{i}|{amounts[0]}|622202000000000000{i}|测试甲|105331000012|贷款贴息202609|TX202609000000000{i}|\n"
    (outbox / f"TX_PAY_{unit}{SEND}.TXT").write_bytes(text.encode(code))
    assert bank.run(tmp_path, centre, "accept", date(2026, 9, 21)) == [f"BDC107_RSP_{unit}{SEND}_001.TXT"]
    bank.run(tmp_path, centre, "accept", date(2026, 9, 22))
    lines = results(tmp_path, "TX_RST_*", centre)[0].read_bytes().decode(code).split("\n")
    assert lines[0] == f"20260921|2|{amounts[1]}|2|{amounts[1]}|0|{'0' if centre == 'zhoushan' else '0.00'}|"
    assert lines[1] == f"1|{amounts[0]}|6222020000000000001|测试甲|TX2026090000000001|00000|交易成功|20260922|20260922000100000001|"
    assert lines[3:] == ["#END", ""]


def test_a_file_that_does_not_add_up_is_not_paid(tmp_path: Path) -> None:
    put_bdc103(tmp_path)
    message = tmp_path / "outbox/hangzhou" / f"BDC103_{UNIT}{SEND}.TXT"
    message.write_bytes(message.read_bytes().replace(b"BatchTotalNum=9", b"BatchTotalNum=8"))
    with pytest.raises(BadFile, match="ordinals"):
        bank.run(tmp_path, "hangzhou", "accept", DAY)
    assert list((tmp_path / "results/hangzhou").iterdir()) == []


def test_script_from_a_file_refuses_unknown_keys(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text("rulez: []\n", encoding="utf-8")
    with pytest.raises(ValueError, match="rulez"):
        bank.load_script(str(path))
    path.write_text("rules:\n- {account_hash: [0, 2], do: refuse, code: E1, text: 不符}\n", encoding="utf-8")
    put_bdc103(tmp_path)
    for day in (20, 21):
        bank.run(tmp_path, "hangzhou", str(path), date(2026, 9, day))
    codes = {r[10] for r in detail(results(tmp_path, "BANK_BAT_*")[0])}
    assert codes == {"00000", "E1"}
