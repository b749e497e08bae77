"""The plain pipeline that the night is measured against: what a careful programmer writes with pandas, Decimal and SQLAlchemy Core.

Same files kept by digest, same checks, row by row, facts and lines kept as columnar files by pandas; Decimal per line (loans with an unusual life go
through the fixtures' plain answer code), then every line a second time by that code; executemany into the same tables with a hash chain over the journal, read back and summed;
payment file by string formatting, read back and compared; openpyxl write-only workbook. Only the forms of 杭州, whose inbox the benchmark makes, and only a first night.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import sqlalchemy as sa

from benchmarks import peaks
from fixtures import rates
from fixtures.answers import Answer, LoanFacts, assess, verified
from fixtures.centres import CENTRES, GO_LIVE
from subsidy.ledger import tables

CENTRE = CENTRES["hangzhou"]
COLUMNS = {
    "TX01": "TXXYBH JKHTBH ZXBH TXBJ FWTS QYRQ TXQSRQ TXQS SKZHHM SKZHMC SKHLHH SKRLX",
    "GB301": "JKHTBH GFHTBH SWTYHMC SWTYHDM YDHKR DKHKFS HTDKJE DKLX DKQS JKHTLL YDFKRQ YDDQRQ JKRXM JKRZJLX JKRZJH JKHTQDRQ",
    "GB304": "DKZH JKHTBH DKFFE DKFFRQ DKYE DKLL DKQS DKJQRQ LJYQQS",
    "TX04": "TXXYBH DKZH YTJE YTQS YZYE YZYHE LXYQQS LJYQQS YSZH",
    "GB305": "DKZH YWLSH DKYWMXLX YWFSRQ DKYHDM FSE BJJE LXJE FXJE DQQC JZRQ JXQSRQ JXZZRQ JXBJ ZXLL YHKRQ YYWLSH SYBJ",
    "GB306": "DKZH YQQC YQBJ YQLX YQFX SSRQ HKQC SSYQBJJE SSYQLXJE SSYQFXJE",
    "TX02": "DKZH RIQI DKYE LXYQQS LJYQQS GJJZHZT DKZT",
    "TX03": "BGLSH TXXYBH SXRQ BGLX QSRQ ZZRQ XSKZHHM XSKZHMC XSKHLHH XDKQS XDKHKFS BGYY",
    "TX05": "DKZH YWLSH FAMC TXJE",
}
AMOUNTS = frozenset(
    ["TXBJ", "HTDKJE", "DKFFE", "DKYE", "YTJE", "YZYE", "YZYHE", "YSZH", "FSE", "BJJE", "LXJE", "FXJE", "JXBJ", "SYBJ", "YQBJ", "YQLX", "YQFX", "SSYQBJJE", "SSYQLXJE", "SSYQFXJE", "TXJE"]
)
RATES = frozenset(["JKHTLL", "DKLL", "ZXLL"])
DATES = frozenset(["QYRQ", "TXQSRQ", "YDFKRQ", "YDDQRQ", "JKHTQDRQ", "DKFFRQ", "DKJQRQ", "YWFSRQ", "JZRQ", "JXQSRQ", "JXZZRQ", "YHKRQ", "RIQI", "SXRQ", "QSRQ", "ZZRQ", "SSRQ"])
NUMBERS = frozenset(["TXQS", "YDHKR", "DKQS", "LJYQQS", "LXYQQS", "YTQS", "DQQC", "YQQC", "HKQC", "XDKQS"])
STATUS_CODES = {"0": "normal", "1": "overdue", "2": "settled", "3": "converted", "4": "written_off"}
CHANGE_CODES = {"01": "suspend", "02": "resume", "03": "stop", "04": "convert", "05": "clawback", "06": "payee", "07": "term"}
KINDS = frozenset(["01", "02", "03", "04", "05", "06", "07", "08", "09", "99"])
CENT = Decimal("0.01")


@dataclass(slots=True)
class Outcome:
    """What the plain pipeline came to."""

    lines: list[Answer] = field(default_factory=list)
    payments: list[tuple[str, str, str, int]] = field(default_factory=list)
    sent_fen: int = 0
    rows: int = 0
    bad: list[tuple[str, int, str]] = field(default_factory=list)


def _read(path: Path) -> tuple[str, pd.DataFrame]:
    with path.open(encoding="gb18030") as handle:
        head = handle.readline().rstrip("\n").split("|")
    table = head[2]
    frame = pd.read_csv(
        path, sep="|", header=None, skiprows=1, encoding="gb18030", dtype=str, keep_default_na=False, quoting=3,
        names=[*COLUMNS[table].split(), "_"], usecols=range(len(COLUMNS[table].split())), skipfooter=0,
    )  # fmt: skip
    tail = frame.iloc[-1]
    frame = frame.iloc[:-1]
    if len(frame) != int(head[6]) or tail.iloc[0] != "TAIL":
        raise ValueError(f"{path.name}: rows")
    return table, frame


def _row(table: str, names: list[str], values: tuple[str, ...]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, text in zip(names, values, strict=True):
        if text == "":
            row[name] = None
        elif name in AMOUNTS:
            amount = Decimal(text)
            if amount != amount.quantize(CENT):
                raise ValueError(name)
            row[name] = int(amount * 100)
        elif name in RATES:
            rate = Decimal(text) * 1_000_000
            if rate != int(rate) or not 0 < rate < 1_000_000:
                raise ValueError(name)
            row[name] = int(rate)
        elif name in DATES:
            row[name] = date(int(text[:4]), int(text[4:6]), int(text[6:]))
        elif name in NUMBERS:
            row[name] = int(text)
        else:
            row[name] = text
    if table == "TX02":
        row["DKZT"] = STATUS_CODES[row["DKZT"]]
    if table == "TX03":
        row["BGLX"] = CHANGE_CODES[row["BGLX"]]
    return row


def _check(table: str, row: dict[str, Any], known: set[str]) -> None:
    if table == "GB305":
        if row["DKYWMXLX"] not in KINDS or row["DKZH"] not in known:
            raise ValueError("DKYWMXLX")
        if row["DKYWMXLX"] in ("02", "03", "04", "05", "06") and row["FSE"] != row["BJJE"] + row["LXJE"] + row["FXJE"]:
            raise ValueError("FSE")
        days = (row["JXZZRQ"] - row["JXQSRQ"]).days
        expected = Decimal(row["JXBJ"]) * row["ZXLL"] * days / 360_000_000
        if abs(expected - row["LXJE"]) > max(Decimal(100), expected * 5 / 100) and row["YYWLSH"] is None:
            raise ValueError("LXJE")
        if not row["JXQSRQ"] <= row["JXZZRQ"] or row["YWFSRQ"] > row["JZRQ"]:
            raise ValueError("JZRQ")
    elif table in ("GB306", "TX02", "TX05") and row["DKZH"] not in known:
        raise ValueError("DKZH")
    elif table == "TX01" and _bank_no(row["SKHLHH"]) != 1:
        raise ValueError("SKHLHH")
    elif table == "GB301" and row["JKRZJLX"] == "01" and not _identity(row["JKRZJH"]):
        raise ValueError("JKRZJH")


def _bank_no(text: str) -> int:
    check = 10
    for digit in text[:-1]:
        check = (int(digit) + check) % 10 or 10
        check = check * 2 % 11
    return (int(text[-1]) + check) % 10


def _identity(text: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return "10X98765432"[sum(int(d) * w for d, w in zip(text[:17], weights, strict=True)) % 11] == text[17]


def intake(inbox: Path, folder: Path, outcome: Outcome) -> dict[str, LoanFacts]:
    """Keep every file of the inbox under its digest, read and check it row by row, and keep the facts."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    known: set[str] = set()
    order = list(COLUMNS)
    files = sorted((p for p in inbox.iterdir() if p.is_file()), key=lambda p: order.index(p.name.split("_")[1]))
    for path in files:
        raw = path.read_bytes()
        (folder / hashlib.sha256(raw).hexdigest()).write_bytes(raw)
        table, frame = _read(path)
        names = COLUMNS[table].split()
        for at, values in enumerate(frame.itertuples(index=False, name=None), start=2):
            outcome.rows += 1
            try:
                row = _row(table, names, values)
                _check(table, row, known)
            except (ValueError, KeyError, ArithmeticError) as error:
                outcome.bad.append((path.name, at, str(error)))
                continue
            if table == "GB304":
                known.add(row["DKZH"])
            found[table].append(row)
    for table, rows in found.items():
        pd.DataFrame(rows).to_parquet(folder / f"{table}.parquet")
    return _loans(found)


def _loans(found: dict[str, list[dict[str, Any]]]) -> dict[str, LoanFacts]:
    loans = {row["TXXYBH"]: LoanFacts(row) for row in found["TX01"]}
    by_contract = {loan.agreement["JKHTBH"]: loan for loan in loans.values()}
    houses: dict[str, int] = defaultdict(int)
    for row in found["GB301"]:
        by_contract[row["JKHTBH"]].contract = row
        houses[row["GFHTBH"]] += 1
    by_account = {}
    for row in found["GB304"]:
        by_account[row["DKZH"]] = by_contract[row["JKHTBH"]]
        by_account[row["DKZH"]].account = row
    for row in found["TX04"]:
        loans[row["TXXYBH"]].opening = row
    for row in found["TX03"]:
        loans[row["TXXYBH"]].changes.append(row)
    for table, name in (("GB305", "rows"), ("TX02", "statuses"), ("TX05", "others")):
        for row in found[table]:
            getattr(by_account[row["DKZH"]], name).append(row)
    for loan in loans.values():
        loan.claimed = loan.contract is not None and houses[loan.contract["GFHTBH"]] > 1
    return loans


def _plain(loan: LoanFacts) -> bool:
    """Whether nothing unusual ever happened to the loan."""
    if loan.contract is None or loan.account is None or loan.claimed or loan.changes or loan.others or not verified(CENTRE, loan):
        return False
    if loan.opening is None and loan.account["DKFFRQ"] < GO_LIVE:
        return False
    quiet = all(s["LJYQQS"] == 0 and s["DKZT"] == "normal" for s in loan.statuses)
    numbers = [r["DQQC"] for r in loan.rows]
    return quiet and len(set(numbers)) == len(numbers) and all(
        r["DKYWMXLX"] == "02" and r["DQQC"] > 0 and r["YYWLSH"] is None and r["LXJE"] > 0 and r["JXZZRQ"] >= GO_LIVE for r in loan.rows
    )  # fmt: skip


def compute(loans: dict[str, LoanFacts], folder: Path, outcome: Outcome) -> None:
    """The subsidy of every row: ratio, split, LPR cap, share of the principal (handbook sections 4 and 9); the lines are kept."""
    with localcontext() as context:
        context.prec = 60
        for loan in loans.values():
            outcome.lines += [_line(loan, row) for row in loan.rows] if _plain(loan) else assess(CENTRE, loan)
    pd.DataFrame([asdict(line) for line in outcome.lines]).to_parquet(folder / "lines.parquet")


def compute_again(loans: dict[str, LoanFacts], outcome: Outcome) -> None:
    """Every line a second time; ValueError when one differs."""
    first = {(x.agreement_no, x.serial_no): (x.figure_fen, x.entitled_fen, x.payable_fen, x.outcome) for x in outcome.lines}
    for loan in loans.values():
        for x in assess(CENTRE, loan):
            if first.pop((x.agreement_no, x.serial_no)) != (x.figure_fen, x.entitled_fen, x.payable_fen, x.outcome):
                raise ValueError(f"{x.agreement_no} {x.serial_no} differs")
    if first:
        raise ValueError(f"{len(first)} lines were computed once only")


def _line(loan: LoanFacts, row: dict[str, Any]) -> Answer:
    agreement, account = loan.agreement, loan.account
    assert account is not None
    start = max(agreement["TXQSRQ"], account["DKFFRQ"])
    months = start.month - 1 + agreement["TXQS"]
    last = date(start.year + months // 12, months % 12 + 1, min(start.day, 28))
    if not start <= row["JXQSRQ"] or row["JXZZRQ"] > last:
        return next(a for a in assess(CENTRE, loan) if a.serial_no == row["YWLSH"])
    series = "LPR_5Y" if row["JXQSRQ"] >= date(2020, 1, 1) else "BENCHMARK_GT5Y"
    capped = min(row["ZXLL"], rates.on(series, row["JXQSRQ"]))
    days = (row["JXZZRQ"] - row["JXQSRQ"]).days
    border = date(row["JXZZRQ"].year, 1, 1)
    cuts = [row["JXQSRQ"], border, row["JXZZRQ"]] if row["JXQSRQ"] < border < row["JXZZRQ"] else [row["JXQSRQ"], row["JXZZRQ"]]
    weighted = Decimal(0)
    for low, high in itertools.pairwise(cuts):
        fund = rates.fund_rate(agreement["FWTS"], loan.contract["DKQS"], account["DKFFRQ"], low)  # type: ignore[index]
        weighted += Decimal((high - low).days) * max(0, capped - fund)
    share = min(Decimal(1), Decimal(agreement["TXBJ"]) / account["DKFFE"])
    figure = int((share * row["LXJE"] * weighted / (days * row["ZXLL"])).quantize(Decimal(1), ROUND_HALF_UP))
    return Answer(agreement["TXXYBH"], row["DKZH"], row["YWLSH"], row["JXZZRQ"], row["JZRQ"], figure, figure, figure, "pay")


def post(engine: sa.Engine, outcome: Outcome) -> None:
    """Post and journal what is payable, with a hash chain over the journal."""
    tables.metadata.create_all(engine)
    day = date(2026, 9, 30)
    postings, journal = [], []
    head = hashlib.sha256()
    for n, line in enumerate((x for x in outcome.lines if x.payable_fen), start=1):
        postings.append(
            {
                "centre": "hangzhou", "posting_no": n, "scheme": "x", "agreement_no": line.agreement_no, "account_no": line.account_no,
                "serial_no": line.serial_no, "bucket": 0, "seq": 0, "kind": "accrual", "amount_fen": line.payable_fen, "due_fen": line.payable_fen,
                "accrual_to": line.accrual_to, "booked_on": line.booked_on, "business_date": day, "run_no": 1, "policy_version": "p",
                "rule_version": "r", "file_no": 1, "line_no": n, "corrects": None,
            }
        )  # fmt: skip
        journal.append(
            {
                "centre": "hangzhou", "entry_no": n, "block_no": 1, "entry_on": day, "debit_account": "411", "credit_account": "219",
                "amount_fen": line.payable_fen, "reason": "accrue", "agreement_no": line.agreement_no, "posting_no": n, "payment_no": "",
            }
        )  # fmt: skip
        head = hashlib.sha256(head.digest() + json.dumps([postings[-1], journal[-1]], default=str).encode())
    with engine.begin() as conn:
        conn.execute(sa.insert(tables.posting), postings)
        conn.execute(sa.insert(tables.journal), journal)


def verify(engine: sa.Engine, outcome: Outcome) -> None:
    """Read back what was posted: chain, sum per agreement, journal against postings; ValueError when something does not tie."""
    sums: dict[str, int] = defaultdict(int)
    entered: dict[str, int] = defaultdict(int)
    head = hashlib.sha256()
    with engine.connect() as conn:
        pairs = zip(
            conn.execute(sa.select(tables.posting).order_by(tables.posting.c.posting_no)).mappings(),
            conn.execute(sa.select(tables.journal).order_by(tables.journal.c.entry_no)).mappings(),
            strict=True,
        )
        for posting, entry in pairs:
            sums[posting["agreement_no"]] += posting["amount_fen"]
            entered[entry["agreement_no"]] += entry["amount_fen"]
            head = hashlib.sha256(head.digest() + json.dumps([dict(posting), dict(entry)], default=str).encode())
    due: dict[str, int] = defaultdict(int)
    for line in outcome.lines:
        if line.payable_fen:
            due[line.agreement_no] += line.payable_fen
    if not sums == entered == due:
        raise ValueError("the ledger does not tie")


def settle(engine: sa.Engine, loans: dict[str, LoanFacts], outcome: Outcome, cutoff: date) -> None:
    """Gather payments per payee."""
    gathered: dict[tuple[str, str, str], list[Answer]] = defaultdict(list)
    for line in outcome.lines:
        if line.payable_fen and line.booked_on <= cutoff:
            a = loans[line.agreement_no].agreement
            gathered[(a["SKZHHM"], a["SKZHMC"], a["SKHLHH"])].append(line)
    payments, items = [], []
    for n, (payee, lines) in enumerate(sorted(gathered.items()), start=1):
        total = sum(x.payable_fen for x in lines)
        if total < 100 or not _encodable(payee[1]):
            continue
        number = f"TX202609{n:010d}"
        outcome.payments.append((*payee, total))
        payments.append(
            {
                "centre": "hangzhou", "payment_no": number, "batch_no": 1, "ordinal": n, "payee_account": payee[0], "payee_name": payee[1],
                "payee_bank_no": payee[2], "payee_kind": "01", "amount_fen": total, "attempt": 1, "replaces": None,
            }
        )  # fmt: skip
        items += [
            {
                "centre": "hangzhou", "payment_no": number, "agreement_no": x.agreement_no, "account_no": x.account_no, "serial_no": x.serial_no,
                "amount_fen": x.payable_fen, "kind": "normal", "bucket": 0,
            }
            for x in lines
        ]  # fmt: skip
    outcome.sent_fen = sum(p[3] for p in outcome.payments)
    with engine.begin() as conn:
        for table, rows in ((tables.payment, payments), (tables.payment_item, items)):
            if rows:
                conn.execute(sa.insert(table), rows)


def _encodable(name: str) -> bool:
    try:
        name.encode("gbk")
    except UnicodeEncodeError:
        return False
    return True


def write_payments(path: Path, outcome: Outcome) -> None:
    """The payment file, a row at a time, read back and compared; ValueError when it says anything else."""
    with path.open("w", encoding="gbk", newline="") as handle:
        for n, (account, name, _, total) in enumerate(outcome.payments, start=1):
            amount = Decimal(total).scaleb(-2)
            handle.write(
                "@|$".join((str(n), str(amount), account, name, "贷款贴息202609", "", f"TX202609{n:010d}", "", str(amount), "0.00"))
                + "@|$\n"
            )
    with path.open(encoding="gbk", newline="") as handle:
        for line, (account, name, _, total) in zip(handle, outcome.payments, strict=True):
            cells = line.split("@|$")
            if (cells[2], cells[3], Decimal(cells[1]).scaleb(2)) != (account, name, total):
                raise ValueError(f"{path.name} differs")


def write_workbook(path: Path, outcome: Outcome, loans: dict[str, LoanFacts]) -> None:
    """The detail sheet with openpyxl's write-only mode, the same columns as the night's workbook shows."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("贴息明细")
    sheet.append(["协议编号", "贷款账号", "业务流水号", "计息终止日", "记账日期", "计算金额", "应得金额", "应付金额", "结果", *["列"] * 14])
    for x in outcome.lines:
        row = loans[x.agreement_no].contract or {}
        sheet.append(
            [
                x.agreement_no, x.account_no, x.serial_no, x.accrual_to, x.booked_on, Decimal(x.figure_fen).scaleb(-2),
                Decimal(x.entitled_fen).scaleb(-2), Decimal(x.payable_fen).scaleb(-2), x.outcome, row.get("SWTYHMC"), row.get("SWTYHDM"),
                row.get("DKHKFS"), row.get("DKQS"), row.get("YDHKR"), row.get("JKHTBH"), x.note, x.note, x.note, x.note, x.note, x.note, x.note, x.note,
            ]
        )  # fmt: skip
    book.save(path)


def run(inbox: Path, folder: Path, cutoff: date) -> tuple[Outcome, dict[str, float], dict[str, int]]:
    """The whole pipeline; the outcome, and seconds and peak megabytes of each stage."""
    outcome, seconds, held = Outcome(), dict[str, float](), dict[str, int]()
    loans: dict[str, LoanFacts] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        with peaks.watched() as peak:
            began = time.perf_counter()
            work()
            seconds[name] = time.perf_counter() - began
        held[name] = peak.megabytes

    engine = sa.create_engine(f"sqlite:///{folder / 'plain.db'}")
    timed("take_in", lambda: loans.update(intake(inbox, folder, outcome)))
    timed("compute", lambda: compute(loans, folder, outcome))
    timed("check", lambda: compute_again(loans, outcome))
    timed("post", lambda: post(engine, outcome))
    timed("verify", lambda: verify(engine, outcome))
    timed("settle", lambda: settle(engine, loans, outcome, cutoff))
    timed("publish", lambda: write_payments(folder / "plain.DAT", outcome))
    timed("report", lambda: write_workbook(folder / "plain.xlsx", outcome, loans))
    engine.dispose()
    return outcome, seconds, held
