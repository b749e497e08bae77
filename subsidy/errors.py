"""What goes wrong, said to people: one pattern for every message of the system.

A message has a stable code, what happened, what is safe and what to do now. The sentences are Chinese; the code is what
tests and operators quote. Errors that concern data are values (`Finding`); errors that end a step are exceptions.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message to a person: `code` is stable (e.g. ``FILE-TRUNCATED``), the other three are Chinese sentences."""

    code: str
    what: str
    safe: str
    todo: str

    def __str__(self) -> str:
        return f"[{self.code}] {self.what} 安全情况：{self.safe} 处理办法：{self.todo}"


class SubsidyError(Exception):
    """A step cannot go on. Carries one `Message`; never carries personal data."""

    def __init__(self, code: str, what: str, safe: str, todo: str) -> None:
        self.message = Message(code, what, safe, todo)
        super().__init__(str(self.message))

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        m = self.message
        return type(self), (m.code, m.what, m.safe, m.todo)


class TransientError(SubsidyError):
    """The same step may succeed if it is tried again as a whole: database away, lock held, disk busy. Airflow retries it."""


class TerminalError(SubsidyError):
    """Trying again changes nothing until a person acts. Airflow does not retry it."""


def refuse_control(*typed: str) -> None:
    """TerminalError ``ACT-TEXT`` when text that a person typed holds a control character (other than tab and line end) or half a
    character: not every database can keep it, and nobody sees it."""
    for character in "".join(typed):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\r\n":
            raise TerminalError(
                "ACT-TEXT",
                f"填写的文字中有看不见的控制字符（U+{ord(character):04X}）。",
                "没有记录，也没有执行。",
                "删去这个字符再提交；从别处粘贴来的，请改为手工输入。",
            )


class BusyError(TransientError):
    """Somebody else works on the same centre; the message says who and since when."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in a file, a row, a policy or a line, as data.

    `value` is already masked where the field is personal. `line_no` is 1-based in the source; 0 means the whole file.
    `file_no` is the number of the file in the centre's register, 0 when there is none.
    """

    code: str
    severity: Severity
    what: str
    todo: str
    file_no: int = 0
    file_name: str = ""
    table: str = ""
    line_no: int = 0
    field: str = ""
    value: str = ""
    rule: str = ""
    agreement_no: str = ""
    account_no: str = ""
    serial_no: str = ""
    known_on: date | None = None
    related: tuple[str, ...] = ()
