"""People decide in Airflow: settlements and recomputes. The answer counts only after our own database has accepted it.

Airflow asks (`ApprovalOperator`), shows the question to the people who may answer today, and stores the answer. Then the answer is
checked again: right, own part in the batch, content. A refused answer is recorded, and the question is asked again. No answer in
time means no.
"""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from subsidy.errors import TransientError
from subsidy.money import format_yuan
from subsidy.portal import config
from subsidy.portal.links import NightLink, PeriodLink
from subsidy.portal.request import read_period, read_recompute
from subsidy.portal.roles import load_roles
from subsidy.portal.steps import transient_rule
from subsidy.settings import Settings, load_settings

ASK_AGAIN_LIMIT = 50
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>])")


class AskAgain(TransientError):
    """The answer was recorded but does not settle the question; it is put again. Not a fault."""


def plain(text: object) -> str:
    """`text` as it is read, whatever signs it contains: no Markdown, no HTML, no template."""
    return html.escape(_MARKDOWN.sub(r"\\\1", " ".join(str(text).split())), quote=False)


class _Approval(ApprovalOperator):  # type: ignore[misc]
    template_fields = ()  # the text is ours and already escaped; nothing in it is a template

    def __init__(self, *, centre: str, centre_name: str, **kwargs: Any) -> None:
        again = RetryRule(exception=AskAgain, action=RetryAction.RETRY, retry_delay=timedelta(seconds=1), reason="再次提请审批")
        policy = ExceptionRetryPolicy(rules=[again, transient_rule()], default=RetryAction.FAIL)
        super().__init__(
            subject="审批", defaults=ApprovalOperator.REJECT, response_timeout=config.answer_within(), retries=ASK_AGAIN_LIMIT,
            retry_delay=timedelta(seconds=1), retry_policy=policy, **kwargs,
        )
        self.centre = centre
        self.centre_name = centre_name

    def ask(self, context: Any, settings: Settings, subject: str, body: str, content_hash: str) -> None:
        """Park the task until somebody who may approve answers."""
        people = load_roles(settings.rules).holders(self.centre, "approve")
        self.subject, self.body = subject, body
        self.assigned_users = [{"id": person.login, "name": person.login} for person in people]
        context["ti"].xcom_push(key="content_hash", value=content_hash)
        super().execute(context)

    def reject(self, context: Any, event: dict[str, Any]) -> None:
        """Skip what follows."""
        super().execute_complete(context, event | {"chosen_options": [self.REJECT]})

    def refuse(self, context: Any, message: str) -> None:
        """Put the question again, with the reason why the last answer does not count."""
        context["task_state_store"].set("refused", message)
        raise AskAgain("ANSWER-NOT-ENOUGH", message, "没有发布任何文件。", "由另一位有审批权限的人在“待办事项”中答复。")

    def notice(self, context: Any) -> str:
        """Why the question comes again, as a paragraph; empty the first time."""
        refused = context["task_state_store"].get("refused") if context["ti"].try_number > 1 else None
        return f"\n\n> **上一次答复：** {plain(refused)}" if refused else ""


def _person(event: dict[str, Any]) -> str:
    return str((event.get("responded_by_user") or {}).get("id") or "")


class ApproveSettlement(_Approval):
    """Asks whether a settlement may be sent."""

    operator_extra_links = (PeriodLink(),)
    period = ""

    def execute(self, context: Any) -> None:
        from subsidy.night import api

        settings = load_settings()
        self.period = read_period(context)
        pending = api.pending_settlement(settings, self.centre, self.period)
        if pending is None or pending["state"] in ("approved", "publishing", "published"):
            self.log.info("期间 %s 没有待审批的批次。", self.period)
            return
        needed = int(pending["approvals_needed"])
        reasons = "".join(f"\n- {plain(reason)}" for reason in pending["reasons"]) or "\n- 无异常"
        body = (
            f"**{plain(self.centre_name)}** {plain(self.period)} 期贴息清算\n\n"
            f"- 金额：**{format_yuan(int(pending['amount_fen']))} 元**\n- 笔数：{int(pending['count'])}\n- 还需批准：{needed} 人\n"
            f"- 内容指纹：`{plain(pending['content_hash'][:16])}`\n\n需要人工审批的原因：{reasons}\n\n"
            f"批准后生成并发布付款文件；驳回则不付款，可再次提请。参与过本批次运行的人不能批准。{self.notice(context)}"
        )
        subject = f"{self.centre_name} {self.period} 期清算：{format_yuan(int(pending['amount_fen']))} 元"
        self.ask(context, settings, subject, body, pending["content_hash"])

    def execute_complete(self, context: Any, event: dict[str, Any]) -> None:
        from subsidy.night import api

        settings = load_settings()
        self.period = read_period(context)
        person, chosen = _person(event), event.get("chosen_options") or []
        if not person:
            self.log.warning("规定时间内没有人答复，按驳回处理；没有发布任何文件。重新触发本流程可再次提请。")
            self.reject(context, event)
            return
        if not load_roles(settings.rules).may(person, self.centre, "approve"):
            self.refuse(context, f"{person} 没有本中心的审批权限。")
        answer = "approve" if chosen == [self.APPROVE] else "reject"
        content_hash = context["ti"].xcom_pull(task_ids=self.task_id, key="content_hash")
        outcome = api.answer_settlement(settings, self.centre, self.period, person, answer, content_hash)
        self.log.info("%s 答复 %s：%s", person, answer, outcome["message"])
        if not outcome["accepted"]:
            self.refuse(context, outcome["message"])
        if answer == "reject":
            self.reject(context, event)
            return
        pending = api.pending_settlement(settings, self.centre, self.period)
        if pending is not None and pending["state"] not in ("approved", "publishing", "published"):
            self.refuse(context, f"{person} 已批准，还需另一人批准。")


class ApproveRecompute(_Approval):
    """Asks another person whether a recompute that changes money may be posted; passes at once when it changes none."""

    operator_extra_links = (NightLink(),)
    business_date = ""

    def execute(self, context: Any) -> None:
        from subsidy.night import api

        settings = load_settings()
        asked = read_recompute(context)
        self.business_date = str(asked.business_date)
        preview = api.preview(settings, self.centre, asked.business_date)
        if not preview["amount_fen"] and not preview["lines"]:
            self.log.info("重算不改变任何金额，不需要审批。")
            return
        causes = "".join(f"\n- {plain(cause)}：{format_yuan(int(fen))} 元" for cause, fen in preview["causes"].items())
        amount = format_yuan(int(preview["amount_fen"]))
        body = (
            f"**{plain(self.centre_name)}** 重算业务日 {plain(asked.business_date)}\n\n- 净变动：**{amount} 元**\n"
            f"- 涉及贷款：{int(preview['loans'])} 笔\n- 涉及明细行：{int(preview['lines'])} 行\n"
            f"- 提出人：{plain(asked.actor)}\n- 原因：{plain(asked.reason)}\n\n按原因：{causes}\n\n"
            f"批准后差额记入当前业务日，随下一次清算支付或追回；驳回则什么都不改。提出人不能批准。{self.notice(context)}"
        )
        self.ask(context, settings, f"{self.centre_name} 重算 {asked.business_date}：{amount} 元", body, preview["content_hash"])

    def execute_complete(self, context: Any, event: dict[str, Any]) -> None:
        from subsidy.night import api

        settings = load_settings()
        asked = read_recompute(context)
        self.business_date = str(asked.business_date)
        person = _person(event)
        if not person or event.get("chosen_options") != [self.APPROVE]:
            if person:
                api.record_act(settings, self.centre, person, "reject", f"night:{asked.business_date}", asked.reason)
            self.log.warning("重算未获批准（%s）；什么都没有改。", person or "无人答复")
            self.reject(context, event)
            return
        if person == asked.actor or not load_roles(settings.rules).may(person, self.centre, "approve"):
            api.record_act(settings, self.centre, person, "refused", f"night:{asked.business_date}", asked.reason)
            self.refuse(context, f"{person} 提出了这次重算，或没有审批权限，不能批准。")
        api.record_act(settings, self.centre, person, "approve", f"night:{asked.business_date}", asked.reason)
        content_hash = context["ti"].xcom_pull(task_ids=self.task_id, key="content_hash")
        context["ti"].xcom_push(key="approvals", value=[{"person": person, "answer": "approve", "content_hash": content_hash}])
