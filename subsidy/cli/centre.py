"""``subsidy centre new``: a folder for a new centre, ready to be filled in; no Python is needed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from subsidy.cli.named import rules_of
from subsidy.policy.template import blanks, new_centre


def register(subparsers: Any) -> None:
    """Add the command ``centre``."""
    parser = subparsers.add_parser("centre", help="新增中心", description="新增中心。步骤见 docs/新增中心.md。")
    commands = parser.add_subparsers(title="命令", metavar="命令", required=True)
    about = "写出新中心的文件夹，注释说明每一项"
    new = commands.add_parser("new", help=about, description=f"{about}；不改动已有的文件夹。")
    new.add_argument("name", metavar="名称", help="文件夹名：小写字母、数字和横线，如 jiaxing")
    new.add_argument("--rules", type=Path, help="规则目录；默认取设置 SUBSIDY_RULES")
    new.add_argument("--json", action="store_true", help="输出 JSON")
    new.set_defaults(run=_new)


def _new(args: argparse.Namespace) -> int:
    rules = rules_of(args)
    written = new_centre(rules, args.name)
    waiting = {path.name: blanks(path) for path in written}
    if args.json:
        print(json.dumps({"centre": args.name, "files": [str(p) for p in written], "blanks": waiting}, ensure_ascii=False, indent=1))
        return 0
    print(f"已写出中心 {args.name}：")
    for path in written:
        lines = waiting[path.name]
        print(f"  {path}" + (f"  待填 {len(lines)} 处：第 {'、'.join(str(n) for n in lines)} 行" if lines else ""))
    print(f"填写后运行 subsidy policy check {args.name}；步骤见 docs/新增中心.md。")
    return 0
