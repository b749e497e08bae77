"""One real Airflow for all tests of this room. Airflow writes into its home when it is imported; it is named before that."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="subsidy-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__UNIT_TEST_MODE", "False")
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

from fixtures.airflow_home import LOCAL_SETTINGS, ROOT, AirflowHome, Client

STUB = (
    LOCAL_SETTINGS
    + f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import stub_night, subsidy.night
sys.modules["subsidy.night.api"] = subsidy.night.api = stub_night

# One centre's people have five seconds to answer, so that a test can wait for the end of it; all others the usual three days.
from datetime import timedelta
from airflow.sdk import get_parsing_context
from subsidy.portal import config
usual = config.answer_within
config.answer_within = lambda: timedelta(seconds=5) if get_parsing_context().dag_id == "subsidy_shaoxing_publish" else usual()
"""
)
EXTRA_PEOPLE = """
  both:
    name: 既运行又审批
    rights:
      "*": [view, run, approve]
"""


def copy_rules(target: Path) -> Path:
    """The shipped rules, with one more person who may both run and approve."""
    shutil.copytree(ROOT / "rules", target)
    roles = target / "parameters" / "roles.yaml"
    roles.write_text(roles.read_text(encoding="utf-8") + EXTRA_PEOPLE, encoding="utf-8")
    return target


@dataclass
class Server:
    """The running Airflow, what the webhook received, and how to steer the stub of the night."""

    airflow: AirflowHome
    alerts: list[dict[str, Any]] = field(default_factory=list)
    clients: dict[str, Client] = field(default_factory=dict)

    def client(self, login: str) -> Client:
        if login not in self.clients:
            self.clients[login] = self.airflow.client(login)
        return self.clients[login]

    def wishes(self) -> dict[str, Any]:
        path = self.airflow.home / "stub_plan.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def plan(self, **wishes: Any) -> None:
        (self.airflow.home / "stub_plan.json").write_text(json.dumps(self.wishes() | wishes), encoding="utf-8")

    def state(self, centre: str) -> dict[str, Any]:
        path = self.airflow.home / f"stub_{centre or 'all'}.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def finish(self, login: str, dag_id: str, run_id: str, seconds: float = 90) -> str:
        return str(wait(lambda: (s := self.client(login).state(dag_id, run_id)) in ("success", "failed") and s, seconds))

    def question(self, dag_id: str, seconds: float = 60, after: str = "") -> dict[str, Any]:
        def find() -> Any:
            for question in self.client("shen_yi").waiting():
                if question["task_instance"]["dag_id"] == dag_id and question["task_instance"]["id"] != after:
                    return question
            return None

        return dict(wait(find, seconds))


def wait(probe: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true value of `probe`; fails after `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := probe():
            return found
        time.sleep(0.3)
    raise AssertionError(f"nothing after {seconds} s")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Airflow with the shipped DAGs over a stub of the night, and a local webhook receiver."""
    home = tmp_path_factory.mktemp("airflow") / "home"
    alerts: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            alerts.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    extra = {
        "SUBSIDY_WEBHOOK_URL": f"http://127.0.0.1:{receiver.server_port}/",
        "SUBSIDY_ALERT_MINUTES": "0.05",
        "SUBSIDY_RETRY_SECONDS": "1",
    }
    airflow = AirflowHome(home, rules=copy_rules(home / "rules"), extra=extra, local_settings=STUB)
    try:
        airflow.prepare()
        airflow.start()
        airflow.wait_ready(["subsidy_hangzhou", "subsidy_wenzhou_publish", "subsidy_clearing"])
        yield Server(airflow, alerts)
    finally:
        airflow.stop()
        receiver.shutdown()
