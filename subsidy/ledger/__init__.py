"""Ledger: what was posted, reserved, paid and recovered. Append-only, double entry, guarded by the database itself."""
