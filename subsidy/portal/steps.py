"""The operators that DAGs are made of. Each calls one function of `subsidy.night.api` and returns its counts and ids.

`subsidy.night.api` is imported when a task runs, not when a DAG file is parsed: parsing happens before every task.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import BaseBranchOperator, BaseOperator, ExceptionRetryPolicy, RetryAction, RetryRule

from subsidy.portal import config
from subsidy.portal.completion import event_key
from subsidy.portal.dag_ids import dag_id
from subsidy.portal.links import NightLink, PeriodLink, QuarantineLink
from subsidy.portal.notes import say, telling
from subsidy.portal.request import read_period, read_recompute, read_request
from subsidy.settings import load_settings

RETRIES = 5
#: Ids of runs of publication that a night started begin so.
BY_NIGHT = "settlement__"
#: Stands in the id of a run that puts a question again, between the id of the run that put it first and a running number.
AGAIN = "__again"


def retrying() -> dict[str, Any]:
    """Operator arguments: tried again for transient causes only (database away, centre busy), never for a fault a person must mend."""
    delay = config.retry_delay()
    rule = RetryRule(exception="subsidy.errors.TransientError", action=RetryAction.RETRY, retry_delay=delay, reason="暂时性故障，稍后重试")
    return {"retries": RETRIES, "retry_delay": delay, "retry_policy": ExceptionRetryPolicy(rules=[rule], default=RetryAction.FAIL)}


class OpenNight(BaseBranchOperator):  # type: ignore[misc]
    """Reads the form, opens the night (rerun) or goes to the preview (preview, recompute)."""

    operator_extra_links = (NightLink(),)

    def __init__(self, *, centre: str, night_first: str, preview: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centre = centre
        self.night_first = night_first
        self.preview = preview
        self.business_date = ""

    @telling
    def choose_branch(self, context: Any) -> str:
        from subsidy.night import api, previewing

        request = read_request(context)
        self.business_date = str(request.business_date)
        if request.mode != "night":
            return self.preview
        opened = api.open_night(load_settings(), self.centre, request.business_date, request.actor, "night", request.reason)
        say(self, context, previewing.opened(opened))
        context["ti"].xcom_push(key="night", value=opened)
        return self.night_first


class Step(BaseOperator):  # type: ignore[misc]
    """One step of an opened night: `name` is a function of `subsidy.night.api`."""

    operator_extra_links = (NightLink(), QuarantineLink(), PeriodLink())

    def __init__(self, *, centre: str, name: str, opened_by: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centre = centre
        self.name = name
        self.opened_by = opened_by
        self.business_date = ""

    @telling
    def execute(self, context: Any) -> dict[str, Any]:
        from subsidy.night import api, previewing

        opened = context["ti"].xcom_pull(task_ids=self.opened_by, key="night")
        self.business_date = str(opened["business_date"])
        result: dict[str, Any] = getattr(api, self.name)(load_settings(), self.centre, int(opened["run_no"]))
        say(self, context, f"{self.task_display_name}：{previewing.said(self.name, result)}")
        return result


class CloseNight(BaseBranchOperator):  # type: ignore[misc]
    """Closes the night and says what follows: a period in which nothing is due is announced as complete, settlements that wait are put to
    people, and a settlement that could not be built makes a task fail: the night is over, and nobody overlooks it."""

    operator_extra_links = (NightLink(), PeriodLink())

    def __init__(self, *, centre: str, opened_by: str, settled_by: str, announce: str, ask: str, blocked: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centre = centre
        self.opened_by = opened_by
        self.settled_by = settled_by
        self.announce = announce
        self.ask = ask
        self.blocked = blocked
        self.business_date = ""

    @telling
    def choose_branch(self, context: Any) -> list[str]:
        from subsidy.night import api

        settings = load_settings()
        opened = context["ti"].xcom_pull(task_ids=self.opened_by, key="night")
        self.business_date = str(opened["business_date"])
        api.close_night(settings, self.centre, int(opened["run_no"]))
        settled = context["ti"].xcom_pull(task_ids=self.settled_by) or {}
        empty = [str(settlement["period"]) for settlement in settled.get("settlements", []) if settlement["state"] == "empty"]
        waiting = "、".join(settlement["period"] for settlement in api.pending_settlements(settings, self.centre))
        context["ti"].xcom_push(key="periods", value=empty)
        blocked = settled.get("blocked")
        follows = ("应生成的清算批次没有生成。" if blocked else "") + (
            f"{waiting} 期清算批次等待审批或发布。" if waiting else "没有等待审批的批次。"
        )
        say(self, context, f"业务日 {self.business_date} 已关闭。{follows}")
        return ([self.announce] if empty else []) + ([self.ask] if waiting else []) + ([self.blocked] if blocked else [])


class SettlementBlocked(BaseOperator):  # type: ignore[misc]
    """Fails with the reason why a night could not build what was due; cleared, it succeeds once a later night has built it."""

    operator_extra_links = (NightLink(), PeriodLink())

    def __init__(self, *, centre: str, opened_by: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centre = centre
        self.opened_by = opened_by
        self.business_date = ""

    @telling
    def execute(self, context: Any) -> None:
        from subsidy.night import api

        opened = context["ti"].xcom_pull(task_ids=self.opened_by, key="night")
        self.business_date = str(opened["business_date"])
        api.refuse_blocked(load_settings(), self.centre, int(opened["run_no"]))
        say(self, context, "应生成的清算批次已由后来的夜间处理生成。")


class AnnouncePeriod(BaseOperator):  # type: ignore[misc]
    """Emits the event that a centre's period is complete; the clearing waits for it."""

    def __init__(self, *, centre: str, closed_by: str, asset: Any, **kwargs: Any) -> None:
        super().__init__(outlets=[asset], **kwargs)
        self.centre = centre
        self.closed_by = closed_by
        self.asset = asset

    @telling
    def execute(self, context: Any) -> list[str]:
        periods: list[str] = context["ti"].xcom_pull(task_ids=self.closed_by, key="periods")
        context["outlet_events"][self.asset].add_partitions([event_key(period, self.centre) for period in periods])
        return periods


def run_that_asks(ti: Any, dag: str, first: str, besides: str = "") -> str | None:
    """Id of the run of `dag` that puts again what the run `first` put first (`first` itself when there is none); None while another run
    than `besides` still puts it."""
    for start in count(0, 100):
        ids = [f"{first}{AGAIN}{number}" if number else first for number in range(start, start + 100)]
        ids = [run_id for run_id in ids if run_id != besides]
        if ti.get_dr_count(dag_id=dag, run_ids=ids, states=["queued", "running"]):
            return None
        for run_id in ids:
            if not ti.get_dr_count(dag_id=dag, run_ids=[run_id]):
                return run_id
    raise AssertionError("numbers do not end")


class AskForApproval(BaseOperator):  # type: ignore[misc]
    """Every settlement that waits is put to people: result, the questions to start. One that a run still puts is left alone, one that was
    left unanswered or whose run failed is put again."""

    def __init__(self, *, centre: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centre = centre

    @telling
    def execute(self, context: Any) -> list[dict[str, str]]:
        from subsidy.night import api

        questions: list[dict[str, str]] = []
        stand: list[str] = []
        for waiting in api.pending_settlements(load_settings(), self.centre):
            period, content = str(waiting["period"]), str(waiting["content_hash"])[:12]
            run_id = run_that_asks(context["ti"], dag_id(self.centre, "publish"), f"{BY_NIGHT}{period}__{content}")
            if run_id is None:
                stand.append(period)
            else:
                questions.append({"period": period, "run_id": run_id})
        asked = [f"提请审批与发布：{'、'.join(q['period'] for q in questions)} 期。"] if questions else []
        asked += [f"{'、'.join(stand)} 期已经提请，还没有结束，不重复提请。"] if stand else []
        say(self, context, "".join(asked) or "没有等待审批或发布的批次。")
        return questions


class StartApproval(TriggerDagRunOperator):  # type: ignore[misc]
    """Starts the DAG of approval and publication for one question; a second time it does nothing."""

    def __init__(self, *, centre: str, question: Any, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id=dag_id(centre, "publish"), logical_date=None, skip_when_already_exists=True, **kwargs)
        self.question = question

    @telling
    def execute(self, context: Any) -> None:
        self.trigger_run_id = self.question["run_id"]
        self.conf = {"period": self.question["period"]}
        super().execute(context)


class Preview(BaseBranchOperator):  # type: ignore[misc]
    """Shows what a recompute would change. A recompute goes on to its own DAG, so that no night waits for a person."""

    operator_extra_links = (NightLink(),)

    def __init__(self, *, centre: str, request: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centre = centre
        self.request = request
        self.business_date = ""

    @telling
    def choose_branch(self, context: Any) -> str | None:
        from subsidy.night import api, previewing

        request = read_request(context)
        self.business_date = str(request.business_date)
        result = api.preview(load_settings(), self.centre, request.business_date)
        counts = {name: value for name, value in result.items() if name != "listed"}
        say(self, context, previewing.change(request.business_date, result))
        for line in result.get("listed", []):
            self.log.info("%s", previewing.changed_line(line))
        context["ti"].xcom_push(key="preview", value=counts)
        return self.request if request.mode == "recompute" else None


class RequestRecompute(TriggerDagRunOperator):  # type: ignore[misc]
    """Starts the DAG in which another person approves a recompute and in which it is posted."""

    def __init__(self, *, centre: str, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id=dag_id(centre, "recompute"), logical_date=None, skip_when_already_exists=True, **kwargs)

    @telling
    def execute(self, context: Any) -> None:
        request = read_request(context)
        self.trigger_run_id = f"recompute__{context['dag_run'].run_id}"
        self.conf = {"business_date": str(request.business_date), "reason": request.reason, "asked_by": request.actor}
        super().execute(context)


class Recompute(BaseOperator):  # type: ignore[misc]
    """Posts an approved recompute."""

    operator_extra_links = (NightLink(), PeriodLink())

    def __init__(self, *, centre: str, approved_by: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centre = centre
        self.approved_by = approved_by
        self.business_date = ""

    @telling
    def execute(self, context: Any) -> dict[str, Any]:
        from subsidy.night import api, previewing

        asked = read_recompute(context)
        self.business_date = str(asked.business_date)
        approvals = context["ti"].xcom_pull(task_ids=self.approved_by, key="approvals") or []
        result: dict[str, Any] = api.recompute(load_settings(), self.centre, asked.business_date, asked.actor, asked.reason, approvals)
        say(self, context, previewing.recomputed(self.business_date, result))
        return result


class Publish(BaseOperator):  # type: ignore[misc]
    """Publishes the approved payment files of a period and announces that the period is complete."""

    operator_extra_links = (PeriodLink(),)

    def __init__(self, *, centre: str, asset: Any, **kwargs: Any) -> None:
        super().__init__(outlets=[asset], **kwargs)
        self.centre = centre
        self.asset = asset
        self.period = ""

    @telling
    def execute(self, context: Any) -> dict[str, Any]:
        from subsidy.night import api, previewing

        self.period = read_period(context)
        result: dict[str, Any] = api.publish(load_settings(), self.centre, self.period)
        say(self, context, previewing.published(result))
        context["outlet_events"][self.asset].add_partitions(event_key(self.period, self.centre))
        return result


class ReadResults(BaseOperator):  # type: ignore[misc]
    """Reads the banks' result, movement and answer files."""

    operator_extra_links = (NightLink(), PeriodLink())

    def __init__(self, *, centre: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centre = centre
        self.business_date = ""

    @telling
    def execute(self, context: Any) -> dict[str, Any]:
        from subsidy.night import api, previewing

        request = read_request(context)
        self.business_date = str(request.business_date)
        result: dict[str, Any] = api.read_results(load_settings(), self.centre, request.business_date, request.actor)
        say(self, context, previewing.read(result))
        return result


class RefreshReports(BaseOperator):  # type: ignore[misc]
    """Writes the workbooks again that the ledger has left behind: after an answer, a publication, bank files."""

    operator_extra_links = (PeriodLink(),)

    def __init__(self, *, centre: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.centre = centre
        self.period = ""

    @telling
    def execute(self, context: Any) -> dict[str, Any]:
        from subsidy.night import api, previewing

        result: dict[str, Any] = api.refresh_reports(load_settings(), self.centre)
        self.period = max(result["periods"], default="")
        say(self, context, previewing.refreshed(result))
        return result


class ClearMonth(BaseOperator):  # type: ignore[misc]
    """Clears a month over all centres; names who is missing."""

    @telling
    def execute(self, context: Any) -> dict[str, Any]:
        from subsidy.night import api, previewing

        result: dict[str, Any] = api.clear_month(load_settings(), read_period(context))
        say(self, context, previewing.cleared(result))
        return result


class ClearAtDeadline(BaseOperator):  # type: ignore[misc]
    """At the deadline of a month: clears the month before with whoever is complete, and names who is missing."""

    @telling
    def execute(self, context: Any) -> dict[str, Any]:
        from subsidy.night import api, previewing

        day = read_request(context).business_date
        last_month = day.replace(day=1) - timedelta(days=1)
        result: dict[str, Any] = api.clear_month(load_settings(), f"{last_month:%Y-%m}")
        say(self, context, previewing.cleared(result))
        return result
