"""The shipped DAGs in a real Airflow: nights, approvals, recomputes, backfills, clearing, alerts. The night itself is a stub here."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import wait

pytestmark = pytest.mark.airflow

STEPS = ["take_in", "compute", "check", "post", "verify", "settle", "report", "close_night"]


#: (who, DAG, key, form) of the runs that need nothing of each other: they are started together, because Airflow mostly waits.
TOGETHER: dict[str, tuple[str, str, str | None, dict[str, str]]] = {
    "night": ("op_hang", "subsidy_hangzhou", "2026-01-05", {}),
    "form": ("op_hang", "subsidy_huzhou", None, {"business_date": "2026-01-06"}),
    "transient": ("op_wen", "subsidy_quzhou", "2026-01-07", {}),
    "terminal": ("op_wen", "subsidy_quzhou", "2026-01-08", {}),
    "broken": ("op_wen", "subsidy_zhoushan", "2026-01-09", {}),
    "no date": ("op_hang", "subsidy_shaoxing", None, {}),
    "two dates": ("op_hang", "subsidy_shaoxing", "2026-01-10", {"business_date": "2026-01-11"}),
    "no reason": ("op_hang", "subsidy_shaoxing", "2026-01-10", {"mode": "recompute", "reason": " "}),
    "preview": ("op_hang", "subsidy_shaoxing", "2026-01-21", {"mode": "preview"}),
    "recompute": ("both", "subsidy_quzhou", "2026-01-20", {"mode": "recompute", "reason": "利率更正"}),
    "one approval": ("both", "subsidy_wenzhou", "2026-02-10", {}),
    "nobody answers": ("op_hang", "subsidy_shaoxing", "2026-02-12", {}),
    "two approvals": ("op_hang", "subsidy_zhejiang-provincial", "2026-02-11", {}),
}


@pytest.fixture(scope="module")
def runs(server: Any) -> dict[str, tuple[str, str, str, str]]:
    """Every run of `TOGETHER`, ended: who, DAG, run id, state."""
    server.plan(
        transient=["quzhou", "2026-01-07", "post"],
        terminal=["quzhou", "2026-01-08", "check"],
        broken=[["zhoushan", "2026-01-09"]],
        settle={"2026-02-10": 1, "2026-02-11": 2, "2026-02-12": 1},
        recompute_fen=4200,
    )
    started = {name: (who, dag, server.client(who).trigger(dag, key, form)) for name, (who, dag, key, form) in TOGETHER.items()}
    return {name: (who, dag, run_id, server.finish(who, dag, run_id, 240)) for name, (who, dag, run_id) in started.items()}


def run(server: Any, login: str, dag_id: str, key: str | None = None, **conf: Any) -> tuple[str, str]:
    run_id = server.client(login).trigger(dag_id, key, conf)
    return run_id, server.finish(login, dag_id, run_id)


def log_of(server: Any, run: tuple[str, str, str, str], task: str) -> str:
    who, dag, run_id, _ = run
    path = f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/logs/1?full_content=true"
    return str(server.client(who).http.get(path, headers={"accept": "application/json"}).text)


def tasks_of(server: Any, run: tuple[str, str, str, str]) -> dict[str, Any]:
    who, dag, run_id, _ = run
    return dict(server.client(who).tasks(dag, run_id))


def test_a_night_takes_its_steps_in_order_and_says_so_in_chinese(server: Any, runs: Any) -> None:
    who, dag, run_id, state = runs["night"]
    assert state == "success"
    assert [name for _, name in server.state("hangzhou")["steps"]] == STEPS
    tasks = tasks_of(server, runs["night"])
    assert tasks["take_in"]["task_display_name"] == "接收文件"
    skipped = {name for name, task in tasks.items() if task["state"] == "skipped"}
    assert skipped == {"ask_approval", "start_approval", "period_complete", "settlement_blocked", "preview", "request_recompute"}
    links = server.client(who).get(f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances/take_in/links")["extra_links"]
    assert links["隔离行"] == "/subsidy/centres/hangzhou/quarantine?night=2026-01-05"


def test_the_date_of_the_form_counts_like_a_key_and_a_clear_is_safe_and_recorded(server: Any, runs: Any) -> None:
    who, dag, run_id, state = runs["form"]
    assert state == "success" and server.state("huzhou")["runs"] == ["2026-01-06"]
    before = len(server.state("huzhou")["steps"])
    body = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["post"], "only_failed": False}
    server.client(who).http.post(f"/api/v2/dags/{dag}/clearTaskInstances", json=body).raise_for_status()
    wait(lambda: len(server.state("huzhou")["steps"]) > before)
    assert server.finish(who, dag, run_id) == "success"
    assert server.state("huzhou")["steps"][before:] == [[1, "post"]]
    acts = server.state("huzhou")["acts"]
    assert ["op_hang", "trigger", "night:2026-01-06"] in acts and ["op_hang", "clear", "night:2026-01-06"] in acts


def test_a_transient_fault_is_tried_again_and_a_lasting_one_is_not(server: Any, runs: Any) -> None:
    assert runs["transient"][3] == "success" and tasks_of(server, runs["transient"])["post"]["try_number"] == 2
    assert runs["terminal"][3] == "failed" and tasks_of(server, runs["terminal"])["check"]["try_number"] == 1
    assert "FILE-BAD" in log_of(server, runs["terminal"], "check")


def test_a_centre_that_cannot_be_loaded_fails_with_the_reason_and_hides_no_other(server: Any, runs: Any) -> None:
    assert runs["broken"][3] == "failed" and "POLICY-BROKEN" in log_of(server, runs["broken"], "open_night")
    assert runs["night"][3] == runs["transient"][3] == "success"


def test_a_form_that_makes_no_sense_is_refused_before_anything_is_read(server: Any, runs: Any) -> None:
    for name, code in (("no date", "RUN-DATE"), ("two dates", "RUN-DATE"), ("no reason", "RUN-REASON")):
        assert runs[name][3] == "failed" and code in log_of(server, runs[name], "open_night")
    assert not {"2026-01-10", "2026-01-11"} & set(server.state("shaoxing")["runs"])
    body = {"logical_date": None, "partition_key": "2026-13-01"}
    bad = server.client("op_hang").http.post("/api/v2/dags/subsidy_shaoxing/dagRuns", json=body)
    assert bad.status_code in (400, 422)


def test_a_preview_writes_nothing_and_asks_nobody(server: Any, runs: Any) -> None:
    tasks = tasks_of(server, runs["preview"])
    assert runs["preview"][3] == "success" and "2026-01-21" not in server.state("shaoxing")["runs"]
    assert [tasks[name]["state"] for name in ("preview", "request_recompute", "take_in")] == ["success", "skipped", "skipped"]


def test_a_settlement_waits_for_another_person_and_the_starter_is_refused_and_asked_again(server: Any, runs: Any) -> None:
    assert runs["one approval"][3] == "success"  # the night itself never waits
    first = server.question("subsidy_wenzhou_publish")
    assert "1,234.56" in first["body"] and "\\{\\{ 7\\*7 \\}\\}" in first["body"] and "<b>" not in first["body"]
    assert {user["id"] for user in first["assigned_users"]} == {"both", "shen_yi", "shen_er"}
    outsider = server.client("op_wen").answer(first, "批准")
    assert outsider.status_code == 403
    assert server.client("both").answer(first, "批准").status_code == 200
    second = server.question("subsidy_wenzhou_publish", after=first["task_instance"]["id"])
    assert "上一次答复" in second["body"] and "both 参与过本批次，不能批准" in second["body"]
    assert server.state("wenzhou")["answers"] == [["both", "refused"]] and server.state("wenzhou")["settlement"]["state"] == "held"
    assert server.client("shen_yi").answer(second, "批准").status_code == 200
    assert server.finish("shen_yi", "subsidy_wenzhou_publish", second["task_instance"]["dag_run_id"]) == "success"
    assert server.state("wenzhou")["settlement"]["state"] == "published"
    asked_twice = [server.client("shen_yi").tasks("subsidy_wenzhou_publish", q["task_instance"]["dag_run_id"]) for q in (first, second)]
    assert [tasks["report"]["state"] for tasks in asked_twice] == ["skipped", "success"]
    assert asked_twice[1]["report"]["note"] == "账簿没有新的记录，报表都是最新的。"
    assert server.state("wenzhou")["steps"][-1] == [0, "refresh"]


def test_reading_the_banks_files_brings_the_workbooks_up_to_them(server: Any, runs: Any) -> None:
    run_id, state = run(server, "op_wen", "subsidy_zhoushan_results", "2026-01-15")
    tasks = server.client("op_wen").tasks("subsidy_zhoushan_results", run_id)
    assert (state, list(tasks), tasks["report"]["task_display_name"]) == ("success", ["read_results", "report"], "更新报表")
    assert server.state("zhoushan")["steps"][-1] == [0, "refresh"]


def note_of(server: Any, run: tuple[str, str, str, str], task: str) -> str:
    return str(tasks_of(server, run)[task]["note"] or "")


def test_no_answer_in_time_sends_nothing_and_the_next_night_asks_again_about_every_period(server: Any, runs: Any) -> None:
    """On a server that asks one centre's people for five seconds only: nobody answers, nothing is sent, and the next night asks again."""
    assert runs["nobody answers"][3] == "success"
    dag = "subsidy_shaoxing_publish"
    asked = wait(lambda: server.client("caiwu").get(f"/api/v2/dags/{dag}/dagRuns")["dag_runs"], 60)
    run_id = asked[0]["dag_run_id"]
    assert server.finish("caiwu", dag, run_id) == "success"
    tasks = server.client("caiwu").tasks(dag, run_id)
    assert [tasks[name]["state"] for name in ("publish", "ask_again", "report")] == ["skipped", "skipped", "success"]
    assert server.state("shaoxing")["answers"] == [] and server.state("shaoxing")["settlement"]["state"] == "held"
    note = str(tasks["approve"]["note"])
    assert "[ANSWER-NONE]" in note and "没有付款" in note and "下一夜自动再次提请" in note
    server.plan(settle={**server.wishes()["settle"], "2026-03-12": 1})
    night = run(server, "op_hang", "subsidy_shaoxing", "2026-03-12")
    assert night[1] == "success"
    assert "2026-02、2026-03 期" in server.client("op_hang").tasks("subsidy_shaoxing", night[0])["ask_approval"]["note"]
    asked = server.client("caiwu").get(f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]
    ids = {found["dag_run_id"] for found in asked}
    assert ids == {run_id, f"{run_id}__again1", run_id.replace("2026-02", "2026-03")}
    again = server.client("op_hang").tasks("subsidy_shaoxing", run(server, "op_hang", "subsidy_shaoxing", "2026-03-13")[0])
    assert {found["dag_run_id"] for found in server.client("caiwu").get(f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]} >= ids
    assert again["ask_approval"]["state"] == "success"
    for each in ids:
        assert server.finish("caiwu", dag, each) == "success"
    assert server.state("shaoxing")["answers"] == [] and server.state("shaoxing")["settlement"]["state"] == "held"


def test_what_a_task_has_to_say_is_its_note(server: Any, runs: Any) -> None:
    """Code, what happened, what is safe, what to do now: the same sentence in the log and beside the task."""
    note = note_of(server, runs["terminal"], "check")
    assert note == "[FILE-BAD] 文件有误。 安全情况：没有写入。 处理办法：请中心重发。"
    assert "FILE-BAD" in log_of(server, runs["terminal"], "check")
    assert note_of(server, runs["broken"], "open_night").startswith("[POLICY-BROKEN] zhoushan 的配置有误。")
    assert note_of(server, runs["no date"], "open_night").startswith("[RUN-DATE] ")
    assert note_of(server, runs["transient"], "post") == "记账：完成"  # what the second try said replaced what the first had said
    assert "没有任何金额会改变" in note_of(server, runs["preview"], "preview") or "42.00" in note_of(server, runs["preview"], "preview")


def test_above_the_limit_two_people_and_a_rejection_sends_nothing(server: Any, runs: Any) -> None:
    assert runs["two approvals"][3] == "success"
    dag = "subsidy_zhejiang-provincial_publish"
    first = server.question(dag)
    server.client("shen_yi").answer(first, "批准").raise_for_status()
    second = server.question(dag, after=first["task_instance"]["id"])
    assert "还需另一人批准" in second["body"] and "需要批准：2 人" in second["body"]
    server.client("shen_er").answer(second, "驳回").raise_for_status()
    assert server.finish("shen_yi", dag, second["task_instance"]["dag_run_id"]) == "success"
    tasks = server.client("shen_yi").tasks(dag, second["task_instance"]["dag_run_id"])
    assert (tasks["publish"]["state"], tasks["report"]["state"]) == ("skipped", "success")
    assert server.state("zhejiang-provincial")["settlement"]["state"] == "rejected"


def test_a_recompute_that_changes_money_is_approved_by_somebody_else(server: Any, runs: Any) -> None:
    assert runs["recompute"][3] == "success"
    asked = server.question("subsidy_quzhou_recompute")
    assert "42.00" in asked["body"] and "利率更正" in asked["body"] and "政策更正" in asked["body"]
    server.client("both").answer(asked, "批准").raise_for_status()
    again = server.question("subsidy_quzhou_recompute", after=asked["task_instance"]["id"])
    server.client("shen_er").answer(again, "批准").raise_for_status()
    assert server.finish("both", "subsidy_quzhou_recompute", again["task_instance"]["dag_run_id"]) == "success"
    assert [0, "recompute 2026-01-20 both 利率更正 shen_er"] in server.state("quzhou")["steps"]
    assert ["both", "refused", "night:2026-01-20"] in server.state("quzhou")["acts"]


def test_a_backfill_runs_its_range_in_order_both_ends_included_and_repeats_no_manual_night(server: Any, runs: Any) -> None:
    run(server, "op_hang", "subsidy_shaoxing", "2026-03-02")
    days = {"from_date": "2026-03-01T00:00:00Z", "to_date": "2026-03-03T00:00:00Z"}
    body = {"dag_id": "subsidy_shaoxing", "max_active_runs": 5, "run_backwards": False, **days}
    refused = server.client("op_hang").http.post("/api/v2/backfills", json=body)
    assert refused.status_code == 422 and "BACKFILL-ORDER" in refused.text  # Airflow would run them side by side
    body["max_active_runs"] = 1
    server.client("op_hang").http.post("/api/v2/backfills", json=body).raise_for_status()
    def finished() -> Any:
        found = server.state("shaoxing")
        return found if found["runs"][-1] == "2026-03-03" and found["steps"][-1] == [len(found["runs"]), "close_night"] else None

    state = wait(finished, 90)
    nights = [state["runs"][run_no - 1] for run_no, name in state["steps"] if name == "take_in"]
    assert nights[-3:] == ["2026-03-02", "2026-03-01", "2026-03-03"]
    assert [act for act in state["acts"] if act[1] == "backfill"] == [["op_hang", "backfill", f"night:2026-03-0{n}"] for n in (1, 2, 3)]


def test_the_clearing_runs_once_every_centre_of_the_month_is_complete(server: Any, runs: Any) -> None:
    from subsidy.portal.due import centres_due

    due = centres_due(server.airflow.rules, "2026-11")
    logins = {centre: "op_wen" if centre in ("wenzhou", "zhoushan", "quzhou") else "op_hang" for centre in due}
    server.plan(empty={f"{centre} 2026-11-30": "2026-11" for centre in due})
    started = {centre: server.client(logins[centre]).trigger(f"subsidy_{centre}", "2026-11-30") for centre in due[:-1]}
    assert {server.finish(logins[centre], f"subsidy_{centre}", run_id) for centre, run_id in started.items()} == {"success"}
    assert [0, "clear 2026-11"] not in server.state("").get("steps", [])
    assert run(server, logins[due[-1]], f"subsidy_{due[-1]}", "2026-11-30")[1] == "success"
    wait(lambda: [0, "clear 2026-11"] in server.state("").get("steps", []), 60)
    assert server.state("")["steps"].count([0, "clear 2026-11"]) == 1
    assert run(server, "caiwu", "subsidy_clearing", "2026-11")[1] == "success"  # a correction by hand
    assert ["caiwu", "trigger", "clearing:2026-11"] in server.state("")["acts"]


def test_a_night_that_is_late_alerts_by_webhook(server: Any, runs: Any) -> None:
    alert = wait(lambda: next((item for item in server.alerts if item["centre"] == "hangzhou"), None), 90)
    assert alert["code"] == "NIGHT-LATE" and alert["what"] and alert["safe"] and alert["todo"]
