"""Trust in ways to share out a total: quick to leave one that breaks, slow to chase one that was lucky."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.decisions.trust import (
    EVEN,
    LAST_WEEK,
    MODELS_PRIOR,
    PRIOR,
    WEEKDAY_MEAN,
    YEAR_MEAN,
    faded,
    mixed,
    trust,
)

WAYS = ("daytype", "prophet", YEAR_MEAN, EVEN, WEEKDAY_MEAN, LAST_WEEK)


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
    assert weights[YEAR_MEAN] == pytest.approx(PRIOR[YEAR_MEAN])


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


def test_the_mix_is_never_worse_than_its_ways_on_average() -> None:
    """Unserved units are convex in the quota: mixing quotas loses at most the mean of the losses."""
    rng = np.random.default_rng(1)
    quotas = {way: rng.gamma(5, 10, 50) for way in WAYS}
    demand = rng.gamma(5, 10, 50)
    weights = trust(dict.fromkeys(WAYS, 0.0))
    lost = {way: float(np.maximum(demand - units, 0).sum()) for way, units in quotas.items()}
    mix = float(np.maximum(demand - mixed(quotas, weights), 0).sum())
    assert mix <= sum(weights[way] * lost[way] for way in WAYS) + 1e-9


def test_a_day_without_usual_demand_teaches_nothing() -> None:
    """Where nothing usually comes, nothing is concluded."""
    assert faded({"daytype": 1.0}, {"daytype": 5.0}, usual=0.0)["daytype"] < 1.0
