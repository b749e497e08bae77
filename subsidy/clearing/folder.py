"""A centre folder as a whole: its rules and the forms of the files that come in and go out. All or nothing of it is used."""

from __future__ import annotations

from pathlib import Path

from subsidy.clearing import profiles
from subsidy.errors import Finding, TerminalError
from subsidy.intake import ProfileError, Profiles, load_profiles
from subsidy.intake.yaml_lines import Document, Keys, dotted
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
        faults += file_faults(rules, centre, policy)
    if faults or policy is None:
        raise PolicyError(centre, tuple(faults))
    return policy


def file_faults(rules: Path, centre: str, policy: CentrePolicy | None = None) -> list[Finding]:
    """What is wrong with ``files.yaml`` and ``outbound.yaml`` of a centre folder, also where they contradict its `policy`."""
    faults: list[Finding] = []
    try:
        inbound = load_profiles(rules, centre)
    except ProfileError as error:
        faults += error.findings
    else:
        faults += [] if policy is None else _contradictions(rules, policy, inbound)
    try:
        profiles.load(rules, centre)
    except TerminalError as error:
        told = error.message
        faults.append(Finding(told.code, "error", told.what, told.todo, file_name=f"{centre}/outbound.yaml"))
    return faults


def _contradictions(rules: Path, policy: CentrePolicy, inbound: Profiles) -> list[Finding]:
    """Where ``files.yaml`` speaks of another centre, or of files before the centre's first day: it was copied from a neighbour."""
    document = Document(rules / policy.centre / "files.yaml", f"{policy.centre}/files.yaml")

    faults: list[Finding] = []
    for profile in inbound:
        at: Keys = ("inbound", profile.name, "centre_code")
        if profile.centre_code != policy.code:
            faults.append(
                Finding(
                    "PROFILE-OTHER-CENTRE", "error", f"中心编号 {profile.centre_code} 与 policy.yaml 的 centre.code {policy.code} 不同。",
                    "改成本中心的编号；从别的中心复制来的，逐项核对。", file_name=document.file_name, line_no=document.line(at),
                    field=dotted(at), value=profile.centre_code, rule=policy.code,
                )
            )  # fmt: skip
        at = ("inbound", profile.name, "expected", "from")
        if profile.expected is not None and profile.expected.since < policy.go_live:
            faults.append(
                Finding(
                    "PROFILE-GO-LIVE", "error", f"从 {profile.expected.since} 起等文件，早于 policy.yaml 的 go_live {policy.go_live}。",
                    "改成上线日或以后的日期。", file_name=document.file_name, line_no=document.line(at), field=dotted(at),
                    value=str(profile.expected.since), rule=f"不早于 {policy.go_live}",
                )
            )  # fmt: skip
    return faults
