"""Un-constraining: quotas hold what they promise, exact days are no bounds, and every default is stated."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.support.censoring_trial import cap_training
from forecasting.frames import Floats
from forecasting.models.calendar import Bools
from forecasting.models.censoring import DEFAULT_DEVIATION, unconstrain
from forecasting.models.weeks8 import weeks8_levels

WEEKDAYS = np.array([1.5, 1.1, 1.0, 1.0, 1.2, 0.6, 0.4])


def demand_of(rng: np.random.Generator, series: int = 20, days: int = 420, deviation: float = 0.25) -> Floats:
    """Branches of some 100 a day: weekdays, a level that drifts slowly, errors of 25 %."""
    level = 100.0 * np.exp(0.05 * rng.standard_normal((series, days // 30 + 1)).cumsum(axis=1))
    noise = np.exp(deviation * rng.standard_normal((series, days)))
    return np.repeat(level, 30, axis=1)[:, :days] * WEEKDAYS[np.arange(days) % 7] * noise


def sold_out(y: Floats, level: float) -> tuple[Floats, Bools]:
    """What is seen where each weekday's quota is its quantile at `level` and nobody records the refused."""
    quota = np.stack([np.quantile(y[:, day::7], level, axis=1) for day in range(7)], axis=1)
    limit = quota[:, np.arange(y.shape[1]) % 7]
    return np.minimum(y, limit), y > limit


def held(trained_on: Floats, truth: Floats) -> float:
    """The share of the last four weeks that weeks8's 90 % quantile, learned before them, holds."""
    inside = [
        truth[row, -28:] <= weeks8_levels(past[:-28], 28, np.array([0.9]), season=7)[0]
        for row, past in enumerate(trained_on)
    ]
    return float(np.mean(inside))


def test_a_quota_of_ninety_percent_holds_ninety_percent() -> None:
    """With a quarter of all days sold out unrecorded the 90 % quota holds as much as on the full truth.

    The controls: bounds taken for demand hold clearly less, and days left out less still.
    """
    truth = demand_of(np.random.default_rng(1), series=60)
    seen, at_least = sold_out(truth, 0.75)
    best = held(truth, truth)
    assert held(unconstrain(seen, at_least).y_hat, truth) == pytest.approx(best, abs=0.025)
    as_seen, left_out = held(seen, truth), held(np.where(at_least, np.nan, seen), truth)
    assert left_out < as_seen < best - 0.05


def test_filled_in_days_are_spread_as_demand_is() -> None:
    """Mean and upper quantiles over the filled-in days are the truth's; with the means alone they are not."""
    truth = demand_of(np.random.default_rng(2), series=60)
    seen, at_least = sold_out(truth, 0.75)
    made = unconstrain(seen, at_least)
    came, filled = truth[at_least], made.y_hat[at_least]
    assert filled.mean() == pytest.approx(came.mean(), rel=0.03)
    ratio = np.quantile(filled / seen[at_least], 0.9) / np.quantile(came / seen[at_least], 0.9)
    means = np.quantile(made.expected[at_least] / seen[at_least], 0.9)
    assert ratio == pytest.approx(1.0, abs=0.05)
    assert means < 0.93 * np.quantile(came / seen[at_least], 0.9)


def test_days_with_their_refused_on_record_are_no_bounds() -> None:
    """Exact days among the sold-out ones are used as they are; taken for bounds they raise demand too far."""
    rng = np.random.default_rng(3)
    truth = demand_of(rng)
    seen, at_least = (np.stack(part) for part in zip(*(cap_training(y, rng) for y in truth), strict=True))
    sold = truth > np.quantile(truth, 0.7, axis=1, keepdims=True)
    right = unconstrain(seen, at_least).y_hat[sold].sum() / truth[sold].sum()
    wrong = unconstrain(seen, sold).y_hat[sold].sum() / truth[sold].sum()
    assert right == pytest.approx(1.0, abs=0.02)
    assert wrong > 1.08


def test_features_tell_of_busy_days_that_weekdays_do_not() -> None:
    """Of what stays hidden on busy pay days, a feature that names them finds more than half."""
    y = demand_of(np.random.default_rng(4), series=40)
    pay_day = np.arange(y.shape[1]) % 30 == 9
    y[:, pay_day] *= 2.0
    limit = np.where(np.arange(y.shape[1]) % 60 == 9, 1e9, 150.0)  # every other one is seen in full
    seen, at_least = np.minimum(y, limit), y > limit
    hidden = pay_day & at_least
    plain = unconstrain(seen, at_least).y_hat
    named = unconstrain(seen, at_least, features=pay_day[:, None].astype(np.float64)).y_hat
    short_plain, short_named = (1.0 - made[hidden].sum() / y[hidden].sum() for made in (plain, named))
    assert short_plain > 0.25
    assert short_named < 0.5 * short_plain


def test_an_outage_does_not_widen_the_rest() -> None:
    """Two weeks of zeros in an exact history leave the filled-in days about as they were."""
    truth = demand_of(np.random.default_rng(5), series=10)
    seen, at_least = sold_out(truth, 0.75)
    plain = unconstrain(seen, at_least).y_hat[at_least].sum()
    seen[:, 200:214][~at_least[:, 200:214]] = 0.0
    assert unconstrain(seen, at_least).y_hat[at_least].sum() == pytest.approx(plain, rel=0.03)


def test_a_history_of_bounds_alone_takes_each_for_its_days_median() -> None:
    """Without exact days demand is filled in by the stated default: +15 % at the median of what is above."""
    y = np.full(60, 40.0)
    made = unconstrain(y, np.ones(60, dtype=bool))
    assert not made.fitted
    median = 2.0 * np.exp(0.6745 * DEFAULT_DEVIATION) - 1.0
    assert np.median(made.y_hat) == pytest.approx(40.0 * median, rel=0.01)


def test_a_series_that_cannot_be_fitted_borrows_the_panels_deviation() -> None:
    """Among branches with wide errors a branch of bounds alone is filled in more widely."""
    y = np.vstack(
        [demand_of(np.random.default_rng(6), series=5, days=140, deviation=0.5), np.full((1, 140), 40.0)]
    )
    at_least = np.zeros(y.shape, dtype=bool)
    at_least[:5, ::3] = True
    at_least[5] = True
    made = unconstrain(y, at_least)
    assert made.fitted.tolist() == [True] * 5 + [False]
    assert made.y_hat[5].mean() > 1.1 * unconstrain(y[5], at_least[5]).y_hat.mean()


def test_heavy_censoring_of_recent_weeks_stays_within_reason() -> None:
    """With the last eight weeks sold out throughout, they are filled in near the level known before."""
    truth = demand_of(np.random.default_rng(7), series=30)
    seen, at_least = truth.copy(), np.zeros(truth.shape, dtype=bool)
    seen[:, -56:] = np.minimum(seen[:, -56:], 60.0)
    at_least[:, -56:] = truth[:, -56:] >= 60.0
    filled = unconstrain(seen, at_least).y_hat
    assert at_least[:, -56:].mean() > 0.6
    assert filled[:, -56:].sum() / truth[:, -56:].sum() == pytest.approx(1.0, abs=0.15)
    assert seen[:, -56:].sum() / truth[:, -56:].sum() < 0.7


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_a_constant_series_is_filled_in_with_its_bound(level: float) -> None:
    """Where demand never changes there is nothing above the bound."""
    at_least = np.arange(90) % 2 == 0
    assert unconstrain(np.full(90, level), at_least).y_hat == pytest.approx(level, rel=1e-2)


@pytest.mark.parametrize(
    ("y", "at_least", "features", "told"),
    [
        (np.array([-1.0]), np.array([True]), None, "negative or infinite"),
        (np.array([np.inf]), np.array([True]), None, "negative or infinite"),
        (np.zeros(3), np.zeros(2, dtype=bool), None, "expected the same"),
        (np.zeros(3), np.zeros(3, dtype=bool), np.zeros((2, 1)), "3 days"),
        (np.zeros((1, 1, 1)), np.zeros((1, 1, 1), dtype=bool), None, "dimensions"),
    ],
)
def test_bad_input_is_told(y: Floats, at_least: Bools, features: Floats | None, told: str) -> None:
    """Each wrong argument is named with what was expected."""
    with pytest.raises(ValueError, match=told):
        unconstrain(y, at_least, features=features)


def test_training_is_capped_on_half_of_the_days_above_the_seventieth_percentile() -> None:
    """The trial's days are either exact or at their cap, and some three in twenty are at it."""
    y = demand_of(np.random.default_rng(8), series=1, days=2000)[0]
    seen, at_least = cap_training(y, np.random.default_rng(1))
    assert at_least.mean() == pytest.approx(0.15, abs=0.02)
    assert np.array_equal(seen[~at_least], y[~at_least])
    assert (seen[at_least] == np.quantile(y, 0.7)).all()
    assert (y[~at_least] > np.quantile(y, 0.7)).mean() > 0.1
