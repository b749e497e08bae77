"""``subsidy report``: write a period's workbook, and verify one that somebody holds."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from subsidy.cli import arguments
from subsidy.cli.named import settings_of
from subsidy.reports import fingerprint

DONE, FOUND = 0, 1


def register(subparsers: Any) -> None:
    """Add ``report write``, ``report verify`` and ``report watermark``."""
    report = subparsers.add_parser("report", help="出具、核对报表", description="出具一个中心一个期间的工作簿；核对一份工作簿是否被改动。")
    acts = report.add_subparsers(title="动作", metavar="动作", required=True)
    write = acts.add_parser("write", help="按账簿现状出具工作簿；内容不变则不写新版本")
    write.add_argument("--centre", required=True, help="中心目录名，如 hangzhou")
    write.add_argument("--period", required=True, type=arguments.period, help="期间，如 2026-10")
    write.add_argument("--json", action="store_true", help="结果以 JSON 输出")
    write.set_defaults(run=run_write)
    verify = acts.add_parser("verify", help="重算工作簿的指纹；给出中心时，再与账簿核对")
    verify.add_argument("file", type=Path, metavar="文件", help="工作簿（.xlsx），有无水印均可")
    verify.add_argument("--no-ledger", action="store_true", help="只核对文件本身，不看账簿")
    verify.add_argument("--json", action="store_true", help="结果以 JSON 输出")
    verify.set_defaults(run=run_verify)
    mark = acts.add_parser("watermark", help="复制一份带水印的工作簿")
    mark.add_argument("file", type=Path, metavar="文件", help="工作簿（.xlsx）")
    mark.add_argument("out", type=Path, metavar="输出", help="带水印的副本")
    mark.add_argument("--person", required=True, help="下载人")
    mark.add_argument("--at", required=True, help="时间，如 2026-10-21 09:30")
    mark.set_defaults(run=run_watermark)


def run_write(args: argparse.Namespace) -> int:
    """Write the workbook of a period as it stands now."""
    from subsidy.night.reporting import write_report  # the ledger is opened only when asked for

    path = write_report(settings_of(args), args.centre, args.period)
    print(json.dumps({"path": path}, ensure_ascii=False) if args.json else path)
    return DONE


def run_verify(args: argparse.Namespace) -> int:
    """Say whether a workbook is what was written, and whether the ledger still says the same. Exit code 1 when it is not what was
    written."""
    shown = fingerprint.read(args.file)
    result: dict[str, Any] = {"file": args.file.name, "printed": shown.printed, "computed": shown.computed, "matches": shown.matches}
    place = _place(shown)
    if not args.no_ledger and place is not None:
        result |= _ledger(args, *place, shown)
    print(json.dumps(result, ensure_ascii=False) if args.json else "\n".join(_said(result)))
    return DONE if shown.matches and result.get("chain", True) else FOUND


def _place(shown: fingerprint.Print) -> tuple[str, str] | None:
    """Centre code and period on the cover."""
    code = re.search(r"（([0-9]{15})）$", shown.facts.get("中心", ""))
    period = shown.facts.get("期间", "")
    return (code[1], period) if code and re.fullmatch(r"[0-9]{4}-[0-9]{2}", period) and "分册" not in shown.facts else None


def _ledger(args: argparse.Namespace, code: str, period: str, shown: fingerprint.Print) -> dict[str, Any]:
    from subsidy.errors import TerminalError
    from subsidy.night import reporting

    try:
        settings = settings_of(args)
        centre = reporting.centre_of(settings, code)
        chain = reporting.chain_holds(settings, centre, shown.facts.get("账簿链头", ""))
        return {"chain": chain, "changed": reporting.still_says(settings, centre, period, shown)}
    except TerminalError as error:
        return {"ledger": f"没有与账簿核对：{error.message.what}"}


def _said(result: dict[str, Any]) -> Sequence[str]:
    yes = result["matches"]
    lines = [
        f"文件：{result['file']}",
        f"封面指纹：{result['printed'] or '（封面没有指纹）'}",
        f"重算指纹：{result['computed']}",
        "结论：相符，工作簿出具后没有被改动。" if yes else "结论：不符，工作簿出具后被改动过，不得签字或付款；请重新出具。",
    ]
    if "ledger" in result:
        return [*lines, f"账簿：{result['ledger']}"]
    if "chain" not in result:
        return [*lines, "账簿：没有核对。"]
    if not result["chain"]:
        lines.append("账簿：封面上的账簿链头已不在账簿中。账簿可能被恢复或改动过，请系统维护人员立即查明。")
    elif result["changed"]:
        lines.append(f"账簿：链头仍在；出具之后账簿有后续记录，以下各表现在不同：{'、'.join(result['changed'])}。")
        lines.append("　　　有后续记录时先取新版本再签字；可用 subsidy report write 出具。")
    else:
        lines.append("账簿：账簿现在仍是这些内容。")
    return lines


def run_watermark(args: argparse.Namespace) -> int:
    """Copy a workbook with a visible mark."""
    from subsidy.reports.watermark import watermark

    watermark(args.file, args.out, args.person, args.at)
    print(args.out)
    return DONE
