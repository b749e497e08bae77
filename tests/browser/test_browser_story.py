"""A month by hand in Chromium: sign in, look, run, approve as somebody else, download, compare with the ledger; then a preview and a
recompute after a change of the rules. In this order. Waits are for states, never for seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from browser_pictures import picture

from subsidy.ledger import tables
from subsidy.ledger.database import open_database

pytestmark = pytest.mark.browser
DAG, DAY, PERIOD = "subsidy_hangzhou", "2026-10-19", "2026-10"
PATIENCE = 120_000
FETCHED = "async path => await (await fetch(path)).json()"


def _trigger(page: Any, address: str, mode: str, reason: str, name: str = "") -> str:
    """Fill the form of the night's DAG as an operator does; returns the run's id."""
    page.goto(f"{address}/dags/{DAG}")
    page.get_by_role("button", name="触发").first.click()
    form = page.get_by_role("dialog")
    form.locator("#element_business_date").fill(DAY)
    form.get_by_role("combobox").click()
    page.get_by_role("option", name=re.compile(f"^{mode}")).click()
    if reason:
        form.locator("#element_reason").fill(reason)
    page.keyboard.press("Tab")
    form.get_by_text("高级选项").click()  # shows what will be sent
    sent = form.locator(".cm-content, .monaco-editor, textarea").filter(has_text=DAY).filter(has_text=reason)
    sent.first.wait_for(state="attached")
    form.get_by_text("高级选项").click()
    if name:
        picture(page, name)
    reply = _clicked(page, form.get_by_role("button", name="触发").last, "POST", "/dagRuns")
    conf = reply.request.post_data_json["conf"]
    assert (conf["business_date"], conf["reason"] or "") == (DAY, reason)
    return str(reply.json()["dag_run_id"])


def _clicked(page: Any, button: Any, method: str, end: str) -> Any:
    """The reply to the request that a click sends; clicked again when Airflow's embedded database was busy, as a person would."""
    for _ in range(3):
        with page.expect_response(lambda r: r.request.method == method and r.url.endswith(end)) as reply:
            button.click()
        if reply.value.status < 500:
            break
    assert reply.value.status == 200, reply.value.text()
    return reply.value


def _until(page: Any, path: str, reached: Callable[[Any], bool]) -> Any:
    """What Airflow's API answers at `path`, once it has come so far."""
    until = time.monotonic() + PATIENCE / 1000
    while not reached(found := page.evaluate(FETCHED, path)):
        assert time.monotonic() < until, found
        page.wait_for_timeout(300)
    return found


def _finished(page: Any, dag: str, run_id: str) -> str:
    found = _until(page, f"/api/v2/dags/{dag}/dagRuns/{run_id}", lambda run: run["state"] in ("success", "failed"))
    return str(found["state"])


def _answer(page: Any, address: str, dag: str, said: str, choice: str, name: str = "") -> tuple[str, str]:
    """Find the question in Airflow's list of required actions, read it, answer by its button. Returns its text and the run's id."""
    waiting = f"/api/v2/dags/{dag}/dagRuns/~/hitlDetails?response_received=false&state=awaiting_input"
    _until(page, waiting, lambda found: found["total_entries"] > 0)
    page.goto(f"{address}/required_actions?response_received=false")
    page.get_by_role("link", name=re.compile(said)).first.click()
    button = page.get_by_role("button", name=choice, exact=True)
    button.wait_for()
    if name:
        picture(page, name)
    text = page.locator("body").inner_text()
    run_id = page.url.split("/runs/")[1].split("/")[0]
    _clicked(page, button, "PATCH", "/hitlDetails")
    return text, run_id


@pytest.fixture(scope="module")
def month(world: Any, window: Any) -> dict[str, Any]:
    """The operator runs the night again from where it stands, the approver answers; what was seen on the way."""
    operator = window("op_hang", "/subsidy/board")
    seen: dict[str, Any] = {"before": operator.locator("#board").inner_text()}
    operator.goto(f"{world.address}/dags/{DAG}")
    operator.get_by_role("button", name="触发").first.click()
    seen["form"] = operator.get_by_role("dialog").inner_text()
    run = _trigger(operator, world.address, "重跑", "", "触发表单")
    seen["night"], seen["night_state"] = run, _finished(operator, DAG, run)
    operator.goto(f"{world.address}/subsidy/board?month={PERIOD}")
    seen["waiting"] = operator.locator("#board").inner_text()
    operator.goto(f"{world.address}/dags/{DAG}/runs/{run}/tasks/take_in")
    operator.get_by_text("接收文件：").first.wait_for()
    picture(operator, "任务备注")

    approver = window("shen_yi", "/subsidy/board")
    seen["asked"], publish_run = _answer(approver, world.address, f"{DAG}_publish", f"{PERIOD} 期清算", "批准", "审批")
    seen["publish_state"] = _finished(approver, f"{DAG}_publish", publish_run)
    return seen


def test_the_form_is_chinese_and_a_rerun_needs_no_reason(month: dict[str, Any]) -> None:
    form = month["form"]
    for text in ("业务日期", "方式", "重跑", "原因", "重算必须填写，重跑和预演可以不填", "不会重复入账"):
        assert text in form, text
    assert "*" not in form  # nothing is required
    assert month["night_state"] == "success" and "10-19" not in month["before"]


def test_the_night_waits_for_another_person_and_is_then_sent(world: Any, month: dict[str, Any]) -> None:
    a, s = tables.approval, tables.settlement
    with open_database(world.settings).read() as conn:
        here = (a.c.centre == "hangzhou", a.c.subject == f"settlement:{PERIOD}")
        answers = conn.execute(sa.select(a.c.person, a.c.answer, a.c.answered_at).where(*here)).all()
        settled = conn.execute(sa.select(s).where(s.c.centre == "hangzhou", s.c.period == PERIOD)).mappings().one()
    assert "等待审批" in month["waiting"]
    assert f"{settled['sent_fen'] // 100:,}.{settled['sent_fen'] % 100:02d} 元" in month["asked"]
    assert "杭州住房公积金管理中心 2026-10 期" in month["asked"] and "hangzhou 2026" not in month["asked"]
    assert month["publish_state"] == "success" and settled["state"] == "published"
    assert [tuple(x)[:2] for x in answers] == [("shen_yi", "approve")] and re.match(r"20\d\d-", answers[0].answered_at)


def test_the_board_leads_on(world: Any, month: dict[str, Any], window: Any) -> None:
    page = window("caiwu", "/subsidy/board")
    page.goto(f"{world.address}/subsidy/board?month={PERIOD}")
    row = page.locator("#board tr[data-centre=hangzhou]")
    assert "已发送" in row.inner_text() and "复算一致" in row.inner_text()
    picture(page, "看板")
    row.get_by_text("已到齐").click()
    page.wait_for_url("**/nights/2026-10-19#files")
    assert page.get_by_role("heading", name="杭州").is_visible()
    picture(page, "当夜")
    page.goto(f"{world.address}/subsidy/centres/hangzhou/quarantine")
    picture(page, "隔离区")
    page.goto(f"{world.address}/subsidy/centres/hangzhou/receivables")
    picture(page, "应收与核销")
    page.goto(f"{world.address}/subsidy/centres/hangzhou/periods/{PERIOD}")
    picture(page, "期间")
    page.locator("input[name=contract_no]").fill("HT010010500000001")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/why/HT010010500000001/{PERIOD}")
    assert "四舍五入到分" in page.locator("pre").first.inner_text()
    picture(page, "推导")


def test_inside_airflow_the_pages_can_lead_out_of_their_frame(world: Any, month: dict[str, Any], window: Any) -> None:
    page = window("op_hang", "/plugin/subsidy_board")
    frame = page.frame_locator("iframe")
    frame.locator("#board tr[data-centre=hangzhou]").wait_for(timeout=PATIENCE)
    picture(page, "Airflow中的看板")
    frame.get_by_role("link", name="杭州 流程").click()
    page.wait_for_url(f"**/dags/{DAG}", timeout=PATIENCE)


def test_the_pages_fit_a_phone(world: Any, month: dict[str, Any], window: Any) -> None:
    page = window("caiwu", "/subsidy/board", width=390)
    for path, name in (
        (f"board?month={PERIOD}", "看板-手机"), (f"centres/hangzhou/periods/{PERIOD}", "期间-手机"),
        (f"centres/hangzhou/nights/{DAY}", "当夜-手机"), ("centres/hangzhou/receivables", "应收与核销-手机"),
        ("centres/hangzhou/quarantine", "隔离区-手机"),
    ):  # fmt: skip
        page.goto(f"{world.address}/subsidy/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        picture(page, name, 390)


def test_the_pages_work_with_the_keyboard_alone(world: Any, month: dict[str, Any], window: Any) -> None:
    page = window("caiwu", f"/subsidy/board?month={PERIOD}")
    focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.innerText.trim()"

    def tab_to(text: str) -> None:
        seen = []
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.append(page.evaluate(focused))
            if text in seen[-1]:
                return
        raise AssertionError(f"{text!r} is not reached: {seen}")

    tab_to("跳到正文")
    page.keyboard.press("Enter")
    tab_to("报表与下载")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/centres/hangzhou/periods/{PERIOD}")
    tab_to(".xlsx")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # whoever has no mouse sees where they are
    with page.expect_download() as started:
        page.keyboard.press("Enter")
    assert started.value.suggested_filename.endswith(".xlsx")


def test_a_downloaded_workbook_says_what_the_ledger_says(world: Any, month: dict[str, Any], window: Any, tmp_path: Path) -> None:
    from openpyxl import load_workbook

    page = window("caiwu", f"/subsidy/centres/hangzhou/periods/{PERIOD}")
    with page.expect_download() as started:
        page.locator("#downloads a", has_text=".xlsx").first.click()
    path = tmp_path / "book.xlsx"
    started.value.save_as(path)
    book = load_workbook(path)
    s, p = tables.settlement, tables.posting
    with open_database(world.settings).read() as conn:
        settled = conn.execute(sa.select(s).where(s.c.centre == "hangzhou", s.c.period == PERIOD)).mappings().one()
        payable = {
            (str(r.agreement_no), str(r.serial_no)): int(r.due_fen)
            for r in conn.execute(sa.select(p).where(p.c.centre == "hangzhou").order_by(p.c.posting_no))
        }
    cover = {str(row[3]): row[4] for row in book["封面"].iter_rows(values_only=True) if row[3]}
    assert str(book["封面"]["B8"].value).startswith("已发送")
    assert {row[7] for row in book["回盘与退汇"].iter_rows(min_row=4, values_only=True) if row[7]} <= {"未决", "已付", "失败", "退汇"}
    assert _fen(cover["本期应清算"]) == settled["computed_fen"] and _fen(cover["其中：发送银行"]) == settled["sent_fen"]
    rows = list(book["贴息明细"].iter_rows(min_row=3, values_only=True))
    at = {name: rows[0].index(name) for name in ("协议编号", "业务流水号", "应付金额")}
    shown = {(str(r[at["协议编号"]]), str(r[at["业务流水号"]])): _fen(r[at["应付金额"]]) for r in rows[1:] if r[at["业务流水号"]]}
    paid = {key: fen for key, fen in shown.items() if fen}
    assert len(paid) > 40 and all(payable[key] == fen for key, fen in paid.items())
    for key in ("computed_fen", "sent_fen", "netted_fen", "carried_fen", "held_fen"):
        assert _fen(page.locator(f"[data-total={key}]").inner_text().replace(",", "")) == settled[key]
    assert "下载人 caiwu" in str(book["封面"]["A2"].value)


def test_clearing_any_single_task_of_a_real_night_changes_nothing(world: Any, month: dict[str, Any]) -> None:
    client = world.airflow.client("op_hang")
    before = _stored(world)
    tasks = [name for name, task in client.tasks(DAG, month["night"]).items() if task["state"] == "success"]
    assert {"open_night", "take_in", "post", "settle", "close_night"} <= set(tasks)
    for task in ("take_in", "post", "settle", "ask_approval"):
        was = client.tasks(DAG, month["night"])[task]["try_number"]
        body = {"dry_run": False, "dag_run_id": month["night"], "task_ids": [task], "only_failed": False}
        client.http.post(f"/api/v2/dags/{DAG}/clearTaskInstances", json=body).raise_for_status()
        _wait_again(client, month["night"], task, was)
    assert _stored(world) == before


def test_after_a_change_of_rules_a_preview_says_how_much_and_a_recompute_needs_somebody_else(
    world: Any, month: dict[str, Any], window: Any
) -> None:
    policy = world.airflow.rules / "hangzhou" / "policy.yaml"
    text = policy.read_text(encoding="utf-8")
    assert text.count("monthly_limit: none") == 1
    policy.write_text(text.replace("monthly_limit: none", "monthly_limit: 300.00元"), encoding="utf-8")
    before = _stored(world)
    operator = window("op_hang", "/subsidy/board")
    run = _trigger(operator, world.address, "预演", "每月限额三百元")
    assert _finished(operator, DAG, run) == "success"
    operator.goto(f"{world.address}/dags/{DAG}/runs/{run}/tasks/preview")
    note = operator.get_by_text("什么都没有写入").first
    note.wait_for()
    read = re.search(r"([\d,]+) 笔贷款的 ([\d,]+) 行明细会改变，净变动 (-[\d,.]+) 元", note.inner_text())
    assert read and _stored(world) == before
    picture(operator, "预演")

    run = _trigger(operator, world.address, "重算", "每月限额三百元")
    assert _finished(operator, DAG, run) == "success"
    assert _stored(world) == before  # nothing is posted before somebody else has agreed
    approver = window("shen_er", "/subsidy/board")
    asked, recompute_run = _answer(approver, world.address, f"{DAG}_recompute", f"重算 {DAY}", "批准", "重算审批")
    assert f"净变动：{read[3]} 元" in asked and f"涉及贷款：{read[1]} 笔" in asked and f"涉及明细行：{read[2]} 行" in asked
    assert "每月限额三百元" in asked and "提出人：op_hang" in asked and "按原因" in asked
    assert _finished(approver, f"{DAG}_recompute", recompute_run) == "success"
    p = tables.posting
    with open_database(world.settings).read() as conn:
        last = sa.select(sa.func.max(p.c.run_no)).where(p.c.centre == "hangzhou").scalar_subquery()
        here = (p.c.centre == "hangzhou", p.c.run_no == last)
        changed = conn.execute(sa.select(sa.func.count(), sa.func.sum(p.c.amount_fen)).where(*here)).one()
    assert (changed[0], changed[1]) == (int(read[2].replace(",", "")), _fen(read[3].replace(",", "")))


def _wait_again(client: Any, run_id: str, task: str, was: int) -> None:
    """Until a cleared task has run once more and its run has ended well."""
    until = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < until:
        found = client.tasks(DAG, run_id)[task]
        if found["try_number"] > was and found["state"] in ("success", "skipped") and client.state(DAG, run_id) == "success":
            return
        time.sleep(0.3)
    raise AssertionError(f"{task} did not run again")


def _stored(world: Any) -> dict[str, list[tuple[Any, ...]]]:
    """What the ledger holds of money and files."""
    names = ("run", "posting", "journal", "settlement", "batch", "payment", "payment_event", "published_file", "file", "quarantine")
    with open_database(world.settings).read() as conn:
        return {name: sorted((tuple(row) for row in conn.execute(sa.select(tables.metadata.tables[name]))), key=repr) for name in names}


def _fen(value: Any) -> int:
    return int((Decimal(str(value)) * 100).to_integral_exact())
