"""The cost re-tune by table: when the planned quantile moves, how far, and when it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from forecasting.decisions.policy import Policy
from forecasting.decisions.tune import COST_RETUNE, Kept, tuned_level

POLICY = Policy()
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
HONEST = dict(zip(LEVELS, LEVELS, strict=True))


def kept(changes: dict[float, float], days: int = 28, branches: int = 20) -> Kept:
    """Forecasts whose quantiles kept what they say but for the changes."""
    shares = HONEST | changes
    return Kept(days, days * branches, shares, shares)


def of_counts(mean: float, forecast: float) -> Kept:
    """What quantiles of Poisson counts with the forecast mean keep of counts with the true one, for long."""
    cuts = {level: poisson.ppf(level, forecast) for level in LEVELS}
    return Kept(
        28, 2800,
        below={level: float(poisson.cdf(cut - 1, mean)) for level, cut in cuts.items()},
        up_to={level: float(poisson.cdf(cut, mean)) for level, cut in cuts.items()},
    )  # fmt: skip


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


def test_a_right_forecast_of_small_counts_is_left_alone() -> None:
    """Its quantiles keep more than they say, since demand often equals them; no more than that is no miss."""
    for mean in (0.11, 0.15, 0.53, 0.54, 1.2, 2.5, 8.0):
        told = of_counts(mean, mean)
        assert tuned_level(told, POLICY).level == POLICY.service_level
    # counted as kept altogether, or by half, ties would move these two
    kept_all = replace(of_counts(1.2, 1.2), below=of_counts(1.2, 1.2).up_to)
    assert tuned_level(kept_all, POLICY).level == pytest.approx(0.85)
    few = of_counts(0.53, 0.53)
    half = {level: (few.below[level] + few.up_to[level]) / 2 for level in LEVELS}
    assert tuned_level(replace(few, below=half, up_to=half), POLICY).level > POLICY.service_level


def test_what_ties_cannot_excuse_is_tuned() -> None:
    """Forecasts of 3 where 4.5 come plan higher, of 4.5 where 3 come lower; the condition says which."""
    low, high = tuned_level(of_counts(4.5, 3.0), POLICY), tuned_level(of_counts(3.0, 4.5), POLICY)
    assert (low.level, high.level) == (pytest.approx(0.95), pytest.approx(0.85))
    assert low.condition.startswith("the 0.9 quantile kept 70% of 2800 branch days (28 days)")
    assert high.condition.startswith("97% of 2800 branch days (28 days) stayed below the 0.9 quantile")


def test_chance_and_the_highest_level_are_the_policys() -> None:
    """A miss of 0.06 is no chance at 5 %, and may be at 0.1 %; no level is planned beyond the highest."""
    told = kept({0.9: 0.84, 0.75: 0.7})
    assert tuned_level(told, replace(POLICY, tune_chance=0.001)).reason is None
    assert tuned_level(told, replace(POLICY, tune_highest_level=0.92)).level == 0.92


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("tune_chance", 0.0, "above 0"),
        ("tune_highest_level", 1.0, "below 1"),
        ("tune_highest_level", 0.8, "service_level or more"),
    ],
)
def test_a_policy_on_tuning_that_cannot_be_is_refused(field: str, value: float, expected: str) -> None:
    """By the field's name and what was expected."""
    with pytest.raises(ValueError, match=f"{field}.*{expected}"):
        replace(POLICY, **{field: value})


def test_the_switch_turns_it_off() -> None:
    """At a bound of 0 nothing is ever tuned."""
    assert tuned_level(kept({0.9: 0.5}), replace(POLICY, tune_most_ratio=0.0)).level == POLICY.service_level


shares = st.lists(st.floats(0, 1), min_size=5, max_size=5).map(sorted)


@given(shares, st.floats(0.5, 0.98), st.floats(0, 0.1))
def test_the_level_stays_within_its_bounds(told: list[float], target: float, most: float) -> None:
    """Whatever the quantiles kept, the level is a quantile, and no farther from the target than allowed."""
    policy = replace(POLICY, service_level=target, tune_most_ratio=most)
    level = tuned_level(kept(dict(zip(LEVELS, told, strict=True))), policy).level
    assert 0 < level < 1
    assert abs(level - target) <= most + 1e-4


@given(shares)
def test_it_moves_against_the_miss(told: list[float]) -> None:
    """Where the target's quantile kept too little the level rises, where it kept too much it falls."""
    tuned = tuned_level(kept(dict(zip(LEVELS, told, strict=True))), POLICY)
    if tuned.reason is not None:
        assert (tuned.level >= POLICY.service_level) == (told[-1] < POLICY.service_level)
