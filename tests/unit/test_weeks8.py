"""weeks8 and seasonal naive: last weeks again, as quantiles."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.frames import Floats
from forecasting.models.seasonal_naive import seasonal_naive_paths
from forecasting.models.weeks8 import weeks8_levels, weeks8_paths


def weekly_ramp(weeks: int) -> Floats:
    """Each week is the week before plus 7: place p of week w holds 7w + p."""
    return np.arange(weeks * 7, dtype=np.float64)


def test_quantiles_are_those_of_the_same_weekday_over_eight_weeks() -> None:
    """The tenth week's Monday has the quantiles of the last eight Mondays, and no older one."""
    mondays = weekly_ramp(10)[2 * 7 :: 7]
    levels = np.array([0.1, 0.5, 0.9])
    found = weeks8_levels(weekly_ramp(10), 14, levels, season=7)
    assert found[:, 0] == pytest.approx(np.quantile(mondays, levels))
    assert found[:, 7] == pytest.approx(found[:, 0])


def test_an_incomplete_last_week_shifts_the_weekday_not_the_quantiles() -> None:
    """After a history that ends on a Tuesday, the first step is a Wednesday."""
    history = weekly_ramp(11)[: 10 * 7 + 2]
    found = weeks8_levels(history, 1, np.array([0.5]), season=7)
    assert found[0, 0] == np.median(history[2::7][-8:])


def test_unknown_days_are_left_out() -> None:
    """A day without an observation neither counts as 0 nor shortens the others' eight weeks."""
    history = weekly_ramp(8)
    history[0] = np.nan
    history[1] = np.nan
    found = weeks8_levels(history, 7, np.array([0.0]), season=7)[0]
    assert found.tolist() == [7.0, 8.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_a_weekday_unknown_for_eight_weeks_falls_back_to_its_older_days() -> None:
    """A weekday last seen ten weeks ago is forecast from then, not from other weekdays."""
    history = weekly_ramp(12)
    history[4 * 7 :: 7] = np.nan
    assert weeks8_levels(history, 1, np.array([0.5]), season=7)[0, 0] == np.median([0.0, 7.0, 14.0, 21.0])


@pytest.mark.parametrize("history", [np.zeros(0), np.full(20, np.nan)])
def test_nothing_known_is_zero(history: Floats) -> None:
    """Without a single observation the answer is 0, not an error."""
    assert weeks8_levels(history, 3, np.array([0.5]), season=7).tolist() == [[0.0] * 3]
    paths = seasonal_naive_paths(history, 3, season=7, paths=5, rng=np.random.default_rng(1))
    assert paths.tolist() == [[0.0] * 3] * 5


def test_paths_have_the_quantiles_as_marginals() -> None:
    """The paths of a step, sorted, are its quantile function."""
    rng = np.random.default_rng(3)
    history = rng.poisson(50, 40 * 7).astype(np.float64)
    paths = weeks8_paths(history, 30, season=7, paths=400, rng=rng)
    levels = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    assert np.quantile(paths, levels, axis=0) == pytest.approx(
        weeks8_levels(history, 30, levels, season=7), abs=0.3
    )


def test_dependent_errors_widen_the_sum() -> None:
    """Where good days come in runs, a sum of weeks varies more; shuffled, the control, it does not."""
    rng = np.random.default_rng(5)
    noise = rng.standard_normal(150 * 7)
    level = np.zeros_like(noise)
    for step in range(1, len(noise)):
        level[step] = 0.95 * level[step - 1] + noise[step]
    correlated = 100.0 + 5.0 * level
    shuffled = rng.permutation(correlated)
    spreads = [
        weeks8_paths(history, 28, season=7, paths=400, rng=np.random.default_rng(1)).sum(axis=1).std()
        / weeks8_paths(history, 28, season=7, paths=400, rng=np.random.default_rng(1)).std()
        for history in (correlated, shuffled)
    ]
    assert spreads[0] > 1.5 * spreads[1]


def test_seasonal_naive_repeats_the_last_week() -> None:
    """A series that repeats its week exactly is forecast exactly."""
    week = np.array([5.0, 6.0, 7.0, 8.0, 9.0, 2.0, 0.0])
    paths = seasonal_naive_paths(np.tile(week, 4), 10, season=7, paths=20, rng=np.random.default_rng(1))
    assert (paths == np.concatenate([week, week[:3]])).all()
