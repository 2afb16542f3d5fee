"""The live pressure forecast is judged by what it foretold: broken, it plans no server; healthy, it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from booking_core import tables as t
from booking_core.actuator import planned_workers
from booking_core.database import write_transaction
from booking_core.read.forecasts import ForecastRun, latest_run
from forecasting import jobs, pressure
from forecasting.decisions.policy import Policy
from forecasting.decisions.retrace import replay_server_plan
from forecasting.replaying import replay_plan
from tests.integration.test_updated_today import at, bell, count, foresee
from tests.support.bank import ZONE, Bank
from tests.support.planning import core_of

COST = 8.0
"""Busy seconds a request: ten workers carry the busiest quarter-hour."""
Shape = Callable[[int], np.ndarray]
"""Days back → what was foreseen of that day, as a multiple of what it brought."""


def healthy(_back: int) -> np.ndarray:
    return bell()


def six_hours_late(back: int) -> np.ndarray:
    return np.roll(bell(), 24) if back <= 2 else bell()


def half_level(_back: int) -> np.ndarray:
    return bell() / 2.0


def at_random(back: int) -> np.ndarray:
    """Spikes: five times as much in every fifth quarter-hour or so."""
    hit = np.random.default_rng(back).random(96) < 0.2
    return bell() * np.where(hit & (back <= 2), 5.0, 1.0)


def run_of(bank: Bank, foreseen: Shape, *, days: int = 10, cost: float = COST) -> ForecastRun:
    """Past days as foreseen and as they came, off by a fifth or so, today until 13:00, and today's run."""
    rng = np.random.default_rng(5)
    for back in range(days, -1, -1):
        day = bank.today - timedelta(days=back)
        foresee(
            bank, day - timedelta(days=1), days=1 + (back == 0), cost_seconds=cost, requests=foreseen(back)
        )
        came = rng.poisson(bell() * np.exp(rng.normal(0.0, 0.2))).astype(np.float64)
        came[52:] *= back > 0
        count(bank, day, came)
    run = latest_run(bank.engine, "pressure")
    assert run is not None
    return run


def planned(bank: Bank, run: ForecastRun) -> dict[str, Any]:
    """The plan at 13:00."""
    now = at(bank, "13:00")
    return pressure.plan_servers(
        bank.engine, run, Policy(), plan_id="server-1", quarter=now, today=bank.today, now=now
    )


def test_a_healthy_forecast_is_trusted_and_plans(sqlite_bank: Bank) -> None:
    """The plan has items at the price, says what the forecast was judged by, and replays the same."""
    plan = planned(sqlite_bank, run_of(sqlite_bank, healthy))
    assert (plan["verdict"], plan["model"]) == (None, "champion")
    assert plan["inputs"]["reliability"]["trusted"]
    assert plan["inputs"]["worth"]["price"] == plan["policy"]["worker_price"] == 0.04
    first = plan["items"][0]
    assert len(first["inputs"]["rps"]) == 8
    assert 11 <= first["proposed"] <= 17  # 12.5 are busy on an average day
    assert first["quantile"] > 0.9
    kept = plan | {"items": [item | {"channel": "*"} for item in plan["items"]]}
    assert replay_server_plan(kept) == []


@pytest.mark.parametrize("foreseen", [six_hours_late, at_random])
def test_a_broken_forecast_is_distrusted(sqlite_bank: Bank, foreseen: Shape) -> None:
    """Broken for two days: no worker is planned, and the plan says by which numbers, in words, too."""
    plan = planned(sqlite_bank, run_of(sqlite_bank, foreseen))
    assert (plan["verdict"], plan["model"], plan["items"]) == ("distrusted", "keep", [])
    assert not plan["inputs"]["reliability"]["trusted"]
    assert plan["inputs"]["condition"].startswith("of the last 96 judged steps ")
    assert replay_server_plan(plan) == []


def test_a_forecast_too_low_by_half_is_put_right_instead(sqlite_bank: Bank) -> None:
    """What was counted this morning moves the afternoon, so that what is judged, and used, is good again."""
    plan = planned(sqlite_bank, run_of(sqlite_bank, half_level))
    assert (plan["verdict"], plan["model"]) == (None, "champion")
    assert plan["items"][0]["proposed"] >= 11


def test_a_small_bank_is_not_judged_and_plans_as_before(sqlite_bank: Bank) -> None:
    """Where neither load nor forecast fills a worker nothing is judged; a broken one costs next to nothing.

    The actuator takes the first quarter-hours of each plan. A stale forecast is vetoed there, too.
    """
    run = run_of(sqlite_bank, six_hours_late, cost=0.05)
    plan = planned(sqlite_bank, run)
    assert plan["verdict"] is None
    assert plan["inputs"]["reliability"]["steps"] < Policy().reliability_least_steps
    assert [item["new_limit"] for item in plan["items"][:2]] == [1, 1]
    stale = planned(sqlite_bank, replace(run, period=run.period - timedelta(days=9)))
    assert (stale["verdict"], stale["items"]) == ("stale", [])


def test_a_distrusted_plan_leaves_the_observed_load_to_decide(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the core: yesterday's plan had workers, today's is kept, and the actuator sees no forecast."""
    local = datetime.now(ZoneInfo(ZONE))
    here = local.replace(minute=local.minute // 15 * 15, second=0, microsecond=0)
    sqlite_bank.set("business_offset_seconds", int((here.replace(hour=13, minute=0) - here).total_seconds()))
    run_of(sqlite_bank, six_hours_late)
    quarter = at(sqlite_bank, "13:30")
    lenient = {"reliability_far_below_ratio": 0.99, "reliability_naive_ratio": 1e9}
    with core_of(sqlite_bank, monkeypatch):
        sqlite_bank.set("policy", lenient)
        assert jobs.prescale(quarter.isoformat())["status"] == "applied"
        with sqlite_bank.engine.connect() as connection:
            assert planned_workers(connection, quarter, quarter)[0] is not None, "negative control"
        with write_transaction(sqlite_bank.engine) as connection:
            connection.execute(t.settings.delete().where(t.settings.c.key == "policy"))
        later = quarter + timedelta(minutes=15)
        outcome = jobs.prescale(later.isoformat())
    assert outcome["status"] == "kept"
    with sqlite_bank.engine.connect() as connection:
        assert planned_workers(connection, later, later) == (None, None)
    plan, differences = replay_plan(sqlite_bank.engine, outcome["plan_id"])
    assert (plan["verdict"], differences) == ("distrusted", [])
