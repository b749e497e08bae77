"""People decide in Airflow: settlements and recomputes. The answer counts only after our own database has accepted it.

Airflow asks (`ApprovalOperator`), shows the question to the people who may answer today, and stores the answer. Then the answer is
checked again: right, own part in the batch, content. A refused answer is recorded, and the question is asked again, in a run of its own,
because Airflow never changes the text of a question that it has asked. No answer in time pays nothing: a settlement keeps its money and is
asked about again by the next night, until somebody approves or rejects it.
"""

from __future__ import annotations

import html
import re
from typing import Any, NoReturn

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowSkipException

from subsidy.errors import Message
from subsidy.money import format_yuan
from subsidy.portal import config
from subsidy.portal.centre_card import full_name
from subsidy.portal.links import NightLink, PeriodLink
from subsidy.portal.notes import say, telling
from subsidy.portal.request import actor_of, read_period, read_recompute
from subsidy.portal.roles import load_roles
from subsidy.portal.steps import AGAIN, BY_NIGHT, retrying, run_that_asks
from subsidy.settings import Settings, load_settings

#: Task ids of what may follow an approval.
PUBLISH, RECOMPUTE, ASK_AGAIN, REPORT = "publish", "recompute", "ask_again", "report"
#: What is said when the time for an answer about a settlement has run out.
NO_ANSWER = Message(
    "ANSWER-NONE",
    "规定时间内没有人答复，本次提请结束。",
    "没有付款，没有记账；款项留在本批次，不转入下一次清算，也不会付两次。",
    "下一夜自动再次提请；要马上答复的，重新触发本流程并填写期间。不应支付的请驳回，款项才转入下一次清算。",
)
#: The same about a recompute.
NO_RECOMPUTE = Message(
    "ANSWER-RECOMPUTE", "规定时间内没有人答复，按驳回处理，没有重算。", "没有记账，什么都没有改。", "仍要重算的，在夜间流程中重新提出。"
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>])")


def plain(text: object) -> str:
    """`text` as it is read, whatever signs it contains: no Markdown, no HTML, no template."""
    return _MARKDOWN.sub(r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def yuan(fen: int) -> str:
    """Amount as people read it: 1,234.56."""
    whole, _, cents = format_yuan(abs(int(fen))).partition(".")
    return f"{'-' if fen < 0 else ''}{int(whole):,}.{cents}"


class _Approval(ApprovalOperator):  # type: ignore[misc]
    APPROVE, REJECT = "批准", "驳回"
    template_fields = ()  # the text is ours and already escaped; nothing in it is a template

    def __init__(self, *, centre: str, **kwargs: Any) -> None:
        super().__init__(subject="审批", defaults=self.REJECT, response_timeout=config.answer_within(), **retrying(), **kwargs)
        self.centre = centre

    def ask(self, context: Any, settings: Settings, subject: str, body: str, content_hash: str) -> None:
        """Park the task until somebody who may approve answers. A second try must not show the text of the first: it starts over."""
        if context["ti"].try_number > 1:
            self.start_over(context, "上一次提问中断，若已答复，没有被收下；请重新答复。")
        people = load_roles(settings.rules).holders(self.centre, "approve")
        self.subject, self.body = subject, body
        self.assigned_users = [{"id": person.login, "name": person.login} for person in people]
        context["ti"].xcom_push(key="content_hash", value=content_hash)
        super().execute(context)

    def go_on(self, context: Any, *only: str) -> NoReturn:
        """Finish and let only the tasks `only` follow."""
        following = context["task"].get_direct_relatives(upstream=False)
        self.skip(ti=context["ti"], tasks=[task for task in following if task.task_id not in only])
        raise AssertionError("skip leaves by an exception")

    def start_over(self, context: Any, message: str) -> NoReturn:
        """End without effect and put the question again in a new run, with the reason why the last answer does not settle it."""
        say(self, context, f"重新提请：{message}")
        context["ti"].xcom_push(key="again", value=self.same_question(context) | {"notice": message})
        self.go_on(context, ASK_AGAIN)

    def same_question(self, context: Any) -> dict[str, str]:
        """The form that asks this question again."""
        raise NotImplementedError

    @staticmethod
    def notice(context: Any) -> str:
        """Why the question comes again, as a paragraph; empty the first time."""
        message = (context["dag_run"].conf or {}).get("notice")
        return f"\n\n> **上一次答复：** {plain(message)}" if message else ""


def _person(event: dict[str, Any]) -> str:
    return str((event.get("responded_by_user") or {}).get("id") or "")


class ApproveSettlement(_Approval):
    """Asks whether a settlement may be sent."""

    operator_extra_links = (PeriodLink(),)
    period = ""

    def same_question(self, context: Any) -> dict[str, str]:
        return {"period": read_period(context)}

    @telling
    def execute(self, context: Any) -> None:
        from subsidy.night import api

        settings = load_settings()
        self.period = read_period(context)
        pending = api.pending_settlement(settings, self.centre, self.period)
        if str(context["dag_run"].run_id).startswith(BY_NIGHT) and (pending is None or pending["state"] == "rejected"):
            say(self, context, f"{self.period} 期批次已有答复，不再提请。")
            self.go_on(context)
        if pending is None or pending["state"] in ("approved", "publishing", "published"):
            say(self, context, f"期间 {self.period} 没有待审批的批次，直接发布已批准的文件。")
            self.go_on(context, PUBLISH, REPORT)
        name = full_name(settings.rules, self.centre)
        reasons = "".join(f"\n- {plain(reason)}" for reason in pending["reasons"]) or "\n- 无异常"
        body = (
            f"**{plain(name)}** {plain(self.period)} 期贴息清算\n\n"
            f"- 金额：**{yuan(pending['amount_fen'])} 元**\n- 笔数：{int(pending['count'])}\n"
            f"- 需要批准：{int(pending['approvals_needed'])} 人\n"
            f"- 内容指纹：`{plain(pending['content_hash'][:16])}`\n\n需要人工审批的原因：{reasons}\n\n"
            f"批准后生成并发布付款文件；驳回则不付款，可再次提请。参与过本批次运行的人不能批准。{self.notice(context)}"
        )
        subject = f"{name} {self.period} 期清算：{yuan(pending['amount_fen'])} 元"
        self.ask(context, settings, subject, body, pending["content_hash"])

    @telling
    def execute_complete(self, context: Any, event: dict[str, Any]) -> None:
        from subsidy.night import api

        settings = load_settings()
        self.period = read_period(context)
        person, chosen = _person(event), event.get("chosen_options") or []
        if not person:
            say(self, context, str(NO_ANSWER))
            self.go_on(context, REPORT)
        if not load_roles(settings.rules).may(person, self.centre, "approve"):
            self.start_over(context, f"{person} 没有本中心的审批权限。")
        if person == actor_of(context["dag_run"]):
            # The guard has recorded it; should a way past it exist, the answer is refused all the same.
            api.record_act(settings, self.centre, person, "trigger", f"settlement:{self.period}", "")
        answer = "approve" if chosen == [self.APPROVE] else "reject"
        content_hash = context["ti"].xcom_pull(task_ids=self.task_id, key="content_hash")
        outcome = api.answer_settlement(settings, self.centre, self.period, person, answer, content_hash)
        say(self, context, f"{person} {'批准' if answer == 'approve' else '驳回'}：{outcome['message']}")
        if not outcome["accepted"]:
            self.start_over(context, str(outcome["message"]))
        if answer == "reject":
            self.go_on(context, REPORT)
        if outcome["state"] != "approved":
            self.start_over(context, str(outcome["message"]))
        self.go_on(context, PUBLISH, REPORT)


class ApproveRecompute(_Approval):
    """Asks another person whether a recompute that changes money may be posted; passes at once when it changes none."""

    operator_extra_links = (NightLink(),)
    business_date = ""

    def same_question(self, context: Any) -> dict[str, str]:
        asked = read_recompute(context)
        return {"business_date": str(asked.business_date), "reason": asked.reason, "asked_by": asked.actor}

    @telling
    def execute(self, context: Any) -> None:
        from subsidy.night import api

        settings = load_settings()
        asked = read_recompute(context)
        self.business_date = str(asked.business_date)
        preview = api.preview(settings, self.centre, asked.business_date)
        if not preview["amount_fen"] and not preview["lines"]:
            say(self, context, "重算不改变任何金额，不需要审批。")
            self.go_on(context, RECOMPUTE)
        name = full_name(settings.rules, self.centre)
        causes = "".join(f"\n- {plain(cause)}：{yuan(fen)} 元" for cause, fen in preview["causes"].items())
        amount = yuan(preview["amount_fen"])
        body = (
            f"**{plain(name)}** 重算业务日 {plain(asked.business_date)}\n\n- 净变动：**{amount} 元**\n"
            f"- 涉及贷款：{int(preview['loans'])} 笔\n- 涉及明细行：{int(preview['lines'])} 行\n"
            f"- 提出人：{plain(asked.actor)}\n- 原因：{plain(asked.reason)}\n\n按原因：{causes}\n\n"
            f"批准后差额记入当前业务日，随下一次清算支付或追回；驳回则什么都不改。提出人不能批准。{self.notice(context)}"
        )
        self.ask(context, settings, f"{name} 重算 {asked.business_date}：{amount} 元", body, preview["content_hash"])

    @telling
    def execute_complete(self, context: Any, event: dict[str, Any]) -> None:
        from subsidy.night import api

        settings = load_settings()
        asked = read_recompute(context)
        self.business_date = str(asked.business_date)
        person = _person(event)
        if not person or event.get("chosen_options") != [self.APPROVE]:
            if person:
                api.record_act(settings, self.centre, person, "reject", f"night:{asked.business_date}", asked.reason)
            say(self, context, f"{person} 驳回了重算；什么都没有改。" if person else str(NO_RECOMPUTE))
            self.go_on(context)
        if person == asked.actor or not load_roles(settings.rules).may(person, self.centre, "approve"):
            api.record_act(settings, self.centre, person, "refused", f"night:{asked.business_date}", asked.reason)
            self.start_over(context, f"{person} 提出了这次重算，或没有审批权限，不能批准。")
        api.record_act(settings, self.centre, person, "approve", f"night:{asked.business_date}", asked.reason)
        content_hash = context["ti"].xcom_pull(task_ids=self.task_id, key="content_hash")
        context["ti"].xcom_push(key="approvals", value=[{"person": person, "answer": "approve", "content_hash": content_hash}])
        self.go_on(context, RECOMPUTE)


class AskAgain(TriggerDagRunOperator):  # type: ignore[misc]
    """Puts a question again that the last answer did not settle: a new run of the same DAG."""

    def __init__(self, *, asked_by: str, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id="", logical_date=None, skip_when_already_exists=True, **kwargs)
        self.asked_by = asked_by

    @telling
    def execute(self, context: Any) -> None:
        me = str(context["dag_run"].run_id)
        self.trigger_dag_id = self.dag_id
        self.trigger_run_id = run_that_asks(context["ti"], self.dag_id, me.partition(AGAIN)[0], besides=me)
        if self.trigger_run_id is None:
            raise AirflowSkipException("已经在另一次运行中再次提请。")
        self.conf = context["ti"].xcom_pull(task_ids=self.asked_by, key="again")
        super().execute(context)
