"""retune: propose → guard → apply, region by region; about a plan outside the guard band a person is asked.

The question waits in Airflow (Required Actions) until the plan's deadline and takes no slot; the default is
Reject. The core rejects an overdue plan by itself, whether or not Airflow is there.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import PartitionedAssetTimetable, dag, get_current_context, task

from dags.approval import PlanApproval
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

    @task
    def questions(outcomes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.questions([outcome["plan_id"] for outcome in outcomes])

    @task(max_active_tis_per_dagrun=2)
    def decide(answer: dict[str, Any]) -> dict[str, Any]:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.decide(answer["plan_id"], approved=answer["approved"], by=answer["by"])

    period: Any = period_of_run()
    outcomes: Any = apply.expand(plan_id=guard.partial(period=period).expand(region=propose(period)))
    asked = PlanApproval.partial(
        task_id="ask",
        defaults=PlanApproval.REJECT,
        execution_timeout=None,  # it would end the waiting: apache/airflow#55866
    ).expand_kwargs(questions(outcomes))
    decide.expand(answer=asked.output)


retune()
