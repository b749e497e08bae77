"""Identity from content: what the sender wrote, judged."""

from __future__ import annotations

import re
from datetime import date

from subsidy.intake.delivery import Identity
from subsidy.intake.faults import refuse
from subsidy.intake.profile import Mode, Profile, TableSpec


def read_identity(profile: Profile, said: dict[str, str], many: bool) -> Identity:
    """Build the identity from `said` (centre, table, date, sequence as written). FileRefused when any of it is wrong."""
    if said.get("centre") != profile.centre_code:
        raise refuse("FILE-CENTRE", field="centre", value=said.get("centre", ""))
    tables = f"*{profile.name}*" if many else said.get("table", "")
    if not many and tables not in profile.tables:
        raise refuse("FILE-TABLE", value=_shown(tables))
    sequence = said.get("sequence", "")
    if not re.fullmatch(r"[0-9]{3}", sequence) or sequence == "000":
        raise refuse("FILE-SEQUENCE", value=_shown(sequence))
    return Identity(profile.centre_code, tables, read_day(said.get("date", "")), sequence)


def read_day(text: str) -> date:
    """A day written YYYYMMDD. FileRefused ``FILE-DATE`` when it is none."""
    try:
        if not re.fullmatch(r"[0-9]{8}", text):
            raise ValueError(text)
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise refuse("FILE-DATE", value=_shown(text)) from None


def read_mode(profile: Profile, spec: TableSpec, word: str) -> Mode:
    """The mode that `word` says. FileRefused ``FILE-MODE`` unless it is the declared one."""
    if word != profile.mode_words[spec.mode]:
        raise refuse("FILE-MODE", table=spec.table.code, value=_shown(word), expect=profile.mode_words[spec.mode])
    return spec.mode


def read_count(text: str, code: str, where: str) -> int:
    """A count of rows. FileRefused with `code` when it is none."""
    stripped = text.strip()
    if not re.fullmatch(r"[0-9]{1,12}", stripped):
        raise refuse(code, where=f"{where} 不是行数")
    return int(stripped)


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:40])
