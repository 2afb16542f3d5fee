"""correct: quotas corrected within the day, every quarter-hour of business hours; none that is gone by.

A person is asked about the emergency units beyond the band.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from dags.approval import ask_about
from dags.common import dag_settings, explicit_period, partition_of, wall_schedule

WAITING_RUNS = 48
"""Runs at once: one may wait for its answer into the next day, and must not hold up those that follow."""


@dag(
    dag_id="correct",
    schedule=wall_schedule("*/15 8-18 * * *"),
    description="arrivals so far → held-back and emergency units, channels' shares → extra plans",
    **dag_settings("business time of a quarter-hour, e.g. 2016-07-28T13:00:00Z; empty: the present one")
    | {"max_active_runs": WAITING_RUNS},
)
def correct() -> None:
    """At every quarter-hour while branches are open."""

    @task(execution_timeout=timedelta(minutes=5), retries=2)
    def correct_day() -> list[dict[str, Any]]:
        from forecasting import jobs  # noqa: PLC0415

        context = get_current_context()
        return jobs.correct(jobs.resolve_quarter(explicit_period(context), partition_of(context)))

    ask_about(correct_day())


correct()
