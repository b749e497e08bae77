"""A night: the steps that join files, engine, ledger and clearing, in order, each safe to run again.

`subsidy.night.api` is what DAGs and shell call. Every step takes the centre's lease for as long as it works,
commits its effects together with
its row in table `step`, and returns counts and ids only. A step that is already done returns what it returned then.
"""
