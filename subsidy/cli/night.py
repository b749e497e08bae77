"""``subsidy night``: a whole night, or one step of it, from a shell.

The shell cannot approve; a settlement that waits ends with exit code 5. One that is due and could not be built ends with
exit code 3.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from typing import Any

from subsidy.cli import arguments
from subsidy.cli.named import known_centre, settings_of
from subsidy.errors import TerminalError
from subsidy.money import format_yuan
from subsidy.night import api, desk, previewing
from subsidy.settings import load_settings

DONE, STOPPED, WAITING = 0, 3, 5
STATES = {"booked": "已登记", "refused": "整份拒收", "held": "搁置待人工", "duplicate": "重复"}


def register(subparsers: Any) -> None:
    """Add ``night``, ``preview`` and ``results``."""
    night = subparsers.add_parser(
        "night", help="运行一个中心的一夜，或其中一步", description="运行一个中心的一夜；已完成的步骤不会重复入账。"
    )
    night.add_argument("--centre", required=True, help="中心目录名，如 hangzhou")
    night.add_argument("--date", required=True, type=arguments.day, help="业务日期，如 2026-09-19")
    night.add_argument("--step", choices=[name for name, _, _ in api.STEPS], help="只运行这一步（当夜必须已经打开）")
    night.add_argument("--reason", default="", help="原因；业务日期比上一夜晚很多天时必须写明")
    night.add_argument("--json", action="store_true", help="结果以 JSON 输出")
    night.set_defaults(run=run_night)
    preview = subparsers.add_parser("preview", help="预演：按今天的规则和数据会改什么，不写入")
    preview.add_argument("--centre", required=True, help="中心目录名")
    preview.add_argument("--date", required=True, type=arguments.day, help="业务日期")
    preview.add_argument("--json", action="store_true", help="结果以 JSON 输出")
    preview.set_defaults(run=run_preview)
    results = subparsers.add_parser("results-night", help="读取银行的回盘、流水和查询应答文件")
    results.add_argument("--centre", required=True, help="中心目录名")
    results.add_argument("--date", required=True, type=arguments.day, help="业务日期")
    results.add_argument("--json", action="store_true", help="结果以 JSON 输出")
    results.set_defaults(run=run_results)


def actor() -> str:
    """Who sits at the shell."""
    return f"shell:{getpass.getuser()}"


def run_night(args: argparse.Namespace) -> int:
    """Run the steps with a progress bar on standard error."""
    settings = load_settings()
    known_centre(args.centre, settings.rules)
    why = f"；{args.reason}" if args.reason else ""
    api.record_act(settings, args.centre, actor(), "trigger", f"night:{args.date}", f"命令行：{args.step or '整夜'}{why}")
    if args.step is None:
        opened = api.open_night(settings, args.centre, args.date, actor(), reason=args.reason)
    else:
        opened = api.opened_night(settings, args.centre, args.date, actor())
    results: dict[str, Any] = {"open_night": opened}
    steps = [(name, label) for name, label, _ in api.STEPS if args.step in (None, name)]
    for at, (name, label) in enumerate(steps):
        started = time.perf_counter()
        bar = "█" * at + "░" * (len(steps) - at)
        print(f"\r{bar} {label}…", end="", file=sys.stderr, flush=True)
        results[name] = api.step(settings, args.centre, opened["run_no"], name)
        print(f"\r{'█' * (at + 1)}{'░' * (len(steps) - at - 1)} {label} {time.perf_counter() - started:.1f} 秒", file=sys.stderr)
    if args.json:
        print(json.dumps(results, ensure_ascii=False, default=str))
    else:
        print(previewing.opened(opened))
        for name, label in steps:
            print(f"{label}：{previewing.said(name, results[name])}")
        for f in desk.taken(settings, args.centre, opened["run_no"]):
            sums = f"{f['rows_in']} 行 = 登记 {f['rows_booked']} + 隔离 {f['rows_quarantined']} + 重复 {f['rows_duplicate']}"
            print(f"文件 {f['file_no']} {f['name']!r}：收到 {sums}　{STATES[f['state']]}{f['message'] and '：' + f['message']}")
    try:
        api.refuse_blocked(settings, args.centre, opened["run_no"])
    except TerminalError as error:
        print(error, file=sys.stderr)
        return STOPPED
    waiting = api.pending_settlement(settings, args.centre)
    if waiting is None:
        return DONE
    answered = waiting["state"] in ("approved", "publishing")
    follows = "已批准，等待发布；请在 Airflow 中发布。" if answered else "等待审批；请在 Airflow 中由另一人审批。"
    print(f"{waiting['period']} 期批次 {waiting['count']} 笔 {format_yuan(waiting['amount_fen'])} 元，{follows}", file=sys.stderr)
    return WAITING


def run_preview(args: argparse.Namespace) -> int:
    """Print what a recompute would change."""
    result = api.preview(settings_of(args), args.centre, args.date)
    if args.json:
        print(json.dumps(result, ensure_ascii=False, default=str))
    else:
        print("\n".join([previewing.change(args.date, result), *map(previewing.changed_line, result.get("listed", []))]))
    return DONE


def run_results(args: argparse.Namespace) -> int:
    """Read the banks' files once."""
    settings = settings_of(args)
    result = api.read_results(settings, args.centre, args.date, actor())
    result |= {name: value for name, value in api.refresh_reports(settings, args.centre).items() if name != "periods"}
    if args.json:
        print(json.dumps(result, ensure_ascii=False, default=str))
    else:
        print(f"{previewing.read(result)}\n{previewing.refreshed(result)}")
    return DONE
