"""A loan that makes the program fail is found and set aside, so that the others need not wait for it.

Nothing is computed, posted or paid for such a loan, what was posted before stays as it is, and every run tries it again.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow.compute as pc

from subsidy.errors import Finding, SubsidyError, TerminalError
from subsidy.facts.schema import Facts
from subsidy.night import manifest

R = TypeVar("R")

#: So many contracts may fail in one step of a run; more are a fault of the program or the rules, which stops the centre.
MOST = 20
#: Innermost places of a failure that people are told.
PLACES = 3


@dataclass(frozen=True)
class Failure:
    """The agreements of a contract that the program failed at, and where: type of the exception and places in the source, no data."""

    agreement_nos: tuple[str, ...]
    trace: str


def apart(work: Callable[[Facts], R], facts: Facts) -> tuple[list[R], list[Failure]]:
    """`work` of `facts`, in one piece where it raises nothing; else of ever smaller halves of their contracts, until those that it fails at
    are single.

    Returns the results of the pieces that it did not fail at, and the failures. TerminalError ``LOAN-FAILED-MANY`` when there are more than
    `MOST`. What is said to people and want of memory is raised as it is."""
    try:
        return [work(facts)], []
    except (SubsidyError, MemoryError):
        raise
    except Exception as error:
        contracts = pc.unique(facts["agreement"]["contract_no"].combine_chunks())
        if len(contracts) == 0:
            raise
        trace = _trace(error)
    if len(contracts) == 1:
        return [], [Failure(tuple(sorted(facts["agreement"]["agreement_no"].to_pylist())), trace)]
    results, failures = list[R](), list[Failure]()
    half = len(contracts) // 2
    for part in (contracts[:half], contracts[half:]):
        found, failed = apart(work, manifest.only_contracts(facts, part))
        results += found
        failures += failed
        stop_at_many(failures)
    return results, failures


def _trace(error: Exception) -> str:
    places = traceback.extract_tb(error.__traceback__)[-PLACES:]
    return f"{type(error).__name__}，" + " → ".join(f"{Path(p.filename).name} 第 {p.lineno} 行 {p.name}" for p in places)


def stop_at_many(failures: Sequence[Failure]) -> None:
    """TerminalError ``LOAN-FAILED-MANY`` when more failed than `MOST`."""
    if len(failures) > MOST:
        raise TerminalError(
            "LOAN-FAILED-MANY",
            f"超过 {MOST} 笔贷款使程序出错，本中心停在这一步。最后一处：{failures[-1].trace}。",
            "这一步没有写入任何结果，没有付款；已接收的文件都已保存。其他中心照常。",
            "这不是个别贷款的问题：交系统维护人员查明程序或规则，改正后清除失败的任务即续跑。",
        )


def findings(failures: Sequence[Failure], doing: str) -> list[Finding]:
    """One finding ``LOAN-FAILED`` per agreement. `doing`: what the program did, in Chinese."""
    return [
        Finding(
            code="LOAN-FAILED",
            severity="error",
            what=f"协议 {number} {doing}时程序出错（{failure.trace}），这笔贷款被隔离。",
            todo="这笔贷款不记新账、不付款，已记的账不动，其他贷款照常；以后每夜自动再试。把本条交系统维护人员。",
            agreement_no=number,
        )
        for failure in failures
        for number in failure.agreement_nos
    ]


def numbers(failures: Sequence[Failure]) -> list[str]:
    """The agreements that were set aside, sorted."""
    return sorted(number for failure in failures for number in failure.agreement_nos)
