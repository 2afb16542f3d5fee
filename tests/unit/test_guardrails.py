"""Guardrails, vetoes and the guard band, rule by rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from forecasting.decisions.guardrails import (
    Band,
    BandTotals,
    Guardrail,
    LimitInputs,
    Veto,
    band_verdict,
    ceiling_of,
    guard_limit,
    guard_workers,
    run_verdict,
    series_verdict,
)
from forecasting.decisions.policy import Policy, policy_from

POLICY = Policy(max_step_up_ratio=2.0, max_step_down_ratio=0.5, min_step_units=2, floor_units=3)


def limits(
    old: int | None = 20,
    used: int = 0,
    staff: int | None = None,
    ceiling: int | None = None,
    funds: int | None = None,
) -> LimitInputs:
    return LimitInputs(old, used, staff, ceiling_units=ceiling, funds_cap_units=funds)


@pytest.mark.parametrize(
    ("proposed", "inputs", "value", "reason"),
    [
        (24.2, limits(), 25, None),
        (25.0, limits(), 25, None),
        (40.0, limits(), 40, None),
        (40.1, limits(), 40, Guardrail.MAX_STEP_UP),
        (9.0, limits(), 10, Guardrail.MAX_STEP_DOWN),
        (1.0, limits(old=4), 3, Guardrail.FLOOR),
        (1000.0, limits(old=None), 1000, None),
        (30.0, limits(staff=26), 26, Guardrail.STAFF_CAP),
        (30.0, limits(staff=26, used=28), 28, Guardrail.NEVER_BELOW_USED),
        (0.0, limits(old=0), 3, Guardrail.FLOOR),
        (2.0, limits(old=0, staff=0), 0, Guardrail.STAFF_CAP),
        (3.0, limits(old=1), 3, None),
        (30.0, limits(ceiling=30), 30, None),
        (30.0, limits(ceiling=29), 29, Guardrail.CEILING),
        (1.0, limits(old=4, ceiling=2), 2, Guardrail.CEILING),
        (30.0, limits(ceiling=29, used=31), 31, Guardrail.NEVER_BELOW_USED),
        (30.0, limits(funds=26), 26, Guardrail.FUNDS_CAP),
        (30.0, limits(staff=28, funds=26), 26, Guardrail.FUNDS_CAP),
        (30.0, limits(staff=25, funds=26), 25, Guardrail.STAFF_CAP),
        (30.0, limits(funds=0, used=2), 2, Guardrail.NEVER_BELOW_USED),
    ],
)
def test_the_last_rule_that_binds_names_the_limit(
    proposed: float, inputs: LimitInputs, value: int, reason: Guardrail | None
) -> None:
    """A proposal becomes the least whole limit that covers it, unless a rule binds, which is then named."""
    guarded, bound = guard_limit(proposed, inputs, POLICY)
    assert (guarded.value, guarded.reason) == (value, reason)
    assert (bound[-1] if bound else None) == reason
    assert bool(guarded.condition) == (reason is not None)


@pytest.mark.parametrize(
    ("kind", "branches", "unplanned", "changes", "ceiling"),
    [
        ("day", 1, 20, {}, 200),
        ("day", 1, None, {}, None),
        ("day", 1, 0, {}, 2),
        ("day", 1, None, {"ceiling_day_units": 60}, 60),
        ("day", 3, None, {"ceiling_day_units": 60}, 180),
        ("day", 1, 20, {"ceiling_day_units": 60}, 60),
        ("day", 1, 20, {"ceiling_day_units": 60, "ceiling_ratio": 2.0}, 40),
        ("week", 1, None, {"ceiling_day_units": 60}, None),
        ("week", 1, None, {"ceiling_week_units": 300}, 300),
        ("month", 2, None, {"ceiling_month_units": 900}, 1800),
    ],
)
def test_the_ceiling_is_the_policys_or_a_multiple_of_what_stands_without_plans(
    kind: str, branches: int, unplanned: int | None, changes: dict[str, Any], ceiling: int | None
) -> None:
    """The lower of the two where both are known; a region's is as much for each of its branches."""
    assert ceiling_of(kind, branches, unplanned, replace(POLICY, **changes)) == ceiling


def test_steps_from_plan_to_plan_never_pile_up_above_the_ceiling() -> None:
    """A forecast gone wild takes the step upward every day, and stops at ten times the standing limit."""
    limit, seen = 20, []
    for _ in range(6):
        inputs = LimitInputs(limit, 0, None, ceiling_units=ceiling_of("day", 1, 20, POLICY))
        limit = guard_limit(1e6, inputs, POLICY)[0].value
        seen.append(limit)
    assert seen == [40, 80, 160, 200, 200, 200]


def test_every_rule_that_bound_is_told() -> None:
    """A proposal that runs into three rules tells all three, in order."""
    _, bound = guard_limit(100.0, limits(staff=30, used=35), POLICY)
    assert bound == [Guardrail.MAX_STEP_UP, Guardrail.STAFF_CAP, Guardrail.NEVER_BELOW_USED]


def test_a_condition_says_the_rule_in_numbers() -> None:
    """The condition of a bound step names what was asked, from what, and what was allowed."""
    guarded, _ = guard_limit(90.0, limits(), POLICY)
    assert guarded.condition == "90 is more than 2 × 20: at most 40"


@pytest.mark.parametrize(
    ("needed", "value", "reason"),
    [(0, 1, Guardrail.MIN_WORKERS), (3, 3, None), (9, 4, Guardrail.MAX_WORKERS)],
)
def test_workers_stay_between_minimum_and_maximum(needed: int, value: int, reason: Guardrail | None) -> None:
    """A worker need outside the bounds is moved to the nearer one, which is named."""
    guarded = guard_workers(needed, Policy(max_workers=4))
    assert (guarded.value, guarded.reason) == (value, reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"age_days": 4}, Veto.STALE),
        ({"observations": 55}, Veto.SHORT),
        ({"wql_champion": 0.21}, Veto.WORSE_THAN_WEEKS8),
        ({"wql_champion": float("nan")}, None),
        ({"wql_champion": None, "wql_weeks8": None, "coverage80": None}, None),
        ({"coverage80": 0.5}, Veto.COVERAGE_OFF),
        ({"coverage80": 0.5, "wql_champion": 0.19}, Veto.COVERAGE_OFF),
        ({"coverage80": 0.5, "wql_champion": 0.18}, None),
        ({"coverage80": 1.0}, None),
    ],
)
def test_an_unfit_series_is_vetoed_by_name(changes: dict[str, float | None], reason: Veto | None) -> None:
    """Each way of being unfit has its own veto; what was never measured vetoes nothing."""
    fit = {"age_days": 0, "observations": 56, "wql_champion": 0.2, "wql_weeks8": 0.2, "coverage80": 0.8}
    verdict = series_verdict(**(fit | changes), policy=Policy())  # type: ignore[arg-type]
    assert (verdict.reason, verdict.fit) == (reason, reason is None)


@pytest.mark.parametrize(
    ("unfit", "series", "age", "reason"),
    [(0, 0, None, Veto.SHORT), (0, 4, 4, Veto.STALE), (2, 4, 0, None), (3, 4, 0, Veto.MOSTLY_UNFIT)],
)
def test_a_run_is_vetoed_as_a_whole(unfit: int, series: int, age: int | None, reason: Veto | None) -> None:
    """A run without demand, with old demand, or with most of its series unfit plans nothing."""
    assert run_verdict(unfit, series, age, Policy()).reason == reason


def test_a_mostly_unfit_run_says_why_its_series_are() -> None:
    """The commonest reason of the series stands in the run's condition."""
    found = run_verdict(3, 4, 0, Policy(), "keep (short): 10 known days, needs 56")
    assert "3 of 4 series" in found.condition
    assert "10 known days" in found.condition


@pytest.mark.parametrize(
    ("new", "changes", "reason"),
    [
        (200, {}, None),
        (201, {}, Band.TOTAL_UP),
        (50, {}, None),
        (49, {}, Band.TOTAL_DOWN),
        (150, {"clipped": 7}, None),
        (150, {"clipped": 8}, Band.CLIPPED),
        (60, {"clipped_down": 11}, None),
        (60, {"clipped_down": 12}, Band.CLIPPED),
        (99, {"unplanned_units": 396}, None),
        (99, {"unplanned_units": 400}, Band.TOTAL_DOWN),
        (100, {"unplanned_units": 500}, None),
    ],
)
def test_a_plan_outside_the_band_says_why(new: int, changes: dict[str, int], reason: Band | None) -> None:
    """More than doubling, less than halving, running into step limits too often, or a fall that piles up."""
    verdict = band_verdict(BandTotals(28, 100, new, **{"unplanned_units": 100} | changes), Policy())
    assert (verdict.reason, verdict.fit) == (reason, reason is None)


def test_an_empty_plan_lies_inside_the_band() -> None:
    """No day items at all need nobody's approval."""
    assert band_verdict(BandTotals(0, 0, 0), Policy()).fit


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"service_levle": 0.9}, "unknown field"),
        ({"service_level": "high"}, "expected float"),
        ({"service_level": 1.5}, "service_level 1.5"),
        ({"max_step_up_ratio": 0.5}, "max_step_up_ratio 0.5"),
        ({"min_workers": 5, "max_workers": 4}, "max_workers 4"),
        ({"frozen_days": ["tomorrow"]}, "frozen_days"),
        ({"pay_days": [15, 32]}, "pay_days"),
        ({"floor_units": True}, "expected int"),
        ({"correction_days": 0}, "correction_days 0: expected more than 0"),
        ({"special_month_end_days": -1}, "special_month_end_days -1: expected 0 or more"),
        ({"channel_prior_units": -50}, "channel_prior_units -50"),
        ({"correction_auto_ratio": -1}, "correction_auto_ratio -1"),
        ({"correction_least_units": 0}, "correction_least_units 0"),
        ({"channel_days": -3}, "channel_days -3"),
        ({"release_hours_before": -5}, "release_hours_before -5"),
        ({"drift_least_days": 8}, r"drift_least_days 8: expected drift_days \(7\) or less"),
        ({"tune_least_days": 29}, r"tune_least_days 29: expected tune_days \(28\) or less"),
        ({"auto_band_least_ratio": 1.5}, "auto_band_least_ratio 1.5"),
        ({"opens": "08:00", "closes": "11:30"}, r"shift_hours .*fits between 08:00 and 11:30 \(3.5 hours\)"),
    ],
)
def test_a_bad_policy_is_refused_by_field(stored: dict[str, object], message: str) -> None:
    """A stored policy that cannot be meant is refused with the field and what was expected."""
    with pytest.raises(ValueError, match=message):
        policy_from(stored)


def test_a_policy_survives_its_record() -> None:
    """What is written into a plan reads back as the same policy."""
    policy = Policy(frozen_days=("2026-10-01",), max_step_up_ratio=4.0, pay_days=(10, 31))
    assert policy_from(policy.as_record()) == policy
    assert policy_from({"max_step_up_ratio": 4}).max_step_up_ratio == 4.0
    assert policy_from({"opens": "08:00", "closes": "12:00"}).closes == "12:00"  # one short shift fits
