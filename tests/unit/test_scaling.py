"""The server rule: a table of its decisions and what holds for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_core.scaling import (
    ScalingInputs,
    ScalingReason,
    ScalingRule,
    decide_workers,
    worker_cap,
    workers_needed,
)

RULE = ScalingRule(
    min_workers=1, max_workers=6, step_up_workers=3, default_cost_seconds=0.1, target_utilisation=0.5
)


def seen(
    running: int = 2,
    rps: float = 0.0,
    *,
    peak: float | None = None,
    cost: float | None = 0.1,
    failed: float = 0.0,
    forecast: int | None = None,
) -> ScalingInputs:
    """Inputs; at cost 0.1 s and utilisation 0.5 every 5 requests/s need one worker."""
    return ScalingInputs(
        running=running,
        observed_rps=rps,
        peak_rps=rps if peak is None else peak,
        cost_seconds=cost,
        failed_ratio=failed,
        forecast_workers=forecast,
    )


@pytest.mark.parametrize(
    ("case", "inputs", "target", "reason"),
    [
        ("load that fits changes nothing", seen(2, 10), 2, ScalingReason.STEADY),
        ("observed load scales out", seen(2, 16), 4, ScalingReason.OBSERVED_LOAD),
        ("a forecast scales out ahead of the load", seen(2, 1, forecast=4), 4, ScalingReason.FORECAST),
        ("the larger of the two needs counts", seen(2, 20, forecast=3), 4, ScalingReason.OBSERVED_LOAD),
        (
            "without a forecast the load alone decides",
            seen(1, 10, forecast=None),
            2,
            ScalingReason.OBSERVED_LOAD,
        ),
        ("an unmeasured cost takes the default", seen(1, 10, cost=None), 2, ScalingReason.OBSERVED_LOAD),
        ("a step up is limited", seen(1, 30), 4, ScalingReason.STEP_UP_LIMIT),
        ("the maximum holds", seen(5, 40), 6, ScalingReason.MAX_WORKERS),
        ("the maximum holds for a server started above it", seen(9, 40), 6, ScalingReason.MAX_WORKERS),
        ("low load scales in to its need", seen(2, 3), 1, ScalingReason.SCALE_IN),
        ("a step down is limited", seen(5, 3), 4, ScalingReason.STEP_DOWN_LIMIT),
        ("a recent peak holds the workers", seen(4, 3, peak=20), 4, ScalingReason.STABILISING),
        (
            "a recent peak above what runs holds just what runs",
            seen(2, 3, peak=29),
            2,
            ScalingReason.STABILISING,
        ),
        ("nothing is scaled in during an error storm", seen(4, 0, failed=0.5), 4, ScalingReason.ERROR_STORM),
        ("an error storm does not stop scaling out", seen(2, 20, failed=0.5), 4, ScalingReason.OBSERVED_LOAD),
        ("a low forecast does not scale in", seen(4, 20, forecast=1), 4, ScalingReason.STEADY),
        ("a high forecast holds idle workers", seen(4, 0, forecast=4), 4, ScalingReason.STEADY),
        ("no load keeps the minimum", seen(1, 0), 1, ScalingReason.STEADY),
        ("below the minimum is mended at once", seen(0, 0), 1, ScalingReason.MIN_WORKERS),
    ],
)
def test_decisions(case: str, inputs: ScalingInputs, target: int, reason: ScalingReason) -> None:
    """Each case names what the rule does and which reason it gives."""
    decision = decide_workers(RULE, inputs)
    assert (decision.target, decision.reason) == (target, reason), f"{case}: {decision}"


@pytest.mark.parametrize(
    ("rps", "cost", "utilisation", "workers"),
    [(0, 0.1, 0.5, 0), (5, 0.1, 0.5, 1), (5.1, 0.1, 0.5, 2), (6, 0.1, 0.6, 1), (50, 0.02, 0.6, 2)],
)
def test_workers_needed(rps: float, cost: float, utilisation: float, workers: int) -> None:
    """Workers are offered load over utilisation, rounded up, with no extra one from float dust."""
    assert workers_needed(rps, cost, utilisation) == workers


@pytest.mark.parametrize(
    ("cores", "connections", "workers", "condition"),
    [
        (2, None, 2, "2 cores"),
        (2, 200, 2, "2 cores"),
        (32, 200, 15, "(200 database connections - 20 spared) / 12 a worker, on 32 cores"),
        (4, 25, 1, "(25 database connections - 20 spared) / 12 a worker, on 4 cores"),
    ],
)
def test_workers_are_capped_by_cores_and_connections(
    cores: int, connections: int | None, workers: int, condition: str
) -> None:
    """The smaller of the two caps, and its arithmetic in words; where it binds the decision says so."""
    found = worker_cap(cores, max_connections=connections, spare_connections=20, connections_a_worker=12)
    assert found == (workers, condition)
    rule = ScalingRule(max_workers=workers, max_condition=condition, step_up_workers=99)
    decision = decide_workers(rule, seen(1, 900))
    assert decision.reason is ScalingReason.MAX_WORKERS
    assert condition in decision.condition


@pytest.mark.parametrize(
    "bad",
    [
        {"min_workers": 0},
        {"min_workers": 3, "max_workers": 2},
        {"target_utilisation": 0.0},
        {"step_up_workers": 0},
    ],
)
def test_impossible_rules_are_refused(bad: dict[str, int]) -> None:
    """A rule that could never work is refused where it is made."""
    with pytest.raises(ValueError, match=r"must|never"):
        ScalingRule(**bad)


rules = st.builds(
    lambda low, span, up, down: ScalingRule(
        min_workers=low, max_workers=low + span, step_up_workers=up, step_down_workers=down
    ),
    st.integers(1, 4),
    st.integers(0, 20),
    st.integers(1, 5),
    st.integers(1, 5),
)
rates = st.floats(0, 1000)
moments = st.builds(
    ScalingInputs,
    running=st.integers(0, 40),
    observed_rps=rates,
    peak_rps=rates,
    cost_seconds=st.none() | st.floats(0, 1),
    failed_ratio=st.floats(0, 1),
    forecast_workers=st.none() | st.integers(0, 50),
)


@given(rules, moments)
def test_bounds_and_steps_always_hold(rule: ScalingRule, inputs: ScalingInputs) -> None:
    """The target lies within the bounds, and within one step of what runs unless the bounds forbid it."""
    target = decide_workers(rule, inputs).target
    assert rule.min_workers <= target <= rule.max_workers
    assert target <= max(inputs.running + rule.step_up_workers, rule.min_workers)
    assert target >= min(inputs.running - rule.step_down_workers, rule.max_workers)


@given(rules, moments, st.integers(0, 50))
def test_a_forecast_never_scales_in(rule: ScalingRule, inputs: ScalingInputs, forecast: int) -> None:
    """With a forecast the target is never lower than without one."""
    without = decide_workers(rule, replace(inputs, forecast_workers=None)).target
    assert decide_workers(rule, replace(inputs, forecast_workers=forecast)).target >= without


@given(rules, moments)
def test_an_error_storm_never_scales_in(rule: ScalingRule, inputs: ScalingInputs) -> None:
    """While requests fail, no worker within the maximum is taken away."""
    storm = replace(inputs, failed_ratio=rule.error_storm_ratio)
    assert decide_workers(rule, storm).target >= min(inputs.running, rule.max_workers)


@given(rules, moments)
def test_scale_in_waits_for_the_peak_to_pass(rule: ScalingRule, inputs: ScalingInputs) -> None:
    """What the recent peak needed stays running, as far as it runs."""
    needed = workers_needed(inputs.peak_rps, inputs.cost_seconds or 0.0, rule.target_utilisation)
    assert decide_workers(rule, inputs).target >= min(needed, inputs.running, rule.max_workers)


@given(rules, moments)
def test_repeating_the_rule_settles(rule: ScalingRule, inputs: ScalingInputs) -> None:
    """Under unchanged inputs the target is reached in bounded steps and then stays."""
    running = inputs.running
    for _ in range(60):
        running = decide_workers(rule, replace(inputs, running=running)).target
    assert decide_workers(rule, replace(inputs, running=running)).target == running
