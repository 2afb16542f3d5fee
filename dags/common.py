"""What the DAGs share: defaults of a task, the period parameter, the asset between train and retune.

A run's identity is its period: the parameter where given, else the partition key (never the data
interval, which asset-triggered runs do not have). Times of day are in Airflow's default time zone: set
AIRFLOW__CORE__DEFAULT_TIMEZONE to the bank's. forecasting.jobs is imported inside the tasks, because
parsing must stay quick.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Final

from airflow.sdk import Asset, CronPartitionTimetable, Param, conf

DEMAND_FORECAST: Final = Asset(name="demand_forecast", uri="slotcast://forecast/demand")
"""Emitted once a period's training is finished; its partition key is the period."""

TIMEZONE: Final = conf.get("core", "default_timezone", fallback="utc")

DEFAULT_ARGS: Final[dict[str, Any]] = {
    "owner": "slotcast",
    "retries": 3,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(minutes=10),
}


def wall_schedule(cron: str, timezone: str = TIMEZONE) -> CronPartitionTimetable | None:
    """The schedule on the wall clock; None (only by hand) under SLOTCAST_WALL_SCHEDULES=off.

    The demo turns it off: it turns business days faster than the wall and triggers explicit periods, and
    a run of the wall's evening would retune in the middle of its story.
    """
    if os.environ.get("SLOTCAST_WALL_SCHEDULES") == "off":
        return None
    return CronPartitionTimetable(cron, timezone=timezone)


def dag_settings(period_help: str) -> dict[str, Any]:
    """The arguments that every DAG of ours is made with."""
    return {
        "default_args": DEFAULT_ARGS,
        "params": {"period": Param(None, type=["null", "string"], description=period_help)},
        "catchup": False,
        "max_active_runs": 1,
        "tags": ["slotcast"],
    }


def explicit_period(context: Any) -> str | None:
    """The period parameter of the run, None where it was left empty."""
    return context["params"].get("period") or None


def partition_of(context: Any) -> str | None:
    """The run's partition: the wall time of a scheduled run (RFC 3339), else its key; None for neither."""
    run = context["dag_run"]
    date = getattr(run, "partition_date", None)
    return date.isoformat() if date is not None else getattr(run, "partition_key", None)
