"""retune: propose → guard → apply, region by region; a plan outside the guard band is left pending."""

from __future__ import annotations

from typing import Any

from airflow.sdk import PartitionedAssetTimetable, dag, get_current_context, task

from dags.common import DEMAND_FORECAST, dag_settings, explicit_period, partition_of


@dag(
    dag_id="retune",
    schedule=PartitionedAssetTimetable(assets=DEMAND_FORECAST),
    description="quantiles → proposals → guardrails → plans, applied through the core's API",
    **dag_settings("business day to plan from; empty: the period that train_demand has finished"),
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

    period: Any = period_of_run()
    apply.expand(plan_id=guard.partial(period=period).expand(region=propose(period)))


retune()
