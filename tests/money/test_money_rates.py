"""Rates as files send them, exactly as handbook section 3 accepts them."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsidy.money import format_percent, parse_rate_column, ppm_from_fraction, ppm_from_percent, ppm_from_permille_month


@pytest.mark.parametrize(
    ("text", "ppm"), [("0.0310000", 31000), ("0.03075", 30750), ("0", 0), ("0.046750", 46750), ("1", 1_000_000), ("-0.001", -1000)]
)
def test_fraction(text: str, ppm: int) -> None:
    assert ppm_from_fraction(text) == ppm


@pytest.mark.parametrize(("text", "ppm"), [("3.1", 31000), ("3.075", 30750), ("4.67500", 46750), ("25", 250000), ("0.0001", 1)])
def test_percent(text: str, ppm: int) -> None:
    assert ppm_from_percent(text) == ppm


@pytest.mark.parametrize("text", ["0.0310001", "0.03100005", "3.1%", "", "abc", "-0.000", "+0.03"])
def test_a_fraction_finer_than_a_millionth_or_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ppm_from_fraction(text)


def test_a_percentage_finer_than_a_millionth_is_refused() -> None:
    with pytest.raises(ValueError):
        ppm_from_percent("3.10005")


@pytest.mark.parametrize(
    ("text", "ppm"),
    [
        ("2.5833", 31000),  # 3.10 % / 12 = 2.58333…
        ("2.58333", 31000),
        ("2.583333", 31000),
        ("2.9167", 35000),
        ("2.916667", 35000),
        ("2.5625", 30750),
        ("2.5000", 30000),
    ],
)
def test_a_monthly_rate_is_the_nearest_millionth(text: str, ppm: int) -> None:
    assert ppm_from_permille_month(text) == ppm


@pytest.mark.parametrize("text", ["2.583", "2.5", "3", "2.58334", "2.583334", "2.5833333334"])
def test_a_monthly_rate_too_coarse_or_not_reproduced_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ppm_from_permille_month(text)


def monthly(ppm: int, decimals: int) -> str:
    return f"{(Decimal(ppm) / 12000).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP):f}"


@given(st.integers(1, 400_000), st.integers(5, 16))
def test_every_annual_rate_survives_the_monthly_form(ppm: int, decimals: int) -> None:
    assert ppm_from_permille_month(monthly(ppm, decimals)) == ppm


@given(st.integers(1, 8_000))
def test_four_decimals_keep_every_rate_that_is_quoted_in_steps_of_half_a_basis_point(steps: int) -> None:
    assert ppm_from_permille_month(monthly(steps * 50, 4)) == steps * 50


@given(st.integers(1, 400_000))
def test_four_decimals_give_a_rate_that_is_sent_the_same_way(ppm: int) -> None:
    assert monthly(ppm_from_permille_month(monthly(ppm, 4)), 4) == monthly(ppm, 4)


@given(st.lists(st.integers(-(10**7), 10**7)))
def test_columns_in_fraction_and_percent(values: list[int]) -> None:
    for unit, places in (("fraction", 6), ("percent", 4)):
        text = [f"{Decimal(v).scaleb(-places):.{places}f}" if v else "0" for v in values]
        parsed = parse_rate_column(pa.array(text, pa.string()), unit)  # type: ignore[arg-type]
        assert parsed.valid.all()
        assert parsed.values.tolist() == values


@pytest.mark.parametrize(
    ("ppm", "text"), [(35000, "3.50%"), (30750, "3.075%"), (46750, "4.675%"), (1, "0.0001%"), (-8000, "-0.80%"), (0, "0.00%")]
)
def test_written_for_people(ppm: int, text: str) -> None:
    assert format_percent(ppm) == text
