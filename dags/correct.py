"""correct: quotas corrected within the day, every quarter-hour of business hours; none that is gone by."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from dags.common import dag_settings, explicit_period, partition_of, wall_schedule


@dag(
    dag_id="correct",
    schedule=wall_schedule("*/15 8-18 * * *"),
    description="arrivals so far → held-back and emergency units, channels' shares → extra plans",
    **dag_settings("business time of a quarter-hour, e.g. 2016-07-28T13:00:00Z; empty: the present one"),
)
def correct() -> None:
    """At every quarter-hour while branches are open."""

    @task(execution_timeout=timedelta(minutes=5), retries=2)
    def correct_day() -> list[dict[str, Any]]:
        from forecasting import jobs  # noqa: PLC0415

        context = get_current_context()
        return jobs.correct(jobs.resolve_quarter(explicit_period(context), partition_of(context)))

    correct_day()


correct()
