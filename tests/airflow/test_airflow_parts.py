"""The parts of the Airflow side that can be tried without a running server."""

from __future__ import annotations

import shutil
import socketserver
import stat
import subprocess
import sys
import threading
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from conftest import copy_rules
from hypothesis import given
from hypothesis import strategies as st

from fixtures.airflow_home import ROOT, AirflowHome, demo_passwords, keys, write_secret
from subsidy.errors import TerminalError
from subsidy.portal import config, passwords
from subsidy.portal.dag_ids import dag_id, read_dag_id
from subsidy.portal.due import centres_due
from subsidy.portal.request import CLOCK, read_period, read_recompute, read_request
from subsidy.portal.roles import load_roles

# --- roles, passwords, keys ---------------------------------------------------------------------------------------------


def test_the_shipped_role_table_has_two_operators_two_approvers_and_a_clerk_who_do_not_overlap() -> None:
    roles = load_roles(ROOT / "rules")
    centres = [path.parent.name for path in (ROOT / "rules").glob("*/policy.yaml")]
    for centre in centres:
        runners = {person.login for person in roles.holders(centre, "run")}
        approvers = {person.login for person in roles.holders(centre, "approve")}
        assert len(runners) == 1 and len(approvers) == 2 and not runners & approvers, centre
    assert [person.login for person in roles.holders("hangzhou", "personal")] == ["caiwu"]
    assert not roles.may("nobody", "hangzhou", "view") and not roles.may("op_hang", "wenzhou", "view")
    with pytest.raises(KeyError):
        roles.may("op_hang", "hangzhou", "everything")


@pytest.mark.parametrize(
    "text",
    ["people:", "people: [a]", "people: {a: {rights: {hangzhou: [fly]}}}", "people: {'a b': {rights: {}}}", "people: {a: 1}", "\x00"],
)
def test_a_role_table_in_doubt_lets_nobody_in(tmp_path: Path, text: str) -> None:
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "roles.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(TerminalError, match="ROLE-TABLE"):
        load_roles(tmp_path)


def test_passwords_are_kept_as_hashes_for_the_owner_only(tmp_path: Path) -> None:
    words = demo_passwords(tmp_path, ROOT / "rules")
    path = tmp_path / "secrets" / "passwords.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    stored = passwords.load(path)
    assert set(stored) == set(words) and all(word not in path.read_text() for word in words.values())
    assert passwords.matches(stored["caiwu"], words["caiwu"])
    assert not passwords.matches(stored["caiwu"], words["op_hang"]) and not passwords.matches(None, words["caiwu"])
    assert demo_passwords(tmp_path, ROOT / "rules") == words
    path.chmod(0o644)
    with pytest.raises(TerminalError, match="SET-PASSWORDS"):
        passwords.load(path)
    path.unlink()
    with pytest.raises(TerminalError, match="SET-PASSWORDS"):
        passwords.load(path)


def test_keys_are_made_once_and_are_different_in_every_home(tmp_path: Path) -> None:
    first, second = keys(tmp_path / "a"), keys(tmp_path / "b")
    assert keys(tmp_path / "a") == first and not set(first.values()) & set(second.values())
    assert stat.S_IMODE((tmp_path / "a" / "secrets" / "keys.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("missing", ["SUBSIDY_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY", "passwords"])
def test_a_missing_key_stops_the_start(tmp_path: Path, missing: str) -> None:
    airflow = AirflowHome(tmp_path / "home")
    environment = airflow.environment()
    demo_passwords(airflow.home, airflow.rules)
    if missing == "passwords":
        (airflow.home / "secrets" / "passwords.json").unlink()
    else:
        del environment[missing]
    script = "from subsidy.portal.auth import RoleTableAuthManager; RoleTableAuthManager().init()"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    expected = {"SUBSIDY_KEY": "SET-KEY", "passwords": "SET-PASSWORDS"}.get(missing, "SET-AIRFLOW-KEYS")
    assert done.returncode != 0 and expected in done.stderr


def test_a_secret_is_never_readable_by_others_not_even_for_a_moment(tmp_path: Path) -> None:
    write_secret(tmp_path / "secrets" / "x", "geheim")
    assert stat.S_IMODE((tmp_path / "secrets" / "x").stat().st_mode) == 0o600


# --- names, requests, settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["night", "publish", "results", "recompute"])
@pytest.mark.parametrize("centre", ["hangzhou", "zhejiang-provincial"])
def test_a_dag_id_names_one_centre_and_one_kind(centre: str, kind: Any) -> None:
    assert read_dag_id(dag_id(centre, kind)) == (centre, kind)


@pytest.mark.parametrize(
    "value", ["hangzhou", "subsidy_", "subsidy_Hangzhou", "subsidy_a_b", "subsidy_clearing_publish", "subsidy_a/../b", "~"]
)
def test_other_names_are_nobodys(value: str) -> None:
    assert read_dag_id(value) is None


def test_a_centre_cannot_be_called_like_the_clearing() -> None:
    for name in ("clearing", "a_publish", "A", ""):
        with pytest.raises(ValueError):
            dag_id(name, "night")


def context(key: str | None = None, user: str | None = None, **params: Any) -> dict[str, Any]:
    return {"dag_run": SimpleNamespace(partition_key=key, triggering_user_name=user, conf={}, run_id="r"), "params": params}


def test_who_asked_for_what() -> None:
    request = read_request(context("2026-10-20", "op_hang", mode="night", business_date=None))
    assert (request.business_date, request.mode, request.actor) == (date(2026, 10, 20), "night", "op_hang")
    assert read_request(context(business_date="2026-10-20")).actor == CLOCK
    for wrong, code in (
        (context(), "RUN-DATE"), (context("2026-10-20", business_date="2026-10-21"), "RUN-DATE"), (context("morgen"), "RUN-DATE"),
        (context("2026-10-20", mode="fly"), "RUN-MODE"), (context("2026-10-20", mode="recompute", reason="  "), "RUN-REASON"),
    ):  # fmt: skip
        with pytest.raises(TerminalError, match=code):
            read_request(wrong)


def test_whoever_starts_a_recompute_asked_for_it_whatever_the_form_says() -> None:
    form = {"business_date": "2026-10-20", "reason": "x", "asked_by": "op_wen"}
    assert read_recompute(context(None, "op_hang", **form)).actor == "op_hang"
    assert read_recompute(context(None, None, **form)).actor == "op_wen"


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026-13", "2026-1", "2026-10-01", "abcd-ef", "２０２６-10", "2026-1٠", " 2026-10", "2026-10\n", "2100-10", "0000-10"],
)
def test_a_period_is_a_month(text: str) -> None:
    assert read_period(context(period="2026-10")) == "2026-10"
    with pytest.raises(TerminalError, match="RUN-PERIOD"):
        read_period(context(period=text))
    from airflow.sdk.exceptions import ParamValidationError
    from fastapi import HTTPException

    from subsidy.portal import forms, pages

    with pytest.raises(HTTPException) as refused:
        pages._month(text)
    assert (refused.value.status_code, pages._month("2026-10")) == (404, "2026-10")
    field = forms.period_field("")
    assert field.resolve("2026-10") == "2026-10"
    if text.strip() == text:  # a pattern of JSON schema cannot refuse a newline at the end
        with pytest.raises(ParamValidationError):
            field.resolve(text)


def test_a_number_in_the_environment_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.alert_after(7).total_seconds() == 5.5 * 3600 and config.alert_after(1).total_seconds() == 1800
    assert config.clearing_day() == 25
    for wrong in ("zehn", "0", "29", "2.5"):
        monkeypatch.setenv("SUBSIDY_CLEARING_DAY", wrong)
        with pytest.raises(TerminalError, match="SET-NUMBER"):
            config.clearing_day()
    for wrong in ("zehn", "0", "-1"):
        monkeypatch.setenv("SUBSIDY_ANSWER_MINUTES", wrong)
        with pytest.raises(TerminalError, match="SET-NUMBER"):
            config.answer_within()


class _MailRelay(socketserver.StreamRequestHandler):
    """A relay that takes one mail and keeps its lines."""

    def handle(self) -> None:
        said = self.server.said  # type: ignore[attr-defined]
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline().decode().strip():
            said.append(line)
            if line.upper() == "DATA":
                self.wfile.write(b"354 go on\r\n")
                while (text := self.rfile.readline()) != b".\r\n":
                    self.server.letter += text  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if line.upper() == "QUIT" else b"250 fine\r\n")
            if line.upper() == "QUIT":
                return


def test_an_alert_comes_by_mail_in_the_same_four_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import asyncio
    from email import message_from_bytes, policy

    from subsidy.portal.alerts import NightIsLate

    monkeypatch.setenv("SUBSIDY_HOME", str(tmp_path))
    monkeypatch.setenv("SUBSIDY_KEY", "k" * 32)
    monkeypatch.delenv("SUBSIDY_WEBHOOK_URL", raising=False)
    monkeypatch.setenv("SUBSIDY_MAIL_SERVER", "127.0.0.1")
    with pytest.raises(TerminalError, match="SET-MAIL"):
        config.mail()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _MailRelay) as relay:
        relay.said, relay.letter = [], b""  # type: ignore[attr-defined]
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        monkeypatch.setenv("SUBSIDY_MAIL_SERVER", f"127.0.0.1:{relay.server_address[1]}")
        monkeypatch.setenv("SUBSIDY_MAIL_FROM", "subsidy@example.invalid")
        monkeypatch.setenv("SUBSIDY_MAIL_TO", "yunxing@example.invalid, caiwu@example.invalid")
        late = NightIsLate("hangzhou", "杭州住房公积金管理中心", "当日 6 时")
        asyncio.run(late.async_notify({"dag_run": {"run_id": "scheduled__1"}}))
        relay.shutdown()
        letter = message_from_bytes(relay.letter, policy=policy.default)  # type: ignore[attr-defined]
        assert sum(line.upper().startswith("RCPT TO") for line in relay.said) == 2  # type: ignore[attr-defined]
    message = late.message({"dag_run": {"run_id": "scheduled__1"}})
    assert letter["Subject"] == f"[NIGHT-LATE] {message.what}"
    assert [line.split("：", 1)[1] for line in letter.get_content().split("\n") if line] == [
        "NIGHT-LATE", message.what, message.safe, message.todo,
    ]  # fmt: skip


def test_a_quarterly_centre_is_due_only_in_its_months_and_a_broken_one_always(tmp_path: Path) -> None:
    rules = copy_rules(tmp_path / "rules")
    everybody = centres_due(rules, "2026-09")
    assert set(everybody) - set(centres_due(rules, "2026-10")) == {"zhoushan", "quzhou"} and len(everybody) == 7
    policy = rules / "zhoushan" / "policy.yaml"
    policy.write_text(policy.read_text(encoding="utf-8").replace("go_live:", "go_liv:"), encoding="utf-8")
    assert "zhoushan" in centres_due(rules, "2026-10")


# --- what needs Airflow's own classes; nothing is started ---------------------------------------------------------------


def test_the_timetable_dates_every_run_of_a_day_alike() -> None:
    from airflow.exceptions import InvalidPartitionKeyError
    from airflow.timetables.base import TimeRestriction
    from pendulum import datetime

    from subsidy.portal.timetable import BusinessDateTimetable

    made = BusinessDateTimetable("30 1 * * *", days_before=1)
    timetable = BusinessDateTimetable.deserialize(made.serialize())
    restriction = TimeRestriction(earliest=datetime(2026, 10, 20, tz="Asia/Shanghai"), latest=None, catchup=True)
    scheduled = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)
    assert scheduled is not None and scheduled.partition_key == "2026-10-19"
    assert scheduled.run_after == datetime(2026, 10, 20, 1, 30, tz="Asia/Shanghai")
    assert scheduled.partition_date == timetable.resolve_partition_date("2026-10-19") == datetime(2026, 10, 19, tz="Asia/Shanghai")
    span = timetable.iter_partition_dagrun_infos(earliest=datetime(2026, 2, 27), latest=datetime(2026, 3, 1))
    assert [(info.partition_key, info.partition_date) for info in span] == [
        (day, timetable.resolve_partition_date(day)) for day in ("2026-02-27", "2026-02-28", "2026-03-01")
    ]
    by_hand = BusinessDateTimetable("30 1 * * *", 1, automatic=False)
    assert by_hand.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction) is None
    for wrong in ("2026-13-01", "20261019", "2026-1-1", "morgen"):
        with pytest.raises(InvalidPartitionKeyError):
            timetable.resolve_partition_date(wrong)


@given(
    st.sampled_from([("30 1 * * *", 1), ("30 23 * * *", 0), ("0 0 * * *", 3)]),
    st.booleans(),
    st.dates(date(2024, 2, 1), date(2028, 12, 31)),
    st.lists(st.one_of(st.integers(1, 86_399), st.integers(1, 40 * 86_400)), min_size=1, max_size=40),
)
def test_whenever_the_scheduler_asks_every_business_date_comes_once_and_in_order(
    kind: tuple[str, int], catchup: bool, began: date, waits: list[int]
) -> None:
    """The scheduler asks at once for the run after the one it made, and makes that one when it looks again after its time. Without
    ``catchup`` a day on which it never looked may be left out, after which the newest one comes; with it none is."""
    import pendulum
    from airflow.timetables.base import TimeRestriction

    from subsidy.portal.timetable import BusinessDateTimetable

    timetable = BusinessDateTimetable(kind[0], days_before=kind[1])
    restriction = TimeRestriction(earliest=None, latest=None, catchup=catchup)
    now = pendulum.datetime(began.year, began.month, began.day, tz="Asia/Shanghai")
    made: list[Any] = []
    with patch("airflow.timetables.trigger.utcnow", lambda: now.in_timezone("UTC")):
        following = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)
        assert following is not None
        for wait in waits:
            now = now.add(seconds=wait)
            while following.run_after <= now:
                made.append(following)
                following = timetable.next_dagrun_info_v2(last_dagrun_info=following, restriction=restriction)
                assert following is not None
            assert following.run_after > now
    days = [date.fromisoformat(run.partition_key) for run in made]
    for run, day in zip(made, days, strict=True):
        started = run.run_after.in_timezone("Asia/Shanghai")
        assert started.date() - day == timedelta(days=kind[1]) and run.partition_date == timetable.resolve_partition_date(str(day))
    steps = [(after - before).days for before, after in pairwise(days)]
    assert all(step == 1 for step in steps) if catchup or max(waits) < 86_400 else all(step >= 1 for step in steps)
    if days:  # the newest one whose time has come is there
        assert (now.date() - days[-1]).days - kind[1] in (0, 1)


def test_completion_events_roll_up_to_their_month(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from subsidy.portal.completion import CentresDue, MonthOfEvent, event_key

    monkeypatch.setenv("SUBSIDY_HOME", str(tmp_path))
    monkeypatch.setenv("SUBSIDY_KEY", "k" * 32)
    assert MonthOfEvent().to_downstream(event_key("2026-10", "hangzhou")) == "2026-10"
    for wrong in ("2026-10", "2026-99|hangzhou", "2026-09-19"):
        with pytest.raises(ValueError):
            MonthOfEvent().to_downstream(wrong)
    assert event_key("2026-10", "zhoushan") not in set(CentresDue().to_upstream("2026-10"))


def test_text_of_strangers_is_shown_as_it_is() -> None:
    from subsidy.portal.approval import plain, yuan

    assert plain("<script>*x*</script> {{ 7*7 }}\n# y") == "&lt;script&gt;\\*x\\*&lt;/script&gt; \\{\\{ 7\\*7 \\}\\} \\# y"
    assert [yuan(fen) for fen in (0, 5, -5, 123456789, -100000)] == ["0.00", "0.05", "-0.05", "1,234,567.89", "-1,000.00"]


def test_which_requests_are_acts_of_which_person_on_which_night() -> None:
    from subsidy.portal.guard import objection, read_act

    def date_of_run(dag: str, run: str) -> str:
        return {"r 1": "2026-10-20"}.get(run, "")

    def act(route: str, **body: Any) -> Any:
        found = read_act(route, body, date_of_run)
        return found and (found.act, found.dag_id, found.subjects)

    night = "subsidy_hangzhou"
    assert act(f"POST /api/v2/dags/{night}/dagRuns", partition_key="2026-10-20") == ("trigger", night, ("night:2026-10-20",))
    assert act(f"POST /api/v2/dags/{night}/dagRuns", conf={"business_date": "2026-10-20", "mode": "preview"})[0] == "preview"
    publish = f"{night}_publish"
    assert act(f"POST /api/v2/dags/{publish}/dagRuns", conf={"period": "2026-10"}) == ("trigger", publish, ("settlement:2026-10",))
    assert act(f"POST /api/v2/dags/{night}/clearTaskInstances", dag_run_id="r 1") is None  # a dry run by default
    assert act(f"POST /api/v2/dags/{night}/clearTaskInstances", dag_run_id="r 1", dry_run=False) == ("clear", night, ("night:2026-10-20",))
    assert act(f"POST /api/v2/dags/{night}/dagRuns/r%201/clear", dry_run=False) == ("clear", night, ("night:2026-10-20",))
    assert act(f"PATCH /api/v2/dags/{night}", is_paused=True) == ("pause", night, ("night:*",))
    assert act(f"GET /api/v2/dags/{night}/dagRuns") is None and act(f"PATCH /api/v2/dags/{night}/dagRuns/x", state="success") is None
    # Airflow takes words for truth values, and reads a run's day or period where its tasks read it: neither hides an act.
    for word in ("false", "off", 0, "n", None):
        assert act(f"POST /api/v2/dags/{night}/clearTaskInstances", dag_run_id="r 1", dry_run=word)[0] == "clear"
        refused = objection(f"POST /api/v2/dags/{night}/clearTaskInstances", {"dry_run": word})
        assert refused is not None and refused.code == "CLEAR-ONE-RUN"
    preview = act(f"POST /api/v2/dags/{publish}/dagRuns", conf={"period": "2026-10", "mode": "preview", "business_date": "2000-01-01"})
    assert preview == ("trigger", publish, ("settlement:2026-10",))
    elsewhere = act(f"POST /api/v2/dags/{night}/dagRuns", conf={"period": "2000-01", "business_date": "2026-10-20"})
    assert elsewhere == ("trigger", night, ("night:2026-10-20",))
    for written in ("2026-10-20", "20261020", "2026-W43-2"):  # one day, one subject: whoever acted in it does not approve it
        for dag in (night, f"{night}_recompute"):
            assert act(f"POST /api/v2/dags/{dag}/dagRuns", conf={"business_date": written})[2] == ("night:2026-10-20",)
            assert act(f"POST /api/v2/dags/{dag}/dagRuns", partition_key=written)[2] == ("night:2026-10-20",)
    days = {"from_date": "2026-10-01T00:00:00Z", "to_date": "2026-10-02T00:00:00Z"}
    assert act("POST /api/v2/backfills", dag_id=night, **days) == ("backfill", night, ("night:2026-10-01", "night:2026-10-02"))
    assert objection("POST /api/v2/backfills", {**days, "max_active_runs": 1}) is None
    for body, code in (
        (days, "BACKFILL-ORDER"), ({**days, "max_active_runs": 1, "run_backwards": True}, "BACKFILL-ORDER"),
        ({"from_date": "2026-10-02", "to_date": "2026-10-01", "max_active_runs": 1}, "BACKFILL-RANGE"),
        ({"from_date": "0001-01-01", "to_date": "9999-12-31", "max_active_runs": 1}, "BACKFILL-RANGE"),
    ):  # fmt: skip
        refused = objection("POST /api/v2/backfills", body)
        assert refused is not None and refused.code == code
    bulk = objection(f"POST /api/v2/dags/{night}/clearTaskInstances", {"dry_run": False})
    assert bulk is not None and bulk.code == "CLEAR-ONE-RUN"


def test_who_asked_for_a_settlement_cannot_approve_it(monkeypatch: pytest.MonkeyPatch) -> None:

    from subsidy.night import api
    from subsidy.portal import approval

    class Again(Exception):
        pass

    def start_over(self: Any, context: Any, message: str) -> None:
        raise Again(message)

    acts: list[tuple[str, str, str]] = []
    everybody = SimpleNamespace(may=lambda *_: True)
    monkeypatch.setattr(approval, "load_settings", lambda: SimpleNamespace(rules=None))
    monkeypatch.setattr(approval, "load_roles", lambda rules: everybody)
    monkeypatch.setattr(approval._Approval, "start_over", start_over)
    monkeypatch.setattr(api, "record_act", lambda settings, centre, person, act, subject, reason: acts.append((person, act, subject)))
    monkeypatch.setattr(api, "answer_settlement", lambda *_: {"accepted": False, "message": f"{acts} 之后不能批准", "state": "held"})
    monkeypatch.setattr(approval, "say", lambda *_: None)
    run = SimpleNamespace(partition_key="2026-10", triggering_user_name="zhao", conf={})
    ti = SimpleNamespace(xcom_pull=lambda **_: "hash")
    event = {"responded_by_user": {"id": "zhao"}, "chosen_options": ["批准"]}
    task = approval.ApproveSettlement(task_id="approve", centre="hangzhou")
    with pytest.raises(Again, match="zhao"):
        task.execute_complete.__wrapped__(task, {"dag_run": run, "params": {}, "ti": ti}, event)
    assert acts == [("zhao", "trigger", "settlement:2026-10")]


class Runs:
    """Runs of a DAG by id and state, as a running task may count them."""

    def __init__(self, **states: str) -> None:
        self.states, self.notes = states, {}

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str] | None = None) -> int:
        return sum(1 for run_id in run_ids if run_id in self.states and (states is None or self.states[run_id] in states))

    def xcom_push(self, key: str, value: str) -> None:
        self.notes[key] = value


def test_every_settlement_that_waits_is_asked_about_and_one_left_unanswered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from subsidy.night import api
    from subsidy.portal import steps

    pending = [{"period": period, "content_hash": period[-2:] * 32} for period in ("2026-09", "2026-10", "2026-11")]
    monkeypatch.setattr(api, "pending_settlements", lambda *_: pending)
    monkeypatch.setattr(steps, "load_settings", lambda: None)
    runs = Runs()

    def night() -> list[str]:
        asked = steps.AskForApproval(task_id="ask", centre="hangzhou").execute({"ti": runs})
        ids = [question["run_id"] for question in asked]
        assert not set(ids) & set(runs.states)
        runs.states |= dict.fromkeys(ids, "queued")
        return ids

    september, october, november = (f"settlement__2026-{month}__{month * 6}" for month in ("09", "10", "11"))
    assert night() == [september, october, november]
    assert night() == [] and runs.notes["note"] == "2026-09、2026-10、2026-11 期已经提请，还没有结束，不重复提请。"
    runs.states |= {september: "success", october: "running", november: "failed"}  # unanswered, open, its publication failed
    assert night() == [f"{september}__again1", f"{november}__again1"]
    runs.states |= {f"{september}__again1": "success", f"{september}__again2": "running", f"{november}__again1": "success"}
    assert night() == [f"{november}__again2"]
    del runs.states[november]  # Airflow's own records of old runs may be cleaned away
    runs.states[f"{november}__again2"] = "running"
    assert night() == []


def test_an_old_run_that_asks_again_does_not_take_the_number_of_a_later_one() -> None:
    from subsidy.portal.steps import run_that_asks

    runs = Runs(q="running", q__again1="success")
    assert run_that_asks(runs, "d", "q", besides="q") == "q__again2" and run_that_asks(runs, "d", "q") is None
    runs.states["q__again2"] = "queued"
    assert run_that_asks(runs, "d", "q", besides="q") is None


def test_a_night_does_not_ask_about_what_was_rejected_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    from subsidy.night import api
    from subsidy.portal import approval

    class Over(Exception):
        pass

    def ends(*_: Any) -> None:
        raise Over

    def asks(run_id: str, state: str | None) -> Any:
        monkeypatch.setattr(api, "pending_settlement", lambda *_: state and {"state": state})
        task = approval.ApproveSettlement(task_id="approve", centre="hangzhou")
        run = SimpleNamespace(partition_key="2026-10", run_id=run_id, conf={})
        with pytest.raises((Over, KeyError)) as raised:  # KeyError: it begins to write the question
            task.execute.__wrapped__(task, {"dag_run": run, "params": {}, "ti": None})
        return raised.type is KeyError

    monkeypatch.setattr(approval, "load_settings", lambda: SimpleNamespace(rules=ROOT / "rules"))
    monkeypatch.setattr(approval._Approval, "go_on", ends)
    monkeypatch.setattr(approval, "say", lambda *_: None)
    assert asks("settlement__2026-10__abc", "held") and asks("manual__1", "rejected")
    assert not asks("settlement__2026-10__abc", "rejected") and not asks("settlement__2026-10__abc__again1", None)


BAG = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
def show(d):
    tasks = [[t.task_id, t.task_display_name, t.owner] for t in d.tasks]
    return [d.dag_display_name, d.doc_md, d.max_active_runs, d.catchup, sorted(d.tags), tasks]
print("@@" + json.dumps([bag.import_errors, {i: show(d) for i, d in bag.dags.items()}]))
"""


def dag_bag(home: Path, rules: Path) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Import errors and shown attributes of the shipped DAGs, read as Airflow reads them."""
    import json

    airflow = AirflowHome(home, rules=rules)
    command = [sys.executable, "-c", BAG, str(ROOT / "dags")]
    done = subprocess.run(command, env=airflow.environment(), capture_output=True, text=True, check=True)
    errors, dags = json.loads(done.stdout.split("@@")[1])
    return errors, dags


def test_the_dag_files_import_and_a_broken_folder_shows_why_and_hides_no_other(tmp_path: Path) -> None:
    rules = copy_rules(tmp_path / "rules")
    policy = rules / "quzhou" / "policy.yaml"
    policy.write_text(policy.read_text(encoding="utf-8").replace("go_live:", "go_liv:"), encoding="utf-8")
    shutil.copytree(rules / "wenzhou", rules / "taizhou")  # a new folder is a new centre
    errors, dags = dag_bag(tmp_path / "home", rules)
    assert errors == {}
    assert len(dags) == 8 * 4 + 2
    broken, whole = dags["subsidy_quzhou"], dags["subsidy_hangzhou"]
    assert broken[0].startswith("⚠") and "go_liv" in broken[1] and "配置有误" in broken[4]
    assert [task[0] for task in broken[5]] == [task[0] for task in whole[5]]  # so that its runs fail with the reason
    assert whole[0] == "杭州 · 夜间批处理" and "⚠" not in whole[0] and whole[2:4] == [1, False]
    for dag, (_, document, runs, catchup, tags, tasks) in dags.items():
        assert document and "贴息" in tags and runs == 1 and catchup is False, dag
        assert all(name != shown and not shown.isascii() and owner != "airflow" for name, shown, owner in tasks), dag
