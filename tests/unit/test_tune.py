"""The cost re-tune by table: when the planned quantile moves, how far, and when it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.decisions.policy import Policy
from forecasting.decisions.tune import COST_RETUNE, Kept, tuned_level

POLICY = Policy()
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
HONEST = dict(zip(LEVELS, LEVELS, strict=True))


def kept(changes: dict[float, float], days: int = 28, branches: int = 20) -> Kept:
    """Forecasts whose quantiles kept what they say but for the changes."""
    return Kept(days, days * branches, HONEST | changes)


@pytest.mark.parametrize(
    ("told", "level"),
    [
        (kept({}), 0.9),
        (kept({0.9: 0.88}), 0.9),
        (kept({0.9: 0.84, 0.75: 0.7}), 0.9375),
        (kept({0.9: 0.6, 0.75: 0.5, 0.5: 0.3}), 0.95),
        (kept({0.9: 0.98, 0.75: 0.9}), 0.85),
        (kept({0.9: 0.97, 0.75: 0.8}), 0.85),
        (kept({0.9: 0.84}, days=13), 0.9),
        (kept({0.9: 0.84}, branches=1), 0.9),
    ],
)
def test_the_level_moves_to_where_the_target_was_kept(told: Kept, level: float) -> None:
    """Along the line through what the quantiles kept, within 0.05, and only for departures beyond chance."""
    tuned = tuned_level(told, POLICY)
    assert tuned.level == pytest.approx(level, abs=1e-3)
    assert tuned.reason == (None if level == 0.9 else COST_RETUNE)
    assert bool(tuned.condition) == (tuned.reason is not None)


def test_the_condition_tells_the_numbers() -> None:
    """What was kept, on how many branch days, and the level that is planned at."""
    condition = tuned_level(kept({0.9: 0.84, 0.75: 0.7}), POLICY).condition
    assert condition == "the 0.9 quantile kept 84% of 560 branch days (28 days): planned at 0.9375"


def test_the_switch_turns_it_off() -> None:
    """At a bound of 0 nothing is ever tuned."""
    assert tuned_level(kept({0.9: 0.5}), replace(POLICY, tune_most_ratio=0.0)).level == POLICY.service_level


shares = st.lists(st.floats(0, 1), min_size=5, max_size=5).map(sorted)


@given(shares, st.floats(0.5, 0.98), st.floats(0, 0.1))
def test_the_level_stays_within_its_bounds(told: list[float], target: float, most: float) -> None:
    """Whatever the quantiles kept, the level is a quantile, and no farther from the target than allowed."""
    policy = replace(POLICY, service_level=target, tune_most_ratio=most)
    level = tuned_level(Kept(28, 560, dict(zip(LEVELS, told, strict=True))), policy).level
    assert 0 < level < 1
    assert abs(level - target) <= most + 1e-4


@given(shares)
def test_it_moves_against_the_miss(told: list[float]) -> None:
    """Where the target's quantile kept too little the level rises, where it kept too much it falls."""
    tuned = tuned_level(Kept(28, 560, dict(zip(LEVELS, told, strict=True))), POLICY)
    if tuned.reason is not None:
        assert (tuned.level >= POLICY.service_level) == (told[-1] < POLICY.service_level)
