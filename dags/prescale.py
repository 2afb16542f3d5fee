"""prescale: the server plan for the coming hours, every quarter-hour; a quarter-hour gone by gets none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from dags.common import dag_settings, explicit_period, partition_of, wall_schedule


@dag(
    dag_id="prescale",
    schedule=wall_schedule("*/15 * * * *", timezone="UTC"),
    description="pressure forecast → workers by quarter-hour → server plan, applied through the core's API",
    **dag_settings("business time of a quarter-hour, e.g. 2016-07-28T13:00:00Z; empty: the present one"),
)
def prescale() -> None:
    """At every quarter-hour of the wall clock."""

    @task(execution_timeout=timedelta(minutes=5), retries=2)
    def plan_servers() -> dict[str, Any]:
        from forecasting import jobs  # noqa: PLC0415

        context = get_current_context()
        return jobs.prescale(jobs.resolve_quarter(explicit_period(context), partition_of(context)))

    plan_servers()


prescale()
