"""Losses have the right value, sign and edge cases."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.models.losses import coverage, mase, pinball, weighted_quantile_loss


def test_pinball_charges_a_shortfall_nine_times_a_surplus_at_0_9() -> None:
    """At level 0.9 being 10 too low costs 9, being 10 too high costs 1."""
    loss = pinball(np.array([10.0, 0.0, 5.0]), np.array([0.0, 10.0, 5.0]), 0.9)
    assert loss == pytest.approx([9.0, 1.0, 0.0])


def test_the_true_quantile_minimises_pinball() -> None:
    """No other constant has a lower pinball loss than the sample's own quantile."""
    sample = np.random.default_rng(1).gamma(2.0, 10.0, 2_000)
    best = float(np.quantile(sample, 0.9))
    at_best = pinball(sample, np.full_like(sample, best), 0.9).mean()
    others = [
        pinball(sample, np.full_like(sample, best * factor), 0.9).mean() for factor in (0.8, 0.95, 1.05, 1.2)
    ]
    assert min(others) > at_best


def test_wql_by_hand() -> None:
    """Two days of 10 and 30, median forecasts 8 and 33: 2 · (1 + 1.5) ÷ 40."""
    wql = weighted_quantile_loss(np.array([10.0, 30.0]), np.array([[8.0, 33.0]]), [0.5])
    assert wql == pytest.approx(0.125)


def test_wql_of_nothing_but_zeros() -> None:
    """Zeros forecast as zeros are perfect; anything else is infinitely bad; unknown days say nothing."""
    zeros = np.zeros(3)
    assert weighted_quantile_loss(zeros, np.zeros((1, 3)), [0.5]) == 0.0
    assert weighted_quantile_loss(zeros, np.ones((1, 3)), [0.5]) == np.inf
    assert np.isnan(weighted_quantile_loss(np.full(3, np.nan), np.ones((1, 3)), [0.5]))


def test_unknown_days_count_nowhere() -> None:
    """A NaN among the actuals changes no figure."""
    actual, forecast = np.array([4.0, np.nan, 6.0]), np.array([5.0, 99.0, 6.0])
    assert weighted_quantile_loss(actual, forecast[None], [0.5]) == pytest.approx(0.1)
    assert coverage(actual, forecast - 1, forecast + 1) == 1.0
    history = np.array([1.0, 2.0, 3.0, np.nan, 5.0])
    assert mase(actual, forecast, history, season=1) == pytest.approx(0.5)


def test_mase_of_seasonal_naive_on_its_own_pattern_is_one() -> None:
    """Errors as large as last season's differences are 1; a constant history has no scale."""
    history = np.array([0.0, 10.0, 2.0, 12.0, 4.0, 14.0])
    assert mase(np.array([6.0, 16.0]), np.array([4.0, 14.0]), history, season=2) == pytest.approx(1.0)
    assert np.isnan(mase(np.array([1.0]), np.array([1.0]), np.ones(20), season=7))


def test_coverage_counts_the_edges() -> None:
    """A value on the interval's edge is inside."""
    assert coverage(np.array([1.0, 2.0, 3.0, 4.0]), np.full(4, 1.0), np.full(4, 3.0)) == 0.75
    assert np.isnan(coverage(np.array([np.nan]), np.zeros(1), np.ones(1)))
