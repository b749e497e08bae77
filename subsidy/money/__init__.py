"""Money and rates: integer fen, integer ppm, exact rational arithmetic on columns, rounded once. No float, no clock."""

from subsidy.money.amounts import (
    Parsed,
    format_yuan,
    format_yuan_column,
    parse_fen_column,
    parse_yuan,
    parse_yuan_column,
)
from subsidy.money.exact import fits, muldiv_floor, muldiv_round, product, round_half_up
from subsidy.money.rates import (
    RATE_UNITS,
    RateUnit,
    format_percent,
    parse_rate,
    parse_rate_column,
    ppm_from_fraction,
    ppm_from_percent,
    ppm_from_permille_month,
)
from subsidy.money.spans import Spans

__all__ = [
    "RATE_UNITS",
    "Parsed",
    "RateUnit",
    "Spans",
    "fits",
    "format_percent",
    "format_yuan",
    "format_yuan_column",
    "muldiv_floor",
    "muldiv_round",
    "parse_fen_column",
    "parse_rate",
    "parse_rate_column",
    "parse_yuan",
    "parse_yuan_column",
    "ppm_from_fraction",
    "ppm_from_percent",
    "ppm_from_permille_month",
    "product",
    "round_half_up",
]
