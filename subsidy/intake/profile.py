"""What a centre declares about its inbound files: frozen types of the `inbound` part of ``rules/<centre>/files.yaml``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from subsidy.facts.schema import Column, FactTable
from subsidy.money import RateUnit

Form = Literal["delimited", "csv", "fixed", "xlsx", "xml", "jsonl"]
Container = Literal["none", "zip", "gz"]
Encoding = Literal["gb18030", "utf-8", "utf-8-bom"]
AmountUnit = Literal["yuan", "fen"]
DateForm = Literal["YYYYMMDD", "YYYY-MM-DD"]
Protection = Literal["total", "digest", "archive", "none"]
Complete = Literal["trailer", "flag", "digest", "container", "quiet"]
Mode = Literal["full", "increment"]

FORMS: tuple[Form, ...] = ("delimited", "csv", "fixed", "xlsx", "xml", "jsonl")
CONTAINERS: tuple[Container, ...] = ("none", "zip", "gz")
ENCODINGS: tuple[Encoding, ...] = ("gb18030", "utf-8", "utf-8-bom")
PROTECTIONS: tuple[Protection, ...] = ("total", "digest", "archive", "none")
COMPLETES: tuple[Complete, ...] = ("trailer", "flag", "digest", "container", "quiet")

#: Python codec of each declared encoding.
CODECS: dict[Encoding, str] = {"gb18030": "gb18030", "utf-8": "utf-8", "utf-8-bom": "utf-8"}


@dataclass(frozen=True, slots=True)
class Units:
    """Units of a profile's amounts, rates and dates."""

    amount: AmountUnit = "yuan"
    rate: RateUnit = "fraction"
    date: DateForm = "YYYYMMDD"


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a header or trailer: a literal or a placeholder in braces; `width` in bytes, 0 where separated."""

    text: str
    width: int = 0


@dataclass(frozen=True, slots=True)
class DigestFile:
    """A companion that holds the digest of the data file's bytes."""

    suffix: str
    algorithm: Literal["sm3", "sha256"]


@dataclass(frozen=True, slots=True)
class FlagFile:
    """A companion uploaded after the data, with identity, rows and totals: ``key=value`` pairs, or separated lines."""

    suffix: str
    form: Literal["pairs", "delimited"]
    encoding: Encoding
    identity: dict[str, str] = field(default_factory=dict)  # centre table date sequence mode rows -> key
    sums: str = ""  # key of a column's total, with {column}
    digest_key: str = ""
    algorithm: Literal["sm3", "sha256"] = "sm3"
    first: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """The entry of an archive that says what is in it, as ``key=value`` pairs."""

    entry: str
    encoding: Encoding
    identity: dict[str, str]
    mode: str
    rows: str
    sums: str = ""


@dataclass(frozen=True, slots=True)
class XmlForm:
    """Element and attribute names of an XML file."""

    root: str
    row: str
    totals: str
    identity: dict[str, str]
    rows: str


@dataclass(frozen=True, slots=True)
class AcknowledgementForm:
    """How a centre wants its acknowledgements."""

    form: Literal["lines", "csv", "xml"]
    encoding: Encoding
    separator: str = "|"


@dataclass(frozen=True, slots=True)
class Checks:
    """Tolerances and limits of judgement. Percent and ppm are integers."""

    interest_tolerance_ppm: int = 50_000
    interest_tolerance_fen: int = 100
    withdrawal_limit_percent: int = 10
    withdrawal_free_rows: int = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Nothing is read without a limit. Bytes, rows and counts."""

    file_bytes: int = 8 << 30
    line_bytes: int = 1 << 16
    field_chars: int = 1_000
    rows: int = 100_000_000
    columns: int = 200
    findings_listed: int = 1_000
    quarantined_rows: int = 50_000
    companion_bytes: int = 1 << 20
    archive_ratio: int = 200
    archive_bytes: int = 32 << 30
    archive_entries: int = 64
    archive_depth: int = 1
    workbook_bytes: int = 256 << 20  # of .xlsx parts, expanded
    workbook_cells: int = 30_000_000


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """A column of a file: its name there, the dictionary field (None: read over), width in bytes (fixed), what protects it."""

    name: str
    column: Column | None
    width: int = 0
    protection: tuple[Protection, ...] = ()


@dataclass(frozen=True, slots=True)
class TableSpec:
    """How one table is delivered. `replaces`: what a full file replaces, its own earlier version or the whole table."""

    table: FactTable
    mode: Mode
    replaces: Literal["version", "table"]
    columns: tuple[ColumnSpec, ...]

    @property
    def amounts(self) -> tuple[ColumnSpec, ...]:
        """The amount columns in file order: the order of totals."""
        return tuple(c for c in self.columns if c.column is not None and c.column.kind == "fen")

    @property
    def unprotected(self) -> tuple[str, ...]:
        """Dictionary codes of amount columns that nothing protects."""
        return tuple(c.column.code for c in self.amounts if c.column is not None and set(c.protection) <= {"none"})


@dataclass(frozen=True, slots=True)
class Expectation:
    """Which tables must arrive every month by which day (business date); from when on."""

    since: date
    by_day: dict[str, int]  # table code -> day of month


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of inbound delivery of a centre, whole."""

    centre: str
    name: str
    centre_code: str
    pattern: str
    carries: Literal["one", "many"]
    form: Form
    container: Container
    entry: str
    encoding: Encoding
    separator: str
    separator_after_last: bool
    names: Literal["codes", "labels", "none"]
    cells: Literal["text", "values"]
    cover: str
    header: tuple[Part, ...]
    trailer: tuple[Part, ...]
    flag: FlagFile | None
    digest: DigestFile | None
    manifest: Manifest | None
    xml: XmlForm | None
    acknowledgement: AcknowledgementForm
    mode_words: dict[Mode, str]
    complete: Complete
    quiet_seconds: int
    units: Units
    codes: dict[str, dict[str, str]]  # dictionary field -> centre's code -> canonical value
    checks: Checks
    limits: Limits
    expected: Expectation | None
    tables: dict[str, TableSpec]  # by table code
    basis: str
    document: str

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of companion files."""
        return tuple(x.suffix for x in (self.flag, self.digest) if x is not None)

    def spec(self, name: str) -> TableSpec:
        """The table called `name` (fact table name). KeyError when the profile does not carry it."""
        for spec in self.tables.values():
            if spec.table.name == name:
                return spec
        raise KeyError(name)

    def file_name(self, table: str, day: str, sequence: str) -> str:
        """The plain name of a delivery; `day` as YYYYMMDD."""
        values = {"table": table, "date": day, "sequence": sequence, "*": ""}
        return re.sub(r"\{([a-z*]+)\}", lambda m: values[m.group(1)], self.pattern)

    def match(self, name: str) -> dict[str, str] | None:
        """What `name` says (table, date, sequence) when it follows this profile's pattern, else None."""
        tokens = {"table": "(?P<table>[A-Z0-9]+)", "date": "(?P<date>[0-9]{8})", "sequence": "(?P<sequence>[0-9]{3})", "*": ".*?"}
        pieces = re.split(r"\{([a-z*]+)\}", self.pattern)
        expression = "".join(tokens[p] if i % 2 else re.escape(p) for i, p in enumerate(pieces))
        found = re.fullmatch(expression, name)
        if found is None or any(name.endswith(s) for s in self.suffixes):
            return None
        return found.groupdict()


@dataclass(frozen=True, slots=True)
class Profiles:
    """All inbound profiles of a centre, by name."""

    centre: str
    profiles: dict[str, Profile]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.profiles.values())

    def for_name(self, file_name: str) -> Profile | None:
        """The profile whose pattern `file_name` follows."""
        return next((p for p in self.profiles.values() if p.match(file_name) is not None), None)
