"""Dialects: the physical forms of files. Each turns bytes into a `Delivery`; none knows what a row means."""
