"""The role table: person × centre × right, as data (``rules/parameters/roles.yaml``). Knows nothing of Airflow.

A right is one of `RIGHTS`. A centre is a folder name under ``rules/``; ``clearing`` is the clearing over all centres; ``*`` in the
table stands for both. Whoever is not in the table has no right at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from subsidy.errors import TerminalError

RIGHTS = ("view", "run", "release", "approve", "personal")
CLEARING = "clearing"


@dataclass(frozen=True, slots=True)
class Person:
    """One person: `login` is what Airflow and the audit record, `name` is what people read."""

    login: str
    name: str
    rights: dict[str, frozenset[str]]

    def may(self, centre: str, right: str) -> bool:
        """Whether this person has `right` on `centre`; an unknown right is a programming error."""
        if right not in RIGHTS:
            raise KeyError(right)
        return right in self.rights.get(centre, frozenset()) or right in self.rights.get("*", frozenset())


@dataclass(frozen=True, slots=True)
class RoleTable:
    """All people by login."""

    people: dict[str, Person]

    def may(self, login: str, centre: str, right: str) -> bool:
        """Whether `login` has `right` on `centre`. An unknown login has none."""
        person = self.people.get(login)
        return person is not None and person.may(centre, right)

    def holders(self, centre: str, right: str) -> list[Person]:
        """Everybody who has `right` on `centre`, by login."""
        return [person for _, person in sorted(self.people.items()) if person.may(centre, right)]


def load_roles(rules: Path) -> RoleTable:
    """The role table of `rules`, read again only when the file changed. Raises TerminalError ``ROLE-TABLE`` on any doubt."""
    path = rules / "parameters" / "roles.yaml"
    try:
        stamp = path.stat()
    except OSError as error:
        raise _broken(f"角色表 {path.name} 读不到：{error.strerror}。") from error
    return _load(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=4)
def _load(path: Path, _mtime_ns: int, _size: int) -> RoleTable:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _broken(f"角色表 {path.name} 不是有效的 YAML：{error}。") from error
    if not isinstance(document, dict) or not isinstance(document.get("people"), dict):
        raise _broken(f"角色表 {path.name} 缺少 people。")
    return RoleTable({login: _person(str(login), entry) for login, entry in document["people"].items()})


def _person(login: str, entry: Any) -> Person:
    if not login.replace("_", "").isalnum() or not login.isascii():
        raise _broken(f"登录名 {login!r} 只能用英文字母、数字和下划线。")
    if not isinstance(entry, dict) or not isinstance(entry.get("rights"), dict):
        raise _broken(f"{login} 缺少 rights。")
    rights: dict[str, frozenset[str]] = {}
    for centre, names in entry["rights"].items():
        if not isinstance(names, list) or any(name not in RIGHTS for name in names):
            raise _broken(f"{login} 在 {centre} 的权限 {names} 有误；可用：{'、'.join(RIGHTS)}。")
        rights[str(centre)] = frozenset(names)
    return Person(login, str(entry.get("name") or login), rights)


def _broken(what: str) -> TerminalError:
    return TerminalError("ROLE-TABLE", what, "没有人能登录或批准，直到改好。", "改正 rules/parameters/roles.yaml。")
