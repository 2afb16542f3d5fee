"""A forecast put straight into the database, staff who are there, and customers who were served."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import insert

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from forecasting import store
from forecasting.frames import SamplePaths
from tests.support.bank import ZONE, Bank


def foresee(bank: Bank, period: date, means: Mapping[str, float], *, days: int = 62, paths: int = 60) -> str:
    """A ready run of the period: Poisson days of so many units for each branch; its id."""
    run_id, rng = f"demand-{period}", np.random.default_rng(5)
    store.start_run(
        bank.engine, run_id=run_id, kind="demand", period=period, trained_utc=datetime.now(UTC),
        span=(period - timedelta(days=69), period), parameters={}, libraries={},
    )  # fmt: skip
    choice = {"champion": "weeks8", "why": "test", "wql_champion": 0.1, "wql_weeks8": 0.1, "coverage80": 0.8}
    for branch, mean in means.items():
        made = SamplePaths(period + timedelta(days=1), rng.poisson(mean, (paths, days)).astype(float))
        store.save_series(
            bank.engine, run_id=run_id, branch_id=branch, choice={**choice, "observations": 70},
            quantiles=None, paths=made,
        )  # fmt: skip
    store.finish_run(bank.engine, run_id, status=store.READY, verdict=None, scores={})
    return run_id


def staff(bank: Bank, branch: str, day: date, *entries: tuple[str, str, int, str]) -> None:
    """A standing roster of the day: (from, to, heads, skill) each."""
    told = [
        {"day": day.isoformat(), "from": first, "to": until, "heads": heads, "skill": skill}
        for first, until, heads, skill in entries
    ]
    with write_transaction(bank.engine) as connection:
        connection.execute(
            insert(tf.rosters).values(
                roster_id=f"{branch}-{day}", branch_id=branch, first_day=day, last_day=day, entries=told,
                created_by="test", created_utc=datetime.now(UTC),
            )
        )  # fmt: skip


def serve_customers(
    bank: Bank, branch: str, day: date, served: int, absent: int, *, minutes: int = 15
) -> None:
    """Bookings at ten of a past day: so many served for so long, so many who did not come."""
    slot = bank.add_slot(branch, day, "10:00")
    start = datetime.combine(day, time(10), ZoneInfo(ZONE)).astimezone(UTC)
    loans: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for n in range(served + absent):
        loan, came = f"S-{branch}-{day}-{n}", n < served
        loans.append(
            {
                "loan_ref": loan, "holder": loan, "branch_id": branch, "status": "active",
                "payoff_cny": 1000, "min_prepayment_cny": 100,
            }
        )  # fmt: skip
        rows.append(
            {
                "booking_ref": loan, "loan_ref": loan, "slot_id": slot, "branch_id": branch,
                "region_id": "north", "service_day": day, "channel": "app", "created_utc": start,
                "status": "completed" if came else "no_show",
                "service_started_utc": start if came else None,
                "service_ended_utc": start + timedelta(minutes=minutes) if came else None,
            }
        )  # fmt: skip
    with write_transaction(bank.engine) as connection:
        connection.execute(insert(t.loans), loans)
        connection.execute(insert(t.bookings), rows)
