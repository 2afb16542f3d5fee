"""Weights and spread: learned where there is something to learn, near the usual where there is not."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from forecasting.models.combine import (
    USUAL_SPECIAL,
    USUAL_SPREAD,
    Weights,
    combined,
    learn_spread,
    learn_weights,
)

LEVELS = np.array([0.1, 0.5, 0.9])
NORMAL = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
BAND = (0, 1, 2)


def forecasts(centre: np.ndarray, deviation: float) -> np.ndarray:
    """Quantiles (levels, n) of a normal about each centre."""
    return centre[None] + deviation * NORMAL[:, None]


def test_a_model_that_is_right_gets_the_weight_and_equals_share_it() -> None:
    """The better model gets more than its share; two alike keep equal weights."""
    truth = np.random.default_rng(1).normal(100, 5, 400)
    good, bad = forecasts(np.full(400, 100.0), 5), forecasts(np.full(400, 140.0), 5)
    weights = learn_weights(truth, np.stack([good, bad]), LEVELS)
    assert weights[0] > 0.75
    assert learn_weights(truth, np.stack([good, good]), LEVELS) == pytest.approx([0.5, 0.5])


def test_without_data_weights_stay_equal() -> None:
    """Nothing seen, nothing learned."""
    assert learn_weights(np.zeros(0), np.zeros((3, 3, 0)), LEVELS) == pytest.approx([1 / 3] * 3)


def test_a_model_that_does_not_answer_leaves_its_weight_to_the_others() -> None:
    """NaN of one model is not NaN of the combination; NaN of all is."""
    quantiles = np.array([[[[1.0]], [[np.nan]], [[np.nan]]], [[[3.0]], [[3.0]], [[np.nan]]]])
    mixed = combined(quantiles, Weights((0.5, 0.5), (0.5, 0.5)), np.array([False]))
    assert mixed[:, 0, 0].tolist()[:2] == [2.0, 3.0]
    assert np.isnan(mixed[2]).all()


def panel(
    deviation: float, *, series: int = 6, folds: int = 3, days: int = 28
) -> tuple[np.ndarray, np.ndarray]:
    """Actuals that deviate by `deviation` where a deviation of 1 was forecast."""
    actual = 50.0 + deviation * np.random.default_rng(2).normal(size=(series, folds, days))
    quantiles = np.broadcast_to(50.0 + NORMAL[None, None, :, None], (series, folds, 3, days))
    return actual, quantiles


@pytest.mark.parametrize(("deviation", "near"), [(1.0, 1.05), (1.8, 1.52), (0.6, 0.75)])
def test_the_spread_follows_what_the_folds_ask(deviation: float, near: float) -> None:
    """Bands too narrow are widened and bands too wide narrowed, each part of the way."""
    actual, quantiles = panel(deviation)
    spread = learn_spread(actual, quantiles, np.zeros((3, 28), dtype=bool), BAND)
    assert spread.series == pytest.approx(np.full(6, near), abs=0.15)
    assert spread.special == pytest.approx(USUAL_SPECIAL)


def test_special_days_have_a_spread_of_their_own() -> None:
    """Where holidays miss by three times as much, their bands are wider than the others'."""
    actual, quantiles = panel(1.0)
    special = np.zeros((3, 28), dtype=bool)
    special[:, ::4] = True
    wild = np.where(special[None], 50.0 + 3.0 * (actual - 50.0), actual)
    assert learn_spread(wild, quantiles, special, BAND).special > 1.4


def test_without_folds_the_spread_is_the_usual_one() -> None:
    """Unknown actuals leave the prior."""
    actual, quantiles = panel(1.0)
    spread = learn_spread(np.full_like(actual, np.nan), quantiles, np.zeros((3, 28), dtype=bool), BAND)
    assert spread.series == pytest.approx(np.full(6, USUAL_SPREAD))


def test_a_loss_of_next_to_nothing_has_weights_too() -> None:
    """One wild forecast among exact ones makes a gradient beyond any power: weights stay shares."""
    quantiles = np.zeros((3, 3, 20))
    quantiles[0, :, 0] = 781.0
    weights = learn_weights(np.full(20, 0.015625), quantiles, np.array([0.1, 0.5, 0.9]))
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0] < 0.01
