"""What this world knows of the centres is what their folders say: rates, terms, dates, accounts, columns."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from fixtures import dues, rates
from fixtures.centres import CENTRES, GO_LIVE
from fixtures.layouts import LAYOUTS, TABLES
from subsidy.calendar import WorkingDays, settlement_of
from subsidy.facts.schema import BY_CODE
from subsidy.policy.load import load_centre

RULES = Path(__file__).resolve().parents[2] / "rules"
ALL = sorted(CENTRES)


def test_rates() -> None:
    series = load_centre(RULES, "hangzhou").parameters.series
    for name in ("FIRST_LE5", "FIRST_GT5", "SECOND_LE5", "SECOND_GT5", "LPR_5Y", "BENCHMARK_GT5Y"):
        for day in series[name].effective_on:
            assert rates.on(name, day) == series[name].on(day)
            if day > series[name].effective_on[0]:
                assert rates.on(name, day - timedelta(days=1)) == series[name].on(day - timedelta(days=1))


@pytest.mark.parametrize("centre", ALL)
def test_rules(centre: str) -> None:
    c, policy = CENTRES[centre], load_centre(RULES, centre)
    rule = policy.rules_on(GO_LIVE)
    assert (policy.code, policy.name, policy.short_name, policy.go_live) == (c.code, c.full_name, c.short, GO_LIVE)
    assert (rule.method, rule.mid_period, rule.principal_cap) == (c.method, c.mid_period, c.principal_cap)
    assert rule.fund_rate_reset == "next_january"
    assert (rule.points_ppm or 0, rule.share_ppm or 0) == (c.points_ppm, c.share_ppm)
    assert (rule.monthly_limit_fen, rule.lifetime_limit_fen) == (c.monthly_limit_fen, c.lifetime_limit_fen)
    assert rule.months_limit == c.months_limit
    if c.method in ("spread", "points"):
        assert rule.day_count == c.day_count
    assert rule.suspension is not None and rule.suspension.after_cure == c.after_cure


@pytest.mark.parametrize("centre", ALL)
def test_terms_and_dates(centre: str) -> None:
    c, policy = CENTRES[centre], load_centre(RULES, centre)
    working = WorkingDays()
    for settles, cutoff, night in zip(c.settles, c.cutoffs, (c.nights[1], c.nights[3]), strict=True):
        terms = policy.settlement_on(settles)
        dates = settlement_of(terms, settles.year, settles.month, working)
        assert dates is not None
        assert (dates.settlement_on, dates.cutoff_on, dates.night) == (settles, cutoff, night)
        assert (terms.payee, terms.frequency == "quarterly") == ("bank" if c.payee == "02" else "borrower", c.quarterly)
        assert (terms.minimum_fen, terms.recovery == "collect") == (dues.MINIMUM_FEN.get(centre, 0), centre in dues.COLLECTS)
        assert (terms.paying_account.number, terms.paying_account.name) == (c.account_no, c.account_name)


@pytest.mark.parametrize("centre", ALL)
def test_layouts(centre: str) -> None:
    main = yaml.safe_load((RULES / centre / "files.yaml").read_text(encoding="utf-8"))["inbound"]["main"]
    layout = LAYOUTS[centre]
    assert main["centre_code"] == CENTRES[centre].code
    for table, spec in main["tables"].items():
        names = [next(iter(c.items())) if isinstance(c, dict) else (c, c) for c in spec["columns"]]
        columns = layout.columns(table)
        if layout.form == "fixed":
            assert names == [(c.code, c.width) for c in columns]
        else:
            assert [name for name, _ in names] == [layout.renamed.get(c.code, c.code) for c in columns]
        assert spec["mode"] == ("full" if table in layout.full else "increment")
    for code, words in layout.codes.items():
        assert all(main["codes"][code][word] == value for value, word in words.items())


def test_dictionary() -> None:
    for code, columns in TABLES.items():
        known = {c.code: c for c in BY_CODE[code].columns}
        assert [c.code for c in columns] == list(known)
        assert [c.label for c in columns] == [known[c.code].label for c in columns]
