"""A centre folder as a whole: its rules and the forms of the files that come in and go out. All or nothing of it is used."""

from __future__ import annotations

from pathlib import Path

from subsidy.clearing import profiles
from subsidy.errors import Finding, TerminalError
from subsidy.intake import ProfileError, load_profiles
from subsidy.policy import CentrePolicy, PolicyError, load_centre


def load_folder(rules: Path, centre: str) -> CentrePolicy:
    """The policy of a centre whose three files can all be used. PolicyError with the faults of all of them."""
    faults: list[Finding] = []
    policy = None
    try:
        policy = load_centre(rules, centre)
    except PolicyError as error:
        faults += error.findings
    if (rules / centre).is_dir():
        faults += file_faults(rules, centre)
    if faults or policy is None:
        raise PolicyError(centre, tuple(faults))
    return policy


def file_faults(rules: Path, centre: str) -> list[Finding]:
    """What is wrong with ``files.yaml`` and ``outbound.yaml`` of a centre folder."""
    faults: list[Finding] = []
    try:
        load_profiles(rules, centre)
    except ProfileError as error:
        faults += error.findings
    try:
        profiles.load(rules, centre)
    except TerminalError as error:
        told = error.message
        faults.append(Finding(told.code, "error", told.what, told.todo, file_name=f"{centre}/outbound.yaml"))
    return faults
