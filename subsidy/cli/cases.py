"""``subsidy cases``: run worked cases and show where expected and computed differ."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from subsidy.cases import CasesError, Result, read_cases, run_case
from subsidy.cases.report import as_data, lines_of, summary
from subsidy.cli.named import known_centre, rules_of
from subsidy.errors import TerminalError
from subsidy.facts.schema import Facts
from subsidy.policy import PolicyError, centre_names, load_centre, working_days_of
from subsidy.policy.model import CentrePolicy
from subsidy.policy.problems import Problems

FILE = "cases.yaml"
DONE, FOUND, STOPPED = 0, 1, 3


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = subparsers.add_parser(
        "cases",
        help="运行中心的核算样例（cases.yaml），预期与计算逐分比较",
        description="运行核算样例：按每个结算日前一夜已知的事实，用规则引擎和第二套计算各算一遍，与预期逐分比较。"
        "有不符时并排列出并附推导，退出码 1；没有样例时也是 1。",
    )
    command.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="样例文件或中心目录；不写则运行全部中心")
    command.add_argument("--rules", type=Path, help="规则目录；默认取设置 SUBSIDY_RULES")
    command.add_argument("--centre", help="样例文件不在中心目录内时，用哪个中心的规则")
    command.add_argument("--verbose", action="store_true", help="相符的样例也列出每个结算日")
    command.add_argument("--json", action="store_true", help="以 JSON 输出")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the cases of all files named. 0: all as expected, 1: some differ or there are none, 3: a centre's folder is broken (the others
    are run).

    `CasesError` when a cases file cannot be read.
    """
    rules = rules_of(args)
    if args.centre is not None:
        known_centre(args.centre, rules)
    results: list[Result] = []
    problems = Problems()
    broken = False
    for path, centre in _files(args.paths, rules, args.centre):
        try:
            policy = load_centre(path.parent.parent if args.centre is None else rules, centre)
        except PolicyError as error:
            print(error, file=sys.stderr)
            broken = True
            continue
        working_days = working_days_of(policy)
        cases = read_cases(path, policy, problems, _shown(path))
        if not len(problems):
            results += [run_case(case, policy, working_days) for case in cases]
    if len(problems):
        raise CasesError(problems.findings())
    if args.json:
        print(json.dumps([as_data(result) for result in results], ensure_ascii=False, indent=1))
    else:
        for result in results:
            for line in lines_of(result, _explain, args.verbose):
                print(line)
        print(summary(results))
    if broken:
        return STOPPED
    if not results:
        print("还没有样例；上线前至少写十二个。", file=sys.stderr)
        return FOUND
    return DONE if all(result.ok for result in results) else FOUND


def _files(paths: list[Path], rules: Path, centre: str | None) -> list[tuple[Path, str]]:
    """Cases files with the centre whose rules they run under: that of their folder, or `centre`."""
    if not paths:
        found = [rules / name / FILE for name in centre_names(rules) if centre in (None, name)]
        paths = [path for path in found if path.exists()]
    files = []
    for path in paths:
        file = path / FILE if path.is_dir() else path
        if not file.is_file():
            todo = "核对路径；样例文件为中心目录内的 cases.yaml。"
            raise TerminalError("CASES-NONE", f"没有样例文件 {file}。", "没有计算任何样例。", todo)
        files.append((file.resolve(), centre or file.resolve().parent.name))
    return files


def _shown(path: Path) -> str:
    """The file as people know it: below the current folder, else by centre and name."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return f"{path.parent.name}/{path.name}"


def _explain(facts: Facts, policy: CentrePolicy, agreement_no: str, serial_no: str) -> str:
    from subsidy.entitlement.explain import explain  # only where something differs

    return str(explain(facts, policy, agreement_no, serial_no).text())
