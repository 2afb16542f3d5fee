"""score: forecasts and plans against what came, daily."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, get_current_context, task

from dags.common import dag_settings, explicit_period, partition_of, wall_schedule


@dag(
    dag_id="score",
    schedule=wall_schedule("0 20 * * *"),
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
