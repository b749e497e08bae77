"""The shipped nightly DAG over the real night, without a scheduler: one centre's first two nights, and the second once more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import copy_rules

from fixtures import story
from fixtures.airflow_home import ROOT, AirflowHome
from subsidy.ledger import tables
from subsidy.ledger.database import Database, open_database
from subsidy.night import api
from subsidy.settings import load_settings

pytestmark = pytest.mark.airflow

CENTRE = "wenzhou"
SCRIPT = """
import sys
from airflow.dag_processing.dagbag import DagBag
from airflow.utils.state import DagRunState
dag = DagBag(sys.argv[1]).dags["subsidy_" + sys.argv[2]]
dag.deadline = None  # dag.test() of Airflow 3.3.2 cannot store deadlines; test_airflow_runs tries them on a server
for day in sys.argv[3:]:
    run = dag.test(run_conf={"business_date": day})
    print("@@", day, run.state)
    for task in run.get_task_instances():
        if task.state == "failed":
            print("@@ failed", task.task_id)
"""


def test_the_shipped_dag_runs_real_nights_and_a_night_again_changes_nothing(tmp_path: Path) -> None:
    airflow, play = shipped(tmp_path)
    first, second = [night for night in story.nights() if night.centre == CENTRE][:2]
    settings = load_settings(airflow.environment())
    story.deliver(airflow.home, CENTRE, first.number)
    assert f"@@ {first.business_date} success" in play(str(first.business_date))
    story.deliver(airflow.home, CENTRE, second.number)
    assert f"@@ {second.business_date} success" in play(str(second.business_date))
    before = what_is_stored(settings)
    assert before["settlement"] and before["posting"] and before["payment"]
    assert f"@@ {second.business_date} success" in play(str(second.business_date))
    assert what_is_stored(settings) == before
    # Clearing one task of a run, also of an old one, runs that one step again.
    for run_no in (1, 2):
        for name, _, _ in api.STEPS:
            api.step(settings, CENTRE, run_no, name)
            assert what_is_stored(settings) == before, (run_no, name)


def test_a_settlement_that_is_blocked_closes_the_night_and_fails_a_task_until_a_later_night_has_built_it(tmp_path: Path) -> None:
    airflow, play = shipped(tmp_path)
    settings = load_settings(airflow.environment())
    first, second = [night for night in story.nights() if night.centre == CENTRE][:2]
    story.deliver(airflow.home, CENTRE, first.number)
    assert f"@@ {first.business_date} success" in play(str(first.business_date))
    story.deliver(airflow.home, CENTRE, second.number)
    api.record_act(settings, CENTRE, "甲", "trigger", "night", "补跑")
    db = open_database(settings)
    by_hand(db, "UPDATE audit SET person = '乙' || person WHERE audit_no = 1")
    assert f"@@ {second.business_date} failed\n@@ failed settlement_blocked\n" in play(str(second.business_date))
    with db.read() as conn:
        assert set(conn.execute(sa.select(tables.run.c.state)).scalars()) == {"closed"}
        assert not conn.execute(sa.select(tables.settlement.c.period)).all()
    by_hand(db, "UPDATE audit SET person = substr(person, 2) WHERE audit_no = 1")
    later = second.business_date + timedelta(days=1)
    said = play(str(later), str(second.business_date))
    assert f"@@ {later} success" in said and f"@@ {second.business_date} success" in said


def by_hand(db: Database, statement: str) -> None:
    """Change rows as somebody with the database's password could: guards away, statement, guards back."""
    with db.raw() as conn:
        guards = conn.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
        for name, _ in guards:
            conn.execute(sa.text(f"DROP TRIGGER {name}"))
        assert conn.execute(sa.text(statement)).rowcount == 1
        for _, sql in guards:
            conn.exec_driver_sql(sql)


def shipped(tmp_path: Path) -> tuple[AirflowHome, Callable[..., str]]:
    """An Airflow with the shipped nightly DAGs, and what runs one for some days and returns what it printed."""
    airflow = AirflowHome(tmp_path / "home", rules=copy_rules(tmp_path / "rules"), dags=tmp_path / "dags")
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "subsidy_centres.py").write_bytes((ROOT / "dags" / "subsidy_centres.py").read_bytes())
    airflow.prepare()

    def play(*days: str) -> str:
        command = [sys.executable, "-c", SCRIPT, str(airflow.dags), CENTRE, *days]
        done = subprocess.run(command, env=airflow.environment(), cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return airflow, play


def what_is_stored(settings: object) -> dict[str, list[tuple[object, ...]]]:
    """What the ledger holds of runs, postings and settlements."""
    with open_database(settings).read() as conn:  # type: ignore[arg-type]
        names = ("run", "step", "posting", "journal", "settlement", "batch", "payment", "payment_event", "published_file", "file")
        return {name: sorted((tuple(row) for row in conn.execute(sa.select(tables.metadata.tables[name]))), key=repr) for name in names}
