"""``subsidy explain``: how the lines of one contract came about, and what changed since the month before."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from subsidy.cli import arguments
from subsidy.cli.named import settings_of
from subsidy.entitlement.explain import Difference, Explanation, changed_since, explain_agreement
from subsidy.errors import TerminalError
from subsidy.facts.schema import Facts
from subsidy.policy import CentrePolicy
from subsidy.settings import Settings

if TYPE_CHECKING:
    from subsidy.cli.posted import Posted
    from subsidy.reports.ledger_rows import Earlier

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


@dataclass(frozen=True, slots=True)
class Told:
    """One line that a period's figures are made of, as known now, with all its postings.

    `earlier`: what the period's runs posted to a line of an earlier period; None for a line of the period's own, whose `changes` since the
    line before are None where there was none."""

    explanation: Explanation
    postings: Sequence[Posted]
    earlier: Earlier | None
    changes: tuple[Difference, ...] | None

    def text(self, files: Mapping[int, str]) -> str:
        """The derivation and what was posted, in Chinese; `files`: name by register number."""
        if self.earlier is None:
            return _text(self.explanation, self.changes, self.postings, files)
        return f"（{self.earlier.text()}）\n{self.explanation.text(files)}\n{_posted_text(self.postings, files)}"

    def data(self, files: Mapping[int, str]) -> dict[str, Any]:
        """The same as plain data for JSON."""
        data = _data(self.explanation, self.changes, self.postings, files)
        return {**data, "earlier": self.earlier is not None, "corrected": self.earlier is not None and not self.earlier.first}


def run(args: argparse.Namespace) -> int:
    """Print the derivations of the period, and of the earlier lines that were first posted or corrected in it."""
    from subsidy.night.lookup import load_for_contract  # the store and the ledger are opened only when asked for

    where = settings_of(args)
    facts, policy, files = load_for_contract(where, args.centre, args.contract)
    lines = told(where, facts, policy, args.period)
    if not lines:
        raise TerminalError(
            "EXPLAIN-NONE",
            f"借款合同 {args.contract} 在期间 {args.period} 没有贴息明细行，也没有记入以前的行。",
            "没有改动任何数据。",
            "核对合同号和期间；按季清算的中心，期间是季度最后一个月。",
        )
    if args.json:
        print(json.dumps([line.data(files) for line in lines], ensure_ascii=False, indent=2))
        return DONE
    print("\n\n".join(line.text(files) for line in lines))
    return DONE


def told(settings: Settings, facts: Facts, policy: CentrePolicy, period: str) -> list[Told]:
    """The lines of some facts that a period's figures are made of: first those that the bank booked in it, each with what changed since
    the last line of the month (quarterly centre: of the quarter) before, then the earlier ones that the period's runs posted to."""
    from subsidy.cli.posted import posted_lines
    from subsidy.night import lookup

    numbers = facts["agreement"].column("agreement_no").to_pylist()
    asked = lookup.asked(settings, policy, period, numbers)
    if asked is None:
        return []
    posted = posted_lines(settings, policy.centre, numbers)
    own, earlier = list[Told](), list[Told]()
    for number in numbers:
        lines = explain_agreement(facts, policy, number)
        before = _last([e for e in lines if e.line["booked_on"] <= asked.low and e.exact is not None])
        for e in lines:
            postings = posted.get((e.agreement_no, e.account_no, e.serial_no), ())
            if asked.own(e.line):
                own.append(Told(e, postings, None, None if before is None else changed_since(before, e)))
            elif asked.takes(e.line):
                earlier.append(Told(e, postings, asked.posted(e.line), None))
    return own + earlier


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
