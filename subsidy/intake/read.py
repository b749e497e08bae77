"""Read one file: bytes in, an `Intake` out. Nothing is written but scratch files; what is known comes through `Context`."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives import hashes

from subsidy.errors import Finding
from subsidy.facts.schema import TABLES
from subsidy.intake.arrival import Arrival
from subsidy.intake.book import KEY_HASH, Booking, Earlier, book, hashed
from subsidy.intake.cells import parse
from subsidy.intake.context import Context, KnownFile
from subsidy.intake.cross import compare
from subsidy.intake.delivery import Chunk, Delivery, Identity, Sheet
from subsidy.intake.dialects.archive import expanded_limit
from subsidy.intake.dialects.lines import BLOCK_BYTES
from subsidy.intake.faults import FAULTS, FileRefused, finding, refuse
from subsidy.intake.lineage import KnownLineage
from subsidy.intake.opening import open_delivery
from subsidy.intake.profile import Profile, Profiles, TableSpec
from subsidy.intake.release import Superseded, release_open
from subsidy.intake.result import Counts, Intake, QuarantineRow, Release, TableResult
from subsidy.intake.rows import Checked, check_block
from subsidy.intake.spool import Spool
from subsidy.intake.stretches import Lines
from subsidy.money import format_yuan, parse_yuan

_CHUNK = 1 << 18


def read(
    arrival: Arrival, profiles: Profiles, context: Context, *, file_no: int, known_on: date, scratch: Path | None = None,
    accept: frozenset[str] = frozenset(), checking: bool = False, workers: int = 2, block_bytes: int = BLOCK_BYTES,
    range_bytes: int = 128 << 20,
) -> Intake:
    """Read the file of `arrival` as register number `file_no`, known on the business date `known_on`.

    `accept`: soft file faults (``FILE-WITHDRAWALS``, ``FILE-OLDER``) that a person has released. `scratch`: folder for spill files.
    `checking`: judge the file by itself, without asking whether the rows' parents are known; such a result must not be booked.
    `workers` threads parse, `block_bytes` at a time; rows beyond `range_bytes` are spilled by ranges of buckets: none of the three
    changes the result. A fault of the file as a whole gives state ``refused`` or ``held``, never an exception; OSError only when the
    file cannot be opened at all.
    """
    profile = profiles.profiles.get(arrival.profile)
    reading = _Reading(arrival, profile, profiles, context, file_no, known_on, scratch, accept, checking, block_bytes, range_bytes)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        # First in line: a digest cannot be shared out, so it begins at once and its thread parses when it is done.
        sums = pool.submit(_digests, arrival.path, _algorithms(profile))
        try:
            if profile is None:
                raise refuse("FILE-UNKNOWN", file_name=arrival.name)
            _book(reading, pool, sums)
        except FileRefused as refused:
            reading.refuse(refused.findings)
        finally:
            if reading.delivery is not None:
                reading.delivery.close()
        digests = sums.result()
    return reading.result(digests)


def _book(reading: _Reading, pool: ThreadPoolExecutor, sums: Future[dict[str, str]]) -> None:
    profile, arrival, context = reading.profile, reading.arrival, reading.context
    assert profile is not None
    delivery, said = open_delivery(arrival.path, arrival.companions, profile, reading.block_bytes)
    reading.delivery = delivery
    identity = reading.identity = delivery.identity
    reading.versions = [f for f in context.versions(identity.text) if f.file_no != reading.file_no]
    same = next((f for f in reading.versions if f.state in ("booked", "held") and f.sha256 == sums.result()["sha256"]), None)
    if same is not None and not (same.state == "held" and reading.accept):
        reading.duplicate(same)
        return
    if identity.business_date > reading.known_on:
        raise refuse("FILE-DATE", value=identity.business_date.isoformat())
    _agrees_with_name(arrival, profile, delivery)
    for sheet in delivery.sheets:
        if sheet.mode == "full" and sheet.spec.replaces == "table":
            latest = context.latest_full(sheet.spec.table.name)
            if latest is not None and latest > identity.business_date and "FILE-OLDER" not in reading.accept:
                reading.hold(finding("FILE-OLDER", table=sheet.spec.table.code))
    # Parents before children, whatever their order in the file.
    order = list(TABLES)
    for sheet in sorted(delivery.sheets, key=lambda s: order.index(s.spec.table.name)):
        reading.take(sheet, pool)
    for algorithm, declared in said.digests:
        if sums.result()[algorithm] != declared:
            raise refuse("FILE-DIGEST", algorithm=algorithm.upper())
    if arrival.size and arrival.path.stat().st_size != arrival.size:
        raise refuse("FILE-CHANGED")
    reading.release()
    if not reading.checking and reading.state == "booked":
        reading.compare()


def _agrees_with_name(arrival: Arrival, profile: Profile, delivery: Delivery) -> None:
    said = profile.match(arrival.name) or {}
    identity = delivery.identity
    content = {"table": identity.tables, "date": f"{identity.business_date:%Y%m%d}", "sequence": identity.sequence}
    labels = {"table": "表", "date": "业务日期", "sequence": "批次号"}
    for part, text in said.items():
        if text != content[part]:
            raise refuse("FILE-NAME", field=labels[part], name=text, content=content[part])


def _algorithms(profile: Profile | None) -> set[str]:
    wanted = {"sha256"}
    if profile is not None and profile.digest is not None:
        wanted.add(profile.digest.algorithm)
    if profile is not None and profile.flag is not None and profile.flag.digest_key:
        wanted.add(profile.flag.algorithm)
    return wanted


def _digests(path: Path, algorithms: set[str]) -> dict[str, str]:
    sha = hashlib.sha256()
    sm3 = _sm3() if "sm3" in algorithms else None
    # One small buffer: the second digest finds the bytes in the processor's cache.
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as handle:
        while count := handle.readinto(buffer):
            sha.update(buffer[:count])
            if sm3 is not None:
                sm3.update(buffer[:count])
    found = {"sha256": sha.hexdigest()}
    if sm3 is not None:
        found["sm3"] = sm3.hexdigest()
    return found


class _Sm3:
    """SM3 of ``cryptography``, which other threads wait for, with the face of `hashlib`."""

    def __init__(self) -> None:
        self._hash = hashes.Hash(hashes.SM3())
        self.update = self._hash.update

    def hexdigest(self) -> str:
        """The digest so far; nothing may follow."""
        return self._hash.finalize().hex()


def _sm3() -> Any:
    """SM3, by Python's own OpenSSL where it knows it: that one works beside other threads."""
    try:
        return hashlib.new("sm3")
    except ValueError:
        return _Sm3()


@dataclass
class _Reading:
    """The state of reading one file."""

    arrival: Arrival
    profile: Profile | None
    profiles: Profiles
    context: Context
    file_no: int
    known_on: date
    scratch: Path | None
    accept: frozenset[str]
    checking: bool
    block_bytes: int
    range_bytes: int
    delivery: Delivery | None = None
    identity: Identity | None = None
    versions: list[KnownFile] = field(default_factory=list)
    state: Any = "booked"
    tables: dict[str, TableResult] = field(default_factory=dict)
    quarantined: list[QuarantineRow] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unlisted: int = 0
    releases: list[Release] = field(default_factory=list)
    superseded: dict[str, Superseded] = field(default_factory=dict)
    message: str = ""

    def __post_init__(self) -> None:
        self.lineage = KnownLineage(self.context, self.tables)

    # --- one table ---------------------------------------------------------------------------------------------------

    def take(self, sheet: Sheet, pool: ThreadPoolExecutor) -> None:
        """Parse, check, compare and book one table."""
        spec, profile = sheet.spec, self.profile
        assert profile is not None and self.identity is not None
        size = self.arrival.path.stat().st_size
        if profile.container != "none":
            size = expanded_limit(size, profile.limits)
        ranges = 1
        # The key of a change does not say where its row belongs: keep such tables in one range.
        if spec.table.name != "change":
            while ranges < 256 and size > ranges * self.range_bytes:
                ranges *= 2
        incoming = Spool(_incoming_schema(spec), self.scratch, ranges, self.range_bytes)
        counts, totals, unread = Counts(), dict[str, int](), dict[str, int]()
        quarantined: list[QuarantineRow] = []
        good = Lines()
        try:
            for checked in self._checked(sheet, pool):
                counts.rows_in += checked.rows_in
                if counts.rows_in > profile.limits.rows:
                    raise refuse("FILE-ROWS-LIMIT", table=spec.table.code, limit=profile.limits.rows)
                good.add(checked.rows["line_no"].to_numpy())
                for into, what in ((totals, checked.totals), (unread, checked.unread)):
                    for code, value in what.items():
                        into[code] = into.get(code, 0) + value
                quarantined += checked.quarantined
                if len(quarantined) > profile.limits.quarantined_rows:
                    raise refuse("FILE-BAD-ROWS", table=spec.table.code, limit=profile.limits.quarantined_rows)
                self._note(checked.findings)
                self.unlisted += checked.unlisted
                incoming.add(self._placed(checked.rows).select(incoming.schema.names))
            self._control(sheet, counts.rows_in, totals, unread)
            booking = self._booked(spec, incoming, quarantined)
        finally:
            incoming.close()
        counts = self._count(spec, booking, counts, quarantined)
        self.quarantined += sorted(quarantined, key=lambda q: q.line_no)
        self.tables[spec.table.name] = TableResult(
            spec.table.name, spec.table.code, counts, booking.facts, spec.unprotected, totals,
            good.without((*booking.duplicates, *booking.differing)),
        )
        self.superseded[spec.table.name] = Superseded(
            spec.mode, pa.concat_tables(booking.keys) if booking.keys else None, frozenset(q.key for q in quarantined if q.key is not None)
        )
        self.lineage.changed(spec.table.name)

    def _checked(self, sheet: Sheet, pool: ThreadPoolExecutor) -> Iterator[Checked]:
        """Chunks checked in threads, in file order, a few at a time."""
        if sheet.spec.table.parent is not None:
            self.lineage.parents(sheet.spec.table.parent[1])
        if sheet.spec.table.name in ("agreement", "account"):
            self.lineage.parents(sheet.spec.table.name)
        waiting: deque[Future[Checked]] = deque()
        for chunk in sheet.chunks:
            waiting.append(pool.submit(self._check, chunk, sheet.spec))
            if len(waiting) > 3:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _check(self, chunk: Chunk, spec: TableSpec) -> Checked:
        assert self.profile is not None and self.identity is not None
        accept = frozenset(("PARENT-UNKNOWN",)) if self.checking else frozenset()
        block, day = chunk.parse(), self.identity.business_date
        checked = check_block(block, spec, self.profile, self.lineage, day, self.arrival.name, self.file_no, accept)
        checked.rows = hashed(checked.rows, spec.table)
        return checked

    def _placed(self, rows: pa.Table) -> pa.Table:
        if not self.checking:
            return rows
        at = rows.schema.get_field_index("bucket")
        return rows.set_column(at, "bucket", pc.max_element_wise(rows["bucket"], pa.scalar(0, pa.int16())))

    def _control(self, sheet: Sheet, rows: int, totals: Mapping[str, int], unread: Mapping[str, int]) -> None:
        """Rows and totals against what the sender declared."""
        profile, code, control = self.profile, sheet.spec.table.code, sheet.control
        assert profile is not None
        faults: list[Finding] = []
        if control.rows is not None and control.rows != rows:
            faults.append(finding("FILE-ROWS", table=code, declared=control.rows, counted=rows))
        for column in sheet.spec.amounts:
            assert column.column is not None
            name = column.column.code
            if control.sums is None or name not in control.sums:
                continue
            declared = _total(control.sums[name].strip(" "), profile)
            if unread.get(name, 0):
                if set(column.protection) <= {"total", "none"}:
                    faults.append(finding("FILE-UNVERIFIED", table=code, field=name, count=unread[name]))
            elif declared != totals.get(name, 0):
                faults.append(
                    finding(
                        "FILE-TOTAL", table=code, field=name, column=column.name, declared=control.sums[name].strip(" "),
                        counted=_as_written(totals.get(name, 0), profile),
                    )
                )
        if faults:
            raise FileRefused(*faults)

    def _booked(self, spec: TableSpec, incoming: Spool, quarantined: list[QuarantineRow]) -> Booking:
        assert self.identity is not None
        earlier = Earlier(
            tuple(f.file_no for f in self.versions if f.state == "booked"),
            frozenset(q.key for q in quarantined if q.key is not None),
            sum(q.key is None for q in quarantined),
        )
        wanted = bool(self.context.open_quarantine(spec.table.name))
        return book(incoming, spec, self.context, self.known_on, self.file_no, self.identity.business_date, earlier, wanted)

    def _count(self, spec: TableSpec, booking: Booking, counts: Counts, quarantined: list[QuarantineRow]) -> Counts:
        """Settle counts, findings and the quarantine of rows that conflict."""
        profile, table = self.profile, spec.table
        assert profile is not None
        raws = self._raw_of(spec, set(booking.differing)) if booking.differing else {}
        for line in sorted(booking.differing):
            raw, key = raws[line]
            found = self._place(finding("KEY-DIFFERS", table=table.code, line_no=line))
            self._note([found])
            quarantined.append(QuarantineRow(table.name, line, raw, found.code, "", "", found.what, found.todo, key))
        if len(quarantined) > profile.limits.quarantined_rows:
            raise refuse("FILE-BAD-ROWS", table=table.code, limit=profile.limits.quarantined_rows)
        self._note_lines("KEY-DUPLICATE", table.code, booking.duplicates)
        self._note_lines("ROW-OLDER", table.code, booking.older)
        self._note_lines("ROW-BALANCE", table.code, booking.unbalanced, "SYBJ")
        if booking.unsure:
            unread = sum(q.key is None for q in quarantined)
            self._note([self._place(finding("WITHDRAWAL-UNSURE", table=table.code, count=unread, absent=booking.unsure))])
        checks = profile.checks
        allowed = max(checks.withdrawal_free_rows, booking.live * checks.withdrawal_limit_percent // 100)
        if booking.withdrawn > allowed and "FILE-WITHDRAWALS" not in self.accept:
            self.hold(
                finding(
                    "FILE-WITHDRAWALS", table=table.code, count=booking.withdrawn, live=booking.live,
                    percent=checks.withdrawal_limit_percent,
                )
            )
        result = booking.counts
        result.rows_in, result.quarantined, result.withdrawn = counts.rows_in, len(quarantined), booking.withdrawn
        result.tie()
        return result

    def _raw_of(self, spec: TableSpec, lines: set[int]) -> dict[int, tuple[bytes, tuple[str, ...] | None]]:
        """Raw bytes and key of single lines, found by reading the file once more."""
        assert self.profile is not None
        arrival = self.arrival
        delivery, _ = open_delivery(arrival.path, arrival.companions, self.profile, self.block_bytes)
        found: dict[int, tuple[bytes, tuple[str, ...] | None]] = {}
        try:
            sheet = next(s for s in delivery.sheets if s.spec.table.name == spec.table.name)
            for chunk in sheet.chunks:
                block = chunk.parse()
                for row, line in enumerate(block.line_nos.tolist()):
                    if line in lines:
                        columns = [spec.table.column(name) for name in spec.table.key]
                        values = [parse(c, block.columns[c.code].slice(row, 1), self.profile).values[0].as_py() for c in columns]
                        found[line] = (block.raw(row), tuple(str(v) for v in values))
        finally:
            delivery.close()
        return found

    # --- outcomes ----------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Release what lay in quarantine and is settled by this file."""
        assert self.profile is not None and self.identity is not None
        if self.state == "held":
            return
        for name, table in TABLES.items():
            open_rows = [r for r in self.context.open_quarantine(name) if r.file_no != self.file_no]
            if not open_rows:
                continue
            outcome = release_open(
                open_rows, table, self.profiles, self.context, self.lineage, self.identity.text, self.superseded.get(name), self.known_on
            )
            self.releases += outcome.releases
            if outcome.facts is not None and outcome.facts.num_rows:
                result = self.tables.get(name)
                if result is None:
                    result = TableResult(name, table.code, Counts(), Spool(table.arrow, self.scratch, 1))
                    self.tables[name] = result
                result.facts.add(outcome.facts)
                result.counts.released += outcome.facts.num_rows
                self.lineage.changed(name)
        self.releases.sort(key=lambda r: r.quarantine_no)

    def compare(self) -> None:
        """Note agreements that do not fit their contracts."""
        for name, other in (("agreement", "contract"), ("contract", "agreement")):
            if name in self.tables:
                new = self.tables[other].facts.parts() if other in self.tables else ()
                others = [rows.filter(pc.invert(rows["withdrawn"])) for rows in new]
                for rows in self.tables[name].facts.parts():
                    self._note(self._place(f) for f in compare(name, rows, others, self.context, self.file_no))

    def refuse(self, findings: tuple[Finding, ...]) -> None:
        """Refuse the file whole: nothing of it is booked."""
        self._drop()
        self.state = "refused"
        self.message = "；".join(dict.fromkeys(f.what for f in findings))
        self.findings = [*(self._place(f) for f in findings), *self.findings]

    def hold(self, found: Finding) -> None:
        """Hold the file for a person: nothing of it is booked yet."""
        self.state = "held"
        self.message = f"{self.message}；{found.what}".lstrip("；")
        self._note([self._place(found)])

    def duplicate(self, same: KnownFile) -> None:
        """The same bytes are known already."""
        self.state = "duplicate"
        found = self._place(finding("FILE-DUPLICATE", version=same.version))
        self.message = found.what
        self.findings = [found]

    def _drop(self) -> None:
        for table in self.tables.values():
            table.facts.close()
        self.tables, self.quarantined, self.releases = {}, [], []

    def _place(self, found: Finding) -> Finding:
        return Finding(
            found.code, found.severity, found.what, found.todo, self.file_no, found.file_name or self.arrival.name, found.table,
            found.line_no, found.field, found.value, found.rule,
        )

    def _note(self, found: Any) -> None:
        limit = self.profile.limits.findings_listed if self.profile is not None else 1
        for one in found:
            if len(self.findings) < limit:
                self.findings.append(one)
            else:
                self.unlisted += 1

    def _note_lines(self, code: str, table: str, lines: list[int], field: str = "") -> None:
        """The same finding for many lines; made only as far as they are listed."""
        assert self.profile is not None
        room = max(0, self.profile.limits.findings_listed - len(self.findings))
        listed = sorted(lines)[:room]
        self._note(self._place(finding(code, table=table, line_no=line, field=field)) for line in listed)
        self.unlisted += len(lines) - len(listed)

    def result(self, digests: dict[str, str]) -> Intake:
        """What was found, as a value."""
        if self.state != "booked":
            self._drop()
        identity = self.identity
        last = max((f.version for f in self.versions if f.state in ("booked", "held")), default=0)
        # A held file that a person has released keeps the number it was held under.
        held = next((f.version for f in self.versions if f.state == "held" and f.sha256 == digests["sha256"]), 0)
        version = held or last + 1 if self.state in ("booked", "held") else next(
            (f.version for f in self.versions if f.sha256 == digests["sha256"] and f.state in ("booked", "held")), 0
        )
        return Intake(
            file_name=self.arrival.name, profile=self.arrival.profile, state=self.state, identity=identity.text if identity else "",
            version=version, business_date=identity.business_date if identity else None, file_no=self.file_no, known_on=self.known_on,
            sha256=digests["sha256"], bytes=self.arrival.path.stat().st_size,
            companions=tuple((p.name, _digests(p, set())["sha256"]) for _, p in sorted(self.arrival.companions.items())),
            tables=self.tables, quarantined=self.quarantined, findings=self.findings, findings_unlisted=self.unlisted,
            releases=self.releases, message=self.message,
        )


def _total(text: str, profile: Profile) -> int | None:
    """A declared total in fen, written like the amounts it sums but longer; None when it is no amount."""
    if profile.units.amount == "fen":
        pattern = r"-?[0-9]{1,30}" if profile.form == "fixed" else r"-?(0|[1-9][0-9]{0,29})"
        return int(text) if re.fullmatch(pattern, text) else None
    try:
        return parse_yuan(text)
    except ValueError:
        return None


def _as_written(total_fen: int, profile: Profile) -> str:
    return str(total_fen) if profile.units.amount == "fen" else format_yuan(total_fen)


def _incoming_schema(spec: TableSpec) -> pa.Schema:
    """Typed columns of the table, then line, bucket and the hash that rows are compared by."""
    meta = {"line_no": pa.int32(), "bucket": pa.int16(), KEY_HASH: pa.uint64()}
    fields = [f for f in spec.table.arrow if f.name in {c.name for c in spec.table.columns}]
    return pa.schema([*fields, *(pa.field(n, t) for n, t in meta.items())])


__all__ = ["FAULTS", "read"]
