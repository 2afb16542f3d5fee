"""The rest of today follows the requests counted so far, and the day-ahead forecast its own past errors."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import insert, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.read.bank import bank_settings
from booking_core.read.forecasts import ForecastRun, latest_run
from booking_core.read.plans import plan_items
from booking_core.read.pressure import pressure_foreseen
from booking_core.settings import BankSettings
from forecasting import jobs, pressure, store
from forecasting.decisions.policy import Policy
from forecasting.decisions.servers import QuarterPressure
from tests.support.bank import ZONE, Bank
from tests.support.planning import core_of

DAYS = 21
PEAK = 900.0
"""Requests of the busiest quarter-hour: one a second."""


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(ZONE)).astimezone(UTC)


def bell() -> np.ndarray:
    """Requests of the 96 quarter-hours of a day."""
    hour = np.arange(96) / 4.0
    return np.where((hour >= 8) & (hour < 20), PEAK * np.exp(-(((hour - 13.0) / 4.0) ** 2)), 0.0)


def foresee(
    bank: Bank,
    made_on: date,
    *,
    days: int = 3,
    quarter_seconds: float = 900.0,
    cost_seconds: float = 0.5,
    requests: np.ndarray | None = None,
) -> None:
    """A ready pressure run made on that day: the same requests, else the bell, on each of the coming days."""
    foreseen = bell() if requests is None else requests
    run_id = f"pressure-{made_on}"
    store.start_run(
        bank.engine,
        run_id=run_id,
        kind="pressure",
        period=made_on,
        trained_utc=datetime.now(UTC),
        span=None,
        parameters={
            "quarter_seconds": quarter_seconds,
            "requests_per_wish": 4.0,
            "cost_seconds": cost_seconds,
        },
        libraries={},
    )
    rows = [
        QuarterPressure(
            midnight(made_on + timedelta(days=1)) + timedelta(minutes=15 * n),
            rps,
            tuple(rps * times for times in (0.8, 0.9, 1.0, 1.1, 1.2, 1.25, 1.3, 1.4)),
        )
        for n, rps in enumerate(np.tile(foreseen / quarter_seconds, days).tolist())
    ]
    store.save_pressure(bank.engine, run_id, rows)
    store.finish_run(bank.engine, run_id, status=store.READY, verdict=None, scores={})


def count(bank: Bank, day: date, requests: np.ndarray) -> None:
    """Requests counted on the day, by quarter-hour; a quarter-hour without any leaves no row."""
    rows: list[dict[str, Any]] = []
    for n, number in enumerate(requests.tolist()):
        at = midnight(day) + timedelta(minutes=15 * n)
        if number > 0:
            rows.append({"minute_utc": at, "business_utc": at, "source": "import:test", "refused": 0,
                         "requests": int(number), "failed": 0, "busy_seconds": number / 2.0,
                         "synthetic": False})  # fmt: skip
    with write_transaction(bank.engine) as connection:
        connection.execute(insert(tf.pressure_minutes), rows)


def past_days(bank: Bank, *, spread: float = 0.3) -> ForecastRun:
    """Three weeks that missed their forecasts by a level a day, up to yesterday; the run in force today."""
    rng = np.random.default_rng(4)
    for back in range(DAYS, 0, -1):
        day = bank.today - timedelta(days=back)
        foresee(bank, day - timedelta(days=1), days=1)
        count(bank, day, rng.poisson(bell() * np.exp(rng.normal(0.0, spread))))
    foresee(bank, bank.today - timedelta(days=1))
    run = latest_run(bank.engine, "pressure")
    assert run is not None
    return run


def at(bank: Bank, clock: str) -> datetime:
    """Today's moment by the bank's clock."""
    return datetime.combine(bank.today, time.fromisoformat(clock), ZoneInfo(ZONE)).astimezone(UTC)


def so_far(bank: Bank, clock: str, level: float, *, gone: slice | None = None) -> None:
    """Today's requests until then, at so much of the forecast; a few only in the quarter-hours `gone`."""
    requests = level * bell()
    if gone is not None:
        requests[gone] = np.minimum(requests[gone], 3.0)
    requests[int(clock[:2]) * 4 + int(clock[3:]) // 15 :] = 0.0
    count(bank, bank.today, requests)


def over_forecast(update: pressure.TodayUpdate) -> float:
    """The rest of today as updated ÷ as forecast yesterday, medians."""
    left = bell()[96 - len(update.quarters) :].sum() / 900.0
    return sum(quarter.q50_rps for quarter in update.quarters) / left


def test_a_day_above_its_forecast_is_expected_above_it_until_the_evening(sqlite_bank: Bank) -> None:
    """Half as many again until 13:00: the rest of today is expected so, from 13:00 to midnight, in order."""
    run = past_days(sqlite_bank)
    so_far(sqlite_bank, "13:00", 1.5)
    update = pressure.updated_today(sqlite_bank.engine, run, at(sqlite_bank, "13:00"), Policy())
    assert [quarter.starts_utc for quarter in update.quarters] == [
        at(sqlite_bank, "13:00") + timedelta(minutes=15 * n) for n in range(44)
    ]
    assert 1.3 < over_forecast(update) < 1.6
    assert all(0 <= quarter.q50_rps <= quarter.q90_rps for quarter in update.quarters)
    assert update.quarters[0].q90_rps > 1.45
    assert update.record["quarter_hours"] == 20
    assert update.record["day_level"] * update.record["surge"] == pytest.approx(1.5, rel=0.1)


def test_the_answer_stands_throughout_a_quarter_hour(sqlite_bank: Bank) -> None:
    """What is counted in the running quarter-hour changes nothing before it is over."""
    run = past_days(sqlite_bank)
    so_far(sqlite_bank, "13:00", 1.5)
    before = pressure.updated_today(sqlite_bank.engine, run, at(sqlite_bank, "13:00"), Policy())
    burst = np.zeros(96)
    burst[52] = 5000.0
    count(sqlite_bank, sqlite_bank.today, burst)
    assert pressure.updated_today(sqlite_bank.engine, run, at(sqlite_bank, "13:14"), Policy()) == before
    after = pressure.updated_today(sqlite_bank.engine, run, at(sqlite_bank, "13:15"), Policy())
    assert after.quarters[0].q50_rps > 1.5 * before.quarters[1].q50_rps


def test_before_the_day_is_under_way_its_forecast_stands(sqlite_bank: Bank) -> None:
    """At the opening nothing is moved, however yesterday went; nor where no day was ever counted."""
    foresee(sqlite_bank, sqlite_bank.today - timedelta(days=1))
    run = latest_run(sqlite_bank.engine, "pressure")
    assert run is not None
    now = at(sqlite_bank, "13:00")
    assert pressure.updated_today(sqlite_bank.engine, run, now, Policy()).quarters == []
    so_far(sqlite_bank, "13:00", 1.0)
    assert pressure.updated_today(sqlite_bank.engine, run, now, Policy()).quarters == []
    count(sqlite_bank, sqlite_bank.today - timedelta(days=1), 3.0 * bell())
    assert pressure.updated_today(sqlite_bank.engine, run, now, Policy()).quarters != []
    assert pressure.updated_today(sqlite_bank.engine, run, at(sqlite_bank, "08:00"), Policy()).quarters == []


@pytest.mark.parametrize("recorded", [True, False])
def test_an_outage_lowers_no_forecast(sqlite_bank: Bank, recorded: bool) -> None:
    """An hour of next to nothing, or of no record, leaves the afternoon's forecast as it was.

    Control: a morning at half of the forecast does lower it.
    """
    run = past_days(sqlite_bank)
    so_far(sqlite_bank, "13:00", 1.0, gone=slice(48, 52) if recorded else None)
    if not recorded:
        with write_transaction(sqlite_bank.engine) as connection:
            rows = tf.pressure_minutes
            connection.execute(rows.delete().where(rows.c.business_utc >= at(sqlite_bank, "12:00")))
    update = pressure.updated_today(sqlite_bank.engine, run, at(sqlite_bank, "13:00"), Policy())
    assert update.record["outage_quarter_hours"] == (4 if recorded else 0)
    assert 0.9 < over_forecast(update) < 1.15


def test_a_quiet_morning_lowers_the_afternoon(sqlite_bank: Bank) -> None:
    """Half of the forecast until 13:00: the afternoon is expected well below it."""
    run = past_days(sqlite_bank)
    so_far(sqlite_bank, "13:00", 0.5)
    update = pressure.updated_today(sqlite_bank.engine, run, at(sqlite_bank, "13:00"), Policy())
    assert 0.4 < over_forecast(update) < 0.75


def test_foreseen_is_what_the_day_before_said(bank: Bank) -> None:
    """Of several runs the newest made before the day counts, never the day's own or an unfit one."""
    day = bank.today
    for back, seconds in ((3, 900.0), (1, 450.0), (0, 90.0)):
        foresee(bank, day - timedelta(days=back), quarter_seconds=seconds)
    rows = pressure_foreseen(bank.engine, first=day - timedelta(days=1), last=day)
    assert len(rows) == 192
    assert rows["quarter_seconds"].tolist() == [900.0] * 96 + [450.0] * 96
    assert rows["requests_per_wish"].unique().tolist() == [4.0]
    noon = rows.iloc[96 + 52]
    assert (noon["starts_utc"], noon["mean_rps"]) == (at(bank, "13:00"), pytest.approx(PEAK / 450.0))
    assert pressure_foreseen(bank.engine, first=day - timedelta(days=9), last=day - timedelta(days=3)).empty


def test_past_errors_set_the_quantiles_of_the_next_forecast(sqlite_bank: Bank) -> None:
    """Three weeks of days off by a fifth or so are measured as such; without past forecasts nothing is."""
    settings = bank_settings(sqlite_bank.engine)
    yesterday = sqlite_bank.today - timedelta(days=1)
    count(sqlite_bank, yesterday, bell())
    assert pressure.measure(sqlite_bank.engine, settings, Policy(), yesterday).errors is None
    with write_transaction(sqlite_bank.engine) as connection:
        connection.execute(tf.pressure_minutes.delete())
    past_days(sqlite_bank, spread=0.2)
    errors = pressure.measure(sqlite_bank.engine, settings, Policy(), yesterday).errors
    assert errors is not None
    assert errors.days == DAYS
    assert errors.busy.q50 == pytest.approx(1.0, rel=0.15)
    assert 1.1 < errors.busy.q90 < 1.5


def test_prescale_plans_by_what_was_counted_and_repeats_itself(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the requests foreseen this morning give more workers this afternoon, in the plan and its inputs.

    What is known later changes no plan that stands; the next quarter-hour has its own; a past one has none.
    """
    local = datetime.now(ZoneInfo(ZONE))
    noon = local.replace(hour=13, minute=local.minute // 15 * 15, second=0, microsecond=0)
    offset = (noon - local.replace(minute=local.minute // 15 * 15, second=0, microsecond=0)).total_seconds()
    sqlite_bank.set("business_offset_seconds", int(offset))  # it is between one and two in the afternoon
    past_days(sqlite_bank)
    so_far(sqlite_bank, f"13:{noon.minute:02d}", 2.0)
    quarter = noon.astimezone(UTC) + timedelta(minutes=15)
    with core_of(sqlite_bank, monkeypatch):
        plan = jobs.prescale(quarter.isoformat())
        assert plan["status"] == "applied"
        items = plan_items(sqlite_bank.engine, plan["plan_id"])
        with write_transaction(sqlite_bank.engine) as connection:
            connection.execute(tf.pressure_minutes.delete())
        assert jobs.prescale(quarter.isoformat()) == plan
        later = jobs.prescale((quarter + timedelta(minutes=15)).isoformat())
        unmoved = plan_items(sqlite_bank.engine, later["plan_id"])
        past = jobs.prescale((noon - timedelta(hours=1)).isoformat())
    assert past == {"plan_id": None, "status": "past", "limits": 0, "refused": None}
    assert items["new_limit"].iloc[1] > unmoved["new_limit"].iloc[0]
    with sqlite_bank.engine.connect() as connection:
        inputs = connection.scalar(select(t.plans.c.inputs).where(t.plans.c.plan_id == plan["plan_id"]))
    assert inputs["today"]["day_level"] * inputs["today"]["surge"] > 1.5


def test_a_day_of_clock_change_is_forecast_with_92_or_100_quarter_hours() -> None:
    """Each quarter-hour in true time once, under its place by the local clock."""
    settings = BankSettings(zone="Europe/Berlin", country="DE")
    spring, autumn = date(2026, 3, 29), date(2026, 10, 25)
    short, long = (pressure._quarters(day, day, settings) for day in (spring, autumn))
    assert (len(short), len(long)) == (92, 100)
    assert {quarter.quarter for quarter in short} == set(range(96)) - {8, 9, 10, 11}
    assert [quarter.quarter for quarter in long][8:16] == [8, 9, 10, 11, 8, 9, 10, 11]
