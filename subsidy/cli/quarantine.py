"""``subsidy quarantine``: look at the quarantine desk, and say that a row only looked wrong."""

from __future__ import annotations

import argparse
import json
from typing import Any

from subsidy.cli.night import actor
from subsidy.night import desk
from subsidy.settings import load_settings

DONE = 0


def register(subparsers: Any) -> None:
    """Add ``quarantine list | show | release``."""
    top = subparsers.add_parser("quarantine", help="隔离区：查看、放行")
    commands = top.add_subparsers(title="命令", metavar="命令", required=True)
    for name, about, run in (
        ("list", "列出隔离的行", run_list),
        ("show", "显示一行的原始内容", run_show),
        ("release", "放行一行", run_release),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("--centre", required=True, help="中心目录名")
        command.add_argument("--json", action="store_true", help="以 JSON 输出")
        if name == "list":
            command.add_argument("--all", action="store_true", help="包括已放行的")
        else:
            command.add_argument("number", type=int, help="隔离编号")
        if name == "release":
            command.add_argument("--reason", required=True, help="为什么该行无误")
        command.set_defaults(run=run)


def run_list(args: argparse.Namespace) -> int:
    """Print the rows in quarantine."""
    rows = desk.listed(load_settings(), args.centre, everything=args.all)
    if args.json:
        print(json.dumps(rows, ensure_ascii=False))
        return DONE
    for r in rows:
        state = f" 已放行（{r['released_on']}）" if r["released"] else f" 已申请放行（{r['asked']}）" if r["asked"] else ""
        print(
            f"{r['quarantine_no']:>6} {r['days']:>3} 天 {r['file']}:{r['line_no']} [{r['code']}] "
            f"{r['field']} {r['value']} {r['what']}{state}"
        )
    print(f"共 {len(rows)} 行")
    return DONE


def run_show(args: argparse.Namespace) -> int:
    """Print one row, its raw bytes as they came."""
    row = desk.shown(load_settings(), args.centre, args.number)
    raw = row.pop("raw")
    if args.json:
        print(json.dumps({**row, "raw_hex": raw.hex()}, ensure_ascii=False))
        return DONE
    for name, value in row.items():
        print(f"{name}: {value}")
    print(f"raw: {raw!r}")
    return DONE


def run_release(args: argparse.Namespace) -> int:
    """Ask for the release of one row; the next night books it."""
    desk.ask(load_settings(), args.centre, args.number, actor(), args.reason)
    print(f"已记录：隔离行 {args.number} 将在下一夜重新读取，若无其他问题即入账。")
    return DONE
