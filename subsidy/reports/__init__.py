"""Workbooks that people check and sign. They show what was computed and stored; the only arithmetic here is sums that must tie."""
