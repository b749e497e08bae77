"""What Airflow adds to a night: the same small night from the shell and through the shipped DAG, each in a process of its own.

Both start Python, read the same files and leave the same steps behind; the DAG runs task by task in Airflow's own test run, so its share is
loading Airflow and the DAG, and the bookkeeping of each task. What the scheduler waits between tasks is not in it: that is time, not work.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from benchmarks.night import CENTRE, DAY, make_inbox
from fixtures.airflow_home import AirflowHome
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.settings import load_settings

#: Exit code of the shell's night when a settlement waits for people.
WAITS = 5
SCRIPT = """
import sys
from airflow.dag_processing.dagbag import DagBag
dag = DagBag(sys.argv[1]).dags["subsidy_" + sys.argv[2]]
dag.deadline = None  # the test run cannot store deadlines
run = dag.test(run_conf={"business_date": sys.argv[3]})
sys.exit(run.state != "success")
"""


def main(size: int = 2_000) -> int:
    """Seconds of both nights of `size` loans; 1 when one failed or the two left different lines, postings or payments behind."""
    with tempfile.TemporaryDirectory(prefix="subsidy-bench-") as name:
        shell, airflow = AirflowHome(Path(name) / "shell"), AirflowHome(Path(name) / "airflow-home")
        make_inbox(shell.home, size)
        shutil.copytree(shell.home / "inbox", airflow.home / "inbox")
        airflow.prepare()
        night = ["night", "--centre", CENTRE, "--date", str(DAY)]
        plainly = _seconds([str(Path(sys.executable).parent / "subsidy"), *night], shell)
        through = _seconds([sys.executable, "-c", SCRIPT, str(airflow.dags), CENTRE, str(DAY)], airflow)
        same = _left(shell) == _left(airflow)
    more = through - plainly
    print(f"airflow   a night of {size:,} loans: shell {plainly:.1f} s, the DAG {through:.1f} s; Airflow's share {more:.1f} s ({more / through:.0%})")
    print(f"airflow   postings, payments and workbook {'are the same' if same else 'DIFFER'}")
    return int(not same)


def _seconds(command: list[str], home: AirflowHome) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, env=home.environment(), cwd=home.home, capture_output=True, text=True, check=False)
    if done.returncode not in (0, WAITS):
        raise RuntimeError(done.stderr[-3000:])
    return time.perf_counter() - began


def _left(home: AirflowHome) -> list[tuple[object, ...]]:
    """What the night left in the ledger: its chain, its settlement and the files it showed."""
    t = tables.metadata.tables
    wanted = [t["journal_block"].c.hash, t["settlement"].c.content_hash, t["published_file"].c.sha256]
    with open_database(load_settings(home.environment())).read() as conn:
        return [tuple(row) for column in wanted for row in conn.execute(sa.select(column).order_by(column))]


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in sys.argv[1:2])))
