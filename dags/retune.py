"""retune: propose → guard → apply, each region on its own; a person is asked about what needs one.

That is a plan outside the guard band, and the extra units for special periods beside a plan.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import PartitionedAssetTimetable, dag, get_current_context, task, task_group

from dags.approval import ask_about
from dags.common import DEMAND_FORECAST, dag_settings, explicit_period, partition_of

WAITING_RUNS = 8
"""Runs at once: a run may wait a day for its answer, and must not hold up the next period's."""


@dag(
    dag_id="retune",
    schedule=PartitionedAssetTimetable(assets=DEMAND_FORECAST),
    description="quantiles → proposals → guardrails → plans, applied through the core's API",
    **dag_settings("business day to plan from; empty: the period that train_demand has finished")
    | {"max_active_runs": WAITING_RUNS},
)
def retune() -> None:
    """Whenever a period's training is finished."""

    @task
    def period_of_run() -> str:
        from forecasting import jobs  # noqa: PLC0415

        context = get_current_context()
        return jobs.resolve_period(explicit_period(context), partition_of(context))

    @task
    def propose(period: str) -> list[str]:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.propose(period)

    @task(max_active_tis_per_dagrun=2)
    def guard(period: str, region: str) -> str:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.guard(period, region)

    @task(max_active_tis_per_dagrun=2)
    def apply(plan_id: str) -> dict[str, Any]:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.apply(plan_id)

    @task_group(prefix_group_id=False)
    def region_plan(period: str, region: str) -> Any:
        """Mapped as a whole: one region's failure stops no other region."""
        planned: Any = guard(period, region)
        return apply(planned)

    period: Any = period_of_run()
    regions: Any = propose(period)
    ask_about(region_plan.partial(period=period).expand(region=regions))


retune()
