"""Trust in ways to share out a total: quick to leave one that breaks, slow to chase one that was lucky."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.decisions.allocation import split_total
from forecasting.decisions.trust import (
    ANY_DAY,
    FORECAST,
    LAST_WEEK,
    MODELS_PRIOR,
    POOL_PATHS,
    PRIOR,
    WEEKS8,
    YEAR,
    closed_alike,
    faded,
    past_ways,
    pooled,
    trust,
)

WAYS = ("daytype", "prophet", YEAR, ANY_DAY, WEEKS8, LAST_WEEK)


@given(st.lists(st.floats(0, 50), min_size=len(WAYS), max_size=len(WAYS)))
def test_weights_are_a_mix(losses: list[float]) -> None:
    """Whatever was lost, the weights are shares of one."""
    weights = trust(dict(zip(WAYS, losses, strict=True)))
    assert sum(weights.values()) == pytest.approx(1.0)
    assert all(weight >= 0 for weight in weights.values())


def test_the_prior_stands_before_anything_was_seen() -> None:
    """Without losses the forecast's models share their prior evenly."""
    weights = trust(dict.fromkeys(WAYS, 0.0))
    assert weights["daytype"] == weights["prophet"] == pytest.approx(MODELS_PRIOR / 2)
    assert weights[YEAR] == pytest.approx(PRIOR[YEAR])


def test_a_broken_forecast_is_left_within_a_week() -> None:
    """A model that leaves a fifth of demand unserved, every day, weighs next to nothing after seven days."""
    losses = dict.fromkeys(WAYS, 0.0)
    for _ in range(7):
        unserved = dict.fromkeys(WAYS, 5.0) | {"daytype": 25.0}
        losses = faded(losses, unserved, usual=100.0)
    weights = trust(losses)
    assert weights["daytype"] < 0.01
    assert weights["prophet"] > MODELS_PRIOR / 2  # what it lost, the others share


def test_one_bad_day_is_no_verdict() -> None:
    """A single day with two points more unserved moves trust by less than a fifth."""
    losses = faded(dict.fromkeys(WAYS, 0.0), dict.fromkeys(WAYS, 5.0) | {"daytype": 7.0}, usual=100.0)
    assert trust(losses)["daytype"] > 0.8 * MODELS_PRIOR / 2


@given(st.integers(0, 60), st.integers(1, 30))
def test_the_past_foretells_by_weekday(more_days: int, steps: int) -> None:
    """Every way of a coming day holds days of its weekday alone, but for the one that knows no weekdays."""
    past = np.tile(np.arange(7.0), 52 + 10)[: 364 + more_days][None, :]
    ways = past_ways(past, steps)
    for step in range(steps):
        weekday = float((364 + more_days + step) % 7)
        for way, weeks in ((YEAR, 52), (WEEKS8, 8), (LAST_WEEK, 1)):
            assert ways[way][0, step].tolist() == [weekday] * weeks
    assert ways[ANY_DAY].shape == (1, steps, 364)
    assert sorted(set(ways[ANY_DAY][0, 0])) == list(range(7))


def test_the_past_is_a_year_or_nothing() -> None:
    """Fewer than 52 weeks are refused, with how many there are."""
    with pytest.raises(ValueError, match="363 days of the past; expected 364"):
        past_ways(np.ones((2, 363)), 7)


@given(st.lists(st.floats(0, 5), min_size=len(WAYS), max_size=len(WAYS)))
def test_a_pool_holds_each_way_as_far_as_it_is_trusted(losses: list[float]) -> None:
    """Of the pool's paths each way has its weight's share, to one path, evenly over its own."""
    weights = trust(dict(zip(WAYS, losses, strict=True)))
    ways = {way: 10.0 * n + np.linspace(0, 1, 5 + n)[None, :] for n, way in enumerate(WAYS)}
    pool = pooled(ways, weights)
    assert pool.shape == (1, POOL_PATHS)
    for n, way in enumerate(WAYS):
        own = pool[(pool >= 10 * n) & (pool < 10 * n + 2)]
        assert abs(len(own) - weights[way] * POOL_PATHS) < 1
        if len(own) > 20:
            assert own.mean() == pytest.approx(10 * n + 0.5, abs=0.06)


def test_a_total_shared_by_the_pool_is_worth_the_same_everywhere() -> None:
    """By what all ways foretell together, one more unit has the same chance to be used in each cell."""
    rng = np.random.default_rng(1)
    past = rng.poisson(np.tile([90, 60, 50, 45, 70, 30, 20], 60), size=(3, 420)).astype(float)
    model = np.sort(rng.poisson(60, size=(3, 7, 200)).astype(float), axis=2)
    ways = past_ways(past, 7) | {"daytype": model}
    cells = pooled(ways, trust(dict.fromkeys(ways, 0.0))).reshape(21, -1)
    split = split_total(1_000, cells)
    chances = (cells >= split.units[:, None] + 1).mean(axis=1)
    assert chances.max() - chances.min() < 0.05
    assert split.units.sum() == 1_000


def test_a_dead_forecast_does_not_close_the_bank() -> None:
    """A forecast of nothing is believed on holidays and on weekdays on which nobody ever came."""
    past = np.tile([20.0, 20, 20, 20, 20, 0, 0], 52)[None, :]
    ways = past_ways(past, 7) | {FORECAST: np.zeros((1, 7, 5))}
    holidays = np.array([False, True, False, False, False, False, False])
    alike = closed_alike(ways, holidays)
    open_days = alike[YEAR][0].max(axis=1) > 0
    assert open_days.tolist() == [True, False, True, True, True, False, False]
    assert (alike[ANY_DAY][0].max(axis=1) > 0).tolist() == open_days.tolist()


def test_a_day_without_usual_demand_teaches_nothing() -> None:
    """Where nothing usually comes, nothing is concluded."""
    assert faded({"daytype": 1.0}, {"daytype": 5.0}, usual=0.0)["daytype"] < 1.0
