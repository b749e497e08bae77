"""Entitlement: (facts known on a day, policy) -> lines and findings. Pure: no clock, no files, no database."""
