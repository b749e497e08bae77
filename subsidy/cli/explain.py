"""``subsidy explain``: how the lines of one contract came about, and what changed since the month before."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from subsidy.cli import arguments
from subsidy.cli.named import settings_of
from subsidy.entitlement.explain import Difference, Explanation, changed_since, explain_agreement
from subsidy.entitlement.periods import booked_between, nights_between
from subsidy.errors import TerminalError
from subsidy.facts.schema import Facts
from subsidy.policy import CentrePolicy

if TYPE_CHECKING:
    from subsidy.cli.posted import Posted

DONE = 0


def register(subparsers: Any) -> None:
    """Add the command ``explain``."""
    about = "说明一份借款合同的贴息是怎样算出来的"
    parser = subparsers.add_parser(
        "explain", help=about, description=f"{about}：来源文件和行号、事实、规则、利率、分段、精确分数、关口、限额、入账和更正原因。"
    )
    parser.add_argument("--centre", required=True, metavar="中心", help="中心文件夹名，如 hangzhou")
    parser.add_argument("--contract", required=True, metavar="合同号", help="借款合同编号")
    parser.add_argument("--period", required=True, type=arguments.period, metavar="期间", help="清算期间，如 2026-10")
    parser.add_argument("--json", action="store_true", help="输出 JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the derivations of the period, and of earlier lines that were corrected in it."""
    from subsidy.cli.posted import posted_lines  # the store and the ledger are opened only when asked for
    from subsidy.night.lookup import load_for_contract

    where = settings_of(args)
    facts, policy, files = load_for_contract(where, args.centre, args.contract)
    posted = posted_lines(where, args.centre, facts["agreement"].column("agreement_no").to_pylist())
    told = [(e, changes, posted.get(_key(e), ())) for e, changes in derive(facts, policy, args.period)]
    nights = nights_between(policy, args.period)
    earlier = [(e, posted.get(_key(e), ())) for e in earlier_lines(facts, policy, args.period)]
    corrected = [(e, postings) for e, postings in earlier if _corrected(postings, nights)]
    if not told and not corrected:
        raise TerminalError(
            "EXPLAIN-NONE",
            f"借款合同 {args.contract} 在期间 {args.period} 没有贴息明细行，也没有更正以前的行。",
            "没有改动任何数据。",
            "核对合同号和期间；按季清算的中心，期间是季度最后一个月。",
        )
    if args.json:
        lines = [{**_data(e, changes, postings, files), "corrected": False} for e, changes, postings in told]
        lines += [{**_data(e, None, postings, files), "corrected": True} for e, postings in corrected]
        print(json.dumps(lines, ensure_ascii=False, indent=2))
        return DONE
    texts = [_text(e, changes, postings, files) for e, changes, postings in told]
    texts += ["（以前期间的行，本期更正）\n" + e.text(files) + "\n" + _posted_text(postings, files) for e, postings in corrected]
    print("\n\n".join(texts))
    return DONE


def _key(e: Explanation) -> tuple[str, str, str]:
    return e.agreement_no, e.account_no, e.serial_no


def _corrected(postings: Sequence[Posted], nights: tuple[date, date] | None) -> bool:
    """Whether the line was corrected in one of these nights (first and last)."""
    return nights is not None and any(p.kind in ("top_up", "recovery") and nights[0] <= p.business_date <= nights[1] for p in postings)


def earlier_lines(facts: Facts, policy: CentrePolicy, period: str) -> list[Explanation]:
    """The derivations, as known now, of the lines that the bank booked before `period`."""
    span = booked_between(policy, period)
    if span is None:
        return []
    numbers = facts["agreement"].column("agreement_no").to_pylist()
    return [e for number in numbers for e in explain_agreement(facts, policy, number) if e.line["booked_on"] < span[0]]


def derive(facts: Facts, policy: CentrePolicy, period: str) -> list[tuple[Explanation, tuple[Difference, ...] | None]]:
    """The derivations of the lines that the bank booked in `period`, each with what changed since the last line of the month (quarterly
    centre: of the quarter) before; None where there was no line."""
    result: list[tuple[Explanation, tuple[Difference, ...] | None]] = []
    for agreement_no in facts["agreement"].column("agreement_no").to_pylist():
        lines = explain_agreement(facts, policy, agreement_no)
        span = booked_between(policy, period)
        if span is None:
            continue
        before = [e for e in lines if e.line["booked_on"] < span[0] and e.exact is not None]
        for line in lines:
            if span[0] <= line.line["booked_on"] <= span[1]:
                earlier = _last(before)
                result.append((line, None if earlier is None else changed_since(earlier, line)))
    return result


def _last(lines: Sequence[Explanation]) -> Explanation | None:
    return lines[-1] if lines else None


def _text(
    explanation: Explanation, changes: tuple[Difference, ...] | None, postings: Sequence[Posted], files: Mapping[int, str]
) -> str:
    out = [explanation.text(files), _posted_text(postings, files), "【与上月相比】"]
    if changes is None:
        out.append("　上月没有贴息明细行")
    elif not changes:
        out.append("　没有变化")
    else:
        out += [f"　{c.label}：{c.before} → {c.after}" for c in changes]
    return "\n".join(out)


def _posted_text(postings: Sequence[Posted], files: Mapping[int, str]) -> str:
    return "\n".join(["【入账】", *(f"　{p.text(files)}" for p in postings)]) if postings else "【入账】\n　没有入账"


def _data(
    explanation: Explanation, changes: tuple[Difference, ...] | None, postings: Sequence[Posted], files: Mapping[int, str]
) -> dict[str, Any]:
    data = explanation.data(files)
    data["file_name"] = files.get(explanation.file_no, "")
    data["posted"] = [p.data(files) for p in postings]
    data["changed"] = None if changes is None else [{"label": c.label, "before": c.before, "after": c.after} for c in changes]
    return data
