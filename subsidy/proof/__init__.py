"""Proof: the second, independent computation of every line. Standard library only; imports no other room and shares no code with
the engine. Written from the business rules: plain Python values in, exact integers and fractions inside, lines out."""

from subsidy.proof.check import Difference, check
from subsidy.proof.recompute import READS, recompute
from subsidy.proof.rules import Policy

__all__ = ["READS", "Difference", "Policy", "check", "recompute"]
