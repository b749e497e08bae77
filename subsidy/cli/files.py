"""``subsidy files``: describe a profile for the counterparty; check a file without booking it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from subsidy.cli.named import known_centre, rules_of
from subsidy.errors import TerminalError
from subsidy.intake import Intake, load_profiles
from subsidy.intake.check import check_file
from subsidy.intake.describe import describe


def register(subparsers: Any) -> None:
    """Add ``files describe`` and ``files check``."""
    files = subparsers.add_parser("files", help="入库文件：说明约定，检查文件（不登记）")
    commands = files.add_subparsers(title="命令", metavar="命令", required=True)
    text = commands.add_parser("describe", help="用中文说明一份文件约定，可发给对方")
    text.add_argument("profile", metavar="PROFILE", help="中心，或 中心/约定名，例如 hangzhou 或 hangzhou/main")
    text.add_argument("--rules", type=Path, help="规则目录；默认取设置 SUBSIDY_RULES")
    text.set_defaults(run=_describe)
    check = commands.add_parser("check", help="对照约定检查一份文件，不登记")
    check.add_argument("file", type=Path, metavar="FILE", help="数据文件；标志文件、摘要文件放在它旁边")
    check.add_argument("--centre", required=True, help="中心目录名，例如 hangzhou")
    check.add_argument("--rules", type=Path, help="规则目录；默认取设置 SUBSIDY_RULES")
    check.add_argument("--json", action="store_true", help="以 JSON 输出")
    check.set_defaults(run=_check)


def _describe(args: argparse.Namespace) -> int:
    centre, _, name = args.profile.partition("/")
    rules = rules_of(args)
    known_centre(centre, rules)
    profiles = load_profiles(rules, centre)
    chosen = [p for p in profiles if not name or p.name == name]
    if not chosen:
        known = "、".join(p.name for p in profiles)
        raise TerminalError("FILES-PROFILE", f"{centre} 没有名为 {name} 的约定。", "没有改动任何数据。", f"可用的约定：{known}。")
    print("\n".join(describe(p) for p in chosen), end="")
    return 0


def _check(args: argparse.Namespace) -> int:
    if not args.file.is_file():
        raise TerminalError("FILES-NONE", "找不到要检查的文件。", "没有改动任何数据。", "核对路径后重试。")
    rules = rules_of(args)
    known_centre(args.centre, rules)
    with check_file(args.file, load_profiles(rules, args.centre)) as intake:
        wrong = intake.state == "refused" or any(f.severity == "error" for f in intake.findings)
        if args.json:
            print(json.dumps(_as_data(intake), ensure_ascii=False, indent=2))
        else:
            _print(intake)
    return 1 if wrong else 0


def _as_data(intake: Intake) -> dict[str, object]:
    c = intake.counts
    return {
        "file": intake.file_name,
        "identity": intake.identity,
        "state": intake.state,
        "message": intake.message,
        "rows_in": c.rows_in,
        "good": c.booked,
        "quarantined": c.quarantined,
        "duplicates": c.duplicates,
        "findings": [
            {
                "code": f.code, "severity": f.severity, "table": f.table, "line": f.line_no, "field": f.field, "value": f.value,
                "what": f.what, "rule": f.rule, "todo": f.todo,
            }
            for f in intake.findings
        ],
        "findings_unlisted": intake.findings_unlisted,
    }


def _print(intake: Intake) -> None:
    c = intake.counts
    verdict = f"拒收：{intake.message}" if intake.state == "refused" else "可以接收"
    print(f"{intake.file_name}　身份 {intake.identity or '读不出'}　{verdict}")
    print(f"收到 {c.rows_in} 行 = 可登记 {c.booked} + 需隔离 {c.quarantined} + 重复 {c.duplicates}（未核对所属协议和账户是否已知，未登记）")
    for result in intake.tables.values():
        if result.unprotected:
            print(f"未受保护的金额列：{result.code} {'、'.join(result.unprotected)}")
    for f in intake.findings:
        place = f"{f.table} 第 {f.line_no} 行" if f.line_no else (f.table or "整份文件")
        print(f"[{f.code}] {place} {f.field} {f.value}　{f.what}规则：{f.rule}。{f.todo}", file=sys.stderr)
    if intake.findings_unlisted:
        print(f"另有 {intake.findings_unlisted} 条未列出。", file=sys.stderr)
