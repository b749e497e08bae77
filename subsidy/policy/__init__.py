"""Policy: a centre's folder of dated rules, loaded, checked and frozen. `model` has the types; nothing else reads ``rules/``."""

from subsidy.policy.archive import centre_names, is_centre_name, unpack
from subsidy.policy.data import policy_as_data
from subsidy.policy.load import load_centre, load_files, load_packed, pack, working_days_of
from subsidy.policy.model import CentrePolicy, Parameters, RuleVersion, SettlementTerms
from subsidy.policy.problems import PolicyError

__all__ = [
    "CentrePolicy",
    "Parameters",
    "PolicyError",
    "RuleVersion",
    "SettlementTerms",
    "centre_names",
    "is_centre_name",
    "load_centre",
    "load_files",
    "load_packed",
    "pack",
    "policy_as_data",
    "unpack",
    "working_days_of",
]
