"""score: forecasts and plans against what came, daily."""

from __future__ import annotations

from typing import Any

from airflow.sdk import CronPartitionTimetable, dag, get_current_context, task

from dags.common import TIMEZONE, dag_settings, explicit_period, partition_of


@dag(
    dag_id="score",
    schedule=CronPartitionTimetable("0 20 * * *", timezone=TIMEZONE),
    description="coverage, WAPE, pinball; refused, idle and regret of every plan",
    **dag_settings("last business day to score, e.g. 2016-07-28; empty: the latest complete"),
)
def score() -> None:
    """Daily, before the next training."""

    @task
    def score_period() -> dict[str, Any]:
        from forecasting import jobs  # noqa: PLC0415

        context = get_current_context()
        return jobs.score(jobs.resolve_period(explicit_period(context), partition_of(context)))

    score_period()


score()
