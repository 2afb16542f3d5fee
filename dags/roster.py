"""roster: shifts proposed for the next week, region by region, and the heads that are missing; weekly.

Nothing applies a proposal: a person states it as rosters, which cap the quotas of their days from the next
retune on (docs/staff.md).
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, get_current_context, task

from dags.common import dag_settings, explicit_period, partition_of, wall_schedule


@dag(
    dag_id="roster",
    schedule=wall_schedule("0 6 * * 4"),
    description="quantiles and handling times → shifts of the week that begins on Monday, shortages named",
    **dag_settings("business day to plan from, e.g. 2016-07-27; empty: the latest complete"),
)
def roster() -> None:
    """Every Thursday morning, after the night's training: people learn on it where they work on Monday."""

    @task
    def period_of_run() -> str:
        from forecasting import jobs  # noqa: PLC0415

        context = get_current_context()
        return jobs.resolve_period(explicit_period(context), partition_of(context))

    @task
    def regions(period: str) -> list[str]:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.roster_regions(period)

    @task(max_active_tis_per_dagrun=2)
    def propose(period: str, region: str) -> dict[str, Any]:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.roster_week(period, region)

    period: Any = period_of_run()
    propose.partial(period=period).expand(region=regions(period))


roster()
