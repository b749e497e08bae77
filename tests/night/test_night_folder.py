"""A fault in any file of a centre folder stops the centre before anything is opened: mending the file and running again is enough."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from playing import approve, play, state

from fixtures import story
from subsidy.cli.main import main
from subsidy.errors import TerminalError
from subsidy.night import api
from subsidy.portal.centre_card import read_card
from subsidy.settings import Settings

CENTRE = "huzhou"


@pytest.mark.parametrize(
    ("file", "right", "wrong", "told"),
    [
        ("policy.yaml", "frequency: monthly", "frequency: mensual", "mensual"),
        ("files.yaml", "encoding: utf-8", "encoding: utf-9", "utf-9"),
        ("files.yaml", 'centre_code: "330500000000000"', 'centre_code: "330300000000000"', "中心编号 330300000000000 与"),
        ("files.yaml", "from: 2026-09-01", "from: 2026-08-31", "从 2026-08-31 起等文件"),
        ("outbound.yaml", "recovery:", "recover:", "recovery"),
    ],
)
def test_a_fault_is_told_before_the_night_opens_and_mending_it_is_enough(
    file: str, right: str, wrong: str, told: str, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules"
    shutil.copytree(settings.rules, rules)
    settings = dataclasses.replace(settings, rules=rules)
    play(settings, CENTRE, (1,))
    story.deliver(settings.home, CENTRE, 2)
    [day] = [n.business_date for n in story.nights() if n.centre == CENTRE and n.number == 2]
    path = rules / CENTRE / file
    good = path.read_text(encoding="utf-8")
    assert right in good
    path.write_text(good.replace(right, wrong, 1), encoding="utf-8")
    before = state(settings)
    for _ in range(2):
        with pytest.raises(TerminalError) as caught:
            api.run_night(settings, CENTRE, day, "夜间")
        assert f"{CENTRE}/{file}" in caught.value.message.what and told in caught.value.message.what
    assert state(settings) == before
    assert f"{CENTRE}/{file}" in read_card(rules, CENTRE).fault
    capsys.readouterr()
    assert main(["policy", "check", CENTRE, "--rules", str(rules)]) == 1
    assert f"{CENTRE}/{file}" in capsys.readouterr().out
    path.write_text(good, encoding="utf-8")
    assert main(["policy", "check", CENTRE, "--rules", str(rules)]) == 0
    api.run_night(settings, CENTRE, day, "夜间")
    assert approve(settings, CENTRE) is not None
