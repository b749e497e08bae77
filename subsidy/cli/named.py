"""What a command line names must be there: a typing error is told, never answered with an empty list or a new ledger."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from subsidy.errors import TerminalError
from subsidy.ledger.backup import centres
from subsidy.ledger.database import open_database, refuse_missing
from subsidy.policy import centre_names
from subsidy.policy.problems import nearest
from subsidy.settings import Settings, load_settings, rules_folder


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings, when their ledger is there and knows the centre of the command line, if that names one.

    TerminalError ``LEDGER-NONE`` or ``CENTRE-UNKNOWN`` otherwise."""
    settings = load_settings()
    refuse_missing(settings)
    if getattr(args, "centre", None):
        with open_database(settings).read() as conn:
            known_centre(args.centre, settings.rules, centres(conn))
    return settings


def rules_of(args: argparse.Namespace) -> Path:
    """The rules folder: that of the command line, else that of the settings."""
    rules: Path | None = args.rules
    return rules if rules is not None else rules_folder()


def known_centre(centre: str, rules: Path, kept: Collection[str] = ()) -> None:
    """TerminalError ``CENTRE-UNKNOWN`` unless `centre` has a folder under `rules` or is one of `kept`, which the ledger remembers."""
    names = sorted({*centre_names(rules), *kept})
    if centre in names:
        return
    near = nearest(centre, names)
    hint = f"是否想写“{near}”？" if near else ""
    raise TerminalError("CENTRE-UNKNOWN", f"没有这个中心：{centre}。{hint}", "没有改动任何数据。", f"改用已有的中心：{'、'.join(names)}。")
