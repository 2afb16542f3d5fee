"""Branch paths joined by past errors: sums spread as the errors' dependence says, and agree with totals."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.frames import Floats
from forecasting.models.paths import stratified_levels
from forecasting.models.reconcile import (
    agreed_totals,
    joint_paths,
    matched,
    past_days,
    quantile_functions,
    reconciled,
    rejoined,
)

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
DEVIATES = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816])
PATHS = 400
STEPS = 28
HISTORY = 7 * 200


def bell(mean: float, deviation: float, series: int) -> Floats:
    """The quantiles (series, levels, steps) of a normal forecast."""
    return np.repeat((mean + deviation * DEVIATES)[None, :, None], STEPS, axis=2).repeat(series, axis=0)


def joined(residuals: Floats, seed: int = 1) -> Floats:
    """Paths of equal branches, mean 100 and deviation 10, with the dependence of the residuals."""
    rng = np.random.default_rng(seed)
    days = past_days(residuals.shape[1], paths=PATHS, steps=STEPS, rng=rng)
    return joint_paths(bell(100.0, 10.0, len(residuals)), LEVELS, residuals, days, rng)


def spread_of_sum(paths: Floats) -> float:
    """The deviation of the sum ÷ that of one branch, averaged over the steps."""
    return float((paths.sum(axis=0).std(axis=0) / paths.std(axis=1).mean(axis=0)).mean())


def test_independent_errors_spread_the_sum_by_the_root_of_their_number() -> None:
    """Sixteen branches that err by themselves: the sum varies four times as much as one."""
    residuals = np.random.default_rng(2).standard_normal((16, HISTORY))
    assert spread_of_sum(joined(residuals)) == pytest.approx(4.0, rel=0.1)


def test_common_errors_spread_the_sum_by_their_number() -> None:
    """Sixteen branches that always err alike: the sum varies sixteen times as much as one."""
    residuals = np.random.default_rng(2).standard_normal(HISTORY)
    alike = residuals * np.linspace(1.0, 9.0, 16)[:, None]
    assert spread_of_sum(joined(alike)) == pytest.approx(16.0, rel=0.01)


def test_an_unknown_branch_goes_with_the_others_as_they_go_with_each_other() -> None:
    """A new branch without a past errs with its region; next to independent ones it does not."""
    rng = np.random.default_rng(3)
    shared, own = rng.standard_normal(HISTORY), rng.standard_normal((12, HISTORY))

    def correlation(residuals: Floats) -> float:
        residuals[-1] = np.nan
        paths = joined(residuals)
        others = paths[:-1].mean(axis=0)
        return float(np.mean([np.corrcoef(paths[-1, :, s], others[:, s])[0, 1] for s in range(STEPS)]))

    assert correlation(shared + own) > 0.6
    assert abs(correlation(own)) < 0.4


def test_runs_of_bad_days_stay_runs() -> None:
    """Errors that last for weeks make a month's sum vary more than errors shuffled in time."""
    rng = np.random.default_rng(4)
    noise = rng.standard_normal(HISTORY)
    lasting = np.zeros(HISTORY)
    for day in range(1, HISTORY):
        lasting[day] = 0.95 * lasting[day - 1] + noise[day]
    months = [joined(errors[None])[0].sum(axis=1).std() for errors in (lasting, rng.permutation(lasting))]
    assert months[0] > 2.0 * months[1]


def test_the_same_days_join_regions_that_are_made_one_by_one() -> None:
    """Branches of two regions, joined in two calls over the same past days, err together."""
    shared = np.random.default_rng(5).standard_normal((2, HISTORY)) * 0.3
    shared += np.random.default_rng(6).standard_normal(HISTORY)
    days = past_days(HISTORY, paths=PATHS, steps=STEPS, rng=np.random.default_rng(1))
    north, south = (
        joint_paths(bell(100.0, 10.0, 1), LEVELS, errors[None], days, np.random.default_rng(seed))[0]
        for seed, errors in enumerate(shared)
    )
    assert np.corrcoef(north[:, 0], south[:, 0])[0, 1] > 0.8


def test_paths_of_their_own_keep_their_values() -> None:
    """Rejoined paths are the same values at each step in another order."""
    rng = np.random.default_rng(7)
    paths = rng.gamma(2.0, 30.0, (3, PATHS, STEPS))
    days = past_days(70, paths=PATHS, steps=STEPS, rng=rng)
    dealt = rejoined(paths, rng.standard_normal((3, 70)), days, rng)
    assert np.array_equal(np.sort(dealt, axis=1), np.sort(paths, axis=1))


def test_a_normal_forecast_is_met_beyond_its_outermost_quantiles() -> None:
    """The 1 % and 99 % quantiles of a normal forecast follow from its 10 % to 90 %."""
    values = quantile_functions(bell(100.0, 10.0, 1), LEVELS, np.array([0.01, 0.5, 0.99]))[0, :, 0]
    assert values == pytest.approx([76.74, 100.0, 123.26], abs=0.01)


def test_totals_lie_between_the_sum_and_their_own_forecast() -> None:
    """Half-way each, quantile by quantile; without a forecast of its own a total is the sum."""
    totals = joined(np.random.default_rng(8).standard_normal((4, HISTORY))).sum(axis=0)[None]
    own = bell(440.0, 30.0, 1)
    at = (0.1, 0.5, 0.9)
    found = np.quantile(agreed_totals(totals, own, LEVELS, share=0.5), at, axis=1)
    sums = np.quantile(totals, at, axis=1)
    assert found == pytest.approx((sums + own[:, [0, 4, 8]].transpose(1, 0, 2)) / 2.0, rel=0.01)
    assert np.array_equal(agreed_totals(totals, np.full_like(own, np.nan), LEVELS), totals)


def test_uncertain_branches_bear_more_of_a_difference() -> None:
    """Of two branches of one size the one with errors three times as wide bears nine tenths."""
    rng = np.random.default_rng(9)
    days = past_days(HISTORY, paths=PATHS, steps=STEPS, rng=rng)
    residuals = rng.standard_normal((2, HISTORY))
    quantiles = np.concatenate([bell(100.0, 3.0, 1), bell(100.0, 9.0, 1)])
    paths = joint_paths(quantiles, LEVELS, residuals, days, rng)
    moved = matched(paths, paths.sum(axis=0) + 10.0) - paths
    assert moved.mean(axis=(1, 2)) == pytest.approx([1.0, 9.0], abs=0.4)


def test_region_and_bank_totals_are_right_in_distribution() -> None:
    """Branches that err together and were forecast too low: the regions' forecasts put the bank right.

    Its 80 % band holds 80 % of what came; with branches taken for independent, the control, far less.
    """
    rng = np.random.default_rng(10)
    shared, own = rng.standard_normal((1, HISTORY, 1)), rng.standard_normal((2, HISTORY, 10))
    errors = (0.6 * shared + 0.8 * own).transpose(0, 2, 1).reshape(20, HISTORY)
    came = 100.0 + 10.0 * errors[:, -7 * 100 :].sum(axis=0) / 20.0  # per branch, on days of the same law
    parents = ["north"] * 10 + ["south"] * 10

    def held(residuals: Floats) -> float:
        totals = {name: bell(1000.0, 10.0 * np.sqrt(10 * 0.64 + 100 * 0.36), 1)[0] for name in set(parents)}
        days = past_days(HISTORY, paths=PATHS, steps=STEPS, rng=np.random.default_rng(1))
        paths = joint_paths(bell(90.0, 10.0, 20), LEVELS, residuals, days, np.random.default_rng(2))
        bank = reconciled(paths, parents, totals, LEVELS, share=0.0).bank / 20.0
        low, high = np.quantile(bank, (0.1, 0.9), axis=0).mean(axis=1)
        return float(((came >= low) & (came <= high)).mean())

    independent = rng.permuted(errors, axis=1)
    assert held(errors) == pytest.approx(0.8, abs=0.06)
    assert held(independent) < 0.72


@pytest.mark.parametrize(
    ("parents", "totals", "told"),
    [(["a"], {}, "names the regions of 1"), (["a", "a"], {"b": np.ones((9, STEPS))}, "no series lies there")],
)
def test_unknown_regions_are_told(parents: list[str], totals: dict[str, Floats], told: str) -> None:
    """A series without a region and a total without series are named."""
    with pytest.raises(ValueError, match=told):
        reconciled(np.ones((2, 10, STEPS)), parents, totals, LEVELS)


def test_wrong_shapes_and_empty_histories_are_told() -> None:
    """Quantiles of other steps than the past days', and no past at all."""
    rng = np.random.default_rng(1)
    days = past_days(70, paths=10, steps=5, rng=rng)
    with pytest.raises(ValueError, match="series and steps must be the same"):
        joint_paths(bell(1.0, 1.0, 2), LEVELS, np.zeros((2, 70)), days, rng)
    with pytest.raises(ValueError, match="expected at least 1"):
        past_days(0, paths=10, steps=5, rng=rng)


def test_levels_of_paths_are_evenly_spaced() -> None:
    """The marginals of joint paths are the quantile functions at evenly spaced levels, whatever the order."""
    paths = joined(np.random.default_rng(11).standard_normal((2, HISTORY)))
    marginals = quantile_functions(bell(100.0, 10.0, 2), LEVELS, stratified_levels(PATHS))
    assert np.allclose(np.sort(paths, axis=1), marginals)
