"""A small bank with demand to plan on: three branches in two regions, weekly demand, static quotas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import insert

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
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
