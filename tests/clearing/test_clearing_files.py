"""Payment files: bytes that banks get, and the independent reader that checks them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from clearing_house import RULES
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from subsidy.clearing import outbox, payment_file, profiles, read_back
from subsidy.clearing.payment_file import PAYMENTS, encode_column
from subsidy.clearing.profiles import Layout, fill

LAYOUTS = {
    ("bdc103", "own"): "hangzhou", ("bdc103", "other"): "hangzhou", ("header_total_fen", "single"): "zhoushan",
    ("header_total_yuan", "single"): "quzhou", ("po_fen", "single"): "wenzhou", ("bdc104", "own"): "zhoushan",
    ("bdc104", "other"): "zhoushan",
}  # fmt: skip
BANK = "105331000018"


def layout_of(name: str) -> Layout:
    centre = next(c for (layout, _), c in LAYOUTS.items() if layout == name)
    return profiles.load(RULES, centre).layouts[name]


def payments(*rows: tuple[int, str, str]) -> pa.Table:
    """Amount in fen, account, name."""
    full = [
        {"ordinal": i, "amount_fen": fen, "account": account, "name": name, "bank_no": BANK, "payment_no": f"TX202611{i:010d}"}
        for i, (fen, account, name) in enumerate(rows, 1)
    ]
    return pa.Table.from_pylist(full, schema=PAYMENTS)


def values_of(table: pa.Table, layout: Layout, period: str = "2026-11") -> dict[str, str]:
    return payment_file.template_values(
        unit_no="330100000000000", send_no="20261120000000000001", settlement_on="20261120", period=period, count=table.num_rows,
        total_fen=sum(table["amount_fen"].to_pylist()), layout=layout, day_no="001",
    )  # fmt: skip


def written(table: pa.Table, layout: Layout, route: str) -> bytes:
    return b"".join(payment_file.render(table, layout, route, values_of(table, layout)))


def compared(path: Path, table: pa.Table, layout: Layout, route: str, sent: pa.Table | None = None) -> read_back.ReadBack:
    """Compare with the rows of `table`, and with the digest of what was built from `sent`, as publication does."""
    values = values_of(table, layout)
    found = read_back.compare(
        path, table, layout, route, header=fill(layout.header, values), trailer=fill(layout.trailer, values), summary=values["summary"]
    )
    if outbox.file_digest(path) != hashlib.sha256(written(sent or table, layout, route)).hexdigest():
        return replace(found, differences=(*found.differences, "digest"))
    return found


TWO = ((30025, "6222020000000000000", "测试甲"), (5, "6222020000000000001", "李小乙"))


def test_example_line_of_the_standard() -> None:
    assert written(payments(TWO[0]), layout_of("bdc103"), "own").decode("gbk") == (
        "1@|$300.25@|$6222020000000000000@|$测试甲@|$贷款贴息202611@|$@|$TX2026110000000001@|$@|$300.25@|$0.00@|$\n"
    )


@pytest.mark.parametrize(
    ("name", "route", "encoding", "expected"),
    [
        (
            "bdc103", "other", "gbk",
            "1@|$300.25@|$6222020000000000000@|$测试甲@|$105331000018@|$105331000018@|$@|$贷款贴息202611@|$@|$TX2026110000000001@|$@|$300.25@|$0.00@|$\n"
            "2@|$0.05@|$6222020000000000001@|$李小乙@|$105331000018@|$105331000018@|$@|$贷款贴息202611@|$@|$TX2026110000000002@|$@|$0.05@|$0.00@|$\n",
        ),
        (
            "header_total_fen", "single", "gb18030",
            "20261120|2|30030|\n1|30025|6222020000000000000|测试甲|105331000018|贷款贴息202611|TX2026110000000001|\n"
            "2|5|6222020000000000001|李小乙|105331000018|贷款贴息202611|TX2026110000000002|\n",
        ),
        (
            "header_total_yuan", "single", "gbk",
            "20261120|2|300.30|\n1|300.25|6222020000000000000|测试甲|105331000018|贷款贴息202611|TX2026110000000001|\n"
            "2|0.05|6222020000000000001|李小乙|105331000018|贷款贴息202611|TX2026110000000002|\n",
        ),
        (
            "po_fen", "single", "gb18030",
            "PO|2|30030\r\n1|6222020000000000000|测试甲|105331000018|30025|贷款贴息202611|TX2026110000000001\r\n"
            "2|6222020000000000001|李小乙|105331000018|5|贷款贴息202611|TX2026110000000002\r\n########\r\n",
        ),
        (
            "bdc104", "own", "gbk",
            "1@|$300.25@|$6222020000000000000@|$测试甲@|$贴息追回202611@|$@|$TX2026110000000001@|$\n"
            "2@|$0.05@|$6222020000000000001@|$李小乙@|$贴息追回202611@|$@|$TX2026110000000002@|$\n",
        ),
        (
            "bdc104", "other", "gbk",
            "1@|$300.25@|$6222020000000000000@|$测试甲@|$105331000018@|$105331000018@|$@|$@|$贴息追回202611@|$@|$TX2026110000000001@|$\n"
            "2@|$0.05@|$6222020000000000001@|$李小乙@|$105331000018@|$105331000018@|$@|$@|$贴息追回202611@|$@|$TX2026110000000002@|$\n",
        ),
    ],
)  # fmt: skip
def test_bytes_of_every_form(name: str, route: str, encoding: str, expected: str) -> None:
    assert written(payments(*TWO), layout_of(name), route) == expected.encode(encoding)


@pytest.mark.parametrize(("name", "route"), LAYOUTS)
def test_reader_finds_what_was_written(name: str, route: str, tmp_path: Path) -> None:
    table, layout = payments(*TWO, (10**15, "A-1", "张·三")), layout_of(name)
    path = tmp_path / "file"
    path.write_bytes(written(table, layout, route))
    found = compared(path, table, layout, route)
    assert found.differences == ()
    assert (found.count, found.total_fen) == (3, 30030 + 10**15)


@pytest.mark.parametrize(("name", "route"), LAYOUTS)
def test_changed_bytes_of_what_tells_something_are_found_by_reading(name: str, route: str, tmp_path: Path) -> None:
    """Without the digest: every changed byte outside constant or repeated fields shows when the file is read."""
    table, layout = payments(*TWO), layout_of(name)
    data, values = written(table, layout, route), values_of(table, layout)
    path = tmp_path / "file"
    constant = [
        text.encode(layout.encoding) for text in ("105331000018@|$@|$", "300.25@|$0.00", "0.05@|$0.00", "@|$@|$", "@|$", "0.00", "|")
    ]
    for at in range(len(data)):
        for other in (b"", bytes([data[at] ^ 1]), bytes([data[at] ^ 0x80]), data[at : at + 1] * 2):
            changed = data[:at] + other + data[at + 1 :]
            path.write_bytes(changed)
            found = read_back.compare(
                path,
                table,
                layout,
                route,
                header=fill(layout.header, values),
                trailer=fill(layout.trailer, values),
                summary=values["summary"],
            )
            if changed != data and not found.differences:
                assert len(changed) == len(data)
                assert any(data[max(0, at - len(c)) : at + len(c)].count(c) for c in constant), (at, other)


@pytest.mark.parametrize(("name", "route"), LAYOUTS)
def test_reader_reads_what_tells_something(name: str, route: str, tmp_path: Path) -> None:
    """A file whose digest is right all the same, because the ledger rows changed after the batch was built."""
    table, layout = payments(*TWO), layout_of(name)
    path = tmp_path / "file"
    path.write_bytes(written(table, layout, route))
    fields = layout.route(route).fields
    for field, value in (
        ("amount_fen", 6),
        ("account", "6222020000000000002"),
        ("name", "李小已"),
        ("payment_no", "TX2"),
        ("bank_no", "1"),
    ):
        rows = table.to_pylist()
        rows[1][field] = value
        found = compared(path, pa.Table.from_pylist(rows, schema=PAYMENTS), layout, route, table)
        assert bool(found.differences) == (field != "bank_no" or field in fields)
        assert all("第 2 笔" in d for d in found.differences if "笔的" in d)
        assert not any("李小" in d or "6222" in d for d in found.differences)


@pytest.mark.parametrize(("name", "route"), LAYOUTS)
def test_every_cut_and_every_repeated_line_is_found(name: str, route: str, tmp_path: Path) -> None:
    table, layout = payments(*TWO), layout_of(name)
    data = written(table, layout, route)
    path = tmp_path / "file"
    lines = data.splitlines(keepends=True)
    variants = [data[:n] for n in range(len(data))] + [b"".join(lines[: i + 1] + lines[i:]) for i in range(len(lines))]
    variants += [b"".join(reversed(lines))]
    for variant in variants:
        path.write_bytes(variant)
        assert compared(path, table, layout, route).differences, variant


# 0x7C "|", 0x40 "@" and 0x5C "\" are second bytes of these characters in GBK and GB18030.
SECOND_BYTES = ("\u7c35", *(bytes([lead, tail]).decode("gbk") for lead in (0x81, 0x90, 0xA8, 0xFD) for tail in (0x40, 0x5C, 0x7C)))


@pytest.mark.parametrize(("name", "route"), LAYOUTS)
def test_second_bytes_that_look_like_separators(name: str, route: str, tmp_path: Path) -> None:
    layout = layout_of(name)
    names = [character * n + tail for character in SECOND_BYTES for n in (1, 2) for tail in ("", "甲", "a")]
    table = payments(*((100 + i, f"62{i}", name) for i, name in enumerate(names)))
    path = tmp_path / "file"
    path.write_bytes(written(table, layout, route))
    assert compared(path, table, layout, route).differences == ()


@pytest.mark.parametrize("name", ["header_total_fen", "po_fen"])
def test_gb18030_writes_rare_characters(name: str, tmp_path: Path) -> None:
    layout = layout_of(name)
    table = payments(*((1, "62", f"李{c}明") for c in "䶮㛃㴔𠮷𬭎\ue81e\ue816\ue78d"))
    path = tmp_path / "file"
    path.write_bytes(written(table, layout, "single"))
    assert "李𬭎明".encode("gb18030") in path.read_bytes()
    assert compared(path, table, layout, "single").differences == ()


def test_gbk_refuses_rare_characters() -> None:
    with pytest.raises(UnicodeEncodeError):
        written(payments((1, "62", "李䶮")), layout_of("bdc103"), "own")


def test_columns_are_encoded_row_by_row() -> None:
    for texts in (["甲", "", "abc", "𠮷"], ["甲a·", "", "abc", "乙"], [""]):
        for column in (pa.array(texts), pa.array(["前", *texts, "后"]).slice(1, len(texts))):
            assert encode_column(column, "gb18030").to_pylist() == [text.encode("gb18030") for text in texts]


def test_pieces_of_a_long_file_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = layout_of("bdc103")
    table = payments(*((i, f"62{i}", f"测试{i}") for i in range(1, 500)))
    whole = written(table, layout, "own")
    monkeypatch.setattr(payment_file, "CHUNK_ROWS", 7)
    monkeypatch.setattr(read_back, "BLOCK_BYTES", 1000)
    assert written(table, layout, "own") == whole
    path = tmp_path / "file"
    path.write_bytes(whole)
    found = compared(path, table, layout, "own")
    assert (found.differences, found.count) == ((), 499)


NAMES = st.text(
    st.characters(codec="gb18030", exclude_characters="@|$", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=6
)


@trying(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(1, 10**14), st.from_regex(r"\A[0-9A-Za-z-]{1,30}\Z"), NAMES), min_size=1, max_size=20))
def test_any_payments_come_back(rows: list[tuple[int, str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    layout = layout_of("po_fen")
    table = payments(*rows)
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(written(table, layout, "single"))
    assert compared(path, table, layout, "single").differences == ()
