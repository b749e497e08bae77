"""The few switches of the portal and the DAGs that are not `subsidy.settings`; all from the environment, all with a default.

==============================  ==============================================================================
``SUBSIDY_AUTOMATIC``           ``off``: no run starts by the clock (demo, tests, a copy of production); default ``on``
``SUBSIDY_ALERT_MINUTES``       minutes after which an unfinished night alerts; default: until the centre's deadline hour
``SUBSIDY_ANSWER_MINUTES``      minutes an approval waits before it counts as no; default three days
``SUBSIDY_RETRY_SECONDS``       pause before a transient failure is tried again; default 60
``SUBSIDY_CLEARING_DAY``        day of the month, 1 to 28, on which last month is cleared with whoever is complete; default 25
``SUBSIDY_MAIL_SERVER``         host:port of the mail relay for alerts; default none, no mail
``SUBSIDY_MAIL_FROM``           sender of alerts
``SUBSIDY_MAIL_TO``             receivers of alerts, separated by commas
==============================  ==============================================================================
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

from subsidy.errors import TerminalError

NIGHT_HOUR, NIGHT_MINUTE = 1, 30
TIME_ZONE = "Asia/Shanghai"


def automatic() -> bool:
    """Whether runs start by the clock."""
    return os.environ.get("SUBSIDY_AUTOMATIC", "on") != "off"


def alert_after(deadline_hour: int) -> timedelta:
    """How long a night may take: from 01:30 to the centre's deadline hour, at least half an hour."""
    minutes = deadline_hour * 60 - (NIGHT_HOUR * 60 + NIGHT_MINUTE)
    return timedelta(minutes=_number("SUBSIDY_ALERT_MINUTES", max(minutes, 30)))


def answer_within() -> timedelta:
    """How long a person has to answer; afterwards the answer is no."""
    return timedelta(minutes=_number("SUBSIDY_ANSWER_MINUTES", 3 * 24 * 60))


def clearing_day() -> int:
    """Day of the month on which the month before is cleared with whoever is complete."""
    day = _number("SUBSIDY_CLEARING_DAY", 25)
    if day != int(day) or day > 28:
        raise TerminalError("SET-NUMBER", f"环境变量 SUBSIDY_CLEARING_DAY 的值 {day} 不是 1 到 28 的整数。", "没有启动。", "改正或去掉它。")
    return int(day)


def retry_delay() -> timedelta:
    """Pause before a transient failure is tried again."""
    return timedelta(seconds=_number("SUBSIDY_RETRY_SECONDS", 60))


@dataclass(frozen=True, slots=True)
class Mail:
    """Where alerts go by mail."""

    host: str
    port: int
    sender: str
    receivers: tuple[str, ...]


def mail() -> Mail | None:
    """The mail relay, None when there is none. TerminalError ``SET-MAIL`` when only a part of it is set."""
    server, sender, to = (os.environ.get(f"SUBSIDY_MAIL_{name}", "").strip() for name in ("SERVER", "FROM", "TO"))
    if not server:
        return None
    host, _, port = server.rpartition(":")
    receivers = tuple(part.strip() for part in to.split(",") if part.strip())
    if not host or not port.isdigit() or not sender or not receivers:
        raise TerminalError(
            "SET-MAIL", "邮件报警的设置不全：SUBSIDY_MAIL_SERVER 应为 主机:端口，并设置 SUBSIDY_MAIL_FROM 和 SUBSIDY_MAIL_TO。",
            "没有发出邮件，其他报警照常。", "补全三个环境变量，或去掉 SUBSIDY_MAIL_SERVER。",
        )  # fmt: skip
    return Mail(host, int(port), sender, receivers)


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if value <= 0:
        raise TerminalError("SET-NUMBER", f"环境变量 {name} 的值 {text!r} 不是正数。", "没有启动。", f"改正或去掉 {name}。")
    return value
