"""Intake: files of centres and banks to checked columns. Every row is booked, quarantined or a known duplicate; nothing is guessed.

Pure with respect to the database: what is known comes in through a `Context`, what is to be remembered goes out as an `Intake`. The
night does, file by file, each in one transaction::

    profiles = load_profiles(settings.rules, centre)                       # ProfileError carries all findings
    for arrival in arrived(inbox, profiles, quiet_seconds, clock):
        with snapshot(arrival, scratch) as copy:                           # a private copy: the inbox may change under us
            context = StoreContext(store, segments, known_on, files, open_rows, full_dates)   # plain rows of the register
            with read(copy, profiles, context, file_no=n, known_on=night) as intake:
                sha = store.put_file(copy.path)                            # == intake.sha256; companions likewise
                for name, result in intake.tables.items():                 # only when intake.state == "booked"
                    if result.facts.rows:
                        table = TABLES[name]
                        written = store.write_segment(f"facts/{centre}/{name}", table.arrow, result.batches(), sort_key(table))
                        # manifest: (name, night, n, written.path, written.rows, written.sha256)
                # register: intake.identity, version, state, message, counts (rows_in = booked + quarantined + duplicates)
                # quarantine: intake.quarantined; released: intake.releases; findings: intake.findings
                publish(acknowledgement_name(intake, profiles), acknowledge(intake, profiles))

What the night must give `StoreContext`: `files` are the register's rows with an identity (any state), `open_rows` its quarantine rows of
stage ``intake`` without a release (with the identity, profile and business date of their file), `full_dates` the (table name, business
date) of booked files whose table is declared ``replaces: table``. A refused or held file books nothing: its counts are zero. A duplicate
has the version it repeats. `result.counts.released` rows are facts of earlier files that this file released; they are in the table's
batches, keep their own file and line, and are not part of this file's rows in. A quarantined row with `soft` may be released by a
person (`release_by_person`), one with `parent` is released when that table brings its parent.
"""

from subsidy.intake.acknowledge import acknowledge, acknowledgement_name
from subsidy.intake.arrival import Arrival, Expected, Inbox, Waiting, arrived, expected, missing, survey
from subsidy.intake.context import Context, KnownFile, StoreContext
from subsidy.intake.profile import Profile, Profiles
from subsidy.intake.profile_load import ProfileError, load_profiles
from subsidy.intake.read import read
from subsidy.intake.release import release_by_person
from subsidy.intake.result import Counts, Intake, OpenRow, QuarantineRow, Release, TableResult
from subsidy.intake.snapshot import snapshot

__all__ = [
    "Arrival", "Context", "Counts", "Expected", "Inbox", "Intake", "KnownFile", "OpenRow", "Profile", "ProfileError", "Profiles",
    "QuarantineRow", "Release", "StoreContext", "TableResult", "Waiting", "acknowledge", "acknowledgement_name",
    "arrived", "expected", "load_profiles", "missing", "read",
    "release_by_person", "snapshot", "survey",
]
