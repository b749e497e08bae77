"""Passwords: scrypt hashes in one file (mode 0600) that `SUBSIDY_PASSWORDS` names; default ``secrets/passwords.json`` in the home.

The file is never committed. A missing or readable-by-others file stops the start.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from pathlib import Path

from subsidy.errors import TerminalError

_N, _R, _P = 2**14, 8, 1


def password_file(home: Path) -> Path:
    """Where the hashes lie."""
    return Path(os.environ.get("SUBSIDY_PASSWORDS") or home / "secrets" / "passwords.json")


def hashed(password: str, salt: bytes | None = None) -> str:
    """``salt$digest`` in hex of `password`."""
    salt = salt or secrets.token_bytes(16)
    return f"{salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P).hex()}"


def load(path: Path) -> dict[str, str]:
    """Login → hash. Raises TerminalError ``SET-PASSWORDS`` when the file is missing, unreadable or open to others."""
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise _unsafe(f"口令文件 {path.name} 别的用户也能读写（权限 {stat.S_IMODE(mode):o}）。")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unsafe(f"口令文件 {path.name} 读不到或损坏。") from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise _unsafe(f"口令文件 {path.name} 的内容不是“登录名: 散列”。")
    return content


def matches(stored: str | None, password: str) -> bool:
    """Whether `password` belongs to `stored`; takes the same time when there is no such login."""
    salt = (stored or hashed("")).partition("$")[0]
    computed = hashed(password, bytes.fromhex(salt))
    return stored is not None and hmac.compare_digest(stored, computed)


def _unsafe(what: str) -> TerminalError:
    return TerminalError("SET-PASSWORDS", what, "没有人能登录。", "按 docs/运维手册.md 重新生成口令文件，权限设为 600。")
