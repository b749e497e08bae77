"""Who may do what in Airflow's own API: rights per DAG, closed by default."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fixtures.airflow_home import demo_passwords

pytestmark = pytest.mark.airflow

OWN, OTHER = "subsidy_hangzhou", "subsidy_wenzhou"  # of op_hang


def test_nobody_without_signing_in(server: Any) -> None:
    for path in ("/api/v2/dags", f"/api/v2/dags/{OWN}/dagRuns", "/api/v2/connections", "/ui/dags", "/api/v2/eventLogs"):
        assert httpx.get(server.airflow.address + path, trust_env=False).status_code == 401, path


def test_wrong_password_and_unknown_login_are_refused_alike(server: Any) -> None:
    for login in ("op_hang", "nobody"):
        reply = httpx.post(f"{server.airflow.address}/auth/token", json={"username": login, "password": "x"}, trust_env=False)
        assert (reply.status_code, reply.json()["detail"]) == (401, "登录名或口令不对。")


def test_five_wrong_passwords_close_a_login_for_a_while(server: Any) -> None:
    def attempt() -> int:
        body = {"username": "ghost", "password": "x"}
        return httpx.post(f"{server.airflow.address}/auth/token", json=body, trust_env=False).status_code

    assert [attempt() for _ in range(6)] == [401] * 5 + [429]


def test_an_operator_sees_only_the_own_centres(server: Any) -> None:
    seen = {dag["dag_id"] for dag in server.client("op_hang").get("/api/v2/dags?limit=200")["dags"]}
    assert OWN in seen
    assert not [dag for dag in seen if "wenzhou" in dag or "zhoushan" in dag or "quzhou" in dag or dag.startswith("subsidy_clearing")]
    everything = {dag["dag_id"] for dag in server.client("caiwu").get("/api/v2/dags?limit=200")["dags"]}
    assert {OWN, OTHER, "subsidy_clearing"} <= everything


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", f"/api/v2/dags/{OTHER}"),
        ("GET", f"/api/v2/dags/{OTHER}/dagRuns"),
        ("GET", f"/api/v2/dags/{OTHER}/dagRuns/any/taskInstances/close_night/xcomEntries"),
        ("GET", "/api/v2/dags/subsidy_clearing/details"),
        ("GET", "/api/v2/dags/unknown/dagRuns"),
        ("POST", f"/api/v2/dags/{OTHER}/dagRuns"),
        ("POST", f"/api/v2/dags/{OTHER}/clearTaskInstances"),
        ("PATCH", f"/api/v2/dags/{OTHER}"),
        ("DELETE", f"/api/v2/dags/{OWN}"),
        ("PATCH", f"/api/v2/dags/{OWN}/dagRuns/any"),
        ("PATCH", f"/api/v2/dags/{OWN}/dagRuns/any/taskInstances/approve"),
        ("PATCH", f"/api/v2/dags/{OWN}_publish/dagRuns/any/taskInstances/approve/-1/hitlDetails"),
        ("POST", f"/api/v2/dags/{OWN}/dagRuns/any/taskInstances/approve/xcomEntries"),
        ("PATCH", f"/api/v2/dags/{OWN}/dagRuns/any/taskInstances/approve/xcomEntries/return_value"),
        ("GET", "/api/v2/connections"),
        ("GET", "/api/v2/variables/any"),
        ("GET", "/api/v2/config"),
        ("POST", "/api/v2/assets/events"),
        ("POST", "/api/v2/pools"),
        ("GET", "/api/v2/eventLogs"),
    ],
)
def test_an_operator_is_refused(server: Any, method: str, path: str) -> None:
    bodies = {
        "dagRuns": {"logical_date": None},
        "clearTaskInstances": {"dry_run": False},
        "hitlDetails": {"chosen_options": ["批准"], "params_input": {}},
        "xcomEntries": {"key": "k", "value": 1},
        "return_value": {"value": 1},
        "events": {"asset_id": 1},
        "pools": {"name": "p", "slots": 1},
        "approve": {"new_state": "success"},
        "any": {"state": "success"},
        OTHER: {"is_paused": True},
    }
    body = bodies.get(path.rsplit("/", 1)[-1]) if method in ("POST", "PATCH") else None
    reply = server.client("op_hang").http.request(method, path, json=body)
    assert reply.status_code == 403, (reply.status_code, reply.text)


def test_nobody_can_mark_a_task_or_a_run_as_done_or_forge_its_result(server: Any) -> None:
    for login in ("op_hang", "shen_yi", "caiwu", "both"):
        http = server.client(login).http
        run = f"/api/v2/dags/{OWN}_publish/dagRuns/any"
        for path, body in (
            (f"{run}/taskInstances/approve", {"new_state": "success"}),
            (f"{run}/taskInstances/approve/xcomEntries/content_hash", {"value": "x"}),
            (run, {"state": "success"}),
            (f"/api/v2/dags/{OWN}_publish/dagRuns/~/taskInstances", {"actions": []}),
        ):
            assert http.patch(path, json=body).status_code == 403, (login, path)


def test_an_approver_can_neither_trigger_nor_clear(server: Any) -> None:
    http = server.client("shen_yi").http
    assert http.post(f"/api/v2/dags/{OWN}/dagRuns", json={"logical_date": None}).status_code == 403
    assert http.post(f"/api/v2/dags/{OWN}/clearTaskInstances", json={"dry_run": True}).status_code == 403
    assert http.post("/api/v2/backfills", json=_range(OWN)).status_code == 403


def test_a_refused_act_leaves_no_trace_in_the_audit(server: Any) -> None:
    before = server.state("wenzhou").get("acts", [])
    server.client("op_hang").http.post(f"/api/v2/dags/{OTHER}/dagRuns", json={"logical_date": None, "partition_key": "2026-01-01"})
    assert server.state("wenzhou").get("acts", []) == before


def test_the_pages_are_chinese_from_the_first_visit(server: Any) -> None:
    page = httpx.get(server.airflow.address + "/", trust_env=False, follow_redirects=True)
    assert "zh-CN" in page.text and "Asia/Shanghai" in page.text
    login = httpx.get(server.airflow.address + "/auth/login", trust_env=False)
    assert "登录名" in login.text and "公积金贴息系统" in login.text


def test_signing_in_by_the_page_sets_a_cookie_that_scripts_cannot_read(server: Any) -> None:
    word = demo_passwords(server.airflow.home, server.airflow.rules)["op_wen"]
    with httpx.Client(base_url=server.airflow.address, trust_env=False) as http:
        reply = http.post("/auth/login?next=https://evil.example/", data={"username": "op_wen", "password": word})
        assert reply.status_code == 303 and reply.headers["location"] == "/"
        assert "httponly" in reply.headers["set-cookie"].lower()
        assert http.get(f"/api/v2/dags/{OTHER}").status_code == 200
        assert http.get(f"/api/v2/dags/{OWN}").status_code == 403


def _range(dag_id: str) -> dict[str, Any]:
    return {"dag_id": dag_id, "from_date": "2026-03-01T00:00:00Z", "to_date": "2026-03-02T00:00:00Z"}
