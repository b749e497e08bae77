"""Worked cases as data: ``rules/<centre>/cases.yaml`` read, run through engine and second computation, and compared to the fen."""

from subsidy.cases.model import Case, CasesError, Expected, Fact, Settlement
from subsidy.cases.reader import read_cases
from subsidy.cases.runner import Outcome, Result, Row, facts_known, run_case

__all__ = ["Case", "CasesError", "Expected", "Fact", "Outcome", "Result", "Row", "Settlement", "facts_known", "read_cases", "run_case"]
