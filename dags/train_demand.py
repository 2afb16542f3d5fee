"""train_demand: the period's demand forecast, trained in batches of series; emits the asset for retune."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from dags.common import DEMAND_FORECAST, dag_settings, explicit_period, partition_of, wall_schedule


@dag(
    dag_id="train_demand",
    schedule=wall_schedule("30 20 * * *"),
    description="demand → Prophet and challengers → calibrated quantiles and sample paths",
    **dag_settings(
        "business day whose demand is the last known, e.g. 2016-07-28; empty: the latest complete"
    ),
)
def train_demand() -> None:
    """Daily, after the last branch has closed."""

    @task
    def start() -> str:
        from forecasting import jobs  # noqa: PLC0415

        context = get_current_context()
        period = jobs.resolve_period(explicit_period(context), partition_of(context))
        jobs.start_training(period)
        return period

    @task
    def batches(period: str) -> list[list[str]]:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.series_batches(period)

    @task(execution_timeout=timedelta(minutes=20), max_active_tis_per_dagrun=2)
    def train(period: str, branch_ids: list[str]) -> dict[str, str]:
        from forecasting import jobs  # noqa: PLC0415

        return jobs.train_batch(period, branch_ids)

    @task(outlets=[DEMAND_FORECAST])
    def finish(period: str, *, outlet_events: Any = None) -> dict[str, Any]:
        from forecasting import jobs  # noqa: PLC0415

        result = jobs.finish_training(period)
        # the event's partition key is the period, so that retune plans this period and no other
        outlet_events[DEMAND_FORECAST].add_partitions(period)
        return result

    period: Any = start()
    trained = train.partial(period=period).expand(branch_ids=batches(period))
    trained >> finish(period)


train_demand()
