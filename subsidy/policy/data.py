"""A policy as plain data for the second computation: dicts, lists, texts, integers, booleans, None and dates; nothing of this package."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any

from subsidy.policy.model import CentrePolicy


def policy_as_data(policy: CentrePolicy) -> dict[str, Any]:
    """`policy` with the names of its fields as keys, nested; tuples (also condition trees) become lists, dates stay dates."""
    data = _plain(policy)
    assert isinstance(data, dict)
    return data


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (frozenset, set)):
        return sorted(_plain(item) for item in value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, bool, date)):
        return value
    raise TypeError(f"no plain form of {type(value).__name__}")
