"""The DAGs of every centre folder: night, publication, results, recompute. A new folder under ``rules/`` is a new set of DAGs.

Their shape never depends on what a folder says: a folder that cannot be loaded still has its DAGs, which say why and fail with the reason.
Before a task runs, Airflow reads this file for that one DAG; then only its centre is built, and its folder is not opened.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, AsyncCallback, DeadlineAlert, DeadlineReference, get_parsing_context

from subsidy.portal import config
from subsidy.portal.alerts import NightIsLate
from subsidy.portal.approval import ApproveRecompute, ApproveSettlement, AskAgain
from subsidy.portal.centre_card import CentreCard, cards
from subsidy.portal.completion import ASSET
from subsidy.portal.dag_ids import dag_id
from subsidy.portal.forms import date_field, field, period_field, reason_field
from subsidy.portal.request import MODES
from subsidy.portal.steps import (
    AnnouncePeriod,
    AskForApproval,
    CloseNight,
    OpenNight,
    Preview,
    Publish,
    ReadResults,
    Recompute,
    RefreshReports,
    RequestRecompute,
    SettlementBlocked,
    StartApproval,
    Step,
    retrying,
)
from subsidy.portal.timetable import BusinessDateTimetable
from subsidy.settings import load_settings

PERIOD_COMPLETE = Asset(ASSET)

STEPS = (
    ("take_in", "接收文件"), ("compute", "计算贴息"), ("check", "独立复算"), ("post", "记账"), ("verify", "核验账簿"),
    ("settle", "生成清算批次"), ("report", "出具报表"),
)

#: The task that follows whatever changes what workbooks show.
REPORT: dict[str, Any] = {"task_id": "report", "task_display_name": "更新报表", **retrying()}

BUSINESS_DATE = date_field("要处理哪一天的业务；夜间自动运行时为前一日。")
PERIOD = period_field("清算期间，例如 2026-10。")
MODE_HELP = "重跑：补齐未完成的步骤，不会重复入账。预演：只看会改什么。重算：改钱须写原因，并由另一人批准。"

NIGHT_DOC = """
每晚 01:30（北京时间）处理前一日业务：接收文件、计算贴息、独立复算、记账、核验、到期时生成清算批次、出报表。
**不等人**：需要审批的批次由“审批与发布”流程处理。

**手工运行**：点“触发”，填业务日期和方式。

- *重跑*：按当夜的数据与规则补齐未完成的步骤；已完成的不会重复入账。
- *预演*：按今天的数据与规则算一遍，只显示会改什么，不写入。
- *重算*：先预演；会改钱时另一人批准后才记账，必须写原因。

**清算批次受阻**：复算不一致或账簿核验不通过时，当夜照常关闭，但不生成批次、不付款，“清算批次受阻”任务失败并写明原因。
以后每夜重新核对；查清后的第一夜自动生成批次，那时再清除这个任务，它就成功。

任何一个任务都可以放心“清除”重跑：是否入账由系统自己的账簿决定，不由 Airflow 的状态决定。失败时先看任务日志中的提示代码。
"""
PUBLISH_DOC = """
一个清算批次经人批准后发布付款文件。批次金额、笔数、需要审批的原因在“浏览 → 待操作的任务实例”中显示。
参与过本批次运行的人不能批准；金额超限时需两人批准。同一时间只问一个批次，前一个结束后接着问下一个。
三天内无人答复的不付款，款项留在本批次，下一夜自动再次提请，直到有人批准或驳回；发布失败的也由下一夜再次启动。
驳回的款项转入下一次清算；在那之前重新触发本流程并填写期间，可再次提请。
最后更新报表：本期工作簿出新版本，写明已发送或已驳回；账簿没有新记录就不写。
"""
RESULTS_DOC = """
每天三次读取银行的回盘、流水和查询应答文件，逐笔确认、失败或待查；差异会阻止入账并写明原因。可以随时手工触发。
读完即更新报表：有新记录的各期（几个月后退汇的也算）出新版本的工作簿；账簿没有新记录就不写。
"""
RECOMPUTE_DOC = """
由夜间流程的“重算”触发：显示金额、笔数和原因，另一人批准后把差额记入当前业务日，随下一次清算支付或追回。
驳回或无人答复则什么都不改。
"""


def doc(card: CentreCard, text: str) -> str:
    """The page of a DAG; a broken folder's errors come first."""
    if not card.fault:
        return f"# {card.name}\n\n{text}"
    advice = "其他中心不受影响。改正后自动恢复，再重跑缺的业务日。"
    return f"## ⚠ 本中心配置有误，今晚不会计算\n\n```\n{card.fault}\n```\n\n{advice}\n\n# {card.name}\n\n{text}"


def common(card: CentreCard, kind: str, title: str, text: str) -> dict[str, Any]:
    """What all DAGs of a centre share."""
    return {
        "dag_id": dag_id(card.centre, kind),
        "dag_display_name": f"{'⚠ ' if card.fault else ''}{card.short_name} · {title}",
        "description": f"{card.name}：{title}",
        "doc_md": doc(card, text),
        "tags": ["贴息", card.short_name, title] + (["配置有误"] if card.fault else []),
        "default_args": {"owner": f"{card.short_name}运行员"},
        "catchup": False,
        "max_active_runs": 1,
        "render_template_as_native_obj": False,
    }


def night(card: CentreCard) -> DAG:
    """``subsidy_<centre>``: 01:30 for the business date before; never waits for a person."""
    late = AsyncCallback(NightIsLate, kwargs={"centre": card.centre, "name": card.name, "deadline": f"当日 {card.deadline_hour} 时"})
    alert = DeadlineAlert(reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=config.alert_after(card.deadline_hour), callback=late)
    with DAG(
        **common(card, "night", "夜间批处理", NIGHT_DOC),
        schedule=BusinessDateTimetable(f"{config.NIGHT_MINUTE} {config.NIGHT_HOUR} * * *", days_before=1, automatic=config.automatic()),
        deadline=alert,
        params={
            "business_date": BUSINESS_DATE,
            "mode": field("night", "方式", MODE_HELP, enum=list(MODES), values_display=MODES),
            "reason": reason_field(),
        },
    ) as dag:
        centre = card.centre
        first = OpenNight(
            task_id="open_night", task_display_name="打开业务日", centre=centre, night_first="take_in", preview="preview", **retrying()
        )
        before: Any = first
        for name, title in STEPS:
            step = Step(task_id=name, task_display_name=title, centre=centre, name=name, opened_by="open_night", **retrying())
            before >> step
            before = step
        close = CloseNight(
            task_id="close_night", task_display_name="关闭业务日", centre=centre, opened_by="open_night", settled_by="settle",
            announce="period_complete", ask="ask_approval", blocked="settlement_blocked", **retrying(),
        )
        announce = AnnouncePeriod(
            task_id="period_complete", task_display_name="宣布本期完成", centre=centre, closed_by="close_night", asset=PERIOD_COMPLETE,
            **retrying(),
        )
        ask = AskForApproval(task_id="ask_approval", task_display_name="提请审批与发布", centre=centre, **retrying())
        StartApproval.partial(task_id="start_approval", task_display_name="启动审批与发布", centre=centre, **retrying()).expand(
            question=ask.output
        )
        blocked = SettlementBlocked(
            task_id="settlement_blocked", task_display_name="清算批次受阻", centre=centre, opened_by="open_night", **retrying()
        )
        preview = Preview(task_id="preview", task_display_name="预演", centre=centre, request="request_recompute", **retrying())
        request = RequestRecompute(task_id="request_recompute", task_display_name="提请重算审批", centre=centre, **retrying())
        before >> close >> [announce, ask, blocked]
        first >> preview >> request
    return dag


def publish(card: CentreCard) -> DAG:
    """``subsidy_<centre>_publish``: a person approves, then the payment files go out. One run at a time (`common`): no question is open
    twice, also when a person starts a run beside the one that a night started."""
    with DAG(**common(card, "publish", "审批与发布", PUBLISH_DOC), schedule=None, params={"period": PERIOD}) as dag:
        approve = ApproveSettlement(task_id="approve", task_display_name="审批清算批次", centre=card.centre)
        publish = Publish(task_id="publish", task_display_name="发布付款文件", centre=card.centre, asset=PERIOD_COMPLETE, **retrying())
        report = RefreshReports(**REPORT, centre=card.centre, trigger_rule="none_failed_min_one_success")  # also after a rejection
        approve >> [publish, AskAgain(task_id="ask_again", task_display_name="再次提请", asked_by="approve", **retrying()), report]
        publish >> report
    return dag


def results(card: CentreCard) -> DAG:
    """``subsidy_<centre>_results``: reads what the banks answered."""
    timetable = BusinessDateTimetable("0 10,14,18 * * *", days_before=0, automatic=config.automatic())
    with DAG(**common(card, "results", "银行回盘", RESULTS_DOC), schedule=timetable, params={"business_date": BUSINESS_DATE}) as dag:
        read = ReadResults(task_id="read_results", task_display_name="读取银行文件", centre=card.centre, **retrying())
        read >> RefreshReports(**REPORT, centre=card.centre)
    return dag


def recompute(card: CentreCard) -> DAG:
    """``subsidy_<centre>_recompute``: another person approves, then the differences are posted."""
    params = {
        "business_date": date_field("要重算哪一天，例如 2026-10-20。"),
        "reason": reason_field(),
        "asked_by": field("", "提出人", "由系统填写。", type="string"),
    }
    with DAG(**common(card, "recompute", "重算审批", RECOMPUTE_DOC), schedule=None, params=params) as dag:
        approve = ApproveRecompute(task_id="approve", task_display_name="审批重算", centre=card.centre)
        post = Recompute(task_id="recompute", task_display_name="重算并记账", centre=card.centre, approved_by="approve", **retrying())
        approve >> [post, AskAgain(task_id="ask_again", task_display_name="再次提请", asked_by="approve", **retrying())]
    return dag


for card in cards(load_settings().rules, get_parsing_context().dag_id):
    for dag in (night(card), publish(card), results(card), recompute(card)):
        globals()[dag.dag_id] = dag
