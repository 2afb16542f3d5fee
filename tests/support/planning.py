"""A small bank with demand to plan on: three branches in two regions, weekly demand, static quotas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import insert

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from forecasting import store
from forecasting.frames import SamplePaths, forecast_frame
from forecasting.models.components import MODEL_LEVELS
from tests.support.bank import ZONE, Bank
from tests.support.serving import Served, serve

WEEK = (24.0, 22.0, 22.0, 23.0, 27.0, 12.0, 8.0)
"""Mean units of a branch by weekday, Monday first; their mean is about 20."""
MEAN_DAY = 20

BRANCHES = {"b1": "north", "b2": "north", "b3": "south"}


def furnish(
    bank: Bank,
    period: date,
    *,
    days: int = 70,
    limit: int = MEAN_DAY,
    level: float = 1.0,
    until: date | None = None,
) -> None:
    """Furnish the bank (region north with branch b1) further: region south in shadow, branches b2 and b3.

    They get `days` days of demand up to `until` (default: the period), `level` times WEEK, and static
    quotas: `limit` a day, five times as much a week, twenty times a month; north a monthly one too.
    """
    bank.add_region("south", automatic_application=False)
    bank.add_branch("b2", "north")
    bank.add_branch("b3", "south")
    for branch in BRANCHES:
        bank.add_quota("branch", branch, "day", limit)
        bank.add_quota("branch", branch, "week", limit * 5)
        bank.add_quota("branch", branch, "month", limit * 20)
    bank.add_quota("region", "north", "month", limit * 40)
    add_demand(bank, until or period, days=days, level=level)


def add_demand(bank: Bank, until: date, *, days: int, level: float = 1.0) -> None:
    """Imported demand of every branch for the days up to `until`."""
    rng = np.random.default_rng(7)
    rows = []
    for branch in BRANCHES:
        for back in range(days):
            day = until - timedelta(days=back)
            units = float(rng.poisson(WEEK[day.weekday()] * level))
            rows.append(
                {"branch_id": branch, "day": day, "source": "test", "units": units, "synthetic": False}
            )
    _insert(bank, t.demand_history, rows)


def add_pressure(bank: Bank, until: date, *, days: int = 28, requests: int = 900) -> None:
    """Imported pressure: `requests` of 0.5 busy seconds in each quarter-hour from 10:00 to 11:00."""
    rows = []
    for back in range(days):
        opens = datetime.combine(until - timedelta(days=back), time(10), ZoneInfo(ZONE)).astimezone(UTC)
        for quarter in range(4):
            at = opens + timedelta(minutes=15 * quarter)
            rows.append(
                {
                    "minute_utc": at,
                    "business_utc": at,
                    "source": "import:test",
                    "requests": requests,
                    "refused": 0,
                    "failed": 0,
                    "busy_seconds": requests * 0.5,
                    "synthetic": True,
                }
            )
    _insert(bank, tf.pressure_minutes, rows)


def add_run(
    bank: Bank,
    period: date,
    *,
    level: float = 1.0,
    days: int = 70,
    week: Sequence[float] = WEEK,
    parts: bool = False,
) -> str:
    """A ready demand run made on the period without any training: Poisson paths about the week; its id.

    parts: what its one model, daytype, said is kept too: the same.
    """
    run_id, rng = f"demand-{period}", np.random.default_rng(11)
    store.start_run(
        bank.engine, run_id=run_id, kind="demand", period=period, trained_utc=datetime.now(UTC),
        span=None, parameters={}, libraries={},
    )  # fmt: skip
    means = [week[(period + timedelta(days=n + 1)).weekday()] * level for n in range(days)]
    for branch in BRANCHES:
        paths = SamplePaths(period + timedelta(days=1), rng.poisson(means, (200, days)).astype(np.float64))
        choice = {"champion": "prophet", "why": "test", "wql_champion": 0.2, "wql_weeks8": 0.3}
        choice |= {"coverage80": 0.8, "observations": 200}
        steps = pd.date_range(paths.first_day, periods=days)
        quantiles = forecast_frame(steps, paths.values)
        said = np.quantile(paths.values, MODEL_LEVELS, axis=0)
        store.save_series(
            bank.engine,
            run_id=run_id,
            branch_id=branch,
            choice=choice,
            quantiles=quantiles,
            paths=paths,
            parts={"forecast": said, "daytype": said} if parts else None,
        )
    store.finish_run(bank.engine, run_id, status=store.READY, verdict=None, scores={})
    return run_id


def add_judged_days(
    bank: Bank, region: str, until: date, idle: Sequence[float], *, status: str = "applied"
) -> None:
    """Judged days up to `until`, one for each number: idle units with a plan of that day, 100 without any."""
    for back, units in enumerate(reversed(idle)):
        day = until - timedelta(days=back)
        made = day - timedelta(days=1)
        plan = {
            "plan_id": f"quota-{made}-{region}", "kind": "quota", "region_id": region, "period": str(made),
            "status": status, "in_band": True, "model": "champion", "policy": {}, "inputs": {},
            "fingerprint": "f", "created_utc": datetime.now(UTC), "created_by": "test",
        }  # fmt: skip
        score = {
            "plan_id": plan["plan_id"], "day": day, "demand_units": 1000.0, "served_units": 1000.0,
            "refused_units": 0.0, "idle_units": units, "refused_old_units": 0.0, "idle_old_units": 100.0,
            "regret_units": 0.0,
        }  # fmt: skip
        _insert(bank, t.plans, [plan])
        _insert(bank, tf.score_plans, [score])


@contextmanager
def core_of(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A running core on the bank's database; the jobs' environment points to it."""
    with serve(bank.url) as served:
        for name, value in served.environment().items():
            if name.startswith("SLOTCAST_"):
                monkeypatch.setenv(name, value)
        yield served


def _insert(bank: Bank, table: object, rows: list[dict[str, object]]) -> None:
    with write_transaction(bank.engine) as connection:
        connection.execute(insert(table), rows)  # type: ignore[arg-type]
