"""The grammar of amounts, one value and a whole column alike."""

from __future__ import annotations

import re
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.money import Spans, format_yuan, format_yuan_column, parse_fen_column, parse_yuan, parse_yuan_column
from subsidy.money.digits import read_digits

GOOD = {
    "0": 0, "0.00": 0, "0.5": 50, "0.05": 5, "1234.50": 123450, "-0.05": -5, "-3": -300, "9999999999999999.99": 999_999_999_999_999_999,
    "-9999999999999999.99": -999_999_999_999_999_999, "100": 10000,
}
BAD = [
    "", " ", "1 ", " 1", "+1", "1,234.50", "1.2E+5", "1e5", "１２３．４５", "١٢", "--", "-", ".", "1.", ".5", "-.5", "1.234", "1.000", "-0",
    "-0.00", "00", "01", "-01.00", "1.2.3", "1-2", "--1", "12345678901234567", "10000000000000000.00", "99999999999999999999999999",
    "1\n", "1\r", "\t1", "NaN",
    "inf", "1\x00", "1。5", "0x10", "1_000", "¥1", "1元",
]


@pytest.mark.parametrize(("text", "fen"), GOOD.items())
def test_good_amounts(text: str, fen: int) -> None:
    assert parse_yuan(text) == fen
    values, valid = parse_yuan_column(pa.array([text]))
    assert (values.tolist(), valid.tolist()) == ([fen], [True])


@pytest.mark.parametrize("text", BAD)
def test_bad_amounts_are_refused_never_guessed(text: str) -> None:
    with pytest.raises(ValueError):
        parse_yuan(text)
    values, valid = parse_yuan_column(pa.array(["1.00", text, "2"]))
    assert valid.tolist() == [True, False, True]
    assert values.tolist() == [100, 0, 200]


def test_nulls_slices_chunks_and_large_strings() -> None:
    array = pa.array(["9", None, "0.10", "x", "-2.5"])
    for column in (array.slice(1), pa.chunked_array([array.slice(1, 2), array.slice(3)]), array.cast(pa.large_string()).slice(1)):
        values, valid = parse_yuan_column(column)
        assert (values.tolist(), valid.tolist()) == ([0, 10, 0, -250], [False, True, False, True])
    for column in (pa.array([], pa.string()), pa.chunked_array([], pa.string()), pa.array([None], pa.string()), pa.array([""])):
        assert not parse_yuan_column(column).valid.any()


def test_columns_longer_than_a_block() -> None:
    numbers = list(range(-40_000, 40_000))
    values, valid = parse_yuan_column(pa.array([format_yuan(n) for n in numbers]))
    assert valid.all()
    assert values.tolist() == numbers


def test_fen_columns() -> None:
    column = pa.array(["0", "123", "-5", "007", "1.0", "000000000000000", "-007"])
    assert parse_fen_column(column).valid.tolist() == [True, True, True, False, False, False, False]
    values, valid = parse_fen_column(column, padded=True)
    assert valid.tolist() == [True, True, True, True, False, True, True]
    assert values.tolist() == [0, 123, -5, 7, 0, 0, -7]


def test_text_of_another_type_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        parse_yuan_column(pa.array([1.5]))


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_round_trip_of_one(fen: int) -> None:
    assert parse_yuan(format_yuan(fen)) == fen


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_columns_are_written_as_single_amounts(values: list[int]) -> None:
    assert format_yuan_column(np.array(values, np.int64)).to_pylist() == [format_yuan(v) for v in values]


def test_written_nulls_stay_null() -> None:
    assert format_yuan_column(pa.array([None, 5, -5], pa.int64())).to_pylist() == [None, "0.05", "-0.05"]
    assert format_yuan_column(pa.chunked_array([[1], [200]], pa.int64())).to_pylist() == ["0.01", "2.00"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.text("0123456789.-", max_size=22), st.text(max_size=6), st.none()), max_size=20))
def test_column_and_single_agree_on_any_text(texts: list[str | None]) -> None:
    values, valid = parse_yuan_column(pa.array(texts, pa.string()))
    for text, value, ok in zip(texts, values.tolist(), valid.tolist(), strict=True):
        try:
            expected = parse_yuan(text) if text is not None else None
        except ValueError:
            expected = None
        assert ok == (expected is not None)
        assert value == (expected or 0)


@given(st.text("0123456789.-", max_size=12))
def test_what_is_accepted_is_written_back(text: str) -> None:
    if re.fullmatch(r"-?(0|[1-9]\d*)\.\d\d", text, re.ASCII) and not re.fullmatch(r"-0\.00", text):
        assert format_yuan(parse_yuan(text)) == text


UNIFORM = st.integers(-(10**10), 10**10).map(format_yuan)
SPOILT = st.sampled_from(
    ["1.0", "-0.00", "01.00", "1-2.00", "--1.00", ".00", "-.50", "1.0.0", "12", "1.000", "", "1,2.00", "１.00", "-", "1234-.00", ".1.0"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(UNIFORM, min_size=1, max_size=12), st.lists(SPOILT, max_size=2), st.randoms(use_true_random=False))
def test_one_odd_row_among_uniform_ones_is_found(good: list[str], odd: list[str], random: Random) -> None:
    texts = good + odd
    random.shuffle(texts)
    values, valid = parse_yuan_column(pa.array(texts))
    for text, value, ok in zip(texts, values.tolist(), valid.tolist(), strict=True):
        try:
            assert (value, ok) == (parse_yuan(text), True)
        except ValueError:
            assert (value, ok) == (0, False)


NUMBER = st.one_of(
    st.integers(0, 10**20).map(str), st.integers(-(10**17), 10**17).map(lambda n: f"{n:017d}"), st.decimals(0, 10**15, places=7).map(str),
    st.text("0123456789.-/:x", max_size=18), UNIFORM,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(NUMBER, min_size=1, max_size=8), st.text("-.0x,", max_size=20), st.booleans(), st.booleans())
def test_numbers_read_by_words_are_those_read_place_by_place(texts: list[str], between: str, padded: bool, point: bool) -> None:
    # The same texts apart, with anything between them, and each by itself.
    joined = between.join(texts).encode()
    ends = np.cumsum([len(t) + len(between) for t in texts]) - len(between)
    spans = Spans(np.frombuffer(joined, np.uint8), ends - [len(t) for t in texts], ends)
    assert spans.array().to_pylist() == texts
    read = read_digits(spans, padded=padded, point=point)
    for i, text in enumerate(texts):
        pattern = r"-?" + (r"[0-9]+" if padded else r"(0|[1-9][0-9]*)") + (r"(\.[0-9]+)?" if point else "")
        digits = re.sub("[^0-9]", "", text)
        valid = re.fullmatch(pattern, text) is not None and len(digits) <= 18 and not (text[0] == "-" and int(digits) == 0)
        number = int(digits) * (-1 if text[0] == "-" else 1) if valid else 0
        decimals = len(text.partition(".")[2]) if valid else 0
        assert (read.unscaled[i], read.decimals[i], read.valid[i]) == (number, decimals, valid), text
