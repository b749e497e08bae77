"""All faults of a centre folder at once, each with file, line, key, value, what is allowed and the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches

from subsidy.errors import Finding, TerminalError

#: Findings listed in the text of the message; all are in `PolicyError.findings`.
_LISTED = 50


class PolicyError(TerminalError):
    """A centre folder that cannot be used. `findings` has every fault; the message lists them for people."""

    def __init__(self, centre: str, findings: tuple[Finding, ...]) -> None:
        self.centre = centre
        self.findings = findings
        lines = [f"\n  {f.file_name} 第 {f.line_no} 行：{f.what}{f.todo}" for f in findings[:_LISTED]]
        if len(findings) > _LISTED:
            lines.append(f"\n  ……另有 {len(findings) - _LISTED} 处。")
        super().__init__(
            "POL-INVALID",
            f"中心 {centre} 的规则文件有 {len(findings)} 处错误：{''.join(lines)}\n",
            "没有为该中心计算任何数据，其他中心不受影响。",
            f"逐处改正后运行 subsidy policy check {centre}，无错误后重跑该中心当夜任务。",
        )

    def __reduce__(self) -> tuple[type, tuple[str, tuple[Finding, ...]]]:  # type: ignore[override]
        return type(self), (self.centre, self.findings)


def nearest(value: str, allowed: Iterable[str]) -> str:
    """The allowed name most like `value`, "" when none is close."""
    found = get_close_matches(value, list(allowed), 1, 0.5)
    return found[0] if found else ""


class Problems:
    """Collects the faults of one centre folder."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self.warnings: list[str] = []

    def __len__(self) -> int:
        return len(self._findings)

    def add(
        self,
        code: str,
        file: str,
        line: int,
        key: str,
        what: str,
        *,
        value: str = "",
        allowed: str = "",
        near: str = "",
        todo: str = "",
    ) -> None:
        """One fault. `what` says what is wrong; value, allowed values, nearest name and advice are added to the sentence."""
        sentence = f"{key}：{what}" if key else what
        if value:
            sentence += f"现为“{value}”。"
        if allowed:
            sentence += f"允许：{allowed}。"
        if near:
            sentence += f"是否想写“{near}”？"
        self._findings.append(
            Finding(code, "error", sentence, todo or (f"改为“{near}”。" if near else "请改正。"), file_name=file, line_no=line, field=key,
                    value=value, rule=allowed)
        )  # fmt: skip

    def warn(self, text: str) -> None:
        """Something lawful that a person should know; shown by `policy check` and carried by the policy."""
        self.warnings.append(text)

    def findings(self) -> tuple[Finding, ...]:
        """All faults, by file and line; a fault found twice is listed once."""
        unique = dict.fromkeys(self._findings)
        return tuple(replace(f) for f in sorted(unique, key=lambda f: (f.file_name, f.line_no, f.field, f.code)))

    def raise_if_any(self, centre: str) -> None:
        """Raise `PolicyError` when there is at least one fault."""
        if self._findings:
            raise PolicyError(centre, self.findings())
