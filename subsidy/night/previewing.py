"""Small readable pieces for pages: the first rows of a workbook's sheets, and what a step did, in words."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

from openpyxl import load_workbook

from subsidy.money import format_yuan
from subsidy.reports.workbook import LABEL_ROW

#: Sheets that the page shows, in this order, and how many of their rows.
SHOWN = ("汇总", "网点汇总", "变动分析", "勾稽表")
ROWS = 16

_WORDS = {
    "rows_in": "收到行", "rows_booked": "入账行", "rows_quarantined": "隔离行", "rows_duplicate": "重复行", "files": "文件",
    "released": "放行", "agreements": "协议", "loans": "贷款", "lines": "明细", "lines_new": "新明细", "lines_changed": "改动明细",
    "differences": "差异", "checked": "复算", "postings": "记账", "accruals": "计提", "top_ups": "补差", "recoveries": "追回",
    "entries": "分录", "compared": "比对", "findings": "异常", "broken": "不符",
}  # fmt: skip


def opened(result: dict[str, Any]) -> str:
    """That a night was opened."""
    return f"业务日 {result['business_date']} 已打开，运行编号 {result['run_no']}。"


def said(name: str, result: dict[str, Any] | None) -> str | None:
    """What a finished step did, in Chinese; None when it is not done. Only counts that have a name for people."""
    if result is None:
        return None
    parts = [f"{word} {result[key]:,}" for key, word in _WORDS.items() if isinstance(result.get(key), int)]
    if result.get("failed"):
        parts.append(f"程序出错而隔离 {len(result['failed'])} 份协议")
    if result.get("missing"):
        parts.append(f"缺 {len(result['missing'])} 个文件")
    if result.get("waiting"):
        parts.append(f"未到齐 {len(result['waiting'])} 个文件")
    if result.get("early"):
        parts.append(f"未到日期 {len(result['early'])} 个文件")
    if result.get("periods"):
        parts.append("期间 " + "、".join(str(x) for x in result["periods"]))
    if result.get("blocked"):
        parts.append(f"{'、'.join(result['blocked']['periods'])} 期没有生成批次：{stopped(result['blocked'])}")
    for settled in result.get("settlements", []):
        if settled["state"] == "empty":
            parts.append(f"{settled['period']} 期：无应付")
        else:
            parts.append(f"{settled['period']} 期：{settled['payments']:,} 笔，{format_yuan(settled['sent_fen'])} 元")
    return "　".join(parts) or "完成"


def stopped(blocked: dict[str, Any]) -> str:
    """Why a settlement was not built."""
    return f"复算不一致 {blocked['differences']:,} 行，核验不通过 {blocked['broken']:,} 项"


def change(business_date: date, result: dict[str, Any]) -> str:
    """What a preview found, in one paragraph: how many lines and loans, how much, why."""
    left_out = f"另有 {len(result['failed'])} 份协议使程序出错，不在其内。" if result.get("failed") else ""
    if not result["lines"]:
        return f"预演 {business_date}：按今天的数据与规则重算，没有任何金额会改变。{left_out}什么都没有写入。"
    causes = "；".join(f"{cause} {_yuan(fen)} 元" for cause, fen in result["causes"].items())
    return (
        f"预演 {business_date}：{result['loans']:,} 笔贷款的 {result['lines']:,} 行明细会改变，净变动 {_yuan(result['amount_fen'])} 元"
        f"（增 {_yuan(result.get('raised_fen', 0))}，减 {_yuan(result.get('lowered_fen', 0))}）。原因：{causes}。{left_out}什么都没有写入。"
    )


def changed_line(line: dict[str, Any]) -> str:
    """One line of a preview."""
    return f"{line['agreement_no']} 第 {line['serial_no']} 号：{_yuan(line['old_fen'])} → {_yuan(line['new_fen'])} 元"


def recomputed(business_date: str, result: dict[str, Any]) -> str:
    """What a recompute did."""
    if not result["posted"]:
        return f"重算 {business_date}：没有差额，没有记账。"
    return f"重算 {business_date}：记账 {result['posted']:,} 行，净变动 {_yuan(result.get('amount_fen', 0))} 元，随下一次清算支付或追回。"


def published(result: dict[str, Any]) -> str:
    """What publishing did, and which files had left before the books were finished."""
    done = f"{result['period']} 期付款文件已发布；逐个文件见“报表与付款文件”。"
    if not result.get("taken"):
        return done
    return f"{done}登记之前已离开待发目录的文件：{'、'.join(result['taken'])}。没有再写出，不会重复付款；已向银行查询，等银行答复。"


def read(result: dict[str, Any]) -> str:
    """What reading the banks' files did."""
    words = {"booked": "入账", "duplicates": "重复", "blocked": "有差异未入账", "incomplete": "未写完"}
    counts = "，".join(f"{word} {result[key]} 个" for key, word in words.items() if result.get(key))
    changes = {"confirmed": "已付", "failed": "失败", "opened": "未决", "returned": "退汇"}
    applied = result.get("applied") or {}
    told = "，".join(f"{word} {applied[key]:,} 笔" for key, word in changes.items() if applied.get(key))
    blocked = "".join(f" {name}：{why}" for name, why in result.get("messages", []))
    return f"银行文件：{counts or '没有新文件'}。" + (f"{told}。" if told else "") + blocked


def refreshed(result: dict[str, Any]) -> str:
    """Which workbooks were written again, and which months cleared again."""
    names = [str(path).rsplit("/", 1)[-1] for path in result["workbooks"]]
    months = [f"{cleared['period']} 第 {cleared['version']} 版" for cleared in result["cleared"]]
    said = f"报表已更新：{'、'.join(names)}。" if names else "账簿没有新的记录，报表都是最新的。"
    return said + (f"月度清算已更新：{'、'.join(months)}。" if months else "") + "".join(f"\n{why}" for why in result.get("uncleared", []))


def cleared(result: dict[str, Any]) -> str:
    """What a clearing over all centres did, and who is missing."""
    missing = "、".join(result["missing"])
    done = f"{result['period']} 月清算" + (f"第 {result['version']} 版" if "version" in result else "")
    faults = "".join(f"\n{centre} 的清算数据读不出：{cause}" for centre, cause in result.get("faults", {}).items())
    return f"{done}：" + (f"尚缺 {missing}；到齐后自动生成新版本。" if missing else "各中心全部完成。") + faults


def _yuan(fen: int) -> str:
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100:,}.{abs(fen) % 100:02d}"


def sheets(path: Path) -> list[tuple[str, list[list[tuple[str, bool]]], bool]]:
    """(title, first rows, whether there are more) of the sheets of `SHOWN` that the workbook has; a cell is its text and whether it is a
    number; the first row holds the labels.

    Reads only the beginning of each sheet, so that a workbook of a million rows opens as fast as a small one."""
    if not path.is_file():
        return []
    found = []
    book = load_workbook(path, read_only=True, data_only=True)
    try:
        for title in SHOWN:
            if title in book.sheetnames:
                first = book[title].iter_rows(min_row=LABEL_ROW, max_row=LABEL_ROW + ROWS + 1)
                rows = [list(row) for row in first if any(cell.value is not None for cell in row)]
                width = max((i + 1 for row in rows for i, cell in enumerate(row) if cell.value is not None), default=0)
                if width:
                    shown = [[(_text(c), isinstance(c.value, int | float)) for c in row[:width]] for row in rows[: ROWS + 1]]
                    found.append((title, shown, len(rows) > ROWS + 1))
    finally:
        book.close()
    return found


def _text(cell: Any) -> str:
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, datetime | date):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, float) or (isinstance(value, int) and "0.00" in cell.number_format):
        return f"{value:,.2f}"  # shown only; no amount is computed from it
    return f"{value:,}" if isinstance(value, int) else str(value)
