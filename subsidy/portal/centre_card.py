"""What a DAG shows of a centre before anything runs: its names and deadline, or why its folder cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from subsidy.errors import SubsidyError
from subsidy.portal.dag_ids import CENTRE, read_dag_id
from subsidy.portal.roles import CLEARING

DEADLINE_HOUR = 7


@dataclass(frozen=True, slots=True)
class CentreCard:
    """`fault` is "" for a usable folder; otherwise all errors, in Chinese. A broken folder goes by its folder name."""

    centre: str
    name: str
    short_name: str
    deadline_hour: int
    fault: str


def bare_card(centre: str) -> CentreCard:
    """A card without looking at the folder; enough to run a task."""
    return CentreCard(centre, centre, centre, DEADLINE_HOUR, "")


def cards(rules: Path, wanted_dag: str | None) -> list[CentreCard]:
    """The cards of all centre folders; before a task runs (`wanted_dag` is its DAG) only that centre's, unread."""
    if wanted_dag is not None:
        known = read_dag_id(wanted_dag)
        return [] if known is None or known[0] == CLEARING else [bare_card(known[0])]
    folders = sorted(path.parent.name for path in rules.glob("*/policy.yaml"))
    return [read_card(rules, folder) for folder in folders if CENTRE.fullmatch(folder) and folder != CLEARING]


def full_name(rules: Path, centre: str) -> str:
    """What people call a centre, also where its DAG was built without reading the folder; the folder's name when it is broken."""
    return read_card(rules, centre).name


def read_card(rules: Path, centre: str) -> CentreCard:
    """Load the folder of one centre, and turn its faults into text instead of raising: one centre must not hide another."""
    from subsidy.clearing.folder import load_folder

    try:
        policy = load_folder(rules, centre)
    except (SubsidyError, OSError) as error:
        return CentreCard(centre, centre, centre, DEADLINE_HOUR, str(error))
    return CentreCard(centre, policy.name, policy.short_name, policy.deadline_hour, "")
