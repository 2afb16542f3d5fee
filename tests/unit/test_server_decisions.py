"""Server decisions: what is measured on recent pressure, what is assumed, and the workers that follow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from forecasting.decisions.guardrails import Guardrail
from forecasting.decisions.plan import server_plan, server_plan_id
from forecasting.decisions.policy import Policy
from forecasting.decisions.servers import (
    Quarter,
    QuarterPressure,
    forecast_pressure,
    measure_errors,
    measure_pressure,
    server_needs,
)
from forecasting.frames import SamplePaths

FIRST = date(2016, 7, 1)
NOON = datetime(2016, 7, 29, 17, tzinfo=UTC)


def demand_of(days: int = 28, seed: int = 1) -> dict[date, float]:
    values = np.random.default_rng(seed).integers(50, 500, days)
    return {FIRST + timedelta(days=n): float(value) for n, value in enumerate(values)}


def pressure_rows(
    demand: dict[date, float], *, lead: int = 1, ratio: float = 3.0, synthetic: bool = False
) -> pd.DataFrame:
    """Requests of each day: `ratio` for each wish of the day `lead` days later, three quarters at 10:00."""
    rows = []
    for wished, units in demand.items():
        day = wished - timedelta(days=lead)
        kind = "workday" if day.weekday() < 5 else "day_off"
        for quarter, share in ((40, 0.75), (60, 0.25)):
            count = units * ratio * share
            rows.append((day, kind, quarter, count, count * 0.03, synthetic))
    return pd.DataFrame(rows, columns=["day", "day_type", "quarter", "requests", "busy_seconds", "synthetic"])


def test_lead_and_requests_per_wish_are_measured() -> None:
    """Pressure that follows the wishes of two days later is recognised, with its ratio and cost."""
    demand = demand_of()
    model = measure_pressure(pressure_rows(demand, lead=2), demand, Policy())
    assert (model.lead_days, model.measured_days) == (2, 28)
    assert model.requests_per_wish == pytest.approx(3.0)
    assert model.cost_seconds == pytest.approx(0.03)
    assert model.share("workday", 40) == pytest.approx(0.75)


def test_each_day_type_keeps_its_own_profile() -> None:
    """A day type never seen takes the profile of all days."""
    demand = demand_of()
    rows = pressure_rows(demand)
    rows.loc[rows["day_type"] == "day_off", "quarter"] = 50
    model = measure_pressure(rows, demand, Policy())
    assert model.share("day_off", 50) == pytest.approx(1.0)
    assert 0 < model.share("festival", 50) < 1


def test_nothing_measured_means_the_stated_assumptions() -> None:
    """Without any pressure the policy's requests per wish and cost hold, spread evenly over opening hours."""
    model = measure_pressure(pressure_rows({}), {}, Policy(requests_per_wish=5.0, cost_seconds=0.1))
    assert (model.requests_per_wish, model.cost_seconds, model.measured_days) == (5.0, 0.1, 0)
    assert model.share("workday", 31) == 0
    assert sum(model.share("workday", quarter) for quarter in range(96)) == pytest.approx(1.0)


def test_live_cost_counts_before_synthetic_cost() -> None:
    """The cost of a request is measured on live quarter-hours where there are any."""
    demand = demand_of()
    history = pressure_rows(demand, synthetic=True)
    live = pressure_rows({FIRST + timedelta(days=28): 100.0})
    live["busy_seconds"] = live["requests"] * 0.2
    model = measure_pressure(pd.concat([history, live]), demand, Policy())
    assert model.cost_seconds == pytest.approx(0.2)
    assert 0 < model.synthetic_ratio < 1


def test_a_handful_of_live_requests_does_not_outweigh_the_history() -> None:
    """Below `cost_least_requests` the synthetic cost stands; the record says which was taken, on how many."""
    demand = demand_of()
    history = pressure_rows(demand, synthetic=True)
    live = pressure_rows({FIRST + timedelta(days=28): 100.0})  # 300 requests
    live["busy_seconds"] = live["requests"] * 0.2
    rows = pd.concat([history, live])
    few = measure_pressure(rows, demand, Policy(cost_least_requests=301)).as_record()
    enough = measure_pressure(rows, demand, Policy(cost_least_requests=300)).as_record()
    assert (few["cost_seconds"], few["cost_source"]) == (pytest.approx(0.03), "synthetic")
    assert (enough["cost_seconds"], enough["cost_source"]) == (pytest.approx(0.2), "measured")
    assert (few["cost_requests"], enough["cost_requests"]) == (int(history["requests"].sum()), 300)
    alone = measure_pressure(live, demand, Policy(cost_least_requests=301)).as_record()
    assert (alone["cost_seconds"], alone["cost_source"]) == (pytest.approx(0.2), "measured")
    none = measure_pressure(pressure_rows({}), {}, Policy(cost_seconds=0.1)).as_record()
    assert (none["cost_seconds"], none["cost_source"], none["cost_requests"]) == (0.1, "assumed", 0)


def quarters(count: int = 2) -> list[Quarter]:
    return [
        Quarter(NOON + timedelta(minutes=15 * n), date(2016, 7, 29), 40 + 20 * n, "workday")
        for n in range(count)
    ]


def test_pressure_scales_with_the_length_of_a_quarter_hour() -> None:
    """The same wishes within a tenth of the wall time press ten times as hard."""
    demand = demand_of()
    model = measure_pressure(pressure_rows(demand), demand, Policy())
    total = SamplePaths(date(2016, 7, 30), np.full((10, 3), 300.0))
    slow = forecast_pressure(model, quarters(), total=total, known={}, quarter_seconds=900.0)
    fast = forecast_pressure(model, quarters(), total=total, known={}, quarter_seconds=90.0)
    assert slow[0].q90_rps == pytest.approx(300 * 3 * 0.75 / 900)
    assert [f.q90_rps / s.q90_rps for f, s in zip(fast, slow, strict=True)] == pytest.approx([10.0, 10.0])


def test_known_wishes_are_used_and_unknown_days_left_out() -> None:
    """A day whose wishes are known needs no forecast; one that is neither known nor forecast gets no row."""
    demand = demand_of()
    model = measure_pressure(pressure_rows(demand), demand, Policy())
    total = SamplePaths(date(2016, 8, 5), np.full((10, 3), 300.0))
    known = {date(2016, 7, 30): 100.0}
    made = forecast_pressure(model, quarters(1), total=total, known=known, quarter_seconds=900.0)
    assert made[0].mean_rps == made[0].q90_rps == pytest.approx(100 * 3 * 0.75 / 900)
    assert forecast_pressure(model, quarters(1), total=total, known={}, quarter_seconds=900.0) == []


def past_forecasts(ratios: list[float]) -> pd.DataFrame:
    """Days of a busy and a quiet quarter-hour that missed by these ratios, the quiet one by their squares."""
    rows = []
    for number, ratio in enumerate(ratios):
        day = FIRST + timedelta(days=number)
        rows += [(day, 900.0, 900.0 * ratio), (day, 40.0, 40.0 * ratio**2)]
    return pd.DataFrame(rows, columns=["day", "foreseen", "requests"])


def test_errors_of_past_forecasts_are_measured_apart_for_busy_and_quiet_hours() -> None:
    """The ratios' quantiles are found again; an outage is no error; below a week there are none."""
    ratios = [0.8 + 0.05 * number for number in range(11)]
    errors = measure_errors(past_forecasts(ratios))
    assert errors is not None
    assert (errors.busy.q50, errors.busy.q90) == (pytest.approx(1.05), pytest.approx(1.25))
    assert (errors.quiet.q50, errors.quiet.q90) == (pytest.approx(1.05**2), pytest.approx(1.25**2))
    assert measure_errors(past_forecasts([*ratios, 0.05, 0.0])) == errors
    assert measure_errors(past_forecasts([1.0] * 6)) is None


def test_quantiles_come_from_past_errors_and_widen_with_the_paths() -> None:
    """Both are the mean times the errors' quantiles; q90 grows where a later day's paths spread more."""
    demand = demand_of()
    errors = measure_errors(past_forecasts([0.9, 1.0, 1.1, 1.2, 1.3, 1.0, 1.0, 1.1, 1.0, 1.1]))
    assert errors is not None
    model = replace(measure_pressure(pressure_rows(demand), demand, Policy()), errors=errors)
    days = [Quarter(NOON + timedelta(days=n), date(2016, 7, 29 + n), 40, "workday") for n in range(2)]
    paths = np.full((10, 2), 300.0)
    paths[:, 1] = np.linspace(100.0, 500.0, 10)
    made = forecast_pressure(
        model, days, total=SamplePaths(date(2016, 7, 30), paths), known={}, quarter_seconds=900.0
    )
    first, second = made
    assert first.mean_rps == second.mean_rps == pytest.approx(300 * 3 * 0.75 / 900)
    assert first.q50_rps == second.q50_rps == pytest.approx(first.mean_rps * errors.busy.q50)
    assert first.q90_rps == pytest.approx(first.mean_rps * errors.busy.q90)
    assert second.q90_rps > 1.3 * first.q90_rps
    assert model.as_record()["errors"] == {"busy": [1.0, 1.2], "quiet": [1.0, 1.44], "days": 10}


def test_workers_follow_the_upper_quantile() -> None:
    """Need is the 0.9 quantile of pressure × cost ÷ utilisation, rounded up, within the bounds."""
    pressure = [QuarterPressure(NOON, 1.0, 1.0, rps) for rps in (0.0, 100.0, 1000.0)]
    needs = server_needs(pressure, 0.02, Policy(target_utilisation=0.6, max_workers=8))
    assert [need.workers for need in needs] == [1, 4, 8]
    assert [need.guardrail for need in needs] == [Guardrail.MIN_WORKERS, None, Guardrail.MAX_WORKERS]


def test_a_server_plan_names_quarter_hours_in_utc() -> None:
    """The plan's id, period and items carry the business quarter-hour in UTC."""
    needs = server_needs([QuarterPressure(NOON, 1.0, 1.0, 100.0)], 0.02, Policy())
    made = server_plan(
        plan_id=server_plan_id(NOON),
        quarter=NOON,
        run_id="pressure-2016-07-28",
        needs=needs,
        inputs={},
        veto=None,
        policy=Policy(),
    )
    assert made["plan_id"] == "server-2016-07-29T17:00Z"
    assert made["period"] == made["items"][0]["starts"] == "2016-07-29T17:00:00Z"
    assert made["items"][0]["new_limit"] == 4
