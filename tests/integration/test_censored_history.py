"""Imported days known only as "at least", from the database to the stored forecast and its scores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pytest
from sqlalchemy import delete, update

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.read.forecasts import forecast_days, latest_run, series_choices, series_details
from booking_core.read.scores import forecast_scores
from forecasting import jobs
from forecasting.decisions.policy import Policy
from forecasting.fallback import weeks8_instead
from tests.support.bank import Bank
from tests.support.live_scores import add_live_scores
from tests.support.planning import WEEK, add_run
from tests.support.recorded import put

DAYS = 210
BRANCH = "b1"


@pytest.fixture
def period(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> date:
    """Yesterday in the bank's zone; the jobs' environment points to the bank."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    sqlite_bank.set("country", "none")
    return sqlite_bank.today - timedelta(days=1)


def add_sold_out(
    bank: Bank, until: date, *, branch: str = BRANCH, level: float = 10.0, week: Sequence[float] = WEEK
) -> int:
    """DAYS days of demand, `level` times the week; how many sold out: of each weekday the busiest fifth."""
    days = [until - timedelta(days=back) for back in range(DAYS)]
    noise = np.exp(0.25 * np.random.default_rng(3).standard_normal(DAYS))
    y = level * np.array([week[day.weekday()] for day in days]) * noise
    quota = np.array([np.quantile(y[place::7], 0.8) for place in range(7)])[np.arange(DAYS) % 7]
    row = {"branch_id": branch, "source": "app", "synthetic": False}
    rows = [
        row | {"day": day, "units": float(min(units, most)), "censored": bool(units > most)}
        for day, units, most in zip(days, y, quota, strict=True)
    ]
    put(bank, t.demand_history, *rows)
    return sum(bool(each["censored"]) for each in rows)


def forget_marks(bank: Bank) -> None:
    """The control: the same history, its bounds taken for demand, and nothing trained yet."""
    with write_transaction(bank.engine) as connection:
        connection.execute(update(t.demand_history).values(censored=False))
        for table in (
            tf.forecast_artifacts, tf.forecast_paths, tf.forecast_parts, tf.forecast_values,
            tf.forecast_series, tf.forecast_runs,
        ):  # fmt: skip
            connection.execute(delete(table))


def trained(bank: Bank, period: date) -> float:
    """The stored 90 % quantiles of a run of the period, summed over its days."""
    run_id = jobs.start_training(period.isoformat())
    jobs.train_batch(period.isoformat(), [BRANCH])
    return float(forecast_days(bank.engine, run_id)["q90"].sum())


def test_training_fills_in_what_was_at_least_and_says_so(sqlite_bank: Bank, period: date) -> None:
    """The stored forecast is higher than with the marks forgotten; run and series tell how many days."""
    count = add_sold_out(sqlite_bank, period)
    marked, run_id = trained(sqlite_bank, period), f"demand-{period}"
    run = latest_run(sqlite_bank.engine, "demand", status=None)
    assert run is not None
    assert run.parameters["censored_ratio"] == pytest.approx(count / DAYS, abs=1e-4)
    told = series_details(sqlite_bank.engine, run_id)[BRANCH]["filled_in"]
    assert told["days"] == count
    assert told["units"] > told["recorded_units"]
    why = series_choices(sqlite_bank.engine, run_id)["why"].iloc[0]
    assert f'{count} of {DAYS} known days only "at least", filled in' in why

    forget_marks(sqlite_bank)
    ignored = trained(sqlite_bank, period)
    assert marked > 1.05 * ignored
    assert series_details(sqlite_bank.engine, run_id)[BRANCH]["filled_in"]["days"] == 0


def test_no_forecast_is_scored_by_a_day_that_is_only_at_least(sqlite_bank: Bank, period: date) -> None:
    """Of a week after the run, the day that sold out stays unknown; the others are scored."""
    made = period - timedelta(days=7)
    for branch in ("b2", "b3"):
        sqlite_bank.add_branch(branch, "north")
    add_run(sqlite_bank, made)
    days = [made + timedelta(days=n) for n in range(1, 8)]
    row = {"branch_id": BRANCH, "source": "app", "synthetic": False, "units": 20.0}
    put(sqlite_bank, t.demand_history, *(row | {"day": d, "censored": d == days[3]} for d in days))
    result = jobs.score(period.isoformat())
    assert result["scored_days"] == 6
    scored = set(forecast_scores(sqlite_bank.engine, since=made)["day"].dt.date)
    assert scored == set(days) - {days[3]}


def test_weeks8_in_place_of_a_drifting_forecast_learns_from_filled_in_days(
    sqlite_bank: Bank, period: date
) -> None:
    """Its paths are higher than with the marks forgotten."""
    add_live_scores(sqlite_bank, period, days=2, told=0.5)
    add_sold_out(sqlite_bank, period, branch="north-1", level=60.0, week=(1.0,) * 7)
    run = latest_run(sqlite_bank.engine, "demand")
    assert run is not None

    def level() -> float:
        found, _ = weeks8_instead(sqlite_bank.engine, "north", period, run, Policy())
        return float(np.quantile(found["north-1"].paths.values, 0.9, axis=0).sum())

    marked = level()
    with write_transaction(sqlite_bank.engine) as connection:
        connection.execute(update(t.demand_history).values(censored=False))
    assert marked > 1.05 * level()
