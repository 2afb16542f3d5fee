"""Scores by hand: pinball loss, coverage, and a plan against the quotas that it replaced."""

from __future__ import annotations

from datetime import date

import pytest

from forecasting.decisions.policy import Policy
from forecasting.decisions.score import (
    ForecastScore,
    PlanScore,
    ServerQuarter,
    Waits,
    Whole,
    newsvendor_cost,
    pinball_loss,
    score_forecast,
    score_plan_day,
    score_plan_total,
    score_server_day,
    summarise,
)

DAY = date(2016, 7, 29)
PERIOD = date(2016, 7, 27)


def scored(actual: float) -> ForecastScore:
    return score_forecast(
        run_id="demand-2016-07-27",
        branch_id="a",
        day=DAY,
        period=PERIOD,
        actual=actual,
        mean=20.0,
        quantiles={0.1: 10.0, 0.25: 15.0, 0.5: 20.0, 0.75: 25.0, 0.9: 30.0},
    )


def test_pinball_punishes_the_side_that_the_level_says() -> None:
    """At the 0.9 level a unit too low costs nine times a unit too high."""
    assert pinball_loss(11.0, {0.9: 10.0}) == pytest.approx(0.9)
    assert pinball_loss(9.0, {0.9: 10.0}) == pytest.approx(0.1)
    assert pinball_loss(10.0, {0.1: 10.0, 0.9: 10.0}) == 0


def test_a_score_knows_its_horizon_and_its_band() -> None:
    """The band's edges count as inside."""
    assert (scored(30.0).inside80, scored(30.1).inside80, scored(10.0).horizon_days) == (True, False, 2)


def test_a_summary_is_what_the_definitions_say() -> None:
    """Coverage is a share of days, WAPE the summed error over what came."""
    summary = summarise([scored(20.0), scored(60.0)])
    assert (summary.days, summary.coverage80) == (2, 0.5)
    assert summary.wape == pytest.approx(40 / 80)
    assert summarise([]).coverage80 is None
    assert summarise([scored(0.0)]).wape is None


def test_a_plan_is_scored_against_the_old_quotas() -> None:
    """Refused and idle units are told for the plan and for the quotas that would have stayed."""
    score = score_plan_day(
        plan_id="p", day=DAY, demand={"a": 30.0, "b": 10.0}, new={"a": 25, "b": 15}, old={"a": 20, "b": 20}
    )
    assert (score.demand_units, score.served_units, score.refused_units, score.idle_units) == (40, 35, 5, 5)
    assert (score.refused_old_units, score.idle_old_units) == (10, 10)
    assert score.regret_units == 5  # 40 units of quota would have served 40 wishes


def test_perfect_foresight_leaves_no_regret_for_a_total_too_small() -> None:
    """Where the total itself is short, only what a better split would have spared is regret."""
    score = score_plan_day(
        plan_id="p", day=DAY, demand={"a": 30.0, "b": 30.0}, new={"a": 20, "b": 20}, old={"a": 1, "b": 1}
    )
    assert (score.refused_units, score.regret_units) == (20, 0)


def test_branches_without_a_quota_are_not_judged() -> None:
    """Demand at a branch that the plan says nothing about does not count for or against it."""
    score = score_plan_day(
        plan_id="p", day=DAY, demand={"a": 5.0, "c": 99.0}, new={"a": 5}, old={"a": 5, "c": 1}
    )
    assert (score.demand_units, score.refused_units) == (5, 0)


def test_units_held_by_displaced_wishes_are_not_there_for_the_days_own() -> None:
    """Of 20 units wishes from elsewhere took 6: of 18 own wishes 4 are refused, 8 under the old 16."""
    made = score_plan_day(
        plan_id="p", day=DAY, demand={"a": 18.0}, new={"a": 20}, old={"a": 16}, displaced={"a": 6}
    )
    assert (made.refused_units, made.served_units, made.idle_units) == (4.0, 14.0, 0.0)
    assert (made.refused_old_units, made.idle_old_units) == (8.0, 0.0)
    assert made.regret_units == 0.0


def plan_day(day: date, demand: dict[str, float], new: dict[str, int], old: dict[str, int]) -> PlanScore:
    return score_plan_day(plan_id="p", day=day, demand=demand, new=new, old=old)


def test_a_limit_above_the_branches_refuses_too_and_leaves_less_idle() -> None:
    """What a region's own limit turns away counts once; a limit above that does not bind changes nothing."""
    limits = {"demand": {"a": 30.0, "b": 10.0}, "new": {"a": 20, "b": 20}, "old": {"a": 40, "b": 40}}
    day = date(2026, 3, 9)
    alone = score_plan_day(plan_id="p", day=day, **limits)
    assert (alone.refused_units, alone.idle_units, alone.regret_units) == (10, 10, 10)
    bound = score_plan_day(plan_id="p", day=day, whole=Whole(new_units=25, old_units=35), **limits)
    assert (bound.refused_units, bound.idle_units, bound.served_units) == (15, 0, 25)
    assert bound.regret_units == 0  # no other split of 25 units serves more
    assert (bound.refused_old_units, bound.idle_old_units) == (5, 0)
    assert score_plan_day(plan_id="p", day=day, whole=Whole(40, 80), **limits) == alone


def test_a_whole_plan_is_the_sum_of_its_days_but_for_the_regret() -> None:
    """10 idle units of one day would have served the 5 refused on the other: regret over the horizon is 5."""
    days = [
        plan_day(DAY, {"a": 30.0}, {"a": 25}, {"a": 20}),
        plan_day(date(2016, 7, 30), {"a": 10.0}, {"a": 20}, {"a": 20}),
    ]
    assert [day.regret_units for day in days] == [5.0 - 5.0, 0.0]
    total = score_plan_total("p", days, Waits(4, 1.5), Policy())
    assert total is not None
    assert (total.first_day, total.last_day) == (DAY, date(2016, 7, 30))
    assert (total.demand_units, total.served_units, total.refused_units, total.idle_units) == (40, 35, 5, 10)
    assert total.regret_units == 5
    assert (total.refused_old_units, total.idle_old_units) == (10, 10)
    assert total.cost == pytest.approx(9 * 5 + 10)
    assert total.cost_old == pytest.approx(9 * 10 + 10)
    assert (total.waited, total.waiting_days) == (4, 1.5)
    assert score_plan_total("p", [], Waits(0, None), Policy()) is None


@pytest.mark.parametrize(("level", "ratio"), [(0.9, 9.0), (0.5, 1.0), (0.75, 3.0)])
def test_the_service_level_is_the_one_statement_of_the_costs(level: float, ratio: float) -> None:
    """A refused unit costs level ÷ (1 − level) idle ones."""
    assert newsvendor_cost(2.0, 3.0, Policy(service_level=level)) == pytest.approx(2 * ratio + 3)


def test_the_service_level_quantile_costs_least() -> None:
    """Of all quotas for a known demand, none costs less on average than its quantile at the level."""
    demand = range(1, 101)
    policy = Policy(service_level=0.8)

    def cost(quota: int) -> float:
        return sum(newsvendor_cost(max(0, d - quota), max(0, quota - d), policy) for d in demand)

    assert min(range(1, 121), key=cost) in {80, 81}


def test_worker_hours_of_a_day_are_told_beside_what_was_needed() -> None:
    """A quarter-hour short of two workers is half an hour short, however many idle ones ran later."""
    score = score_server_day(DAY, [ServerQuarter(4, 2, 4), ServerQuarter(4, 4, 1)])
    assert score is not None
    assert (score.planned_hours, score.run_hours, score.needed_hours) == (2.0, 1.5, 1.25)
    assert (score.short_hours, score.quarters) == (0.5, 2)
    assert score_server_day(DAY, []) is None
