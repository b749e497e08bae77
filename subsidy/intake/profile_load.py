"""Load and check the inbound profiles of a centre. All errors of the file are reported at once, like those of a policy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from datetime import date
from pathlib import Path
from typing import Any, get_args

from subsidy.errors import Finding, TerminalError
from subsidy.facts.schema import BY_CODE, CHANGE_KINDS, LOAN_STATUSES, Column, FactTable
from subsidy.intake import profile as p
from subsidy.intake.codelists import CODE_LISTS
from subsidy.intake.yaml_lines import Document, Keys, dotted
from subsidy.money import RATE_UNITS

_PROFILE_KEYS = (
    "source", "centre_code", "name", "carries", "form", "container", "entry", "encoding", "separator", "separator_after_last", "names",
    "cells", "cover", "header", "trailer", "flag", "digest", "manifest", "xml", "acknowledgement", "mode_words", "complete",
    "quiet_seconds", "protection",
    "units", "codes", "checks", "limits", "expected", "tables",
)
_PLACEHOLDERS = ("{centre}", "{table}", "{date}", "{sequence}", "{mode}", "{rows}", "{sums}")
_IDENTITY = ("centre", "table", "date", "sequence", "mode", "rows")


class ProfileError(TerminalError):
    """A centre's ``files.yaml`` cannot be used; `findings` holds every error with file, line and key."""

    def __init__(self, centre: str, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        lines = "；".join(f"{f.file_name} 第 {f.line_no} 行 {f.what}" for f in findings[:20])
        super().__init__(
            "PROFILE-INVALID",
            f"中心 {centre} 的入库文件约定有 {len(findings)} 处错误：{lines}",
            "该中心没有读取任何文件，其他中心不受影响。",
            "按所列文件、行、键逐条改正后重跑。",
        )

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        m = self.message
        return TerminalError, (m.code, m.what, m.safe, m.todo)


def load_profiles(rules: Path, centre: str) -> p.Profiles:
    """The inbound profiles of ``rules/<centre>/files.yaml``. ProfileError with all findings when anything is wrong there."""
    shown = f"{centre}/files.yaml"
    document = Document(Path(rules) / centre / "files.yaml", shown)
    check = _Check(document)
    root = check.mapping(document.value, ()) if not document.findings else {}
    check.keys(root, (), required=("inbound",))
    profiles: dict[str, p.Profile] = {}
    for name in check.mapping(root.get("inbound"), ("inbound",)) if "inbound" in root else ():
        built = _profile(check, centre, name, ("inbound", name), root["inbound"][name])
        if built is not None:
            profiles[name] = built
    findings = tuple(sorted([*document.findings, *check.findings], key=lambda f: (f.line_no, f.field)))
    if findings:
        raise ProfileError(centre, findings)
    return p.Profiles(centre, profiles)


class _Check:
    """Collects what is wrong; every getter returns something usable so that checking goes on."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.findings: list[Finding] = []

    def error(self, code: str, at: Keys, what: str, todo: str, value: object = "", rule: str = "", hint: str = "") -> None:
        """One fault; the sentence says the key, what is wrong with it, of a single value what stands there now, and the hint."""
        sentence = f"{dotted(at)}：{what}" if at else what
        if isinstance(value, (str, int, float, date)) and str(value):
            sentence += f"现为“{value}”。"
        self.findings.append(
            Finding(
                code, "error", sentence + hint, todo, file_name=self.document.file_name, line_no=self.document.line(at), field=dotted(at),
                value=str(value), rule=rule,
            )
        )

    def mapping(self, value: Any, at: Keys) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.error("PROFILE-TYPE", at, "这里应当是一组 键: 值。", "改成映射。", value, "映射")
        return {}

    def keys(self, value: dict[str, Any], at: Keys, allowed: Collection[str] | None = None, required: Iterable[str] = ()) -> None:
        for key in required:
            if key not in value:
                self.error("PROFILE-MISSING", at, f"缺少 {key}。", f"补上 {key}。", rule="必填")
        if allowed is not None:
            for key in value:
                if key not in allowed:
                    self.unknown((*at, key), key, allowed)

    def unknown(self, at: Keys, name: object, allowed: Collection[str]) -> None:
        near = difflib.get_close_matches(str(name), sorted(allowed), 1, 0.5)
        shown = "、".join(sorted(allowed))
        hint = f"允许：{shown}。" + (f"最接近的名称是 {near[0]}。" if near else "")
        self.error("PROFILE-UNKNOWN", at, "不认识的名称。", "改成允许的名称之一。", name, shown, hint)

    def choice(self, value: Any, at: Keys, allowed: Collection[str], default: str) -> Any:
        if value is None:
            return default
        if value not in allowed:
            self.unknown(at, value, allowed)
            return default
        return value

    def text(self, value: Any, at: Keys, default: str = "") -> str:
        if value is None:
            return default
        if isinstance(value, str):
            return value
        self.error("PROFILE-TYPE", at, "这里应当是文本（代码要加引号）。", "加上引号。", value, "文本")
        return default

    def integer(self, value: Any, at: Keys, default: int, low: int, high: int) -> int:
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.error("PROFILE-RANGE", at, f"这里应当是 {low} 到 {high} 的整数。", "改成范围内的整数。", value, f"{low}–{high}")
            return default
        return value


def _profile(check: _Check, centre: str, name: str, at: Keys, raw: Any) -> p.Profile | None:
    value = check.mapping(raw, at)
    check.keys(value, at, _PROFILE_KEYS, ("source", "centre_code", "name", "form", "complete", "protection", "mode_words", "tables"))
    source = check.mapping(value.get("source", {}), (*at, "source"))
    basis = check.choice(source.get("basis"), (*at, "source", "basis"), ("assumed", "document", "published"), "")
    if not basis:
        check.error(
            "PROFILE-SOURCE", (*at, "source"), "没有写明依据。", "写 basis: assumed，或 basis: document 并给出文件号。",
            rule="每一项都要有依据",
        )
    code = check.text(value.get("centre_code"), (*at, "centre_code"))
    if "centre_code" in value and not re.fullmatch(r"[0-9]{15}", code):
        check.error("PROFILE-CENTRE", (*at, "centre_code"), "中心编号应为 15 位数字并加引号。", "改成 15 位数字。", code, "15 位数字")
    form = check.choice(value.get("form"), (*at, "form"), p.FORMS, "delimited")
    container = check.choice(value.get("container"), (*at, "container"), p.CONTAINERS, "none")
    carries = check.choice(value.get("carries"), (*at, "carries"), ("one", "many"), "one")
    encoding = check.choice(value.get("encoding"), (*at, "encoding"), p.ENCODINGS, "utf-8")
    pattern = check.text(value.get("name"), (*at, "name"))
    used = re.findall(r"\{([^}]*)\}", pattern)
    for token in used:
        if token not in ("table", "date", "sequence", "*"):
            check.unknown((*at, "name"), token, ("table", "date", "sequence", "*"))
    if pattern and (used.count("date") != 1 or used.count("sequence") != 1 or used.count("table") != (carries == "one")):
        check.error(
            "PROFILE-PATTERN", (*at, "name"), "文件名样式要恰好各含一次 {date}、{sequence}；一份一表的还要 {table}，一份多表的不要。",
            "改写文件名样式。", pattern, "例如 XX_{table}_{date}_{sequence}{*}.txt",
        )
    if "/" in pattern or "\\" in pattern or pattern.startswith("."):
        check.error("PROFILE-PATTERN", (*at, "name"), "文件名样式不得含路径。", "去掉路径部分。", pattern, "只写文件名")
    separator = check.text(value.get("separator"), (*at, "separator"), "," if form == "csv" else "")
    if form == "delimited" and not separator:
        check.error("PROFILE-MISSING", at, "分隔文本要声明 separator。", "补上 separator。", rule="必填")
    if form == "csv" and len(separator.encode()) != 1:
        check.error("PROFILE-RANGE", (*at, "separator"), "CSV 的分隔符是一个 ASCII 字符。", "改成一个 ASCII 字符。", separator, "一个字符")
    if len(separator) > 1 and "\x1f" in separator:
        check.error("PROFILE-RANGE", (*at, "separator"), "多个字符的分隔符不得含 U+001F。", "换一个分隔符。", repr(separator), "可见字符")
    if any(c in separator for c in '\r\n\0"'):
        check.error("PROFILE-RANGE", (*at, "separator"), "分隔符不得含换行、NUL 或引号。", "换一个分隔符。", repr(separator), "可见字符")
    words = check.mapping(value.get("mode_words", {}), (*at, "mode_words"))
    mode_words = {k: check.text(v, (*at, "mode_words", k)) for k, v in words.items()}
    check.keys(mode_words, (*at, "mode_words"), ("full", "increment"), ("full", "increment"))
    fixed = form == "fixed"
    header = _parts(check, value.get("header"), (*at, "header"), fixed)
    trailer = _parts(check, value.get("trailer"), (*at, "trailer"), fixed)
    flag = _flag(check, value.get("flag"), (*at, "flag"))
    digest = _digest(check, value.get("digest"), (*at, "digest"))
    manifest = _manifest(check, value.get("manifest"), (*at, "manifest"))
    xml = _xml(check, value.get("xml"), (*at, "xml"))
    complete = check.choice(value.get("complete"), (*at, "complete"), p.COMPLETES, "quiet")
    _completes(check, at, complete, trailer, flag, digest, container)
    entry = check.text(value.get("entry"), (*at, "entry"))
    if container == "zip" and not entry:
        check.error("PROFILE-MISSING", at, "压缩包要声明 entry（包内文件名）。", "补上 entry，例如 \"{table}.csv\"。", rule="必填")
    _placeholders(check, entry, (*at, "entry"), ("table",), ("table",) if carries == "many" else ())
    if container == "zip" and carries == "many" and manifest is None:
        check.error("PROFILE-MISSING", at, "一包多表要声明 manifest（清单）。", "补上 manifest。", rule="必填")
    if form == "xlsx" and (container != "none" or carries != "many"):
        check.error(
            "PROFILE-FORM", (*at, "form"), ".xlsx 自己就是一份多表，不得再套压缩包。", "写 carries: many，去掉 container。", form,
            "carries: many",
        )
    if form == "xml" and xml is None:
        check.error("PROFILE-MISSING", at, "XML 要声明 xml（元素与属性名）。", "补上 xml。", rule="必填")
    _identified(check, at, form, carries, header, flag, manifest, xml, value.get("cover"))
    names_default = {"csv": "codes", "xlsx": "codes"}.get(form, "none")
    names = check.choice(value.get("names"), (*at, "names"), ("codes", "labels", "none"), names_default)
    protection = _protection(check, value.get("protection"), (*at, "protection"))
    offered = _offered(trailer, flag, digest, manifest, xml, container, form)
    for i, kind in enumerate(protection):
        if kind not in offered:
            check.error(
                "PROFILE-PROTECT", (*at, "protection", i), f"声明了 {kind} 保护，但文件形式里没有提供。",
                "补上合计、摘要文件或压缩包，或改写 protection。", kind, f"现有：{'、'.join(sorted(offered)) or '无'}",
            )
    units = _units(check, value.get("units", {}), (*at, "units"))
    tables = _tables(check, value.get("tables"), (*at, "tables"), fixed, names, protection)
    codes = _codes(check, value.get("codes", {}), (*at, "codes"), tables)
    return p.Profile(
        centre=centre, name=name, centre_code=code, pattern=pattern, carries=carries, form=form, container=container, entry=entry,
        encoding=encoding, separator=separator, separator_after_last=bool(value.get("separator_after_last", False)), names=names,
        cells=check.choice(value.get("cells"), (*at, "cells"), ("text", "values"), "text"),
        cover=check.text(value.get("cover"), (*at, "cover")), header=header, trailer=trailer, flag=flag, digest=digest, manifest=manifest,
        xml=xml, acknowledgement=_acknowledgement(check, value.get("acknowledgement"), (*at, "acknowledgement"), encoding),
        mode_words=mode_words,  # type: ignore[arg-type]
        complete=complete, quiet_seconds=check.integer(value.get("quiet_seconds"), (*at, "quiet_seconds"), 300, 1, 86_400), units=units,
        codes=codes, checks=_numbers(check, p.Checks, value.get("checks", {}), (*at, "checks")),
        limits=_numbers(check, p.Limits, value.get("limits", {}), (*at, "limits")),
        expected=_expected(check, value.get("expected"), (*at, "expected"), tables), tables=tables, basis=str(basis),
        document=check.text(source.get("document"), (*at, "source", "document")),
    )


def _placeholders(check: _Check, text: str, at: Keys, allowed: Collection[str], required: Collection[str] = ()) -> None:
    """Names in braces are put in where the file is read; any other would be taken for the name of something that never comes."""
    used = re.findall(r"\{([^}]*)\}", text)
    for name in used:
        if name not in allowed:
            check.unknown(at, f"{{{name}}}", [f"{{{one}}}" for one in allowed])
    for name in required:
        if text and name not in used:
            check.error("PROFILE-PATTERN", at, f"要含 {{{name}}}，否则各表（各列）分不开。", f"补上 {{{name}}}。", text)


def _completes(
    check: _Check, at: Keys, complete: str, trailer: tuple[p.Part, ...], flag: p.FlagFile | None, digest: p.DigestFile | None,
    container: str,
) -> None:
    present = {
        "trailer": bool(trailer), "flag": flag is not None, "digest": digest is not None, "container": container == "zip", "quiet": True,
    }
    if not present[complete]:
        check.error(
            "PROFILE-COMPLETE", (*at, "complete"), f"以 {complete} 判断完整，但没有声明它。",
            f"补上 {complete} 的声明，或改写 complete。", complete,
        )


def _identified(
    check: _Check, at: Keys, form: str, carries: str, header: tuple[p.Part, ...], flag: p.FlagFile | None, manifest: p.Manifest | None,
    xml: p.XmlForm | None, cover: Any,
) -> None:
    """The content must say centre, date, sequence, and table and mode where one file carries one table."""
    said: set[str] = {part.text.strip("{}") for part in header if part.text in _PLACEHOLDERS}
    for holder in (flag, manifest, xml):
        if holder is not None:
            said |= set(holder.identity)
    if flag is not None:
        said |= {part.text.strip("{}") for part in flag.first}
    if manifest is not None:
        said |= {"table", "mode"}
    if form == "xlsx" and cover:
        said |= {"centre", "table", "date", "sequence", "mode"}
    for name in ("centre", "table", "date", "sequence", "mode"):
        if name not in said:
            check.error(
                "PROFILE-IDENTITY", at, f"内容里没有声明在哪里写明 {name}。", "在 header、flag、manifest、xml 或 cover 中补上。",
                rule="身份来自内容",
            )


def _offered(
    trailer: tuple[p.Part, ...], flag: p.FlagFile | None, digest: p.DigestFile | None, manifest: p.Manifest | None, xml: p.XmlForm | None,
    container: str, form: str,
) -> set[str]:
    offered = {"none"}
    if any(part.text == "{sums}" for part in trailer) or xml is not None or form == "xlsx":
        offered.add("total")
    if flag is not None and (flag.sums or flag.form == "delimited"):
        offered.add("total")
    if manifest is not None and manifest.sums:
        offered.add("total")
    if digest is not None or (flag is not None and flag.digest_key):
        offered.add("digest")
    if container in ("zip", "gz"):
        offered.add("archive")
    return offered


def _parts(check: _Check, raw: Any, at: Keys, fixed: bool) -> tuple[p.Part, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list) or not raw:
        check.error("PROFILE-TYPE", at, "这里应当是非空列表。", "改成列表。", raw, "列表")
        return ()
    parts = []
    for i, item in enumerate(raw):
        here = (*at, i)
        if fixed:
            if not (isinstance(item, dict) and len(item) == 1 and isinstance(next(iter(item.values())), int)):
                check.error("PROFILE-TYPE", here, "定长的头尾每项写作 {内容: 宽度}。", "改成 {内容: 宽度}。", item, "{内容: 宽度}")
                continue
            text, width = next(iter(item.items()))
            if not 0 < width <= 255:
                check.error("PROFILE-RANGE", here, "宽度应为 1 到 255。", "改正宽度。", width, "1–255")
        else:
            text, width = check.text(item, here), 0
        if text.startswith("{") and text not in _PLACEHOLDERS:
            check.unknown(here, text, _PLACEHOLDERS)
        parts.append(p.Part(text, width))
    if parts and parts[0].text in _PLACEHOLDERS:
        check.error("PROFILE-MARKER", at, "头尾的第一项应为固定标记，用来认出它。", "在最前面加固定标记。", parts[0].text, "固定标记")
    return tuple(parts)


def _identity(check: _Check, raw: Any, at: Keys) -> dict[str, str]:
    value = check.mapping(raw if raw is not None else {}, at)
    check.keys(value, at, _IDENTITY)
    return {k: check.text(v, (*at, k)) for k, v in value.items()}


def _flag(check: _Check, raw: Any, at: Keys) -> p.FlagFile | None:
    if raw is None:
        return None
    value = check.mapping(raw, at)
    check.keys(value, at, ("suffix", "form", "encoding", "identity", "sums", "digest", "first"), ("suffix", "form"))
    form = check.choice(value.get("form"), (*at, "form"), ("pairs", "delimited"), "pairs")
    digest = check.mapping(value.get("digest", {}), (*at, "digest"))
    check.keys(digest, (*at, "digest"), ("key", "algorithm"))
    sums = check.text(value.get("sums"), (*at, "sums"))
    _placeholders(check, sums, (*at, "sums"), ("column",), ("column",))
    return p.FlagFile(
        suffix=_suffix(check, value.get("suffix"), (*at, "suffix")), form=form,
        encoding=check.choice(value.get("encoding"), (*at, "encoding"), p.ENCODINGS, "utf-8"),
        identity=_identity(check, value.get("identity"), (*at, "identity")), sums=sums,
        digest_key=check.text(digest.get("key"), (*at, "digest", "key")),
        algorithm=check.choice(digest.get("algorithm"), (*at, "digest", "algorithm"), ("sm3", "sha256"), "sm3"),
        first=_parts_of_flag(check, value.get("first"), (*at, "first")),
    )


def _parts_of_flag(check: _Check, raw: Any, at: Keys) -> tuple[p.Part, ...]:
    parts = [p.Part(check.text(item, (*at, i))) for i, item in enumerate(raw if isinstance(raw, list) else [])]
    for i, part in enumerate(parts):
        if part.text.startswith("{") and part.text not in _PLACEHOLDERS:
            check.unknown((*at, i), part.text, _PLACEHOLDERS)
    return tuple(parts)


def _suffix(check: _Check, raw: Any, at: Keys) -> str:
    text = check.text(raw, at)
    if not re.fullmatch(r"\.[A-Za-z0-9]{1,10}", text):
        check.error("PROFILE-RANGE", at, "后缀写作 . 加 1 到 10 个字母数字。", "改正后缀。", text, ".ok")
    return text


def _digest(check: _Check, raw: Any, at: Keys) -> p.DigestFile | None:
    if raw is None:
        return None
    value = check.mapping(raw, at)
    check.keys(value, at, ("suffix", "algorithm"), ("suffix", "algorithm"))
    algorithm = check.choice(value.get("algorithm"), (*at, "algorithm"), ("sm3", "sha256"), "sm3")
    return p.DigestFile(_suffix(check, value.get("suffix"), (*at, "suffix")), algorithm)


def _manifest(check: _Check, raw: Any, at: Keys) -> p.Manifest | None:
    if raw is None:
        return None
    value = check.mapping(raw, at)
    check.keys(value, at, ("entry", "form", "encoding", "identity", "mode", "rows", "sums"), ("entry", "identity", "mode", "rows"))
    check.choice(value.get("form"), (*at, "form"), ("pairs",), "pairs")
    text = {k: check.text(value.get(k), (*at, k)) for k in ("entry", "mode", "rows", "sums")}
    for name, needed in (("entry", ()), ("mode", ("table",)), ("rows", ("table",)), ("sums", ("table", "column"))):
        _placeholders(check, text[name], (*at, name), needed, needed)
    return p.Manifest(
        text["entry"], check.choice(value.get("encoding"), (*at, "encoding"), p.ENCODINGS, "utf-8"),
        _identity(check, value.get("identity"), (*at, "identity")), text["mode"], text["rows"], text["sums"],
    )


def _xml(check: _Check, raw: Any, at: Keys) -> p.XmlForm | None:
    if raw is None:
        return None
    value = check.mapping(raw, at)
    check.keys(value, at, ("root", "row", "totals", "identity", "rows"), ("root", "row", "totals", "identity", "rows"))
    text = {k: check.text(value.get(k), (*at, k)) for k in ("root", "row", "totals", "rows")}
    return p.XmlForm(text["root"], text["row"], text["totals"], _identity(check, value.get("identity"), (*at, "identity")), text["rows"])


def _acknowledgement(check: _Check, raw: Any, at: Keys, encoding: p.Encoding) -> p.AcknowledgementForm:
    """Without a declaration: separated lines in the file's own encoding."""
    value = check.mapping(raw if raw is not None else {}, at)
    check.keys(value, at, ("form", "encoding", "separator"))
    separator = check.text(value.get("separator"), (*at, "separator"), "|")
    if not separator:
        check.error("PROFILE-RANGE", (*at, "separator"), "分隔符不得为空。", "写一个分隔符。", separator, "可见字符")
    return p.AcknowledgementForm(
        check.choice(value.get("form"), (*at, "form"), ("lines", "csv", "xml"), "lines"),
        check.choice(value.get("encoding"), (*at, "encoding"), p.ENCODINGS, encoding), separator or "|",
    )


def _protection(check: _Check, raw: Any, at: Keys) -> tuple[p.Protection, ...]:
    items = raw if isinstance(raw, list) else []
    if not items:
        check.error(
            "PROFILE-TYPE", at, "写明金额列受何保护的列表。", "例如 protection: [total]；没有就写 [none]。", raw, "、".join(p.PROTECTIONS)
        )
    return tuple(check.choice(item, (*at, i), p.PROTECTIONS, "none") for i, item in enumerate(items))


def _units(check: _Check, raw: Any, at: Keys) -> p.Units:
    value = check.mapping(raw, at)
    check.keys(value, at, ("amount", "rate", "date"), ("amount", "rate", "date"))
    return p.Units(
        check.choice(value.get("amount"), (*at, "amount"), ("yuan", "fen"), "yuan"),
        check.choice(value.get("rate"), (*at, "rate"), RATE_UNITS, "fraction"),
        check.choice(value.get("date"), (*at, "date"), get_args(p.DateForm), "YYYYMMDD"),
    )


def _tables(
    check: _Check, raw: Any, at: Keys, fixed: bool, names: str, protection: tuple[p.Protection, ...]
) -> dict[str, p.TableSpec]:
    tables: dict[str, p.TableSpec] = {}
    for code, item in check.mapping(raw if raw is not None else {}, at).items():
        here = (*at, code)
        if code not in BY_CODE:
            check.unknown(here, code, BY_CODE)
            continue
        table = BY_CODE[code]
        value = check.mapping(item, here)
        check.keys(value, here, ("mode", "replaces", "columns", "protection"), ("mode", "columns"))
        mode = check.choice(value.get("mode"), (*here, "mode"), ("full", "increment"), "increment")
        replaces = check.choice(value.get("replaces"), (*here, "replaces"), ("version", "table"), "version")
        if "replaces" in value and mode != "full":
            check.error(
                "PROFILE-MODE", (*here, "replaces"), "只有全量（full）才声明 replaces。", "删去 replaces，或改 mode: full。", replaces
            )
        if not table.key and mode != "full":
            check.error("PROFILE-MODE", (*here, "mode"), f"{code} 没有主键，只能按全量更正。", "改成 mode: full。", mode, "full")
        own = check.mapping(value.get("protection", {}), (*here, "protection"))
        columns = _columns(check, value.get("columns"), (*here, "columns"), table, fixed, names, protection, own)
        known = {c.column.code for c in columns if c.column is not None}
        for column in table.columns:
            if column.required and column.code not in known:
                check.error(
                    "PROFILE-COLUMN", (*here, "columns"), f"缺少必填字段 {column.code}（{column.label}）。", "补上该列。", column.code,
                    "标准必填字段",
                )
        for code_ in own:
            if code_ not in known:
                check.unknown((*here, "protection", code_), code_, known)
        tables[code] = p.TableSpec(table, mode, replaces, columns)
    return tables


def _columns(
    check: _Check, raw: Any, at: Keys, table: FactTable, fixed: bool, names: str, protection: tuple[p.Protection, ...], own: dict[str, Any]
) -> tuple[p.ColumnSpec, ...]:
    """A column is `CODE`, `{NAME: CODE}`, `{NAME: ignore}`, fixed width `{CODE: width}` or `{NAME: {field: CODE, width: n}}`."""
    if not isinstance(raw, list) or not raw:
        check.error("PROFILE-TYPE", at, "columns 应当是非空列表。", "按文件次序列出各列。", raw, "列表")
        return ()
    by_code: dict[str, Column] = {c.code: c for c in table.columns}
    columns: list[p.ColumnSpec] = []
    seen: set[str] = set()
    for i, item in enumerate(raw):
        here = (*at, i)
        name, code, width = "", "", 0
        if isinstance(item, str):
            name = code = item
        elif isinstance(item, dict) and len(item) == 1:
            name, target = next(iter(item.items()))
            if isinstance(target, str):
                code = target
            elif isinstance(target, int) and not isinstance(target, bool):
                code, width = name, target
            elif isinstance(target, dict):
                check.keys(target, (*here, name), ("field", "width"), ("field",))
                code, width = str(target.get("field", "")), target.get("width", 0)
        if not name or not code or not isinstance(width, int):
            check.error("PROFILE-COLUMN", here, "看不懂这一列。", "写 代码、{列名: 代码}、{列名: ignore} 或 {代码: 宽度}。", item)
            continue
        column = by_code.get(code)
        if column is None and code != "ignore":
            check.unknown(here, code, [*by_code, "ignore"])
            continue
        if fixed and not 0 < width <= 1_000:
            check.error("PROFILE-COLUMN", here, f"定长文件的 {name} 要声明 1 到 1000 字节的宽度。", "写 {代码: 宽度}。", width, "1–1000")
        if column is not None:
            if names == "labels" and name == code:
                name = column.label
            if code in seen:
                check.error("PROFILE-COLUMN", here, f"字段 {code} 出现两次。", "删去其中一个。", code)
            seen.add(code)
        kinds = protection if column is not None and column.kind == "fen" else ()
        if column is not None and column.code in own:
            kinds = _protection(check, own[column.code], (*at[:-1], "protection", column.code))
        columns.append(p.ColumnSpec(name, column, width, kinds))
    twice = {c.name for c in columns if sum(d.name == c.name for d in columns) > 1}
    for name in sorted(twice):
        check.error("PROFILE-COLUMN", at, f"列名 {name} 出现两次。", "改名或删去。", name)
    return tuple(columns)


def _codes(check: _Check, raw: Any, at: Keys, tables: dict[str, p.TableSpec]) -> dict[str, dict[str, str]]:
    known = {c.code for t in BY_CODE.values() for c in t.columns if c.kind == "code"}
    result: dict[str, dict[str, str]] = {}
    for code, item in check.mapping(raw, at).items():
        here = (*at, code)
        if code not in known:
            check.unknown(here, code, known)
            continue
        mapped = {}
        for key, target in check.mapping(item, here).items():
            text = check.text(target, (*here, key))
            allowed = CODE_LISTS.get(code)
            if allowed is not None and text not in allowed:
                check.unknown((*here, key), text, allowed)
            mapped[str(key)] = text
        result[code] = mapped
    needed = {c.column.code for t in tables.values() for c in t.columns if c.column is not None}
    for code, canon in (("DKZT", LOAN_STATUSES), ("BGLX", CHANGE_KINDS)):
        if code in needed:
            for value in canon:
                if value not in result.get(code, {}).values():
                    check.error(
                        "PROFILE-CODE", (*at, code) if code in result else at, f"{code} 没有任何代码对应 {value}（{canon[value]}）。",
                        "补上映射。", value, "每个标准值都要有代码",
                    )
    return result


def _numbers(check: _Check, kind: type[Any], raw: Any, at: Keys) -> Any:
    value = check.mapping(raw, at)
    fields = kind.__dataclass_fields__
    check.keys(value, at, tuple(fields))
    # An archive in an archive is never opened: its depth is a limit that can only be one.
    known = {k: v for k, v in value.items() if k in fields}
    return kind(**{k: check.integer(v, (*at, k), fields[k].default, *_RANGES.get(k, (0, 1 << 50))) for k, v in known.items()})


_RANGES = {"archive_depth": (1, 1)}


def _expected(check: _Check, raw: Any, at: Keys, tables: dict[str, p.TableSpec]) -> p.Expectation | None:
    if raw is None:
        return None
    value = check.mapping(raw, at)
    check.keys(value, at, ("from", "tables"), ("from", "tables"))
    since = value.get("from")
    if not isinstance(since, date):
        check.error("PROFILE-TYPE", (*at, "from"), "from 应当是日期。", "写 2026-09-01 这样的日期。", since, "日期")
        since = date(2000, 1, 1)
    days: dict[str, int] = {}
    for code, day in check.mapping(value.get("tables", {}), (*at, "tables")).items():
        if code not in tables:
            check.unknown((*at, "tables", code), code, tables)
            continue
        days[code] = check.integer(day, (*at, "tables", code), 1, 1, 28)
    return p.Expectation(since, days)
