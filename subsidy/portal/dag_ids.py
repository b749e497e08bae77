"""The one place that knows how DAGs are named, so that rights, pages and DAGs cannot disagree.

========================================  =====================================================
``subsidy_<centre>``                      a centre's night
``subsidy_<centre>_publish``              approval and publication of its settlements
``subsidy_<centre>_results``              its bank's result files
``subsidy_<centre>_recompute``            approval and posting of a recompute that changes money
``subsidy_clearing``                      clearing over all centres of a month
``subsidy_clearing_deadline``             starts that clearing when its deadline has come
========================================  =====================================================

A centre's folder name has small letters, digits and hyphens only, so that no name can be read two ways.
"""

from __future__ import annotations

import re
from typing import Literal

from subsidy.portal.roles import CLEARING

Kind = Literal["night", "publish", "results", "recompute", "clearing"]

CENTRE = re.compile(r"[a-z][a-z0-9-]{0,60}")
_DAG = re.compile(rf"subsidy_({CENTRE.pattern})(?:_(publish|results|recompute))?")
CLEARING_DAG = "subsidy_clearing"
CLEARING_DEADLINE_DAG = "subsidy_clearing_deadline"


def dag_id(centre: str, kind: Kind) -> str:
    """The id of a centre's DAG of `kind`. Raises ValueError for a name that is not a centre's."""
    if not CENTRE.fullmatch(centre) or centre == CLEARING:
        raise ValueError(centre)
    return f"subsidy_{centre}" if kind == "night" else f"subsidy_{centre}_{kind}"


def read_dag_id(value: str) -> tuple[str, Kind] | None:
    """(centre, kind) of a DAG id; the clearing has the pseudo centre ``clearing``; None when the id is not ours."""
    if value in (CLEARING_DAG, CLEARING_DEADLINE_DAG):
        return CLEARING, "clearing"
    found = _DAG.fullmatch(value)
    if found is None or found[1] == CLEARING:
        return None
    return found[1], found[2] or "night"  # type: ignore[return-value]
