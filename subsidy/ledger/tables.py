"""All tables of the system, for SQLite and PostgreSQL alike. Amounts are fen; dates are business dates unless they say wall clock.

The money model in one paragraph: a **posting** changes what one line (agreement, account, serial number) is entitled to; a
**payment item** takes an amount of one line into one payment. ``due(line) = sum(postings) - sum(items of live payments)``, where a
payment is live unless it failed or was returned. Positive: payable; negative: receivable. A recovery that is netted is a negative
item in a payment; one that is collected is a payment with direction ``in``. Nothing else holds a balance; `journal` says the same
in accounts.

Numbers (`run_no`, `file_no`, `posting_no`, `entry_no`, `batch_no` …) count from 1 per centre without gaps, so that centres never
wait for each other and a rerun gives the same numbers. Append-only tables refuse UPDATE and DELETE by trigger.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

Text, Int, Big, Date, Bool = sa.Text, sa.Integer, sa.BigInteger, sa.Date, sa.Boolean
WALL = sa.Text  # ISO 8601 with offset, informative only, never compared


def _centre() -> sa.Column[str]:
    return sa.Column("centre", Text, primary_key=True)


# --- runs and coordination -------------------------------------------------------------------------------------------

counter = sa.Table(  # next number of a kind per centre; locked and raised inside the transaction that uses the numbers
    "counter", metadata, _centre(),
    sa.Column("name", Text, primary_key=True),
    sa.Column("next_no", Big, nullable=False),
)

lease = sa.Table(  # who works on a centre now; `token` only grows, a commit with an old token is refused
    "lease", metadata, _centre(),
    sa.Column("token", Big, nullable=False),
    sa.Column("holder", Text, nullable=False),  # "" when free
    sa.Column("since", WALL, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),  # wall clock seconds; only decides whether a silent holder may be replaced
)

centre_state = sa.Table(
    "centre_state", metadata, _centre(),
    sa.Column("open_business_date", Date, nullable=False),  # last night that was closed or is being worked on; only moves forward
    sa.Column("publication_locked", Text, nullable=False, server_default=""),  # reason after a restore; "" when free
)

run = sa.Table(  # one row per (centre, business date, mode, attempt of a recompute); a rerun of a night is the same row
    "run", metadata, _centre(),
    sa.Column("run_no", Big, primary_key=True),
    sa.Column("business_date", Date, nullable=False),
    sa.Column("mode", Text, nullable=False),  # night | recompute
    sa.Column("policy_version", Text, nullable=False),
    sa.Column("engine_version", Text, nullable=False),
    sa.Column("knowledge_date", Date, nullable=False),
    sa.Column("knowledge_file_no", Big, nullable=False, server_default="0"),  # files up to this number were known
    sa.Column("state", Text, nullable=False),  # running | closed | failed (given up before it posted anything)
    sa.Column("started_by", Text, nullable=False),
    sa.Column("reason", Text, nullable=False, server_default=""),
    sa.Column("started_at", WALL, nullable=False),
    sa.Column("closed_at", WALL, nullable=False, server_default=""),
    sa.Index("uq_run_night", "centre", "business_date", unique=True,
             sqlite_where=sa.text("mode = 'night'"), postgresql_where=sa.text("mode = 'night'")),
)

step = sa.Table(  # a finished step of a run, keyed by what went in; committed with its effects. Without centre: the check value of the key
    "step", metadata, _centre(),
    sa.Column("run_no", Big, primary_key=True),
    sa.Column("name", Text, primary_key=True),
    sa.Column("input_hash", Text, nullable=False),
    sa.Column("result", Text, nullable=False),  # JSON: counts and ids only
)

segment = sa.Table(  # manifest of write-once columnar files (facts, lines, shadow): what exists is what is listed here
    "segment", metadata, _centre(),
    sa.Column("segment_no", Big, primary_key=True),
    sa.Column("table_name", Text, nullable=False),
    sa.Column("run_no", Big, nullable=False),
    sa.Column("known_on", Date, nullable=False),
    sa.Column("file_no", Big, nullable=False, server_default="0"),
    sa.Column("path", Text, nullable=False),  # relative to the store
    sa.Column("rows", Big, nullable=False),
    sa.Column("sha256", Text, nullable=False),
    sa.Index("ix_segment_lookup", "centre", "table_name", "known_on"),
)

# --- intake ----------------------------------------------------------------------------------------------------------

file = sa.Table(  # register of inbound files; bytes lie in the store under their SHA-256
    "file", metadata, _centre(),
    sa.Column("file_no", Big, primary_key=True),
    sa.Column("sha256", Text, nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("bytes", Big, nullable=False),
    sa.Column("profile", Text, nullable=False),
    sa.Column("identity", Text, nullable=False),  # centre|tables|period|sequence from content
    sa.Column("version", Int, nullable=False),  # 1, 2 … of the same identity
    sa.Column("state", Text, nullable=False),  # booked | refused | duplicate | held
    sa.Column("run_no", Big, nullable=False),
    sa.Column("known_on", Date, nullable=False),
    sa.Column("rows_in", Big, nullable=False),
    sa.Column("rows_booked", Big, nullable=False),
    sa.Column("rows_quarantined", Big, nullable=False),
    sa.Column("rows_duplicate", Big, nullable=False),
    sa.Column("detail", Text, nullable=False, server_default="{}"),  # JSON per table: counts, added/changed/withdrawn, unprotected
    sa.Column("message", Text, nullable=False, server_default=""),  # why refused or held, Chinese
    sa.CheckConstraint("rows_in = rows_booked + rows_quarantined + rows_duplicate", name="rows_tie"),
    sa.Index("ix_file_sha", "centre", "sha256"),
    sa.Index("ix_file_identity", "centre", "identity"),
)

quarantine = sa.Table(
    "quarantine", metadata, _centre(),
    sa.Column("quarantine_no", Big, primary_key=True),
    sa.Column("file_no", Big, nullable=False),
    sa.Column("table_name", Text, nullable=False),
    sa.Column("line_no", Int, nullable=False),
    sa.Column("row_key", Text, nullable=False),  # keyed fingerprint of the row's key; "" without key
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("code", Text, nullable=False),
    sa.Column("field", Text, nullable=False),
    sa.Column("value", Text, nullable=False),  # masked
    sa.Column("what", Text, nullable=False),
    sa.Column("todo", Text, nullable=False),
    sa.Column("stage", Text, nullable=False),  # intake | assess
    sa.Column("known_on", Date, nullable=False),
    sa.Column("owner", Text, nullable=False, server_default=""),
    sa.Index("ix_quarantine_file", "centre", "file_no"),
)

quarantine_release = sa.Table(
    "quarantine_release", metadata, _centre(),
    sa.Column("quarantine_no", Big, primary_key=True),
    sa.Column("how", Text, nullable=False),  # correction | person
    sa.Column("person", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("by_file_no", Big, nullable=False, server_default="0"),
    sa.Column("business_date", Date, nullable=False),
)

release_request = sa.Table(  # append-only: a person says that a row only looked wrong; the next night reads it again and books it
    "release_request", metadata, _centre(),
    sa.Column("quarantine_no", Big, primary_key=True),
    sa.Column("person", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("at", WALL, nullable=False),
)

finding = sa.Table(  # what nights found, for the board and the workbook
    "finding", metadata, _centre(),
    sa.Column("finding_no", Big, primary_key=True),
    sa.Column("run_no", Big, nullable=False),
    sa.Column("stage", Text, nullable=False),  # intake | assess | proof | post | verify | settle | clearing | result
    sa.Column("code", Text, nullable=False),
    sa.Column("severity", Text, nullable=False),
    sa.Column("what", Text, nullable=False),
    sa.Column("todo", Text, nullable=False),
    sa.Column("file_no", Big, nullable=False),
    sa.Column("line_no", Int, nullable=False),
    sa.Column("field", Text, nullable=False),
    sa.Column("value", Text, nullable=False),
    sa.Column("agreement_no", Text, nullable=False),
    sa.Column("serial_no", Text, nullable=False),
    sa.Index("ix_finding_run", "centre", "run_no"),
    sa.Index("ix_finding_serious", "centre", "severity", "run_no", "stage"),
)

claim = sa.Table(  # keyed fingerprints of (bank, contract) and of house contracts, over all centres
    "claim", metadata, _centre(),
    sa.Column("agreement_no", Text, primary_key=True),
    sa.Column("kind", Text, primary_key=True),  # contract | house
    sa.Column("known_on", Date, primary_key=True),
    sa.Column("fingerprint", Text, nullable=False),
    sa.Column("live", Bool, nullable=False),
    sa.Index("ix_claim_fingerprint", "fingerprint"),
)

# --- postings and journal --------------------------------------------------------------------------------------------

posting = sa.Table(  # append-only
    "posting", metadata, _centre(),
    sa.Column("posting_no", Big, primary_key=True),
    sa.Column("scheme", Text, nullable=False),
    sa.Column("agreement_no", Text, nullable=False),
    sa.Column("account_no", Text, nullable=False),
    sa.Column("serial_no", Text, nullable=False),  # "OPENING" for the opening receivable
    sa.Column("bucket", Int, nullable=False),
    sa.Column("seq", Int, nullable=False),  # 0 first accrual, 1.. corrections of the same line
    sa.Column("kind", Text, nullable=False),  # accrual | top_up | recovery | opening
    sa.Column("amount_fen", Big, nullable=False),  # signed change
    sa.Column("due_fen", Big, nullable=False),  # the line's payable amount after this posting
    sa.Column("accrual_to", Date, nullable=False),
    sa.Column("booked_on", Date, nullable=False),
    sa.Column("business_date", Date, nullable=False),
    sa.Column("run_no", Big, nullable=False),
    sa.Column("policy_version", Text, nullable=False),
    sa.Column("rule_version", Text, nullable=False),
    sa.Column("file_no", Big, nullable=False),
    sa.Column("line_no", Int, nullable=False),
    sa.Column("corrects", Big),  # posting_no of the line's previous posting
    sa.UniqueConstraint("centre", "agreement_no", "account_no", "serial_no", "scheme", "seq"),
    sa.CheckConstraint("amount_fen <> 0", name="not_zero"),
    sa.CheckConstraint("due_fen >= 0 OR kind = 'opening'", name="due"),
    sa.CheckConstraint("seq > 0 OR due_fen = amount_fen", name="first"),
    sa.CheckConstraint("(seq = 0) = (corrects IS NULL)", name="link"),
    sa.Index("ix_posting_bucket", "centre", "bucket"),
    sa.Index("ix_posting_run", "centre", "run_no"),
)

posting_cause = sa.Table(  # append-only: why a correction happened, in the order in which the causes became known
    "posting_cause", metadata, _centre(),
    sa.Column("posting_no", Big, primary_key=True),
    sa.Column("ordinal", Int, primary_key=True),
    sa.Column("cause", Text, nullable=False),  # prepayment correction reversal conversion clawback change status policy other_subsidy …
    sa.Column("amount_fen", Big, nullable=False),
    sa.Column("file_no", Big, nullable=False),
    sa.Column("line_no", Int, nullable=False),
    sa.Column("text", Text, nullable=False),  # Chinese, no personal data
)

#: Reasons of entries that move a receivable (ledger.journal.ROLES); a query that uses the index must name exactly these, in this order.
RECEIVABLE_REASONS = (
    "collect", "net", "opening", "opening_less", "overpaid", "reclass", "restore", "return_collect", "return_net", "unwrite", "write_off",
)
_MOVES_RECEIVABLE = sa.text("reason IN (" + ", ".join(f"'{reason}'" for reason in RECEIVABLE_REASONS) + ")")

journal = sa.Table(  # append-only; one row is one balanced entry
    "journal", metadata, _centre(),
    sa.Column("entry_no", Big, primary_key=True),
    sa.Column("block_no", Big, nullable=False),
    sa.Column("entry_on", Date, nullable=False),
    sa.Column("debit_account", Text, nullable=False),
    sa.Column("credit_account", Text, nullable=False),
    sa.Column("amount_fen", Big, nullable=False),
    sa.Column("reason", Text, nullable=False),  # a key of ledger.journal.ROLES: says which account is which
    sa.Column("agreement_no", Text, nullable=False),
    sa.Column("posting_no", Big, nullable=False, server_default="0"),
    sa.Column("payment_no", Text, nullable=False, server_default=""),
    sa.CheckConstraint("amount_fen > 0", name="positive"),
    sa.CheckConstraint("debit_account <> credit_account", name="two_accounts"),
    sa.Index("ix_journal_block", "centre", "block_no"),
    sa.Index("ix_journal_agreement", "centre", "agreement_no"),
    sa.Index("ix_journal_receivable", "centre", "agreement_no", sqlite_where=_MOVES_RECEIVABLE, postgresql_where=_MOVES_RECEIVABLE),
    # A payment is booked once: the database refuses a second confirmation or return of the same number.
    sa.Index("uq_journal_payment", "centre", "payment_no", "agreement_no", "reason", unique=True,
             sqlite_where=sa.text("payment_no <> ''"), postgresql_where=sa.text("payment_no <> ''")),
)

journal_block = sa.Table(  # append-only; hash = sha256(previous hash + canonical rows of the block)
    "journal_block", metadata, _centre(),
    sa.Column("block_no", Big, primary_key=True),
    sa.Column("run_no", Big, nullable=False),
    sa.Column("first_entry", Big, nullable=False),
    sa.Column("last_entry", Big, nullable=False),
    sa.Column("first_posting", Big, nullable=False),  # postings covered by the same hash; 0 when none
    sa.Column("last_posting", Big, nullable=False),
    sa.Column("amount_fen", Big, nullable=False),
    sa.Column("previous_hash", Text, nullable=False),
    sa.Column("hash", Text, nullable=False),
)

seal = sa.Table(  # append-only; hash over what a transaction appended to the other append-only tables (ledger.chain.SEALED)
    "seal", metadata, _centre(),
    sa.Column("seal_no", Big, primary_key=True),
    sa.Column("ranges", Text, nullable=False),  # JSON: table -> [first number, last number]
    sa.Column("previous_hash", Text, nullable=False),
    sa.Column("hash", Text, nullable=False),
)

# --- clearing --------------------------------------------------------------------------------------------------------

settlement = sa.Table(  # one per centre and period
    "settlement", metadata, _centre(),
    sa.Column("period", Text, primary_key=True),  # 2026-10
    sa.Column("settlement_on", Date, nullable=False),
    sa.Column("cutoff_on", Date, nullable=False),
    sa.Column("run_no", Big, nullable=False),
    sa.Column("state", Text, nullable=False),  # empty | waiting | held | approved | rejected | publishing | published
    sa.Column("first", Bool, nullable=False),
    sa.Column("reasons", Text, nullable=False),  # JSON list of codes why a person must look
    sa.Column("approvals_needed", Int, nullable=False),
    sa.Column("content_hash", Text, nullable=False),
    sa.Column("computed_fen", Big, nullable=False),
    sa.Column("sent_fen", Big, nullable=False),
    sa.Column("netted_fen", Big, nullable=False),
    sa.Column("carried_fen", Big, nullable=False),
    sa.Column("held_fen", Big, nullable=False),
    sa.Column("detail", Text, nullable=False, server_default="{}"),  # JSON: carried and held amounts by reason, collected, receivable
)

batch = sa.Table(
    "batch", metadata, _centre(),
    sa.Column("batch_no", Big, primary_key=True),
    sa.Column("period", Text, nullable=False),
    sa.Column("direction", Text, nullable=False),  # out | in | net
    sa.Column("bank_code", Text, nullable=False),  # paying bank
    sa.Column("route", Text, nullable=False),  # own | other | single
    sa.Column("profile", Text, nullable=False),
    sa.Column("send_no", Text, nullable=False),  # 20 characters
    sa.Column("file_name", Text, nullable=False),
    sa.Column("sha256", Text, nullable=False, server_default=""),
    sa.Column("payment_count", Big, nullable=False),
    sa.Column("amount_fen", Big, nullable=False),
    sa.Column("bank_batch_no", Text, nullable=False, server_default=""),  # BatchNo that the bank gave, from its status answer
    sa.UniqueConstraint("centre", "send_no"),
)

payment = sa.Table(  # append-only: what a batch asks a bank to do, payee frozen
    "payment", metadata, _centre(),
    sa.Column("payment_no", Text, primary_key=True),  # TX + yyyymm + 10 digits
    sa.Column("batch_no", Big, nullable=False),
    sa.Column("ordinal", Int, nullable=False),  # 序号 in the file, from 1
    sa.Column("payee_account", Text, nullable=False),
    sa.Column("payee_name", Text, nullable=False),
    sa.Column("payee_bank_no", Text, nullable=False),
    sa.Column("payee_kind", Text, nullable=False),
    sa.Column("amount_fen", Big, nullable=False),  # always >= 0; 0 only in a netting batch
    sa.Column("attempt", Int, nullable=False),
    sa.Column("replaces", Text),
    sa.UniqueConstraint("centre", "batch_no", "ordinal"),
    sa.CheckConstraint("amount_fen >= 0", name="amount"),
    sa.Index("ix_payment_account", "centre", "payee_account"),  # new payees; credits from somebody we paid
)

payment_item = sa.Table(  # append-only: an amount of one line inside one payment; negative where a recovery is netted
    "payment_item", metadata, _centre(),
    sa.Column("payment_no", Text, primary_key=True),
    sa.Column("agreement_no", Text, primary_key=True),
    sa.Column("account_no", Text, primary_key=True),
    sa.Column("serial_no", Text, primary_key=True),
    sa.Column("amount_fen", Big, nullable=False),
    sa.Column("kind", Text, nullable=False),  # normal | top_up | recovery
    sa.Column("bucket", Int, nullable=False),
    sa.CheckConstraint("amount_fen <> 0", name="not_zero"),
    sa.Index("ix_payment_item_line", "centre", "agreement_no", "account_no", "serial_no", "payment_no"),
)

payment_event = sa.Table(  # append-only state history; the last event is the state
    "payment_event", metadata, _centre(),
    sa.Column("event_no", Big, primary_key=True),
    sa.Column("payment_no", Text, nullable=False),
    sa.Column("state", Text, nullable=False),  # reserved sent confirmed failed open returned released
    sa.Column("event_on", Date, nullable=False),  # business date; bank states: host date
    sa.Column("host_serial", Text, nullable=False, server_default=""),
    sa.Column("code", Text, nullable=False, server_default=""),
    sa.Column("text", Text, nullable=False, server_default=""),
    sa.Column("bank_file_no", Big, nullable=False, server_default="0"),
    sa.Column("run_no", Big, nullable=False, server_default="0"),
    sa.Index("ix_payment_event_payment", "centre", "payment_no", "event_no"),
    # A statement is matched by host serial.
    sa.Index("ix_payment_event_serial", "centre", "host_serial", sqlite_where=sa.text("host_serial <> ''"),
             postgresql_where=sa.text("host_serial <> ''")),
    # Payments whose lines are due again, found without reading every event.
    sa.Index("ix_payment_event_dead", "centre", "payment_no", sqlite_where=sa.text("state IN ('failed', 'returned', 'released')"),
             postgresql_where=sa.text("state IN ('failed', 'returned', 'released')")),
)

bank_file = sa.Table(  # result, movement and status answer files
    "bank_file", metadata, _centre(),
    sa.Column("bank_file_no", Big, primary_key=True),
    sa.Column("sha256", Text, nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),  # result movement status
    sa.Column("batch_no", Big),
    sa.Column("known_on", Date, nullable=False),
    sa.Column("state", Text, nullable=False),  # booked | blocked | duplicate
    sa.Column("message", Text, nullable=False, server_default=""),
    sa.Column("detail", Text, nullable=False, server_default="{}"),
    sa.UniqueConstraint("centre", "sha256"),
)

movement = sa.Table(  # bank statement rows that concern us
    "movement", metadata, _centre(),
    sa.Column("movement_no", Big, primary_key=True),
    sa.Column("bank_file_no", Big, nullable=False),
    sa.Column("host_serial", Text, nullable=False),
    sa.Column("amount_fen", Big, nullable=False),  # out is negative
    sa.Column("moved_on", Date, nullable=False),
    sa.Column("payment_no", Text, nullable=False, server_default=""),
    sa.Column("batch_no", Big, nullable=False, server_default="0"),
    sa.Column("class", Text, nullable=False),  # debit return collection unknown
    sa.UniqueConstraint("centre", "host_serial", "amount_fen", "moved_on"),
    sa.Index("ix_movement_payment", "centre", "payment_no"),
    sa.Index("ix_movement_batch", "centre", "batch_no"),
)

write_off = sa.Table(
    "write_off", metadata, _centre(),
    sa.Column("write_off_no", Big, primary_key=True),
    sa.Column("agreement_no", Text, nullable=False),
    sa.Column("amount_fen", Big, nullable=False),
    sa.Column("requested_by", Text, nullable=False),
    sa.Column("approved_by", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("business_date", Date, nullable=False),
    sa.CheckConstraint("requested_by <> approved_by", name="two_people"),
    sa.CheckConstraint("amount_fen > 0", name="positive"),
)

write_off_request = sa.Table(  # append-only: somebody asks that a receivable be written off; somebody else answers in `approval`
    "write_off_request", metadata, _centre(),
    sa.Column("request_no", Big, primary_key=True),
    sa.Column("agreement_no", Text, nullable=False),
    sa.Column("amount_fen", Big, nullable=False),
    sa.Column("person", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("at", WALL, nullable=False),
    sa.CheckConstraint("amount_fen > 0", name="positive"),
)

published_file = sa.Table(  # every file we made visible: intent first, then the rename
    "published_file", metadata, _centre(),
    sa.Column("path", Text, primary_key=True),  # relative to the home folder
    sa.Column("kind", Text, nullable=False),  # payment message recovery acknowledgement voucher workbook query notice
    sa.Column("sha256", Text, nullable=False),
    sa.Column("bytes", Big, nullable=False),
    sa.Column("business_date", Date, nullable=False),
    sa.Column("run_no", Big, nullable=False, server_default="0"),
    sa.Column("batch_no", Big, nullable=False, server_default="0"),
    sa.Column("state", Text, nullable=False),  # intent | published
    sa.Index("ix_published_file_batch", "centre", "batch_no"),
)

clearing = sa.Table(  # clearing over all centres of a month; numbered versions
    "clearing", metadata,
    sa.Column("period", Text, primary_key=True),
    sa.Column("version", Int, primary_key=True),
    sa.Column("content_hash", Text, nullable=False),
    sa.Column("complete", Text, nullable=False),  # JSON list of centres
    sa.Column("missing", Text, nullable=False),  # JSON list of centres
    sa.Column("detail", Text, nullable=False),  # JSON: net position per bank and centre
)

# --- people ----------------------------------------------------------------------------------------------------------

approval = sa.Table(  # append-only answers
    "approval", metadata, _centre(),
    sa.Column("approval_no", Big, primary_key=True),
    sa.Column("subject", Text, nullable=False),  # settlement:2026-10 | recompute:17
    sa.Column("content_hash", Text, nullable=False),
    sa.Column("person", Text, nullable=False),
    sa.Column("answer", Text, nullable=False),  # approve | reject | refused
    sa.Column("message", Text, nullable=False),
    sa.Column("answered_at", WALL, nullable=False),
)

audit = sa.Table(  # append-only, hash-chained over all centres ("" = system wide)
    "audit", metadata,
    sa.Column("audit_no", Big, primary_key=True),
    sa.Column("centre", Text, nullable=False),
    sa.Column("person", Text, nullable=False),
    sa.Column("act", Text, nullable=False),  # trigger clear mark backfill release approve reject write_off download opening override …
    sa.Column("subject", Text, nullable=False),  # run, settlement, file, quarantine number
    sa.Column("reason", Text, nullable=False),
    sa.Column("at", WALL, nullable=False),
    sa.Column("previous_hash", Text, nullable=False),
    sa.Column("hash", Text, nullable=False),
    sa.Index("ix_audit_subject", "centre", "subject"),
)

# --- after a restore -------------------------------------------------------------------------------------------------

restoration = sa.Table(  # append-only: a backup was restored; publication is locked until a person releases it
    "restoration", metadata, _centre(),
    sa.Column("restoration_no", Big, primary_key=True),
    sa.Column("backup_hash", Text, nullable=False),
    sa.Column("first_batch_no", Big, nullable=False),  # batch numbers from this one on may have left the house after the backup
    sa.Column("person", Text, nullable=False),
    sa.Column("at", WALL, nullable=False),
)

restoration_match = sa.Table(  # append-only: what became of a batch number since the backup
    "restoration_match", metadata, _centre(),
    sa.Column("restoration_no", Big, primary_key=True),
    sa.Column("batch_no", Big, primary_key=True),
    sa.Column("how", Text, nullable=False),  # outbox result statement asked unused
    sa.Column("evidence", Text, nullable=False),
    sa.Column("person", Text, nullable=False),
    sa.Column("at", WALL, nullable=False),
)

APPEND_ONLY = (
    "quarantine", "quarantine_release", "release_request", "finding", "posting", "posting_cause", "journal", "journal_block", "payment",
    "payment_item", "payment_event", "movement", "write_off", "write_off_request", "approval", "audit", "segment", "seal", "restoration",
    "restoration_match",
)
