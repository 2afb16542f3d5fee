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
from forecasting.decisions.server_needs import server_needs
from forecasting.decisions.servers import (
    Quarter,
    QuarterPressure,
    forecast_pressure,
    measure_errors,
    measure_pressure,
)
from forecasting.decisions.worth import share_held, workers_worth
from forecasting.frames import LOAD_QUANTILES, SamplePaths

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


def test_requests_that_never_met_a_wish_measure_no_requests_per_wish() -> None:
    """Nine days of wishes nobody asked about, then requests on a day without any: as the policy assumes."""
    demand = {FIRST + timedelta(days=n): 3.0 if n < 9 else 0.0 for n in range(10)}
    rows = pressure_rows(dict.fromkeys(demand, 1.0), lead=0)
    rows.loc[rows["day"] < FIRST + timedelta(days=9), "requests"] = 0.0
    model = measure_pressure(rows, demand, Policy(requests_per_wish=5.0))
    assert (model.requests_per_wish, model.lead_days, model.measured_days) == (5.0, 0, 10)
    assert model.cost_seconds > 0


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
    assert second.quantiles_rps[0] < first.quantiles_rps[0] < first.q50_rps
    assert list(second.quantiles_rps) == sorted(second.quantiles_rps)
    assert model.as_record()["errors"] == {
        "busy": [0.9, 1.0, 1.0, 1.1, 1.2, 1.3, 1.3, 1.3],
        "quiet": [0.81, 1.0, 1.0, 1.21, 1.44, 1.69, 1.69, 1.69],
        "days": 10,
    }


def foretold(median: float, *, spread: float = 0.0, starts: datetime = NOON) -> QuarterPressure:
    """A forecast whose 0.1 and 0.9 quantiles lie `spread` off the median (both at once: a straight line)."""
    steps = [(level - 0.5) / 0.4 * spread for level in LOAD_QUANTILES]
    return QuarterPressure(starts, median, tuple(max(0.0, median * (1.0 + step)) for step in steps))


def test_workers_are_those_that_the_forecast_is_worth() -> None:
    """Load in workers that carry all they can; the plan names the quantile, within the bounds.

    A sure load of 100 requests/s of 0.02 s fills 2.5 workers at 0.8: three. A sure 1000 needs 25 and gets 8.
    """
    needs = server_needs([foretold(rps) for rps in (0.0, 100.0, 1000.0)], 0.02, Policy(max_workers=8))
    assert [(need.proposed, need.workers) for need in needs] == [(0, 1), (3, 3), (25, 8)]
    assert [need.guardrail for need in needs] == [Guardrail.MIN_WORKERS, None, Guardrail.MAX_WORKERS]
    assert [need.quantile for need in needs] == [1.0, 1.0, 1.0]
    policy = Policy(max_workers=60)
    [unsure] = server_needs([foretold(400.0, spread=0.3)], 0.02, policy)  # 10 workers, 7 to 13
    load = np.array([[quantile * 0.02 / 0.8] for quantile in foretold(400.0, spread=0.3).quantiles_rps])
    bought = workers_worth(LOAD_QUANTILES, load, policy.worker_price, 200)
    assert unsure.workers == bought[0] == 14
    assert unsure.quantile == pytest.approx(share_held(LOAD_QUANTILES, load, bought)[0], abs=1e-4)
    [dear] = server_needs([foretold(400.0, spread=0.3)], 0.02, Policy(max_workers=60, worker_price=0.15))
    assert dear.workers < unsure.workers


def test_a_large_fleet_is_not_priced_away() -> None:
    """A hundred busy workers are planned for, though a hundred times the price exceeds any probability.

    Negative control: at a fixed price the cheapest thing would be none at all. A forecast gone wild asks for
    the most there may be, never for none.
    """
    wide = foretold(4000.0, spread=0.2)
    [need] = server_needs([wide], 0.02, Policy(max_workers=200))
    assert 120 <= need.workers <= 130
    load = np.array([[quantile * 0.02 / 0.8] for quantile in wide.quantiles_rps])
    assert workers_worth(LOAD_QUANTILES, load, 0.04, 200).tolist() == [0]
    [wild] = server_needs([foretold(1e26)], 0.02, Policy(max_workers=8))
    assert wild.workers == 8


def test_a_run_that_knows_two_quantiles_is_planned_by_these() -> None:
    """As runs were stored before migration 0010: the median and the 0.9 quantile are always known."""
    only = tuple({0.5: 100.0, 0.9: 200.0}.get(level, float("nan")) for level in LOAD_QUANTILES)
    [need] = server_needs([QuarterPressure(NOON, 100.0, only)], 0.02, Policy())
    assert need.workers == 5
    assert need.inputs == {"rps": [None, None, 100.0, None, 200.0, None, None, None]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("worker_price", 0.0),
        ("worker_price_workers", 0.0),
        ("full_utilisation", 1.2),
        ("reliability_memory_steps", 10),
        ("reliability_above_ratio", 1.0),
        ("reliability_naive_ratio", -1.0),
    ],
)
def test_numbers_that_make_no_rule_are_refused(field: str, value: float) -> None:
    """The message names the field; the defaults build the rule that the replay was judged with."""
    with pytest.raises(ValueError, match=field):
        Policy(**{field: value})
    assert Policy().reliability_rule(15).memory_steps == 96
    assert Policy().reliability_rule(30).memory_steps == 64


def test_a_server_plan_names_quarter_hours_in_utc() -> None:
    """The plan's id, period and items carry the business quarter-hour in UTC."""
    needs = server_needs([foretold(100.0)], 0.02, Policy())
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
    assert made["items"][0]["new_limit"] == 3
