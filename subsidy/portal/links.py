"""Addresses of our pages inside Airflow, and the buttons by which tasks lead to them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

PREFIX = "/subsidy"


def board_address(month: str = "") -> str:
    """The board centre × month."""
    return f"{PREFIX}/board" + (f"?month={quote(month)}" if month else "")


def night_address(centre: str, business_date: str) -> str:
    """Files, findings and steps of one night."""
    return f"{PREFIX}/centres/{quote(centre)}/nights/{quote(business_date)}"


def quarantine_address(centre: str, business_date: str) -> str:
    """Quarantined rows of one night."""
    return f"{PREFIX}/centres/{quote(centre)}/quarantine?night={quote(business_date)}"


def period_address(centre: str, period: str) -> str:
    """Downloads of one period: workbook, payment files, vouchers."""
    return f"{PREFIX}/centres/{quote(centre)}/periods/{quote(period)}"


def write_off_address(centre: str) -> str:
    """What is to be recovered, and requests to write it off."""
    return f"{PREFIX}/centres/{quote(centre)}/receivables"


class NightLink(BaseOperatorLink):  # type: ignore[misc]
    """To the night's page."""

    name = "当夜文件与发现"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        day = getattr(operator, "business_date", "")
        return night_address(operator.centre, day) if day else board_address()


class QuarantineLink(BaseOperatorLink):  # type: ignore[misc]
    """To the night's quarantined rows."""

    name = "隔离行"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        day = getattr(operator, "business_date", "")
        return quarantine_address(operator.centre, day) if day else board_address()


class PeriodLink(BaseOperatorLink):  # type: ignore[misc]
    """To workbook and payment files of the period the task worked on."""

    name = "报表与付款文件"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        period = getattr(operator, "period", "") or getattr(operator, "business_date", "")[:7]
        return period_address(operator.centre, period) if period else board_address()
