"""Clearing over all centres of a month: when every centre due in it is complete, or at its deadline with whoever is."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, PartitionedAssetTimetable, RollupMapper

from subsidy.portal import config
from subsidy.portal.completion import ASSET, CentresDue, MonthOfEvent
from subsidy.portal.dag_ids import CLEARING_DAG, CLEARING_DEADLINE_DAG
from subsidy.portal.forms import date_field, period_field
from subsidy.portal.steps import ClearAtDeadline, ClearMonth, retrying
from subsidy.portal.timetable import BusinessDateTimetable

#: When everything of the previous period should be complete: well after the last centre's settlement (the 10th, rolled).
DEADLINE_DAY = config.clearing_day()
DEADLINE_CRON = f"0 9 {DEADLINE_DAY} * *"

PERIOD_COMPLETE = Asset(ASSET)
PERIOD = period_field("要清算的月份，例如 2026-10。")

CLEARING_DOC = """
当月应清算的中心全部完成（批次已发布，或本期无款可付）后自动运行：按中心、银行汇总应付、已付、失败、未达、退汇、追回，出资金调拨指令和清算工作簿。
清算过的月份，迟到的中心发布，或银行回盘、退汇到达，该中心“更新报表”时自动生成新编号的版本；旧版本保留。也可以手工触发并填写期间。
任何中心的付款都不等待清算。
"""
DEADLINE_DOC = f"每月 {DEADLINE_DAY} 日 09:00（北京时间）：上月仍未全部完成时，按已完成的中心清算，并写明缺哪些中心。"

when_complete = PartitionedAssetTimetable(
    assets=PERIOD_COMPLETE, partition_mapper_config={PERIOD_COMPLETE: RollupMapper(upstream_mapper=MonthOfEvent(), window=CentresDue())}
)
with DAG(
    CLEARING_DAG, schedule=when_complete, dag_display_name="全部中心 · 月度清算", description="各中心当月全部完成后清算",
    doc_md=CLEARING_DOC, tags=["贴息", "清算"], default_args={"owner": "财务"}, catchup=False, max_active_runs=1, params={"period": PERIOD},
) as clearing:
    ClearMonth(task_id="clear_month", task_display_name="清算本月", **retrying())

with DAG(
    CLEARING_DEADLINE_DAG, schedule=BusinessDateTimetable(DEADLINE_CRON, days_before=0, automatic=config.automatic()),
    dag_display_name="全部中心 · 清算到期", description="到期仍未完成时清算上月，写明缺谁", doc_md=DEADLINE_DOC,
    tags=["贴息", "清算"], default_args={"owner": "财务"}, catchup=False, max_active_runs=1,
    params={"business_date": date_field("清算这一天之前的那个月。")},
) as deadline:
    ClearAtDeadline(task_id="clear_month", task_display_name="清算上月", **retrying())
