"""What a centre's files to and from banks look like: `rules/<centre>/outbound.yaml`, loaded into frozen types.

Nothing about a format is in Python beyond the vocabulary of field names below; a wrong detail is corrected in the centre's folder
(docs/清算文件.md describes the files for banks).
"""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from subsidy.errors import TerminalError

Unit = Literal["yuan", "fen"]

#: Fields of one row of a payment or recovery file.
ROW_FIELDS = ("ordinal", "amount", "account", "name", "bank_no", "summary", "payment_no", "empty", "zero")
#: Fields of the summary line and of the detail lines of a result file.
SUMMARY_FIELDS = ("date", "unit_no", "bank_batch_no", "count", "total", "good_count", "good_total", "bad_count", "bad_total", "skip")
DETAIL_FIELDS = (
    "ordinal", "amount", "account", "name", "payer_account", "payer_name", "payee_account", "payee_name", "payment_no", "code", "text",
    "host_date", "host_serial", "skip",
)  # fmt: skip
MOVEMENT_FIELDS = ("ordinal", "own_account", "host_serial", "account", "name", "amount", "date", "remark", "summary", "skip")
#: What a template may name.
TEMPLATE_NAMES = (
    "unit_no", "send_no", "date", "month", "day_no", "count", "total", "zero", "summary", "account_no", "account_name", "account_class",
    "file_type", "file_name", "sha256", "bank_batch_no", "number", "version",
)  # fmt: skip
ENCODINGS = ("gbk", "gb18030", "utf-8")
NEWLINES = {"lf": "\n", "crlf": "\r\n"}


@dataclass(frozen=True, slots=True)
class Route:
    """Rows of one route: own bank, other bank, or the single route of a profile that makes no difference."""

    name: str  # own | other | single
    file_name: str  # template
    file_type: str  # BDC FileType: 1 own, 2 other
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MessageBody:
    """The message that accompanies a batch file: template of its name, and of each field's value, in order."""

    file_name: str
    encoding: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A payment (`direction` out) or recovery (in) file."""

    name: str
    direction: Literal["out", "in"]
    encoding: str
    unit: Unit
    newline: str
    separator: str
    terminated: bool  # the separator also follows the last field
    header: str  # template, "" when there is none
    trailer: str
    summary: str  # template of the row's summary text
    result: str  # name of the result layout
    routes: tuple[Route, ...]
    message: MessageBody | None

    def route(self, name: str) -> Route:
        """The route called `name`; KeyError when the layout has none."""
        for route in self.routes:
            if route.name == name:
                return route
        raise KeyError(name)

    @property
    def splits(self) -> bool:
        """True when own-bank and other-bank payees go into different files."""
        return any(route.name == "own" for route in self.routes)


@dataclass(frozen=True, slots=True)
class ResultLayout:
    """A result file: one summary line, detail lines, an end line."""

    name: str
    file_name: str
    encoding: str
    unit: Unit
    separator: str
    terminated: bool
    summary_mark: str
    summary: tuple[str, ...]
    detail: tuple[str, ...]
    end: str
    success: tuple[str, ...]
    pending: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MovementLayout:
    """An account movement file. `return_days`: a return comes at most so many days after the payment."""

    file_name: str
    encoding: str
    unit: Unit
    separator: str
    terminated: bool
    end: str
    fields: tuple[str, ...]
    return_days: int


@dataclass(frozen=True, slots=True)
class QueryLayouts:
    """Batch (BDC107) and payment (BDC110) queries and their answers."""

    encoding: str
    end: str
    batch_name: str
    batch_answer: str
    payment_name: str
    payment_answer: str


@dataclass(frozen=True, slots=True)
class Outbound:
    """Everything `outbound.yaml` of one centre says."""

    centre: str
    layouts: dict[str, Layout]
    recovery: str
    results: dict[str, ResultLayout]
    movements: MovementLayout
    queries: QueryLayouts
    funds_notice: str
    recovery_notice: str
    voucher_name: str
    voucher_encoding: str

    def layout(self, name: str) -> Layout:
        """The layout called `name`. Raises TerminalError ``OUTBOUND-PROFILE`` when the folder does not declare it."""
        if name not in self.layouts:
            near = difflib.get_close_matches(name, self.layouts, 1)
            hint = f"，最接近的是 {near[0]}" if near else ""
            raise TerminalError(
                "OUTBOUND-PROFILE",
                f"中心 {self.centre} 没有名为 {name} 的付款文件格式{hint}。",
                "没有生成批次，没有写文件。",
                f"在 rules/{self.centre}/outbound.yaml 的 layouts 中声明该格式，或更正 policy.yaml 的付款文件格式。",
            )
        return self.layouts[name]


class _Reader:
    """Takes values out of the YAML tree and remembers everything that is wrong with them."""

    def __init__(self, centre: str) -> None:
        self.centre = centre
        self.errors: list[str] = []

    def error(self, key: str, text: str) -> None:
        self.errors.append(f"{key}：{text}")

    def mapping(self, tree: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
        value = tree.get(key)
        if not isinstance(value, dict):
            self.error(f"{where}{key}", "缺少，或不是键值表")
            return {}
        return value

    def text(self, tree: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
        value = tree.get(key, default)
        if not isinstance(value, str):
            self.error(f"{where}{key}", "缺少，或不是文字（数字请加引号）")
            return ""
        return value

    def template(self, tree: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
        value = self.text(tree, key, where, default)
        for name in re.findall(r"\{(.*?)\}", value):
            if name not in TEMPLATE_NAMES:
                near = difflib.get_close_matches(name, TEMPLATE_NAMES, 1)
                self.error(f"{where}{key}", f"不认识 {{{name}}}" + (f"，最接近的是 {{{near[0]}}}" if near else ""))
        return value

    def one_of(self, tree: Mapping[str, Any], key: str, allowed: Sequence[str], where: str) -> str:
        value = self.text(tree, key, where)
        if value and value not in allowed:
            self.error(f"{where}{key}", f"{value} 不在允许的值之内：{'、'.join(allowed)}")
        return value

    def flag(self, tree: Mapping[str, Any], key: str, where: str) -> bool:
        value = tree.get(key)
        if not isinstance(value, bool):
            self.error(f"{where}{key}", "缺少，或不是 true / false")
        return bool(value)

    def names(self, tree: Mapping[str, Any], key: str, allowed: Sequence[str] | None, where: str) -> tuple[str, ...]:
        value = tree.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            self.error(f"{where}{key}", "缺少，或不是文字的列表")
            return ()
        for name in value:
            if allowed is not None and name not in allowed:
                near = difflib.get_close_matches(name, allowed, 1)
                self.error(f"{where}{key}", f"不认识栏位 {name}" + (f"，最接近的是 {near[0]}" if near else ""))
        return tuple(value)

    def provenance(self, tree: Mapping[str, Any], where: str) -> None:
        if not tree.get("basis") and not tree.get("source"):
            self.error(f"{where}basis", "没有出处：写 source，或 basis: assumed")


def _layout(reader: _Reader, name: str, tree: dict[str, Any]) -> Layout:
    where = f"layouts.{name}."
    reader.provenance(tree, where)
    routes = []
    for route_name, route in reader.mapping(tree, "routes", where).items():
        place = f"{where}routes.{route_name}."
        if route_name not in ("own", "other", "single"):
            reader.error(place, "路由只能是 own、other、single")
        if not isinstance(route, dict):
            reader.error(place, "不是键值表")
            continue
        fields = reader.names(route, "fields", ROW_FIELDS, place)
        for needed in ("ordinal", "amount", "account", "name", "payment_no"):
            if needed not in fields:
                reader.error(f"{place}fields", f"缺少必需的栏位 {needed}")
        routes.append(Route(str(route_name), reader.template(route, "name", place), str(route.get("file_type", "")), fields))
    if {r.name for r in routes} not in ({"own", "other"}, {"single"}):
        reader.error(f"{where}routes", "要么只有 single，要么同时有 own 和 other")
    message = None
    if "message" in tree:
        place = f"{where}message."
        body = reader.mapping(tree, "message", where)
        fields_tree = reader.mapping(body, "fields", place)
        message = MessageBody(
            reader.template(body, "name", place),
            reader.one_of(body, "encoding", ENCODINGS, place),
            tuple((str(k), reader.template(fields_tree, k, f"{place}fields.")) for k in fields_tree),
        )
    direction: Literal["out", "in"] = "in" if reader.one_of(tree, "direction", ("out", "in"), where) == "in" else "out"
    return Layout(
        name=name,
        direction=direction,
        encoding=reader.one_of(tree, "encoding", ENCODINGS, where),
        unit=_unit(reader, tree, where),
        newline=NEWLINES.get(reader.one_of(tree, "newline", tuple(NEWLINES), where), "\n"),
        separator=reader.text(tree, "separator", where),
        terminated=reader.flag(tree, "terminated", where),
        header=reader.template(tree, "header", where, ""),
        trailer=reader.template(tree, "trailer", where, ""),
        summary=reader.template(tree, "summary", where),
        result=reader.text(tree, "result", where),
        routes=tuple(routes),
        message=message,
    )


def _unit(reader: _Reader, tree: Mapping[str, Any], where: str) -> Unit:
    return "fen" if reader.one_of(tree, "unit", ("yuan", "fen"), where) == "fen" else "yuan"


def _result(reader: _Reader, name: str, tree: dict[str, Any]) -> ResultLayout:
    where = f"results.{name}."
    reader.provenance(tree, where)
    detail = reader.names(tree, "detail", DETAIL_FIELDS, where)
    for needed in ("ordinal", "amount", "code", "text", "host_date", "host_serial"):
        if needed not in detail:
            reader.error(f"{where}detail", f"缺少必需的栏位 {needed}")
    summary = reader.names(tree, "summary", SUMMARY_FIELDS, where)
    for needed in ("count", "total", "good_count", "good_total", "bad_count", "bad_total"):
        if needed not in summary:
            reader.error(f"{where}summary", f"缺少必需的合计 {needed}")
    return ResultLayout(
        name=name,
        file_name=reader.template(tree, "name", where),
        encoding=reader.one_of(tree, "encoding", ENCODINGS, where),
        unit=_unit(reader, tree, where),
        separator=reader.text(tree, "separator", where),
        terminated=reader.flag(tree, "terminated", where),
        summary_mark=reader.text(tree, "summary_mark", where, ""),
        summary=summary,
        detail=detail,
        end=reader.text(tree, "end", where),
        success=reader.names(tree, "success", None, where),
        pending=reader.names(tree, "pending", None, where),
    )


def parse(centre: str, text: str) -> Outbound:
    """Build `Outbound` from the text of `outbound.yaml`.

    Raises TerminalError ``OUTBOUND-PROFILE`` naming every key that is missing, unknown or of the wrong type.
    """
    reader = _Reader(centre)
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reader.error("outbound.yaml", f"不是有效的 YAML：{' '.join(str(error).split())}")
        tree = {}
    if not isinstance(tree, dict):
        tree = {}
    layouts = {
        str(name): _layout(reader, str(name), body) for name, body in reader.mapping(tree, "layouts", "").items() if isinstance(body, dict)
    }
    results = {
        str(name): _result(reader, str(name), body) for name, body in reader.mapping(tree, "results", "").items() if isinstance(body, dict)
    }
    for layout in layouts.values():
        if layout.result not in results:
            reader.error(f"layouts.{layout.name}.result", f"results 中没有 {layout.result}")
    recovery = reader.text(tree, "recovery", "")
    if recovery not in layouts or layouts[recovery].direction != "in":
        reader.error("recovery", f"layouts 中没有方向为 in 的 {recovery}")
    move = reader.mapping(tree, "movements", "")
    reader.provenance(move, "movements.")
    days = move.get("return_days")
    if not isinstance(days, int) or not 0 <= days <= 60:
        reader.error("movements.return_days", "缺少，或不是 0 到 60 的整数")
        days = 0
    movement_fields = reader.names(move, "fields", MOVEMENT_FIELDS, "movements.")
    for needed in ("host_serial", "account", "amount", "date", "summary"):
        if needed not in movement_fields:
            reader.error("movements.fields", f"缺少必需的栏位 {needed}")
    query = reader.mapping(tree, "queries", "")
    reader.provenance(query, "queries.")
    batch_query = reader.mapping(query, "batch", "queries.")
    payment_query = reader.mapping(query, "payment", "queries.")
    notices = reader.mapping(tree, "notices", "")
    vouchers = reader.mapping(tree, "vouchers", "")
    outbound = Outbound(
        centre=centre,
        layouts=layouts,
        recovery=recovery,
        results=results,
        movements=MovementLayout(
            file_name=reader.template(move, "name", "movements."),
            encoding=reader.one_of(move, "encoding", ENCODINGS, "movements."),
            unit=_unit(reader, move, "movements."),
            separator=reader.text(move, "separator", "movements."),
            terminated=reader.flag(move, "terminated", "movements."),
            end=reader.text(move, "end", "movements."),
            fields=movement_fields,
            return_days=days,
        ),
        queries=QueryLayouts(
            encoding=reader.one_of(query, "encoding", ENCODINGS, "queries."),
            end=reader.text(query, "end", "queries."),
            batch_name=reader.template(batch_query, "name", "queries.batch."),
            batch_answer=reader.template(batch_query, "answer", "queries.batch."),
            payment_name=reader.template(payment_query, "name", "queries.payment."),
            payment_answer=reader.template(payment_query, "answer", "queries.payment."),
        ),
        funds_notice=reader.template(notices, "funds", "notices."),
        recovery_notice=reader.template(notices, "recovery", "notices."),
        voucher_name=reader.template(vouchers, "name", "vouchers."),
        voucher_encoding=reader.one_of(vouchers, "encoding", ENCODINGS, "vouchers."),
    )
    if reader.errors:
        raise TerminalError(
            "OUTBOUND-PROFILE",
            f"rules/{centre}/outbound.yaml 有 {len(reader.errors)} 处错误：" + "；".join(reader.errors) + "。",
            "没有生成批次，没有写文件，没有读回盘；其他中心不受影响。",
            "按提示更正该文件后重试。",
        )
    for encoding in {layout.encoding for layout in layouts.values()}:
        codecs.lookup(encoding)
    return outbound


def load(rules: Path, centre: str) -> Outbound:
    """Load the outbound profiles of a centre folder. Raises TerminalError ``OUTBOUND-PROFILE`` when missing or wrong."""
    path = rules / centre / "outbound.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TerminalError(
            "OUTBOUND-PROFILE",
            f"读不到 rules/{centre}/outbound.yaml（{type(error).__name__}）。",
            "没有生成批次，没有写文件，没有读回盘；其他中心不受影响。",
            "补上该文件（UTF-8）后重试。",
        ) from error
    return parse(centre, text)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put `values` into ``{name}`` places of `template`. KeyError when a place has no value."""
    return re.sub(r"\{(.*?)\}", lambda match: values[match.group(1)], template)


def pattern(template: str, known: Mapping[str, str]) -> re.Pattern[str]:
    """Regular expression that recognises file names built from `template`; places in `known` must have that value, others become named
    groups of letters, digits and ``-`` ``_``."""
    shapes = {"send_no": r"\d{20}", "date": r"\d{8}", "day_no": r"\d{3}", "number": r"\d{3}", "month": r"\d{6}"}
    out, at = [], 0
    for match in re.finditer(r"\{(.*?)\}", template):
        out.append(re.escape(template[at : match.start()]))
        name = match.group(1)
        out.append(re.escape(known[name]) if name in known else f"(?P<{name}>{shapes.get(name, '[A-Za-z0-9-]+')})")
        at = match.end()
    out.append(re.escape(template[at:]))
    return re.compile("".join(out))
