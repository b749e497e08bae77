"""Cells by their grammar, against plain code on one value at a time; encodings by every character they can hold."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from intake_desk import CENTRES, RULES
from stdnum import luhn
from stdnum.iso7064 import mod_11_2, mod_11_10

from subsidy.facts.schema import BY_CODE, Column
from subsidy.intake import load_profiles
from subsidy.intake.cells import Cells, mojibake, parse
from subsidy.intake.checkdigits import bank_number_ok, card_ok, cards_ok, credit_code_ok, identity_number, identity_numbers_ok
from subsidy.intake.dialects.archive import plain_name
from subsidy.intake.dialects.lines import decode, standard
from subsidy.intake.faults import FileRefused
from subsidy.intake.masking import mask, mask_account, mask_id, mask_name, mask_phone
from subsidy.intake.profile import Profile

PROFILES = {c: load_profiles(RULES, c).profiles["main"] for c in CENTRES}
INTEREST = BY_CODE["GB305"].column("interest_fen")
AS_OF = BY_CODE["TX02"].column("as_of")
RATE = BY_CODE["GB305"].column("rate_ppm")
INSTALMENT = BY_CODE["GB305"].column("instalment")


def cells(column: Column, texts: list[str], profile: Profile) -> list[object]:
    """Values, None where empty or faulty; each faulty row is named exactly once as such."""
    parsed = parse(column, pa.array(texts, pa.string()), profile)
    values: list[object] = parsed.values.to_pylist()
    faulty = {int(i) for code, at, _ in parsed.faults for i in at}
    assert faulty == {i for i, v in enumerate(values) if v is None}
    return values


def yuan(text: str) -> int | None:
    if not re.fullmatch(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,2})?", text, re.ASCII):
        return None
    fen = int(Decimal(text) * 100)
    return None if (text.startswith("-") and fen == 0) or abs(fen) > 10**13 else fen


amounts = st.one_of(
    st.decimals(-(10**9), 10**9, places=2).map(str), st.decimals(-(10**6), 10**6).map(str), st.text("0123456789.,-+eE １２", max_size=14),
    st.integers(-(10**15), 10**15).map(str),
)


@given(st.lists(amounts, min_size=1, max_size=20), st.integers(1, 8))
@example(["1,458.33"], 1)
@example(["1.2E+5", "１２３．４５", "--", "-0.00", "+1", " 1", "1 ", "00.10", "01", ".5", "5.", "1.234"], 1)
@example(["1458.33"] * 3, 30)
def test_amounts_in_yuan(texts: list[str], times: int) -> None:
    texts = texts * times
    assert cells(INTEREST, texts, PROFILES["hangzhou"]) == [yuan(t) for t in texts]
    parsed = parse(INTEREST, pa.array(texts, pa.string()), PROFILES["hangzhou"])
    assert parsed.unread >= sum(1 for t in texts if t and not re.fullmatch(r"[-0-9.]+", t, re.ASCII))


padded = st.one_of(st.integers(-(10**13), 10**13).map(lambda v: f"{v:016d}"), st.text("0123456789-", max_size=17))


@given(st.lists(padded, min_size=1, max_size=9))
def test_amounts_in_fen_of_fixed_width(texts: list[str]) -> None:
    def fen(text: str) -> int | None:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or (text.startswith("-") and int(text) == 0) or abs(int(text)) > 10**13:
            return None
        return int(text)

    assert cells(INTEREST, texts, PROFILES["wenzhou"]) == [fen(t) for t in texts]


def day(text: str, form: str) -> date | None:
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)" if form == "YYYYMMDD" else r"(\d{4})-(\d\d)-(\d\d)", text, re.ASCII)
    try:
        parsed = date(*map(int, found.groups())) if found else None
    except ValueError:
        return None
    return parsed if parsed and 1990 <= parsed.year <= 2099 else None


dates = st.one_of(
    st.dates(date(1890, 1, 1), date(2110, 1, 1)).map(lambda d: f"{d:%Y%m%d}"), st.dates().map(date.isoformat),
    st.text("0123456789-/", max_size=10),
    st.sampled_from(["20260229", "20240229", "2026-02-29", "00010101", "99991231", "2026-9-1", "20261301", "２０２６０９１４"]),
)


@given(st.lists(dates, min_size=1, max_size=12), st.integers(1, 8))
def test_dates(texts: list[str], times: int) -> None:
    texts = texts * times
    for centre in ("hangzhou", "zhejiang-provincial"):
        profile = PROFILES[centre]
        assert cells(AS_OF, texts, profile) == [day(t, profile.units.date) for t in texts]


def test_every_day_of_the_calendar_and_none_beside_it() -> None:
    texts = [f"{n}" for n in range(20_200_101, 20_281_232)]
    assert cells(AS_OF, texts, PROFILES["hangzhou"]) == [day(t, "YYYYMMDD") for t in texts]


@given(st.lists(st.one_of(st.integers(0, 500).map(str), st.text("0123456789.- ", max_size=5)), min_size=1, max_size=9), st.integers(1, 9))
def test_integers(texts: list[str], times: int) -> None:
    texts = texts * times

    def integer(text: str) -> int | None:
        return int(text) if re.fullmatch(r"0|[1-9][0-9]{0,2}", text) and int(text) <= 480 else None

    assert cells(INSTALMENT, texts, PROFILES["hangzhou"]) == [integer(t) for t in texts]


@given(st.integers(610, 1_300).map(lambda n: n * 50))
def test_every_unit_of_rate_gives_the_rate_back(ppm: int) -> None:
    monthly = f"{(ppm * 1000 * 2 + 12) // 24}".rjust(7, "0")
    written = {"hangzhou": f"0.{ppm:06d}0", "zhoushan": f"{ppm // 10_000}.{ppm % 10_000:04d}", "quzhou": f"{monthly[:-6]}.{monthly[-6:]}"}
    for centre, text in written.items():
        assert cells(RATE, [text], PROFILES[centre]) == [ppm]


def test_constant_columns_are_judged_like_any_other() -> None:
    for text in ("0.00", "", "x", "-0.00", "5.00"):
        one = parse(INTEREST, pa.array([text]), PROFILES["hangzhou"])
        many = parse(INTEREST, pa.array([text] * 200), PROFILES["hangzhou"])
        assert many.values.to_pylist() == one.values.to_pylist() * 200
        assert (many.total, many.unread) == (one.total * 200, one.unread * 200)
        assert [(c, len(at)) for c, at, _ in many.faults] == [(c, 200) for c, _, _ in one.faults]
    assert isinstance(parse(INTEREST, pa.array([], pa.string()), PROFILES["hangzhou"]), Cells)


# --- encodings ------------------------------------------------------------------------------------------

HARD = "䶮㛃㴔𠮷𬭎𬀪𫖯𩽾䲟"


def test_gb18030_names_that_gbk_cannot_write() -> None:
    for char in HARD:
        assert decode(f"李{char}".encode("gb18030"), PROFILES["hangzhou"]).decode() == f"李{char}"
        with pytest.raises(UnicodeEncodeError):
            char.encode("gbk")


def test_formerly_private_code_points_are_what_later_editions_made_of_them() -> None:
    """fe59, fe51 and a6d9 decode to the private use area in Python's codec."""
    for data, char in ((b"\xfe\x59", "\u9fb4"), (b"\xfe\x51", "\U00020087"), (b"\xa6\xd9", "\ufe10")):
        assert data.decode("gb18030") != char
        assert decode(data, PROFILES["hangzhou"]).decode() == char
        assert standard("x" * 2_000 + data.decode("gb18030"))[-1] == char
    assert standard("\ue000") == "\ue000"


@given(st.text(st.characters(codec="gb18030", exclude_categories=("Cs", "Co", "Cc")), max_size=40))
def test_whatever_gb18030_writes_is_read_or_named(text: str) -> None:
    try:
        assert decode(text.encode("gb18030"), PROFILES["hangzhou"]).decode() == standard(text)
    except FileRefused as refused:
        # All of it is UTF-8 as well: nobody could say which was meant.
        text.encode("gb18030").decode("utf-8")
        assert refused.findings[0].code == "FILE-ENCODING"


@given(st.binary(max_size=60))
def test_bytes_that_do_not_decode_are_refused(data: bytes) -> None:
    for centre, codec in (("hangzhou", "gb18030"), ("huzhou", "utf-8")):
        try:
            text = data.decode(codec)
        except UnicodeDecodeError:
            with pytest.raises(FileRefused):
                decode(data, PROFILES[centre])
        else:
            if codec == "utf-8":
                assert decode(data, PROFILES[centre]) == text.encode()


CHINESE = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=4, max_size=8).filter(lambda t: len(t) % 2 == 0)


@given(CHINESE)
def test_mojibake_is_recognised(name: str) -> None:
    try:
        wrong = name.encode("utf-8").decode("gb18030")
    except UnicodeDecodeError:
        wrong = ""
    if wrong:
        assert mojibake(wrong, name=True)
    assert mojibake(name.encode("gb18030").decode("latin-1"), name=True)


@pytest.mark.parametrize(
    "name", ["李䶮", "欧阳𬭎", "艾力·买买提", "阿依古丽•吐尔逊", "JOHN SMITH", "王五（监护人）", "㛃㴔", "杭州市住房公积金管理中心"]
)
def test_names_that_people_have(name: str) -> None:
    assert not mojibake(name, name=True)


# --- check digits ---------------------------------------------------------------------------------------


@given(st.from_regex(r"[1-8][0-9]{5}(19|20)[0-9]{2}(0[1-9]|1[0-3])[0-3][0-9]{4}", fullmatch=True), st.sampled_from("0123456789Xx"))
def test_identity_numbers(body: str, last: str) -> None:
    for number in (body + mod_11_2.calc_check_digit(body), body + last):
        verdict = identity_number(number)
        sure = bool(identity_numbers_ok(pa.array([number]))[0])
        assert not sure or verdict == "ok"
        if verdict in ("ok", "region"):
            assert (mod_11_2.is_valid(number) and day(number[6:14].replace("19", "20", 1), "YYYYMMDD") is not None) or number[6:8] == "19"
    assert identity_number("330106198001010013") == "ok" and identity_number("33010619800101001x") == "bad"


@given(st.lists(st.from_regex(r"[0-9]{14,19}|[0-9A-Z]{16}", fullmatch=True), min_size=1, max_size=9))
def test_cards(numbers: list[str]) -> None:
    wanted = [len(n) not in (16, 19) or (n.isdigit() and luhn.is_valid(n)) for n in numbers]
    assert cards_ok(pa.array(numbers)).tolist() == wanted
    assert all(card_ok(n + luhn.calc_check_digit(n)) for n in numbers if n.isdigit())


@given(st.from_regex(r"[0-9]{11}", fullmatch=True), st.integers(0, 9))
def test_bank_numbers(body: str, last: int) -> None:
    right = mod_11_10.calc_check_digit(body)
    assert bank_number_ok(body + right)
    assert bank_number_ok(f"{body}{last}") == (str(last) == right)
    assert not bank_number_ok(body) and not bank_number_ok("１" * 12)


def test_credit_codes() -> None:
    assert credit_code_ok("91350100M000100Y43")  # the example of GB 32100
    assert not credit_code_ok("91350100M000100Y44") and not credit_code_ok("91350100I000100Y43") and not credit_code_ok("9135")


# --- names of archive entries ---------------------------------------------------------------------------

NASTY = [
    "../x.csv", "..\\x.csv", "/etc/passwd", "\\\\host\\x", "C:\\x.csv", "c:x.csv", "./x.csv", "a/b.csv", "a\\b.csv", "x/../y.csv", "..",
    ".",
    "", " " * 0, ".hidden", "..x", "CON", "con.csv", "PRN.csv", "AUX.csv", "NUL", "nul.csv", "COM1.csv", "com9", "LPT1.csv", "lpt9.txt",
    "x\0.csv", "x\n.csv", "x\r.csv", "x\t.csv", "x\x7f.csv", "x\u202ecsv.exe", "x\u200b.csv", "\ufeffx.csv", "表.csv", "ｘ.csv", "x" * 101,
    "x" * 300 + ".csv", "x:stream", "x*.csv", "x?.csv", 'x".csv', "<x>.csv", "x|y.csv", "more.zip", "more.ZIP", "more.gz", "x.tar", "x.7z",
    "x.rar", "x.bz2", "x.xz", "TX05.csv/", "TX05.csv\\", "/TX05.csv", "//TX05.csv", "~/../TX05.csv/..", "\x1b[31m.csv", "x\x85.csv",
    "%2e%2e/x.csv", "....//x.csv", "file:///x.csv", "http://x/x.csv",
]


@pytest.mark.parametrize("name", NASTY, ids=range(len(NASTY)))
def test_nasty_names_never_pass(name: str, tmp_path: Path) -> None:
    assert not plain_name(name)


def test_there_are_sixty_of_them_and_good_names_pass(tmp_path: Path) -> None:
    assert len(NASTY) >= 60
    assert plain_name("TX05.csv") and plain_name("MANIFEST.txt")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("TX05.csv", b"x")


# --- masking --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("masked", "text", "shown"),
    [
        (mask_name, "李某某", "李**"), (mask_name, "𬭎某", "𬭎*"), (mask_id, "330106198001010013", "330***********0013"),
        (mask_account, "6222020000000000000", "622202*********0000"), (mask_phone, "13800001234", "138****1234"),
        (mask_account, "12345678", "12******"),
        (mask_name, "", ""), (mask_id, "12", "**"),
    ],
)
def test_masking(masked: Callable[[str], str], text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_masked_value_cannot_break_a_line() -> None:
    assert mask("", "a\nb\u202ec") == "a\\u000ab\\u202ec"
    assert mask("", "x" * 100) == "x" * 60 + "…"


def test_profiles_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROFILES["hangzhou"].centre = "x"  # type: ignore[misc]
