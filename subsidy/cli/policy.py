"""``subsidy policy check | show | diff``: what the centre folders say, and whether it can be used."""

from __future__ import annotations

import argparse
import json
import unicodedata
from pathlib import Path
from typing import Any

from subsidy.clearing.folder import load_folder
from subsidy.cli import arguments
from subsidy.cli.named import rules_of
from subsidy.errors import Finding
from subsidy.policy import CentrePolicy, PolicyError, centre_names, is_centre_name, load_centre, load_packed
from subsidy.policy.describe import Statement, describe, differences

DONE, FOUND = 0, 1


def register(subparsers: Any) -> None:
    """Add the command ``policy``."""
    about = "检查、查看、比较中心规则"
    parser = subparsers.add_parser("policy", help=about, description=f"{about}（rules/<中心>/policy.yaml）。")
    commands = parser.add_subparsers(title="命令", metavar="命令", required=True)

    check = commands.add_parser(
        "check",
        help="检查中心文件夹，一次列出全部错误",
        description="检查规则、入库文件和付款文件的约定（policy.yaml、files.yaml、outbound.yaml），一次列出全部错误。有错误时退出码为 1。",
    )
    check.add_argument("centres", nargs="*", metavar="中心", help="中心文件夹名；不写为全部中心")
    check.set_defaults(run=_check)

    show = commands.add_parser("show", help="某一天适用什么、依据什么", description="某一天适用的规则、利率和清算约定，以及各自的依据。")
    show.add_argument("centre", metavar="中心", help="中心文件夹名")
    show.add_argument("--on", required=True, type=arguments.day, metavar="日期", help="如 2026-10-20")
    show.set_defaults(run=_show)

    diff = commands.add_parser("diff", help="两份规则有何不同", description="两份规则有何不同。没有不同时退出码为 0，有则为 1。")
    for name in ("left", "right"):
        diff.add_argument(name, metavar="规则", help="中心文件夹名、中心文件夹的路径，或夜间存档的规则文件")
    diff.set_defaults(run=_diff)

    for command in (check, show, diff):
        command.add_argument("--rules", type=Path, help="规则目录；默认取设置 SUBSIDY_RULES")
        command.add_argument("--json", action="store_true", help="输出 JSON")


def _check(args: argparse.Namespace) -> int:
    rules = rules_of(args)
    result: dict[str, dict[str, Any]] = {}
    for centre in args.centres or centre_names(rules):
        try:
            policy = load_folder(rules, centre)
        except PolicyError as error:
            result[centre] = {"ok": False, "version": "", "findings": error.findings, "warnings": (), "code": ""}
        else:
            result[centre] = {"ok": True, "version": policy.version, "findings": (), "warnings": policy.warnings, "code": policy.code}
    _same_code(result)
    if args.json:
        _print_json({centre: {**one, "findings": [_finding(f) for f in one["findings"]]} for centre, one in result.items()})
    else:
        for centre, one in result.items():
            print(f"{centre}：" + (f"无错误，规则存档 {one['version'][:16]}" if one["ok"] else f"{len(one['findings'])} 处错误"))
            for finding in one["findings"]:
                print(f"  {finding.file_name}:{finding.line_no} [{finding.code}] {finding.what}{finding.todo}")
            for warning in one["warnings"]:
                print(f"  提示：{warning}")
    return DONE if all(r["ok"] for r in result.values()) else FOUND


def _same_code(result: dict[str, dict[str, Any]]) -> None:
    """Two folders with one centre code would take each other's files; only a look at all of them can tell."""
    owners: dict[str, str] = {}
    for centre, one in result.items():
        owner = owners.setdefault(one["code"], centre) if one["code"] else centre
        if owner != centre:
            what = f"centre.code：{one['code']} 已是中心 {owner} 的编号。"
            file = f"{centre}/policy.yaml"
            finding = Finding("POL-CENTRE", "error", what, "改正中心编号。", file_name=file, field="centre.code", value=one["code"])
            one["ok"], one["findings"] = False, (finding,)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code, "file": finding.file_name, "line": finding.line_no, "key": finding.field, "value": finding.value,
        "allowed": finding.rule, "what": finding.what, "todo": finding.todo,
    }  # fmt: skip


def _show(args: argparse.Namespace) -> int:
    policy = load_centre(rules_of(args), args.centre)
    statements = describe(policy, args.on)
    if args.json:
        fields = [{"group": s.group, "label": s.label, "value": s.value, "why": s.why} for s in statements]
        _print_json({"centre": policy.centre, "on": str(args.on), "version": policy.version, "statements": fields})
        return DONE
    print(f"{policy.name} {args.on} 适用的规则")
    _print_statements(statements)
    return DONE


def _print_statements(statements: tuple[Statement, ...]) -> None:
    label_width = max(_width(s.label) for s in statements)
    value_width = min(56, max(_width(s.value) for s in statements))
    group = ""
    for s in statements:
        if s.group != group:
            group = s.group
            print(f"\n{group}")
        why = f"  {s.why}" if s.why else ""
        print(f"  {_pad(s.label, label_width)}  {_pad(s.value, value_width if why else 0)}{why}")


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int) -> str:
    return text + " " * max(0, width - _width(text))


def _diff(args: argparse.Namespace) -> int:
    rules = rules_of(args)
    left, right = _open(rules, args.left), _open(rules, args.right)
    found = differences(left, right)
    if args.json:
        rows = [{"key": d.key, "left": d.left, "right": d.right} for d in found]
        _print_json({"left": left.version, "right": right.version, "differences": rows})
        return FOUND if found else DONE
    if not found:
        print("两份规则相同。")
    for d in found:
        print(d.key)
        for sign, value in (("-", d.left), ("+", d.right)):
            if value is not None:
                print(f"  {sign} {value}")
    return FOUND if found else DONE


def _open(rules: Path, name: str) -> CentrePolicy:
    """A policy by centre name, path of a centre folder (with the parameters beside it), or path of an archive."""
    path = Path(name)
    if is_centre_name(name) and (rules / name).is_dir():
        return load_centre(rules, name)
    if path.is_dir():
        return load_centre(path.resolve().parent, path.resolve().name)
    return load_packed(path.read_bytes()) if path.is_file() else load_centre(rules, name)
