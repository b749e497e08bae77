"""One place that decides where things lie: environment variables, or the file named by ``SUBSIDY_SETTINGS`` (INI, section
``[subsidy]``, the same names in lower case without the prefix). The environment wins.

==========================  =====================================================================
``SUBSIDY_HOME``            home folder; everything made lies in it (required)
``SUBSIDY_RULES``           folder of the centre folders; default: `rules` beside the package
``SUBSIDY_DATABASE_URL``    SQLAlchemy URL; default: SQLite file ``ledger.db`` in the home folder
``SUBSIDY_STORE_URL``       fsspec URL of the write-once store; default: ``store`` in the home folder
``SUBSIDY_KEY``             secret of the keyed fingerprints, at least 32 characters (required)
``SUBSIDY_WEBHOOK_URL``     where deadline alerts are posted; default: none
==========================  =====================================================================
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from subsidy.errors import TerminalError


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything lies. Build with `load_settings`; tests may build it directly."""

    home: Path
    rules: Path
    database_url: str
    store_url: str
    key: str
    webhook_url: str = ""

    def inbox(self, centre: str) -> Path:
        """Folder into which a centre's inbound files are uploaded."""
        return self.home / "inbox" / centre

    def outbox(self, centre: str) -> Path:
        """Folder from which banks and centres collect published files."""
        return self.home / "outbox" / centre

    def results(self, centre: str) -> Path:
        """Folder into which banks put result, movement and status answer files."""
        return self.home / "results" / centre

    def reports(self, centre: str) -> Path:
        """Folder of a centre's workbooks; ``clearing`` holds those over all centres."""
        return self.home / "reports" / centre

    def work(self, centre: str) -> Path:
        """Scratch space; may be emptied when nothing runs."""
        return self.home / "work" / centre


def shown(name: str) -> str:
    """A file's name for people and databases: what is no UTF-8 in it as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _reader(environment: Mapping[str, str] | None) -> Callable[..., str]:
    env = os.environ if environment is None else environment
    from_file: Mapping[str, str] = {}
    if env.get("SUBSIDY_SETTINGS"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            with open(env["SUBSIDY_SETTINGS"], encoding="utf-8") as handle:
                parser.read_file(handle)
            from_file = dict(parser["subsidy"])
        except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
            raise TerminalError(
                "SET-FILE",
                f"设置文件 {env['SUBSIDY_SETTINGS']} 读不到，或不是带 [subsidy] 一节的 INI 文件。",
                "没有读写任何数据。",
                "改正设置文件，或改正、去掉环境变量 SUBSIDY_SETTINGS 后重试。",
            ) from None

    def value(name: str, default: str = "") -> str:
        return env.get(f"SUBSIDY_{name}") or from_file.get(name.lower()) or default

    return value


def rules_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Folder of the centre folders; needs neither home folder nor key, so that policies can be checked anywhere."""
    return Path(_reader(environment)("RULES", str(Path(__file__).resolve().parent.parent / "rules")))


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environment` (default: the process environment) and the optional settings file.

    Raises TerminalError ``SET-HOME`` / ``SET-KEY`` when the home folder or the key is missing, ``SET-FILE`` when the file cannot be used.
    """
    value = _reader(environment)
    if not value("HOME"):
        raise TerminalError("SET-HOME", "没有设置主目录 SUBSIDY_HOME。", "没有读写任何数据。", "设置环境变量 SUBSIDY_HOME 后重试。")
    if len(value("KEY")) < 32:
        what = "没有设置指纹密钥 SUBSIDY_KEY，或不足 32 个字符。"
        raise TerminalError("SET-KEY", what, "没有读写任何数据。", "从密钥库取得密钥，设置 SUBSIDY_KEY 后重试。")
    home = Path(value("HOME")).resolve()
    return Settings(
        home=home,
        rules=rules_folder(environment),
        database_url=value("DATABASE_URL", f"sqlite:///{home / 'ledger.db'}"),
        store_url=value("STORE_URL", f"file://{home / 'store'}"),
        key=value("KEY"),
        webhook_url=value("WEBHOOK_URL"),
    )
