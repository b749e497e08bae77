"""Measurements: each room beside a peer, as ratios of one run. ``python -m benchmarks [ROOM …] [SIZE]``."""
