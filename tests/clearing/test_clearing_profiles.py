"""Outbound profiles: every centre's loads, and everything that is wrong with one is said at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from clearing_house import CODES, RULES

from subsidy.clearing import profiles
from subsidy.clearing.batches import terms_of
from subsidy.errors import TerminalError
from subsidy.policy import load_centre

OWN_FIELDS = "fields: [ordinal, amount, account, name, summary, empty, payment_no, empty, amount, zero]"
GOOD = (RULES / "hangzhou" / "outbound.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("centre", CODES)
def test_every_centre_has_the_form_that_its_policy_names(centre: str) -> None:
    policy = load_centre(RULES, centre)
    outbound = profiles.load(RULES, centre)
    for terms in policy.settlement:
        layout = outbound.layout(terms.payment_profile)
        assert layout.direction == "out"
        assert layout.splits == (layout.name == "bdc103")
        assert terms.paying_account.number
    assert policy.code == CODES[centre]
    assert outbound.layouts[outbound.recovery].direction == "in"
    assert len(outbound.movements.fields) == 23


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("encoding: gbk\n", "encoding: gbk2\n", "layouts.bdc103.encoding：gbk2 不在允许的值之内"),
        (OWN_FIELDS, "fields: [ordinal, amunt, account, name, payment_no]", "不认识栏位 amunt，最接近的是 amount"),
        (OWN_FIELDS, "fields: [ordinal, amount, account, name]", "缺少必需的栏位 payment_no"),
        ("BDC_BAT_{unit_no}{send_no}", "BDC_BAT_{unit}{send_no}", "不认识 {unit}，最接近的是 {unit_no}"),
        ("result: bdc108", "result: bdc109", "results 中没有 bdc109"),
        ("recovery: bdc104", "recovery: bdc103", "recovery：layouts 中没有方向为 in 的 bdc103"),
        ("return_days: 10", "return_days: ten", "movements.return_days"),
        ("terminated: true            # 最后", "terminated: yes please  #", "terminated：缺少，或不是 true / false"),
        ("  basis: assumed\n  source: SBDC100", "  note: SBDC100", "movements.basis：没有出处"),
        ('success: ["00000"]', "success: [0]", "results.bdc108.success：缺少，或不是文字的列表"),
        ("queries:", "querys:", "queries"),
        ("layouts:", "layouts: [", "不是有效的 YAML"),
    ],
)
def test_what_is_wrong_is_named(before: str, after: str, words: str) -> None:
    assert GOOD.count(before) >= 1
    with pytest.raises(TerminalError) as caught:
        profiles.parse("hangzhou", GOOD.replace(before, after, 1))
    assert caught.value.message.code == "OUTBOUND-PROFILE"
    assert words in caught.value.message.what


def test_all_errors_at_once() -> None:
    text = GOOD.replace("recovery: bdc104", "recovery: x").replace("return_days: 10", "return_days: -1").replace("unit: yuan", "unit: jiao")
    with pytest.raises(TerminalError) as caught:
        profiles.parse("hangzhou", text)
    what = caught.value.message.what
    assert all(words in what for words in ("recovery", "return_days", "layouts.bdc103.unit", "results.bdc108.unit", "movements.unit"))


def test_missing_file_and_unknown_profile(tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match="OUTBOUND-PROFILE"):
        profiles.load(tmp_path, "hangzhou")
    shutil.copytree(RULES / "hangzhou", tmp_path / "hangzhou")
    with pytest.raises(TerminalError, match="最接近的是 bdc103"):
        profiles.load(tmp_path, "hangzhou").layout("bdc1033")


def test_names_are_recognised_by_their_pattern() -> None:
    pattern = profiles.pattern("BDC107_RSP_{unit_no}{send_no}_{number}.TXT", {"unit_no": "330100000000000"})
    match = pattern.fullmatch("BDC107_RSP_33010000000000020260921000000000001_001.TXT")
    assert match is not None
    assert match.groupdict() == {"send_no": "20260921000000000001", "number": "001"}
    for name in ("BDC107_RSP_33010000000000120260921000000000001_001.TXT", "BDC107_RSP_330100000000000../../x_001.TXT",
                 "xBDC107_RSP_33010000000000020260921000000000001_001.TXT"):  # fmt: skip
        assert pattern.fullmatch(name) is None


def test_terms_are_those_of_the_nominal_day() -> None:
    from dataclasses import replace
    from datetime import date

    policy = load_centre(RULES, "shaoxing")  # the 25th, rolled backwards
    (terms,) = policy.settlement
    changed = replace(
        policy,
        settlement=(replace(terms, effective_to=date(2026, 10, 25)), replace(terms, effective_from=date(2026, 10, 25), minimum_fen=77)),
    )
    assert terms_of(changed, date(2026, 9, 24)).minimum_fen == terms.minimum_fen
    assert terms_of(changed, date(2026, 10, 23)).minimum_fen == 77
