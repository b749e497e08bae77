"""What a report must warn about: dates beyond what rates and calendars are confirmed for (handbook section 3)."""

from __future__ import annotations

from datetime import date

from subsidy.errors import Finding
from subsidy.policy.load import working_days_of
from subsidy.policy.model import CentrePolicy

_NOTICE_MONTH = 11  # the State Council's notice for the next year comes out in autumn


def horizon_warnings(policy: CentrePolicy, day: date) -> list[Finding]:
    """Findings of severity ``warning`` for everything computed up to `day`: ``RATE-HORIZON`` beyond `confirmed_through`, ``CAL-HORIZON``
    when the calendar of the next year is still missing late in the last covered one. Empty when there is nothing to say."""
    found = []
    confirmed = policy.parameters.confirmed_through
    if day > confirmed:
        found.append(
            Finding(
                "RATE-HORIZON", "warning",
                f"利率只核对到 {confirmed}，{day} 的计算沿用最近一次公布的利率；如此后有新利率公布，差额在下一次清算中补退。",
                "请运行员核对最新公布的利率并更新利率表。",
                file_name="parameters/parameters.yaml", field="confirmed_through", value=str(confirmed),
            )
        )  # fmt: skip
    last = working_days_of(policy).horizon
    if day >= date(last, _NOTICE_MONTH, 1):
        found.append(
            Finding(
                "CAL-HORIZON", "warning", f"工作日历只到 {last} 年底，{last + 1} 年的清算日无法确定，届时将拒绝清算。",
                f"国务院办公厅公布 {last + 1} 年节假日安排后，请运行员补上该年的工作日历。",
                field="calendar", value=str(last),
            )
        )  # fmt: skip
    return found
