"""``subsidy explain`` over a ledger that nights have written: the story of one centre, asked about as a finance clerk would."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fixtures import story
from subsidy.cli.main import main
from subsidy.ledger.database import open_database
from subsidy.night import api
from subsidy.reports import ledger_rows
from subsidy.settings import load_settings

# Airflow reads its home when it is imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="subsidy-airflow-"))

CENTRE = "hangzhou"
KEY = "explained-" + "0" * 32


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder after the four nights of the story."""
    folder = tmp_path_factory.mktemp("explained")
    settings = load_settings({"SUBSIDY_HOME": str(folder), "SUBSIDY_KEY": KEY})
    open_database(settings).migrate()
    for night in (n for n in story.nights() if n.centre == CENTRE):
        story.deliver(folder, CENTRE, night.number)
        api.run_night(settings, CENTRE, night.business_date, "夜间")
    return folder


@pytest.fixture
def ask(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command for contract number `n` of the story and gives its exit code and what it printed."""
    monkeypatch.setenv("SUBSIDY_HOME", str(home))
    monkeypatch.setenv("SUBSIDY_KEY", KEY)

    def run(n: int, period: str = "2026-10", *more: str) -> tuple[int, str]:
        code = main(["explain", "--centre", CENTRE, "--contract", f"HT0100105{n:08d}", "--period", period, *more])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def test_a_corrected_line_of_the_month_before_is_told_with_its_cause(ask: Any) -> None:
    code, text = ask(41)
    assert code == 0
    now, before = text.split("（以前期间的行，本期更正 -25.00 元）")
    assert "2026-10-19 首次入账 353.16 元" in now and "【与上月相比】\n　计息本金：707958.58 元 → 706321.56 元" in now
    assert "来源：文件 HZ_GB305_20260919_002_更正.txt" in before
    assert "2026-09-19 首次入账 378.98 元，该行累计入账 378.98 元" in before
    assert "2026-10-19 追回 -25.00 元，该行累计入账 353.98 元；原因：更正文件（HZ_GB305_20260919_002_更正.txt 第 10 行）" in before


#: Contracts with a line of September that October's nights posted to, what they posted, in words, and the line.
EARLIER = [
    (32, "本期首次入账 48.00 元", "20260903000000320001"),
    (37, "本期首次入账 366.30 元", "20260910000000370001"),
    (41, "本期更正 -25.00 元", "20260908000000410001"),
]


@pytest.mark.parametrize(("number", "words", "serial"), EARLIER)
def test_an_earlier_line_that_was_first_paid_or_resumed_or_corrected_is_told(ask: Any, number: int, words: str, serial: str) -> None:
    _, text = ask(number)
    before = text.split("（以前期间的行，")[1]
    assert before.startswith(f"{words}）") and f"业务流水 {serial}" in before
    _, text = ask(number, "2026-09")
    assert "以前期间的行" not in text


@pytest.mark.parametrize(("number", "words", "serial"), EARLIER)
def test_the_page_tells_the_same_lines(home: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str, serial: str) -> None:
    monkeypatch.setenv("SUBSIDY_HOME", str(home))
    monkeypatch.setenv("SUBSIDY_KEY", KEY)
    from subsidy.portal import pages
    from subsidy.portal.roles import load_roles

    clerk = load_roles(load_settings().rules).people["caiwu"]
    page = bytes(pages.why(CENTRE, f"HT0100105{number:08d}", "2026-10", clerk).body).decode()
    own, before = page.split("以前期间的行，")
    assert before.startswith(f"{words}</p>") and f"业务流水 {serial}" in before and f"业务流水 {serial}" not in own
    assert "该行累计入账" in before


def test_a_period_that_is_not_settled_goes_by_the_calendar(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = ask(41), ask(32)
    monkeypatch.setattr(ledger_rows, "window", lambda *_: None)
    assert (ask(41), ask(32)) == settled


def test_the_same_as_data(ask: Any) -> None:
    code, text = ask(50, "2026-10", "--json")
    found = json.loads(text)
    assert code == 0 and [line["corrected"] for line in found] == [False, True]
    line = found[1]
    assert (line["exact"], line["rounded_fen"], line["line"]["entitled_fen"]) == ("2608407/35", 74526, 8000)
    assert [(p["kind"], p["amount_fen"]) for p in line["posted"]] == [("accrual", 74526), ("recovery", -66526)]
    assert line["posted"][1]["causes"][0]["file_name"].startswith("HZ_TX05_20261019")
    assert {s["key"] for s in line["sections"]} == {"input", "rule", "window", "share", "segments", "amount", "gate", "limits", "result"}
    assert "62" not in line["account_no"][6:-4]


def test_every_place_names_its_file_and_line(ask: Any) -> None:
    _, text = ask(45)
    assert "首个不贴息日的由来：转公积金　〔TX03 贴息变更，文件 HZ_TX03_" in text
    assert "贷款发放：800000.00 元，2022-03-10 发放　〔GB304 贷款账户，文件 HZ_GB304_" in text
    assert "登记号 0" not in text


@pytest.mark.parametrize(("number", "period", "words"), [(41, "2031-01", "EXPLAIN-NONE"), (9999, "2026-10", "LOOKUP-UNKNOWN")])
def test_what_is_not_there(ask: Any, number: int, period: str, words: str) -> None:
    code, text = ask(number, period)
    assert code == 3 and words in text
