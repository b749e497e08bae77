"""A centre folder to a `CentrePolicy`: everything is read and checked, all faults are told at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path

from subsidy.calendar import WorkingDays
from subsidy.policy import document
from subsidy.policy.archive import centre_names, centre_of, is_centre_name, pack_files, read_files, unpack, version_of
from subsidy.policy.document import read_document
from subsidy.policy.model import CentrePolicy
from subsidy.policy.parameters import read_parameters
from subsidy.policy.problems import PolicyError, Problems, nearest
from subsidy.policy.rules import read_rules
from subsidy.policy.section import Section
from subsidy.policy.settlement import read_settlement


def load_centre(rules: Path, centre: str) -> CentrePolicy:
    """The checked policy of the folder `rules`/`centre`. PolicyError with every fault when there is one (handbook section 5)."""
    return load_files(_files(rules, centre), centre)


def pack(rules: Path, centre: str) -> bytes:
    """The centre's policy files and the parameters as one archive that a night can pin: same contents, same bytes."""
    return pack_files(_files(rules, centre))


@lru_cache(maxsize=8)
def load_packed(data: bytes) -> CentrePolicy:
    """The policy of an archive made by `pack`; its version is that of the folder it was packed from. Every step of a night asks for it."""
    files = unpack(data)
    return load_files(files, centre_of(files))


def working_days_of(policy: CentrePolicy) -> WorkingDays:
    """The working days that the policy's settlement dates go by."""
    return WorkingDays(policy.parameters.calendars)


def _files(rules: Path, centre: str) -> dict[str, bytes]:
    if not is_centre_name(centre):
        problems = Problems()
        problems.add("POL-CENTRE", centre, 0, "", "不是可用的中心文件夹名。", value=centre, allowed="小写字母、数字和横线，如 hangzhou")
        raise PolicyError(centre, problems.findings())
    if not (rules / centre).is_dir():
        names = centre_names(rules)
        problems = Problems()
        problems.add("POL-CENTRE", centre, 0, "", "没有这个中心。", value=centre, allowed="、".join(names), near=nearest(centre, names))
        raise PolicyError(centre, problems.findings())
    return read_files(rules, centre)


def load_files(files: Mapping[str, bytes], centre: str) -> CentrePolicy:
    """The checked policy of `files` (names as in an archive). PolicyError with every fault."""
    problems = Problems()
    shared = read_parameters(files, problems)
    file = f"{centre}/policy.yaml"
    data = files.get(file)
    if data is None:
        problems.add("POL-FILE", file, 0, "", "缺少 policy.yaml。", todo="补上该文件，或用 subsidy centre new 重新生成。")
    node = read_document(file, data, problems) if data is not None else None
    if node is None:
        raise PolicyError(centre, problems.findings())
    top = Section(problems, file, node)
    section = top.section("centre")
    values: dict[str, str | int | date | None] = _centre(section) if section is not None else {}
    go_live = values.get("go_live")
    since = go_live if isinstance(go_live, date) else None
    parameters = shared.parameters if shared else None
    rules = read_rules(top, shared.gates if shared else {}, parameters)
    days = WorkingDays(parameters.calendars if parameters else None)
    settlement = read_settlement(top, since, days, _profiles(files.get(f"{centre}/outbound.yaml"), f"{centre}/outbound.yaml", problems))
    top.finish()
    if rules and since is not None and rules[0].effective_from > since:
        top.add("POL-GAP", "rules", f"第一个版本从 {rules[0].effective_from} 起，上线日 {since} 没有规则覆盖。")
    problems.raise_if_any(centre)
    if parameters is None or section is None or since is None:
        raise PolicyError(centre, problems.findings())
    return CentrePolicy(
        centre=centre,
        code=str(values["code"]),
        name=str(values["name"]),
        short_name=str(values["short_name"]),
        scheme=str(values["scheme"]),
        go_live=since,
        rules=rules,
        settlement=settlement,
        parameters=parameters,
        withdrawal_limit_percent=int(str(values["withdrawal_limit_percent"])),
        deadline_hour=int(str(values["deadline_hour"])),
        version=version_of(files),
        warnings=tuple(problems.warnings),
        sources=dict(section.sources),
    )


def _centre(section: Section) -> dict[str, str | int | date | None]:
    values: dict[str, str | int | date | None] = {
        "code": section.text("code", r"[0-9]{15}", "15 位数字的中心编号"),
        "name": section.text("name"),
        "short_name": section.text("short_name", r".{1,10}", "不超过 10 个字"),
        "scheme": section.text("scheme", r".{1,40}", "不超过 40 个字"),
        "go_live": section.day("go_live"),
        "withdrawal_limit_percent": section.integer("withdrawal_limit_percent", 0, 100),
        "deadline_hour": section.integer("deadline_hour", 0, 23),
    }
    section.finish()
    return values


def _profiles(data: bytes | None, file: str, problems: Problems) -> list[str] | None:
    """Names of the outbound layouts for payments; their contents are checked where they are used."""
    if data is None:
        return None
    node = read_document(file, data, problems)
    layouts = node.entries.get("layouts") if node is not None else None
    if not isinstance(layouts, document.Mapping):
        return None
    return [name for name, entry in layouts.entries.items() if _is_out(entry)]


def _is_out(entry: document.Node) -> bool:
    direction = entry.entries.get("direction") if isinstance(entry, document.Mapping) else None
    return isinstance(direction, document.Scalar) and direction.text == "out"
