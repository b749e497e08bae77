"""Hostile files: at least one per finding code. Each says what must happen to the file and to its rows; nothing may be lost or guessed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from intake_desk import Desk
from intake_samples import D, arrival, deliver, rows, stocked, take

from subsidy.intake import Intake, Profiles
from subsidy.intake.faults import FAULTS
from subsidy.intake.profile import Limits, Profile
from subsidy.intake.write import file_digest

Case = Callable[[Path], Intake]
CASES: list[tuple[str, str, str, Case]] = []  # code, what it is about, state of the file, how


def hostile(code: str, state: str) -> Callable[[Case], Case]:
    def add(case: Case) -> Case:
        CASES.append((code, case.__name__, state, case))
        return case

    return add


def desk_of(centre: str, tmp: Path, **limits: int) -> Desk:
    desk = Desk.open(centre, tmp / "store")
    if limits:
        profile = desk.profiles.profiles["main"]
        changed = dataclasses.replace(profile, limits=dataclasses.replace(Limits(), **limits))
        desk.profiles = Profiles(centre, {"main": changed})
    return stocked(desk, tmp) if "workbook_bytes" not in limits else desk


def profile_of(desk: Desk) -> Profile:
    return desk.profiles.profiles["main"]


def after(desk: Desk, tmp: Path, code: str, change: Callable[[bytes], bytes], redo: bool = True, *, table: object = None) -> Intake:
    """Deliver one good table, change the data file's bytes, take it. `redo`: let the digest follow the change."""
    [path] = deliver(profile_of(desk), tmp / "inbox", {code: table if table is not None else rows(code)})
    data = change(path.read_bytes())
    path.write_bytes(data)
    if redo:
        redigest(profile_of(desk), path)
    return desk.take(arrival(path, desk.profiles), D(2026, 9, 14))


def redigest(profile: Profile, path: Path) -> None:
    if profile.digest is not None:
        path.with_name(path.name + profile.digest.suffix).write_text(file_digest(path, profile.digest.algorithm) + "\n")
    if profile.flag is not None and profile.flag.digest_key:
        flag = path.with_name(path.name + profile.flag.suffix)
        lines = [x for x in flag.read_text().splitlines() if not x.startswith(profile.flag.digest_key + "=")]
        flag.write_text("\n".join([*lines, f"{profile.flag.digest_key}={file_digest(path, profile.flag.algorithm)}"]) + "\n")


def swap(old: str | bytes, new: str | bytes, encoding: str = "gb18030") -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        a, b = (x.encode(encoding) if isinstance(x, str) else x for x in (old, new))
        assert a in data, (a, data)
        return data.replace(a, b)

    return change


def rezip(path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in change(entries).items():
            archive.writestr(name, data)


def zipped(desk: Desk, tmp: Path, code: str, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Intake:
    """Deliver one table in an archive or workbook, change its entries, take it."""
    [path] = deliver(profile_of(desk), tmp / "inbox", {code: rows(code)})
    rezip(path, change)
    redigest(profile_of(desk), path)
    return desk.take(arrival(path, desk.profiles), D(2026, 9, 14))


# --- the file as a whole ------------------------------------------------------------


@hostile("FILE-UNKNOWN", "refused")
def a_name_nobody_agreed_on(tmp: Path) -> Intake:
    desk = desk_of("hangzhou", tmp)
    path = tmp / "in" / "报表.txt"
    path.parent.mkdir()
    path.write_bytes(b"HEAD|")
    return desk.take(arrival(path, desk.profiles), D(2026, 9, 14))


@hostile("FILE-EMPTY", "refused")
def no_bytes_at_all(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "GB305", lambda _: b"")


@hostile("FILE-EMPTY", "refused")
def an_empty_xml(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "GB305", lambda _: b"")


@hostile("FILE-SIZE", "refused")
def a_file_above_the_limit(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp, file_bytes=800), tmp, "GB305", lambda data: data + b"x" * 1000)


@hostile("FILE-ENCODING", "refused")
def utf8_where_gb18030_was_agreed(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX03", lambda data: data.decode("gb18030").replace("停缴", "停缴䶮李").encode("utf-8"))


@hostile("FILE-ENCODING", "refused")
def gb18030_where_utf8_was_agreed(tmp: Path) -> Intake:
    return after(desk_of("zhejiang-provincial", tmp), tmp, "TX03", lambda data: b"\xef\xbb\xbf" + data[3:].decode().encode("gb18030"))


@hostile("FILE-ENCODING", "refused")
def an_xml_that_declares_another_encoding(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "TX03", swap('encoding="UTF-8"', 'encoding="GBK"', "utf-8"))


@hostile("FILE-ENCODING", "refused")
def half_a_character_in_xml(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "TX03", swap("停缴".encode(), "停缴".encode()[:-1]))


@hostile("FILE-ENCODING", "refused")
def half_a_character_in_fixed_width(tmp: Path) -> Intake:
    return after(desk_of("wenzhou", tmp), tmp, "TX03", swap("停缴".encode("gb18030"), "停缴".encode("gb18030")[:3] + b"\xff"))


@hostile("FILE-BOM", "refused")
def no_bom_where_one_was_agreed(tmp: Path) -> Intake:
    return after(desk_of("zhejiang-provincial", tmp), tmp, "GB305", lambda data: data[3:])


@hostile("FILE-BOM", "refused")
def a_bom_nobody_agreed_on(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "GB305", lambda data: b"\xef\xbb\xbf" + data)


@hostile("FILE-HEADER", "refused")
def no_header(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "GB305", lambda data: data.split(b"\n", 1)[1])


@hostile("FILE-HEADER", "refused")
def a_header_of_the_wrong_length(tmp: Path) -> Intake:
    return after(desk_of("wenzhou", tmp), tmp, "GB305", swap("\n", " \n"))


@hostile("FILE-HEADER-TWICE", "refused")
def two_headers(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "GB305", lambda data: data.split(b"\n", 1)[0] + b"\n" + data)


@hostile("FILE-HEADER-TWICE", "refused")
def two_headers_of_fixed_width(tmp: Path) -> Intake:
    return after(desk_of("wenzhou", tmp), tmp, "GB305", lambda data: data.split(b"\n", 1)[0] + b"\n" + data)


@hostile("FILE-TRAILER", "refused")
def no_trailer(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "GB305", lambda data: data[: data.index(b"TAIL|")])


@hostile("FILE-TRAILER", "refused")
def header_only(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "GB305", lambda data: data[: data.index(b"\n") + 1])


@hostile("FILE-TRAILER", "refused")
def a_trailer_cut_short(tmp: Path) -> Intake:
    return after(desk_of("wenzhou", tmp), tmp, "GB305", lambda data: data[:-4])


@hostile("FILE-TRAILER", "refused")
def xml_without_totals(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "TX05", lambda data: data[: data.index(b"<totals")] + b"</data>\n")


@hostile("FILE-AFTER-TRAILER", "refused")
def rows_after_the_trailer(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX05", lambda data: data + data.split(b"\n")[1] + b"\n")


@hostile("FILE-AFTER-TRAILER", "refused")
def rows_after_a_fixed_trailer(tmp: Path) -> Intake:
    return after(desk_of("wenzhou", tmp), tmp, "TX05", lambda data: data + data.split(b"\n")[1] + b"\n")


@hostile("FILE-ROWS", "refused")
def one_row_fewer_than_declared(tmp: Path) -> Intake:
    def cut(data: bytes) -> bytes:
        lines = data.split(b"\n")
        return b"\n".join([lines[0], *lines[2:]])

    return after(desk_of("hangzhou", tmp), tmp, "GB306", cut, table=rows("GB306", {"overdue_principal_fen": 0, "overdue_interest_fen": 0}))


@hostile("FILE-ROWS", "refused")
def an_archive_with_a_row_too_many(tmp: Path) -> Intake:
    return zipped(desk_of("quzhou", tmp), tmp, "TX05", lambda e: {**e, "TX05.csv": e["TX05.csv"] + b"DK001,LS009,x,1.00\n"})


@hostile("FILE-TOTAL", "refused")
def an_amount_changed_on_the_way(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX05", swap("100.00|\nTAIL", "900.00|\nTAIL"))


@hostile("FILE-TOTAL", "refused")
def a_fixed_amount_changed_on_the_way(tmp: Path) -> Intake:
    change = lambda data: data.replace(b"0000000000010000\n", b"0000000000010001\n", 1)  # noqa: E731
    return after(desk_of("wenzhou", tmp), tmp, "TX05", change)


@hostile("FILE-TOTAL", "refused")
def a_total_that_is_no_amount(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX05", swap("TAIL|1|100.00|", "TAIL|1|1e2|"))


@hostile("FILE-UNVERIFIED", "refused")
def an_unreadable_amount_that_only_a_total_protects(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX05", swap("100.00|\nTAIL", "1O0.00|\nTAIL"))


@hostile("FILE-UNVERIFIED", "refused")
def a_row_with_a_field_too_many_that_only_totals_protect(tmp: Path) -> Intake:
    return after(desk_of("shaoxing", tmp), tmp, "TX05", swap("消费补贴@|$", "消费@|$补贴@|$"))


@hostile("FILE-DIGEST", "refused")
def bytes_that_are_not_the_digests(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "TX03", swap("停缴", "停交", "utf-8"), redo=False)


@hostile("FILE-DIGEST", "refused")
def a_workbook_that_is_not_the_digests(tmp: Path) -> Intake:
    return after(desk_of("zhoushan", tmp), tmp, "TX03", lambda data: data + b"\0", redo=False)


@hostile("FILE-FLAG", "refused")
def a_digest_file_without_a_digest(tmp: Path) -> Intake:
    desk = desk_of("huzhou", tmp)
    [path] = deliver(profile_of(desk), tmp / "inbox", {"TX05": rows("TX05")})
    path.with_name(path.name + ".sm3").write_text("done\n")
    return desk.take(arrival(path, desk.profiles), D(2026, 9, 14))


@hostile("FILE-FLAG", "refused")
def a_flag_file_that_knows_no_totals(tmp: Path) -> Intake:
    desk = desk_of("zhejiang-provincial", tmp)
    [path] = deliver(profile_of(desk), tmp / "inbox", {"TX05": rows("TX05")})
    flag = path.with_name(path.name + ".ok")
    flag.write_text("".join(x + "\n" for x in flag.read_text().splitlines() if not x.startswith("sum.")))
    return desk.take(arrival(path, desk.profiles), D(2026, 9, 14))


@hostile("FILE-CENTRE", "refused")
def another_centres_file(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX05", swap("330100000000000", "330300000000000"))


@hostile("FILE-TABLE", "refused")
def a_table_nobody_agreed_on(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX05", swap("|TX05|", "|GB399|"))


@hostile("FILE-DATE", "refused")
def a_day_that_does_not_exist(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX05", swap("|20260914|", "|20260931|"))


@hostile("FILE-DATE", "refused")
def a_file_from_the_future(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX05", swap("|20260914|", "|20260915|"))


@hostile("FILE-SEQUENCE", "refused")
def a_sequence_that_is_no_number(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX05", swap("|001|I|", "|A01|I|"))


@hostile("FILE-MODE", "refused")
def an_increment_that_says_it_is_full(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp), tmp, "TX05", swap("|001|I|", "|001|F|"))


@hostile("FILE-NAME", "refused")
def a_name_that_contradicts_the_content(tmp: Path) -> Intake:
    desk = desk_of("hangzhou", tmp)
    [path] = deliver(profile_of(desk), tmp / "inbox", {"TX05": rows("TX05")})
    return desk.take(arrival(path.rename(path.with_name("HZ_TX05_20260814_001.txt")), desk.profiles), D(2026, 9, 14))


@hostile("FILE-COLUMNS", "refused")
def a_renamed_column(tmp: Path) -> Intake:
    return after(desk_of("zhejiang-provincial", tmp), tmp, "TX05", swap("FAMC", "FANGAN", "utf-8"))


@hostile("FILE-COLUMNS", "refused")
def a_column_there_twice(tmp: Path) -> Intake:
    return after(desk_of("zhejiang-provincial", tmp), tmp, "TX05", swap("FAMC", "TXJE", "utf-8"))


@hostile("FILE-COLUMNS", "refused")
def an_added_column(tmp: Path) -> Intake:
    change = lambda d: d.replace(b"TXJE\n", b"TXJE,BZ\n").replace(b"100.00\n", b"100.00,\n")  # noqa: E731
    return after(desk_of("zhejiang-provincial", tmp), tmp, "TX05", change)


@hostile("FILE-LINE-LONG", "refused")
def a_very_long_line(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp, line_bytes=500), tmp, "TX05", swap("消费补贴", "消" * 400))


@hostile("FILE-LINE-LONG", "refused")
def a_first_line_without_end(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp, line_bytes=500), tmp, "TX05", lambda data: b"HEAD" * 400)


@hostile("FILE-ROWS-LIMIT", "refused")
def more_rows_than_allowed(tmp: Path) -> Intake:
    return after(desk_of("hangzhou", tmp, rows=1), tmp, "TX05", lambda d: d, table=rows("TX05", {}, {"serial_no": "LS002"}))


@hostile("FILE-ROWS-LIMIT", "refused")
def more_xml_rows_than_allowed(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp, rows=1), tmp, "TX05", lambda d: d, table=rows("TX05", {}, {"serial_no": "LS002"}))


@hostile("FILE-QUOTE", "refused")
def a_quote_that_never_closes(tmp: Path) -> Intake:
    return after(desk_of("zhejiang-provincial", tmp), tmp, "TX05", swap("消费补贴", '"消费补贴', "utf-8"))


@hostile("FILE-QUOTE", "refused")
def a_quote_in_the_middle_of_a_field(tmp: Path) -> Intake:
    return after(desk_of("zhejiang-provincial", tmp), tmp, "TX05", swap("消费补贴", '消"费"补贴', "utf-8"))


@hostile("FILE-BAD-ROWS", "refused")
def more_bad_rows_than_anybody_would_read(tmp: Path) -> Intake:
    table = rows("GB305", *({"serial_no": f"LS{i}", "account_no": "DK999"} for i in range(5)))
    return after(desk_of("hangzhou", tmp, quarantined_rows=3), tmp, "GB305", lambda d: d, table=table)


@hostile("FILE-CHANGED", "refused")
def a_file_that_grew_since_it_was_looked_at(tmp: Path) -> Intake:
    desk = desk_of("hangzhou", tmp)
    [path] = deliver(profile_of(desk), tmp / "inbox", {"TX05": rows("TX05")})
    looked_at = dataclasses.replace(arrival(path, desk.profiles), size=path.stat().st_size - 1)
    return desk.take(looked_at, D(2026, 9, 14))


@hostile("FILE-TABLE-TWICE", "refused")
def a_cover_that_names_a_table_twice(tmp: Path) -> Intake:
    return workbook(desk_of("zhoushan", tmp), tmp, lambda cover: [*cover, cover[3]])


@hostile("FILE-WITHDRAWALS", "held")
def a_full_file_without_most_of_its_rows(tmp: Path) -> Intake:
    desk = desk_of("zhejiang-provincial", tmp)
    days = [{"as_of": D(2026, 8, d)} for d in range(1, 20)]
    take(desk, tmp / "a", {"TX02": rows("TX02", *days)})
    return take(desk, tmp / "b", {"TX02": rows("TX02", *days[:5])})[0]


@hostile("FILE-OLDER", "held")
def a_snapshot_that_comes_late(tmp: Path) -> Intake:
    desk = desk_of("zhoushan", tmp)
    take(desk, tmp / "a", {"TX05": rows("TX05")})
    return take(desk, tmp / "b", {"TX05": rows("TX05", {"serial_no": "LS002"})}, day=D(2026, 9, 1))[0]


@hostile("FILE-DUPLICATE", "duplicate")
def the_same_bytes_under_another_name(tmp: Path) -> Intake:
    desk = desk_of("hangzhou", tmp)
    take(desk, tmp / "a", {"TX05": rows("TX05")})
    return take(desk, tmp / "b", {"TX05": rows("TX05")}, note="_重发")[0]


@hostile("WITHDRAWAL-UNSURE", "booked")
def an_absent_row_beside_one_without_a_key(tmp: Path) -> Intake:
    desk = desk_of("zhejiang-provincial", tmp)
    take(desk, tmp / "a", {"TX02": rows("TX02", {}, {"as_of": D(2026, 8, 1)})})
    [path] = deliver(profile_of(desk), tmp / "b", {"TX02": rows("TX02", {}, {"as_of": D(2026, 8, 2)})})
    path.write_bytes(path.read_bytes().replace(b"2026-08-02", b"2026-08-32"))
    redigest(profile_of(desk), path)
    return desk.take(arrival(path, desk.profiles), D(2026, 9, 14))


# --- archives, XML, workbooks ------------------------------------------------------------


@hostile("ARCHIVE-BROKEN", "refused")
def an_archive_that_is_none(tmp: Path) -> Intake:
    return after(desk_of("quzhou", tmp), tmp, "TX05", lambda data: b"PK\x03\x04 not really")


@hostile("ARCHIVE-BROKEN", "refused")
def an_archive_with_a_damaged_entry(tmp: Path) -> Intake:
    def damage(data: bytes) -> bytes:
        at = data.index(b"TX05.csv") + 12
        return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]

    return after(desk_of("quzhou", tmp), tmp, "TX05", damage)


@hostile("ARCHIVE-ENCRYPTED", "refused")
def an_encrypted_archive(tmp: Path) -> Intake:
    def encrypt(data: bytes) -> bytes:
        # Set the flag in every header; nothing is read beyond the directory.
        changed = bytearray(data)
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = data.find(signature)
            while at >= 0:
                changed[at + offset] |= 1
                at = data.find(signature, at + 4)
        return bytes(changed)

    return after(desk_of("quzhou", tmp), tmp, "TX05", encrypt)


@hostile("ARCHIVE-ENTRY", "refused")
def an_entry_that_climbs_out(tmp: Path) -> Intake:
    return zipped(desk_of("quzhou", tmp), tmp, "TX05", lambda e: {**e, "../../etc/passwd": b"x"})


@hostile("ARCHIVE-ENTRY", "refused")
def an_archive_in_an_archive(tmp: Path) -> Intake:
    return zipped(desk_of("quzhou", tmp), tmp, "TX05", lambda e: {**e, "more.zip": b"PK"})


@hostile("ARCHIVE-ENTRY", "refused")
def an_entry_that_is_a_link(tmp: Path) -> Intake:
    desk = desk_of("quzhou", tmp)
    [path] = deliver(profile_of(desk), tmp / "inbox", {"TX05": rows("TX05")})
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("GB305.csv")
        link.create_system = 3
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return desk.take(arrival(path, desk.profiles), D(2026, 9, 14))


@hostile("ARCHIVE-BOMB", "refused")
def a_bomb(tmp: Path) -> Intake:
    return zipped(desk_of("quzhou", tmp), tmp, "TX05", lambda e: {**e, "TX05.csv": e["TX05.csv"] + b"\n" * (4 << 20)})


@hostile("ARCHIVE-BOMB", "refused")
def a_workbook_bomb(tmp: Path) -> Intake:
    return zipped(desk_of("zhoushan", tmp, workbook_bytes=4000), tmp, "TX05", lambda e: {**e, "docProps/custom.xml": b" " * 5000})


@hostile("ARCHIVE-COUNT", "refused")
def thousands_of_entries(tmp: Path) -> Intake:
    return zipped(desk_of("quzhou", tmp), tmp, "TX05", lambda e: {**e, **{f"f{i}.csv": b"" for i in range(100)}})


@hostile("ARCHIVE-EXTRA", "refused")
def an_entry_the_manifest_does_not_know(tmp: Path) -> Intake:
    return zipped(desk_of("quzhou", tmp), tmp, "TX05", lambda e: {**e, "GB305.csv": b"DKZH\n"})


@hostile("ARCHIVE-EXTRA", "refused")
def no_manifest(tmp: Path) -> Intake:
    return zipped(desk_of("quzhou", tmp), tmp, "TX05", lambda e: {n: d for n, d in e.items() if n != "MANIFEST.txt"})


@hostile("XML-UNSAFE", "refused")
def a_billion_laughs(tmp: Path) -> Intake:
    bomb = '<!DOCTYPE data [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>\n<data '
    return after(desk_of("huzhou", tmp), tmp, "TX05", swap("<data ", bomb, "utf-8"))


@hostile("XML-UNSAFE", "refused")
def an_external_entity(tmp: Path) -> Intake:
    outside = '<!DOCTYPE data [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n<data '
    return after(desk_of("huzhou", tmp), tmp, "TX05", lambda d: swap("消费补贴", "&x;", "utf-8")(swap("<data ", outside, "utf-8")(d)))


@hostile("XML-UNSAFE", "refused")
def a_comment_between_rows(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "TX05", swap("<totals", "<!-- x --><totals", "utf-8"))


@hostile("XML-GRAMMAR", "refused")
def the_end_of_a_row_hidden_in_a_comment(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "TX05", swap("<totals", "<!-- </row> --><totals", "utf-8"))


@hostile("XML-BROKEN", "refused")
def xml_that_ends_too_early(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "TX05", lambda data: data[: data.index(b"</data>")])


@hostile("XML-BROKEN", "refused")
def an_entity_nobody_declared(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "TX05", swap("消费补贴", "消费&nbsp;补贴", "utf-8"))


@hostile("XML-GRAMMAR", "refused")
def an_element_nobody_agreed_on(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "TX05", swap("<row>", "<record/><row>", "utf-8"))


@hostile("XML-GRAMMAR", "refused")
def another_root(tmp: Path) -> Intake:
    return after(desk_of("huzhou", tmp), tmp, "TX05", lambda d: d.replace(b"<data ", b"<daten ").replace(b"</data>", b"</daten>"))


@hostile("XLSX-BROKEN", "refused")
def a_workbook_without_its_parts(tmp: Path) -> Intake:
    return zipped(desk_of("zhoushan", tmp), tmp, "TX05", lambda e: {n: d for n, d in e.items() if not n.startswith("xl/worksheets")})


@hostile("XLSX-UNSAFE", "refused")
def a_macro(tmp: Path) -> Intake:
    return zipped(desk_of("zhoushan", tmp), tmp, "TX05", lambda e: {**e, "xl/vbaProject.bin": b"x"})


@hostile("XLSX-UNSAFE", "refused")
def an_external_link(tmp: Path) -> Intake:
    return zipped(desk_of("zhoushan", tmp), tmp, "TX05", lambda e: {**e, "xl/externalLinks/externalLink1.xml": b"<x/>"})


@hostile("XLSX-UNSAFE", "refused")
def a_document_type_in_a_sheet(tmp: Path) -> Intake:
    def add(entries: dict[str, bytes]) -> dict[str, bytes]:
        name = "xl/worksheets/sheet2.xml"
        return {**entries, name: b'<!DOCTYPE x [<!ENTITY a "b">]>' + entries[name]}

    return zipped(desk_of("zhoushan", tmp), tmp, "TX05", add)


@hostile("XLSX-FORMULA", "refused")
def a_formula_in_a_cell(tmp: Path) -> Intake:
    def add(entries: dict[str, bytes]) -> dict[str, bytes]:
        name = "xl/worksheets/sheet2.xml"
        return {**entries, name: entries[name].replace(b"</sheetData>", b'<row r="9"><c r="A9"><f>1+1</f><v>2</v></c></row></sheetData>')}

    return zipped(desk_of("zhoushan", tmp), tmp, "TX05", add)


@hostile("XLSX-HIDDEN", "refused")
def a_hidden_sheet(tmp: Path) -> Intake:
    def hide(entries: dict[str, bytes]) -> dict[str, bytes]:
        name = "xl/workbook.xml"
        assert b'state="visible"' in entries[name]
        return {**entries, name: entries[name].replace(b'state="visible"', b'state="veryHidden"')}

    return zipped(desk_of("zhoushan", tmp), tmp, "TX05", hide)


Rows = list[list[object]]


def workbook(desk: Desk, tmp: Path, change: Callable[[Rows], Rows], sheets: dict[str, Rows] | None = None) -> Intake:
    """A workbook made by hand: the cover of a TX05 delivery, changed."""
    import openpyxl

    cover: Rows = [
        ["中心编号", "330900000000000"], ["业务日期", "20260914"], ["批次号", "001"], ["表", "TX05", "全量", "1", "贴息金额=100.00"],
    ]
    book = openpyxl.Workbook()
    book.remove(book.active)
    body: dict[str, Rows] = {"TX05": [["贷款账号", "业务流水号", "方案名称", "贴息金额"], ["DK001", "LS001", "补贴", "100.00"]]}
    for name, cells in {"封面": change(cover), **(sheets or body)}.items():
        sheet = book.create_sheet(name)
        for row in cells:
            sheet.append(row)
    path = tmp / "inbox" / "ZS_20260914_001.xlsx"
    path.parent.mkdir(exist_ok=True)
    book.save(path)
    redigest(profile_of(desk), path)
    return desk.take(arrival(path, desk.profiles), D(2026, 9, 14))


@hostile("XLSX-SHEET", "refused")
def a_sheet_the_cover_does_not_know(tmp: Path) -> Intake:
    return workbook(desk_of("zhoushan", tmp), tmp, lambda cover: cover[:3])


@hostile("XLSX-COVER", "refused")
def a_cover_without_totals(tmp: Path) -> Intake:
    return workbook(desk_of("zhoushan", tmp), tmp, lambda cover: [*cover[:3], cover[3][:4]])


@hostile("ROW-CELL", "booked")
def a_number_where_text_was_agreed(tmp: Path) -> Intake:
    table: list[list[object]] = [["贷款账号", "业务流水号", "方案名称", "贴息金额"], ["DK001", 1, "补贴", "100.00"]]
    return workbook(desk_of("zhoushan", tmp), tmp, lambda cover: cover, {"TX05": table})


# --- rows ------------------------------------------------------------


def row(centre: str, code: str, change: Callable[[bytes], bytes]) -> Case:
    return lambda tmp: after(desk_of(centre, tmp), tmp, code, change)


def made(centre: str, code: str, *changes: dict[str, object]) -> Case:
    return lambda tmp: take(desk_of(centre, tmp), tmp / "inbox", {code: rows(code, *changes)})[0]


def utf8(old: str, new: str) -> Callable[[bytes], bytes]:
    return swap(old, new, "utf-8")


D1, D2 = D(2026, 2, 10), D(2026, 1, 10)
ROWS: list[tuple[str, str, str, Case]] = [
    ("ROW-FIELDS", "a field too many", "booked", row("zhejiang-provincial", "TX03", utf8("停缴", "停缴,x"))),
    ("ROW-FIELDS", "a field missing in XML", "booked", row("huzhou", "TX03", utf8("<BGYY>停缴</BGYY>", ""))),
    ("ROW-FIELDS", "a field twice in XML", "booked", row("huzhou", "TX03", utf8("<QSRQ></QSRQ>", "<QSRQ></QSRQ><QSRQ></QSRQ>"))),
    ("ROW-FIELDS", "a fixed line too long", "booked", row("wenzhou", "TX03", lambda d: d.replace(b"\n########", b" \n########"))),
    ("ROW-FIELDS", "text after the last separator", "booked", row("hangzhou", "TX03", swap("停缴|", "停缴|x"))),
    ("TEXT-CONTROL", "a tab", "booked", row("hangzhou", "TX03", swap("停缴", "停\t缴"))),
    ("TEXT-CONTROL", "a NUL", "booked", row("zhejiang-provincial", "TX03", utf8("停缴", "停\0缴"))),
    ("TEXT-CONTROL", "a line feed inside quotes", "booked", row("zhejiang-provincial", "TX03", utf8("停缴", '"停\n缴"'))),
    ("TEXT-CONTROL", "a direction override", "booked", row("hangzhou", "TX03", swap("停缴", "停\u202e缴"))),
    ("TEXT-CONTROL", "DEL in plain text", "booked", row("hangzhou", "TX03", swap("XY001", "XY\x7f1"))),
    ("TEXT-LONG", "more characters than the dictionary allows", "booked", row("hangzhou", "TX03", swap("BG001", "BG" + "1" * 30))),
    ("TEXT-LONG", "more Chinese characters than allowed", "booked", row("hangzhou", "TX03", swap("停缴", "停" * 256))),
    ("TEXT-MOJIBAKE", "UTF-8 read as GB18030", "booked",
     made("hangzhou", "TX01", {}, {"agreement_no": "XY2", "payee_name": "欧阳小明".encode().decode("gb18030")})),
    ("TEXT-MOJIBAKE", "anything read as Latin-1", "booked",
     made("zhejiang-provincial", "TX01", {"agreement_no": "XY2", "payee_name": "王小明".encode("gb18030").decode("latin-1")})),
    ("TEXT-PRIVATE", "a character of the private use area", "booked",
     made("hangzhou", "TX01", {"agreement_no": "XY2", "payee_name": "李\ue000"})),
    ("TEXT-RADICAL", "a radical that looks like a character", "booked",
     made("hangzhou", "TX01", {"agreement_no": "XY2", "payee_name": "⻓孙"})),
    ("FIELD-EMPTY", "a required field", "booked", row("hangzhou", "TX03", swap("XY001", ""))),
    ("FIELD-AMOUNT", "a thousands separator", "booked", row("zhejiang-provincial", "TX05", utf8("100.00", '"1,00.00"'))),
    ("FIELD-AMOUNT", "full-width digits", "booked", row("huzhou", "TX05", utf8("<TXJE>100.00", "<TXJE>１００．００"))),
    ("FIELD-AMOUNT", "an exponent", "booked", row("huzhou", "TX05", utf8("<TXJE>100.00", "<TXJE>1.00E2"))),
    ("FIELD-AMOUNT", "three decimals", "booked", row("huzhou", "TX05", utf8("<TXJE>100.00", "<TXJE>100.000"))),
    ("FIELD-AMOUNT", "a negative zero", "booked", row("huzhou", "TX05", utf8("<TXJE>100.00", "<TXJE>-0.00"))),
    ("FIELD-AMOUNT", "two minus signs", "booked", row("huzhou", "TX05", utf8("<TXJE>100.00", "<TXJE>--"))),
    ("FIELD-RATE", "finer than a millionth", "booked", row("hangzhou", "GB305", swap("0.0350000", "0.0350001"))),
    ("FIELD-RATE", "a monthly rate with three decimals", "booked",
     lambda tmp: zipped(desk_of("quzhou", tmp), tmp, "GB305", lambda e: {**e, "GB305.csv": e["GB305.csv"].replace(b"2.916667", b"2.917")})),
    ("FIELD-INTEGER", "a decimal instalment", "booked", row("hangzhou", "GB305", swap("|0.00|1|", "|0.00|1.0|"))),
    ("FIELD-DATE", "31 February", "booked", row("hangzhou", "TX02", swap("20260910", "20260231"))),
    ("FIELD-DATE", "two forms of date", "booked", row("zhejiang-provincial", "TX02", utf8("2026-09-10", "2026/09/10"))),
    ("FIELD-CODE", "a kind not in the list", "booked", row("hangzhou", "TX03", swap("|01|", "|9|"))),
    ("FIELD-CODE", "never padded", "booked", row("hangzhou", "GB305", swap("|02|", "|2|"))),
    ("FIELD-BAND", "a rate in percent where a fraction was agreed", "booked", row("hangzhou", "GB305", swap("0.0350000", "3.5000000"))),
    ("FIELD-BAND", "the year 1901", "booked", row("hangzhou", "TX02", swap("|20260910|", "|19010910|"))),
    ("FIELD-BAND", "a negative balance", "booked", made("hangzhou", "TX02", {"balance_fen": -1})),
    ("FIELD-BAND", "a term of nothing", "booked", made("hangzhou", "GB301", {"contract_no": "JK2", "term_months": 0})),
    ("FIELD-BAND", "a rate of nothing", "booked", made("hangzhou", "GB301", {"contract_no": "JK2", "rate_ppm": 0})),
    ("FIELD-BAND", "more outstanding than was paid out", "booked", made("hangzhou", "GB304", {"balance_fen": 50_000_001})),
    ("CHECK-BANKNO", "a digit changed", "booked", made("hangzhou", "TX01", {"agreement_no": "XY2", "payee_bank_no": "105331000028"})),
    ("CHECK-ID", "a digit changed", "booked", made("hangzhou", "GB301", {"contract_no": "JK2", "borrower_id_no": "330106198001010023"})),
    ("CHECK-ID", "a birthday that never was", "booked",
     made("hangzhou", "GB301", {"contract_no": "JK2", "borrower_id_no": "330106198002300012"})),
    ("CHECK-ID-OLD", "fifteen digits", "booked", made("hangzhou", "GB301", {"contract_no": "JK2", "borrower_id_no": "330106800101001"})),
    ("CHECK-ID-REGION", "Hong Kong", "booked", made("hangzhou", "GB301", {"contract_no": "JK2", "borrower_id_no": "810000198001010014"})),
    ("CHECK-CARD", "a passbook", "booked", made("hangzhou", "TX01", {"agreement_no": "XY2", "payee_account": "6222020000000000001"})),
    ("ROW-SUM", "parts that do not add up", "booked", made("hangzhou", "GB305", {"amount_fen": 1})),
    ("ROW-ACCRUAL", "interest without days", "booked", made("hangzhou", "GB305", {"accrual_to": D2})),
    ("ROW-ACCRUAL", "interest without principal", "booked", made("hangzhou", "GB305", {"base_principal_fen": 0})),
    ("ROW-ACCRUAL", "interest without a rate", "booked", made("hangzhou", "GB305", {"rate_ppm": 0})),
    ("ROW-NEGATIVE", "negative interest that reverses nothing", "booked",
     made("hangzhou", "GB305", {"interest_fen": -145_833, "amount_fen": -67_144})),
    ("ROW-INTEREST", "ten times the interest", "booked",
     made("hangzhou", "GB305", {"interest_fen": 1_458_330, "amount_fen": 1_537_019})),
    ("ROW-DATES", "accrual backwards", "booked", made("hangzhou", "GB305", {"accrual_from": D1, "accrual_to": D2})),
    ("ROW-DATES", "booked before it was paid", "booked", made("hangzhou", "GB305", {"booked_on": D2})),
    ("ROW-DATES", "a maturity before the disbursement", "booked",
     made("hangzhou", "GB301", {"contract_no": "JK2", "maturity_on": D(2025, 1, 1)})),
    ("ROW-DATES", "settled before it was paid out", "booked",
     made("hangzhou", "GB304", {"account_no": "DK2", "settled_on": D(2025, 1, 1)})),
    ("ROW-FUTURE", "paid tomorrow", "booked",
     made("hangzhou", "GB305", {"paid_on": D(2026, 9, 15), "booked_on": D(2026, 9, 15)})),
    ("ROW-RANGE", "a clawback without a range", "booked", made("hangzhou", "TX03", {"kind": "clawback"})),
    ("ROW-RANGE", "a range backwards", "booked", made("hangzhou", "TX03", {"kind": "clawback", "range_from": D1, "range_to": D2})),
    ("ROW-CHANGE", "a new payee without an account", "booked", made("hangzhou", "TX03", {"kind": "payee"})),
    ("ROW-CHANGE", "a new term without one", "booked", made("hangzhou", "TX03", {"kind": "term"})),
    ("ROW-BALANCE", "a balance that does not follow", "booked",
     made("hangzhou", "GB305", {}, {"serial_no": "LS2", "instalment": 2, "balance_after_fen": 49_000_000})),
    ("ROW-CONTRACT", "more subsidised than lent", "booked",
     made("hangzhou", "TX01", {"agreement_no": "XY2", "subsidised_principal_fen": 60_000_000})),
    ("ROW-NAME", "another payee than the borrower", "booked", made("hangzhou", "TX01", {"agreement_no": "XY2", "payee_name": "王五"})),
    ("KEY-DIFFERS", "one key, two contents", "booked", made("hangzhou", "TX05", {}, {"amount_fen": 1})),
    ("KEY-DUPLICATE", "the same row twice", "booked", made("hangzhou", "TX05", {}, {})),
    ("PARENT-UNKNOWN", "an account nobody knows", "booked", made("hangzhou", "TX05", {"account_no": "DK999"})),
    ("PARENT-CHANGED", "an agreement under another contract", "booked", made("hangzhou", "TX01", {"contract_no": "JK002"})),
]


@hostile("ROW-CENTRE", "booked")
def an_agreement_of_another_centre(tmp: Path) -> Intake:
    return after(desk_of("zhejiang-provincial", tmp), tmp, "TX01", utf8("330101000000000", "330100000000000"))


@hostile("ROW-OLDER", "booked")
def an_old_file_over_a_newer_one(tmp: Path) -> Intake:
    desk = desk_of("hangzhou", tmp)
    take(desk, tmp / "a", {"TX02": rows("TX02")})
    return take(desk, tmp / "b", {"TX02": rows("TX02", {"balance_fen": 1})}, day=D(2026, 9, 12))[0]


ALL = [*CASES, *ROWS]


@pytest.mark.parametrize(("code", "what", "state", "case"), ALL, ids=[f"{c}-{w}".replace(" ", "_") for c, w, _, _ in ALL])
def test_hostile_file(code: str, what: str, state: str, case: Case, tmp_path: Path) -> None:
    intake = case(tmp_path)
    codes = [f.code for f in intake.findings]
    assert code in codes, (codes, intake.message)
    assert intake.state == state, (intake.state, intake.message)
    total = intake.counts
    assert total.rows_in == total.booked + total.quarantined + total.duplicates
    assert total.quarantined == len(intake.quarantined)
    severity = FAULTS[code].severity
    if state in ("refused", "held", "duplicate"):
        assert total.rows_in == 0 and not intake.tables and not intake.quarantined
        assert intake.message
    elif severity == "error":
        assert code in {q.code for q in intake.quarantined} | {f.code for f in intake.findings}
        assert intake.quarantined and all(q.raw for q in intake.quarantined)
    else:
        assert code not in {q.code for q in intake.quarantined}
    for found in intake.findings:
        assert found.what and found.todo and found.rule and found.file_name and "{" not in found.what
        assert "622202" not in found.value.replace("622202*", "") and "330106198" not in found.value


def test_there_is_a_hostile_file_for_every_code() -> None:
    # A file that waits is not read at all: test_intake_arrival.
    assert {code for code, _, _, _ in ALL} == set(FAULTS) - {"FILE-WAITING", "FILE-EARLY"}
    assert len(ALL) >= 40


def test_json_is_never_read_as_float() -> None:
    """The digits of a number stay as they are written."""
    from subsidy.intake.dialects.jsonl import _object

    assert _object(b'{"a": 1458.330, "b": null, "c": "x"}') == {"a": "1458.330", "b": "", "c": "x"}
    for bad in (b'{"a": 1, "a": 2}', b'{"a": [1]}', b'{"a": true}', b'{"a": NaN}', b"[1]", b"{", b'{"a": "\\ud800"}', b"[" * 5000):
        assert _object(bad) is None


def test_digests_are_what_others_compute(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert file_digest(path, "sha256") == hashlib.sha256(b"abc").hexdigest()
    # GB/T 32905-2016, example 1.
    assert file_digest(path, "sm3") == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"


def test_a_file_is_judged_whole(tmp_path: Path) -> None:
    """All findings of a file at once, each with its place."""
    desk = desk_of("hangzhou", tmp_path)
    [path] = deliver(profile_of(desk), tmp_path / "inbox", {"GB305": rows("GB305", {}, {"serial_no": "LS2"}, {"serial_no": "LS3"})})
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b"|02|", b"|2|").replace(b"0.0350000", b"0.3500000")
    lines[3] = lines[3].replace(b"20260110", b"20260132")
    path.write_bytes(b"\n".join(lines))
    intake = desk.take(arrival(path, desk.profiles), date(2026, 9, 14))
    assert {(f.line_no, f.code, f.field) for f in intake.findings} == {
        (3, "FIELD-CODE", "DKYWMXLX"), (3, "FIELD-BAND", "ZXLL"), (4, "FIELD-DATE", "JXQSRQ"),
    }
    assert (intake.counts.booked, intake.counts.quarantined) == (1, 2)
    assert [q.raw for q in intake.quarantined] == [lines[2], lines[3]]
    json.dumps([f.what for f in intake.findings])
    assert io.BytesIO(intake.quarantined[0].raw).read()
