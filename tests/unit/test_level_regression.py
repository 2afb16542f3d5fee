"""The moving level with day effects: learns both apart, keeps its errors by horizon, forgives outliers."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.models.level_regression import coming_quantiles, fit_level

LEVELS = np.array([0.1, 0.5, 0.9])


def weekly(days: int) -> np.ndarray:
    """Six weekday columns."""
    weekday = np.arange(days) % 7
    return np.array([weekday == number for number in range(1, 7)], dtype=float).T


def series(days: int = 400, *, wander: float = 0.0, noise: float = 0.3, seed: int = 1) -> np.ndarray:
    """A level that wanders, Saturdays and Sundays 3 below."""
    rng = np.random.default_rng(seed)
    level = 10.0 + np.cumsum(rng.normal(0, wander, days))
    return level - 3.0 * (np.arange(days) % 7 >= 5) + rng.normal(0, noise, days)


def fit(z: np.ndarray, known: np.ndarray | None = None, *, steps: int = 28, **more: object):
    everything = np.ones(len(z), dtype=bool) if known is None else known
    return fit_level(z, everything, weekly(len(z)), np.full(6, 5.0), steps=steps, **more)  # type: ignore[arg-type]


def test_weekdays_and_level_are_told_apart() -> None:
    """Effects are those put in, and the level is the workdays'."""
    found = fit(series())
    assert found.effects[4] == pytest.approx(-3.0, abs=0.15)
    assert found.effects[0] == pytest.approx(0.0, abs=0.15)
    assert found.level == pytest.approx(10.0, abs=0.3)


def test_a_wandering_level_is_followed_faster_than_a_steady_one() -> None:
    """The rate is chosen by how the level moves."""
    assert fit(series(wander=0.5)).rate > fit(series(wander=0.0)).rate


def test_errors_grow_with_the_horizon_where_the_level_wanders() -> None:
    """Four weeks ahead is less certain than tomorrow; with a steady level it is not."""
    for wander, grows in ((0.4, True), (0.0, False)):
        z = series(wander=wander)
        found = fit(z)
        weekday = np.arange(len(z) + 28) % 7
        quantiles = coming_quantiles(
            found, weekly(len(z) + 28)[len(z) :], weekday[len(z) :], weekday[: len(z)], LEVELS
        )
        width = quantiles[2] - quantiles[0]
        assert bool(width[21:].mean() > 1.5 * width[:3].mean()) is grows


def test_unknown_days_move_nothing() -> None:
    """A hole of three weeks leaves the level where it was, and the days after it as forecast before."""
    z, known = series(noise=0.05), np.ones(400, dtype=bool)
    known[370:391] = False
    spoilt = z.copy()
    spoilt[370:391] = 99.0
    assert fit(spoilt, known).level == pytest.approx(fit(z).level, abs=0.1)


def test_one_wild_day_does_not_move_the_level() -> None:
    """A last day ten times as large is an outlier: the level stays, the error counts."""
    z = series(noise=0.2)
    wild = z.copy()
    wild[-2] = 100.0
    found = fit(wild)
    assert found.level == pytest.approx(fit(z).level, abs=0.5)
    assert np.nanmax(found.errors) > 80


def test_a_prior_holds_what_data_does_not_say() -> None:
    """An effect that no day shows stays at its prior mean."""
    z = series(60)
    features = np.column_stack([weekly(60), np.zeros(60)])
    mean = np.array([0.0] * 6 + [2.5])
    found = fit_level(z, np.ones(60, dtype=bool), features, np.full(7, 1.0), steps=7, prior_mean=mean)
    assert found.effects[6] == pytest.approx(2.5)


def test_nothing_to_learn_from_is_refused() -> None:
    """One known day is no series."""
    known = np.zeros(50, dtype=bool)
    known[3] = True
    with pytest.raises(ValueError, match="1 known days"):
        fit(series(50), known)


def test_the_future_is_not_looked_at() -> None:
    """Errors of early origins stay as they are when later days change: only effects and rate may differ."""
    z = series()
    found = fit(z, rates=(0.07,))
    longer = np.concatenate([z, z[:28]])
    again = fit(longer, rates=(0.07,))
    assert found.rate == again.rate
    assert np.isfinite(found.errors[-30, 0])
    assert np.isnan(found.errors[-1]).all()
