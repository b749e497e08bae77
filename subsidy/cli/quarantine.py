"""``subsidy quarantine``: look at the quarantine desk, and say that a row or a held file only looked wrong."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from subsidy.cli.named import settings_of
from subsidy.cli.night import actor
from subsidy.intake import load_profiles
from subsidy.intake.profile import CODECS
from subsidy.night import desk
from subsidy.settings import Settings

DONE = 0
_LABELS = {
    "file": "文件", "table": "表", "line_no": "行号", "code": "代码", "field": "字段", "value": "值（已脱敏）", "what": "说明",
    "todo": "处理办法", "owner": "责任人", "known_on": "隔离日期", "days": "已隔离天数", "asked": "申请放行人", "released": "解除方式",
    "released_on": "解除日期", "released_by": "放行人", "reason": "解除原因",
}
_HOW = {"correction": "更正或所缺数据到达，自动解除", "person": "由人放行"}


def register(subparsers: Any) -> None:
    """Add ``quarantine list | show | release``."""
    top = subparsers.add_parser("quarantine", help="隔离区：查看、放行")
    commands = top.add_subparsers(title="命令", metavar="命令", required=True)
    for name, about, run in (
        ("list", "列出隔离的行和搁置的文件", run_list),
        ("show", "显示一行的原始内容", run_show),
        ("release", "放行一行或一份搁置的文件", run_release),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("--centre", required=True, help="中心目录名")
        command.add_argument("--json", action="store_true", help="以 JSON 输出")
        if name == "list":
            command.add_argument("--all", action="store_true", help="包括已放行的")
        else:
            command.add_argument("number", type=_number, metavar="编号", help="隔离编号；搁置的文件写作 F 加登记号，例如 F12")
        if name == "release":
            command.add_argument("--reason", required=True, help="为什么该行（或该文件）无误")
        command.set_defaults(run=run)


def _number(text: str) -> int:
    found = re.fullmatch(r"([Ff]?)([1-9][0-9]{0,17})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"“{text}”不是编号，应为 12 或 F12")
    return -int(found.group(2)) if found.group(1) else int(found.group(2))


def _written(number: int) -> str:
    return f"F{-number}" if number < 0 else str(number)


def run_list(args: argparse.Namespace) -> int:
    """Print the rows in quarantine and the files that are held."""
    rows = desk.listed(settings_of(args), args.centre, everything=args.all)
    if args.json:
        print(json.dumps(rows, ensure_ascii=False))
        return DONE
    for r in rows:
        if r["released"]:
            state = f" 已解除（{r['released_on']}，{_HOW[r['released']]}）"
        else:
            state = f" 已申请放行（{r['asked']}）" if r["asked"] else f" 责任人：{r['owner']}" if r["owner"] else ""
        place = f"{r['file']} {r['table']}:{r['line_no']}" if r["line_no"] else f"{r['file']}（整份搁置）"
        words = " ".join(w for w in (f"[{r['code']}]", r["field"], r["value"], r["what"]) if w)
        print(f"{_written(r['quarantine_no']):>6} {r['days']:>3} 天 {place} {words}{state}")
    files = sum(1 for r in rows if r["quarantine_no"] < 0)
    print(f"共 {len(rows) - files} 行，{files} 份搁置的文件")
    return DONE


def run_show(args: argparse.Namespace) -> int:
    """Print one row, its raw bytes as they came."""
    settings = settings_of(args)
    row = desk.shown(settings, args.centre, args.number)
    raw = row.pop("raw")
    if args.json:
        print(json.dumps({**row, "raw_hex": raw.hex()}, ensure_ascii=False))
        return DONE
    print(f"编号：{_written(row['quarantine_no'])}")
    for name, label in _LABELS.items():
        text = _HOW.get(row[name], row[name]) if name == "released" else row[name]
        if text != "":
            print(f"{label}：{text}")
    if row["soft"] and not row["released"] and not row["asked"]:
        print("核对无误的，可以写明原因放行。")
    if raw:
        print(f"原始内容：{_readable(raw, settings, args.centre, row['profile'])}")
        print(f"原始字节：{raw!r}")
    return DONE


def _readable(raw: bytes, settings: Settings, centre: str, profile: str) -> str:
    """The raw bytes by the declared encoding; nothing is guessed."""
    declared = load_profiles(settings.rules, centre).profiles.get(profile)
    if declared is None:
        return "（这份约定已不存在，见原始字节）"
    try:
        text = raw.decode("utf-8" if declared.form == "xlsx" else CODECS[declared.encoding])
    except UnicodeDecodeError:
        return "（按约定的编码读不出，见原始字节）"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def run_release(args: argparse.Namespace) -> int:
    """Ask for the release of one row or held file; the next night books it."""
    desk.ask(settings_of(args), args.centre, args.number, actor(), args.reason)
    kind = "搁置的文件" if args.number < 0 else "隔离行"
    print(f"已记录：{kind} {_written(args.number)} 将在下一夜重新读取，若无其他问题即入账。")
    return DONE
