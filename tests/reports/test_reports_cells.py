"""Columns as text: amounts to the fen, rates to the millionth, personal data as `intake.masking` shows it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from subsidy.intake import masking
from subsidy.reports import cells, personal

fen = st.integers(-(10**15), 10**15)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(fen, st.none()), min_size=1))
def test_money_is_the_decimal_number(values: list[int | None]) -> None:
    column = pa.array(values, pa.int64())
    texts = cells.money_text(column).to_pylist()
    assert texts == [None if v is None else f"{Decimal(v).scaleb(-2):.2f}" for v in values]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 10**7), min_size=1))
def test_rates_are_the_decimal_number(values: list[int]) -> None:
    assert [Decimal(t) for t in cells.rate_text(pa.array(values)).to_pylist()] == [Decimal(v).scaleb(-6) for v in values]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.integers(-(10**12), 10**12), st.none()), min_size=1))
def test_a_written_amount_and_a_read_one_have_the_same_seal(values: list[int | None]) -> None:
    """A reader returns binary floating point; up to a trillion yuan it names one amount only."""
    sealed = cells.sealed(pa.array(values, pa.int64()), "money").to_pylist()
    assert sealed == [cells.sealed_value(None if v is None else v / 100) for v in values]


def test_kinds_cannot_be_confused() -> None:
    assert cells.sealed_value("12") != cells.sealed_value(12.0)
    assert cells.sealed_value("2026-09-01") != cells.sealed_value(date(2026, 9, 1))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=40), min_size=1))
def test_names_and_accounts_are_masked_as_everywhere(texts: list[str]) -> None:
    column = pa.array(texts, pa.string())
    assert personal.mask_names(column).to_pylist() == [masking.mask_name(t) for t in texts]
    assert personal.mask_accounts(column).to_pylist() == [masking.mask_account(t) for t in texts]


def test_only_persons_are_masked() -> None:
    column, kinds = pa.array(["李某某", "中国银行", "无类型"]), pa.chunked_array([["01", "02", ""]]).dictionary_encode()
    assert personal.of_persons(column, kinds, personal.mask_names).to_pylist() == ["李**", "中国银行", "无**"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(), min_size=1))
def test_any_text_becomes_text_that_xml_can_hold(texts: list[str]) -> None:
    shown = cells.clean(pa.array(texts, pa.string())).to_pylist()
    assert shown == [cells.printable(t) for t in texts]
    assert not any(ord(c) < 32 and c not in "\t\n" for t in shown for c in t)
