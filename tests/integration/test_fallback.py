"""When live forecasts drift weeks8 plans in their place, if it would have done better; else quotas stay."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from sqlalchemy import select, update

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.forecasts import latest_run
from forecasting import jobs
from forecasting.basis import planning_basis
from forecasting.decisions.guardrails import Veto, fallback_no_better
from forecasting.decisions.policy import Policy
from forecasting.fallback import weeks8_instead
from tests.support.bank import Bank
from tests.support.live_scores import add_live_scores
from tests.support.planning import core_of
from tests.support.recorded import put

LEVEL = 60.0


@pytest.fixture
def period(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> date:
    """Yesterday; forecasts have told half of what came for two days, at twenty branches."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    sqlite_bank.set("country", "none")
    period = sqlite_bank.today - timedelta(days=1)
    add_live_scores(sqlite_bank, period, days=2, told=0.5)
    jobs.score(period.isoformat())
    return period


def add_history(bank: Bank, until: date, *, before: float, days: int = 70) -> None:
    """Demand of the twenty branches: `before` a day, and LEVEL on the last two days."""
    rng = np.random.default_rng(1)
    rows = []
    for number in range(20):
        bank.add_quota("branch", f"north-{number}", "day", 50)
        for back in range(days):
            units = float(rng.poisson(LEVEL if back < 2 else before))
            day = until - timedelta(days=back)
            rows.append(
                {
                    "branch_id": f"north-{number}",
                    "day": day,
                    "source": "s",
                    "units": units,
                    "synthetic": False,
                }
            )
    put(bank, t.demand_history, *rows)


def test_a_broken_forecast_is_replaced_by_weeks8(
    sqlite_bank: Bank, period: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Demand went on as ever: the plan is made by weeks8, applied, and says what stands in for what."""
    add_history(sqlite_bank, period, before=LEVEL)
    with core_of(sqlite_bank, monkeypatch) as core:
        jobs.propose(period.isoformat())
        outcome = jobs.apply(jobs.guard(period.isoformat(), "north"))
        with core.client("reader") as client:
            plan = client.get(f"/v1/plans/{outcome['plan_id']}").json()
    assert (plan["status"], plan["model"], plan["verdict"]) == ("applied", "weeks8", None)
    assert "units came" in plan["inputs"]["condition"]
    assert "weeks8 would have erred by" in plan["inputs"]["condition"]
    assert len(plan["inputs"]["fallbacks"]) == 20
    days = [item for item in plan["items"] if item["period_kind"] == "day"]
    assert len(days) == 20 * 28
    assert 62 <= np.mean([item["new_limit"] for item in days]) <= 76  # the 0.9 quantile of about 60


def test_after_a_true_shift_quotas_are_kept(sqlite_bank: Bank, period: date) -> None:
    """Where weeks8 knows the new level no better than the forecasts, nothing is planned by either."""
    add_history(sqlite_bank, period, before=LEVEL / 2)
    basis = planning_basis(sqlite_bank.engine, "north", period, Policy())
    assert (basis.veto, basis.plans, basis.usable_run_id) == (Veto.DRIFT, False, None)
    assert "units came" in basis.condition
    assert "where they did by" in basis.condition


def test_a_right_forecast_of_few_does_not_lose_to_weeks8(sqlite_bank: Bank, period: date) -> None:
    """One unit every fifth day: both medians are 0, and that a mean of 0.2 errs by more says nothing."""
    add_history(sqlite_bank, period, before=0.0)
    h, s = t.demand_history, tf.score_forecasts
    with sqlite_bank.engine.begin() as connection:
        connection.execute(update(tf.forecast_values).values(q50=0.0, mean=0.2))
        for branch, day in connection.execute(select(h.c.branch_id, h.c.day)).all():
            units = float((int(branch.split("-")[1]) + day.toordinal()) % 5 == 0)
            of_day = (h.c.branch_id == branch, h.c.day == day)
            connection.execute(update(h).where(*of_day).values(units=units))
            told = (s.c.branch_id == branch, s.c.day == day)
            connection.execute(update(s).where(*told).values(actual=units, mean=0.2))
    run = latest_run(sqlite_bank.engine, "demand")
    assert run is not None
    verdict = weeks8_instead(sqlite_bank.engine, "north", period, run, Policy())[1]
    assert (verdict.fit, "by 8 units where they did by 8" in verdict.condition) == (False, True)


@pytest.mark.parametrize(("days", "ends"), [(13, 0), (70, 4)])
def test_weeks8_needs_demand_that_is_known(sqlite_bank: Bank, period: date, days: int, ends: int) -> None:
    """With too short a history, or a stale one, quotas are kept and the plan says why."""
    add_history(sqlite_bank, period - timedelta(days=ends), before=LEVEL, days=days)
    run = latest_run(sqlite_bank.engine, "demand")
    assert run is not None
    forecasts, verdict = weeks8_instead(sqlite_bank.engine, "north", period, run, Policy())
    assert (forecasts, verdict.fit, verdict.condition) == ({}, False, "weeks8 needs 14 known days")


def test_the_same_day_gives_the_same_paths(sqlite_bank: Bank, period: date) -> None:
    """A task that runs again plans the same."""
    add_history(sqlite_bank, period, before=LEVEL)
    run = latest_run(sqlite_bank.engine, "demand")
    assert run is not None
    once, again = (weeks8_instead(sqlite_bank.engine, "north", period, run, Policy())[0] for _ in range(2))
    assert once.keys() == again.keys()
    for branch, forecast in once.items():
        np.testing.assert_array_equal(forecast.paths.values, again[branch].paths.values)
        assert forecast.paths.first_day == period + timedelta(days=1)


@pytest.mark.parametrize(
    ("weeks8", "live", "fit"), [(8.9, 10.0, True), (9.0, 10.0, False), (0.0, 0.0, False)]
)
def test_the_fallback_has_to_be_better(weeks8: float, live: float, fit: bool) -> None:
    """Clearly: a tenth at least."""
    verdict = fallback_no_better(weeks8, live, Policy())
    assert (verdict.fit, verdict.reason) == (fit, None if fit else Veto.DRIFT)
