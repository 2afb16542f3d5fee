"""Whatever a forecast and a pick-up say: never below what is on hand, and more on hand is never less."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from forecasting.frames import QUANTILES, Floats, forecast_frame, quantile_column
from forecasting.models.paths import ranks_of
from forecasting.models.pickup import ERROR_LEVELS, KINDS, BookingTable, Pickup, update_paths
from forecasting.models.pickup_learning import learn_pickup
from forecasting.models.posterior import log_gamma

LEADS = 5
some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
units = st.one_of(st.just(0.0), st.integers(0, 60).map(float), st.floats(0, 1e-3), st.floats(0, 1e6))


@st.composite
def paths(draw: st.DrawFn) -> Floats:
    """Any sample paths: each day constant, counts or amounts, tiny or huge."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    days, count = draw(st.integers(1, 6)), draw(st.integers(1, 30))
    scale = np.array([draw(units) for _ in range(days)])
    shape = draw(st.sampled_from([0.05, 1.0, 30.0, 1e4]))
    values = rng.gamma(shape, scale / shape, (count, days))
    made: Floats = draw(st.sampled_from([values, np.rint(values), np.tile(values[0], (count, 1))]))
    return made


@st.composite
def pickups(draw: st.DrawFn) -> Pickup:
    """Any pick-up that could be learned, its bounds included."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    edge = draw(st.sampled_from([0.3, 1.0]))

    def table(low: float, high: float, *shape: int) -> Floats:
        wide = low + (high - low) * (rng.uniform(-0.5, 1.5, shape) if edge == 1.0 else rng.random(shape) ** 4)
        return np.clip(wide, low, high)

    return Pickup(
        share=table(0.0, 0.999, LEADS, KINDS),
        usual=table(0.0, draw(units), LEADS, KINDS),
        concentration=table(0.1, 400.0, LEADS),
        follows=table(0.0, 1.0, LEADS),
        errors=np.sort(table(-5.0, 5.0, LEADS, len(ERROR_LEVELS)), axis=1),
        spread=table(0.7, 3.0, LEADS),
        levels=np.sort(table(0.0, 1.0, LEADS, len(ERROR_LEVELS)), axis=1),
        weight=table(0.0, 1.0, LEADS),
    )


def days_of(prior: Floats) -> tuple[Floats, Floats]:
    """Leads from 0 on (some beyond what was learned), and kinds, of the paths' days."""
    days = np.arange(prior.shape[1])
    return days + 1, days % KINDS


@some
@given(paths(), pickups(), st.data())
def test_updated_paths_are_sound(prior: Floats, pickup: Pickup, data: st.DataObject) -> None:
    """At or above what is on hand, finite, in their old ranks, and their quantiles do not cross."""
    on_hand = np.array(data.draw(st.lists(units, min_size=prior.shape[1], max_size=prior.shape[1])))
    leads, kinds = days_of(prior)
    updated = update_paths(prior, on_hand, leads, kinds, pickup)
    assert np.isfinite(updated).all()
    assert (updated >= on_hand).all()
    order = np.take_along_axis(updated, np.argsort(prior, axis=0, kind="stable"), axis=0)
    assert (np.diff(order, axis=0) >= 0).all()
    table = forecast_frame(pd.date_range("2026-03-01", periods=len(leads)), updated)
    assert (np.diff(table[[quantile_column(level) for level in QUANTILES]].to_numpy(), axis=1) >= 0).all()


@some
@given(paths(), pickups())
def test_nothing_known_changes_nothing(prior: Floats, pickup: Pickup) -> None:
    """Share 0 and nothing on hand: the very same numbers; beyond the learned leads as well."""
    nothing = np.zeros(prior.shape[1])
    leads, kinds = days_of(prior)
    unlearned = Pickup(
        np.zeros((LEADS, KINDS)), pickup.usual, pickup.concentration, pickup.follows, pickup.errors,
        pickup.spread, pickup.levels, pickup.weight,
    )  # fmt: skip
    assert np.array_equal(update_paths(prior, nothing, leads, kinds, unlearned), prior)
    assert np.array_equal(update_paths(prior, nothing, leads + LEADS, kinds, pickup), prior)
    assert np.array_equal(update_paths(prior, nothing, leads - 100, kinds, pickup), prior)


@some
@given(paths(), pickups(), st.integers(0, 400), st.integers(1, 400))
def test_more_on_hand_is_never_less(prior: Floats, pickup: Pickup, first: int, more: int) -> None:
    """Each path rises with what is on hand, but for the numbers' own grain."""
    leads, kinds = days_of(prior)
    fewer, greater = (
        update_paths(prior, np.full(prior.shape[1], float(n)), leads, kinds, pickup)
        for n in (first, first + more)
    )
    grain = 0.5 + 0.002 * np.maximum(prior.max(axis=0), greater.max(axis=0))
    assert (greater >= fewer - grain).all()
    assert (greater.mean(axis=0) >= fewer.mean(axis=0) - grain / 2).all()


@some
@given(paths(), pickups())
def test_closed_days_stay_closed_and_whole_numbers_whole(prior: Floats, pickup: Pickup) -> None:
    """A day with 0 on every path expects nothing; whole units do not become parts of units."""
    prior = np.rint(prior)
    prior[:, 0] = 0.0
    leads, kinds = days_of(prior)
    updated = update_paths(prior, np.full(prior.shape[1], 3.0), leads, kinds, pickup)
    assert (updated[:, 0] == 3.0).all()
    assert np.array_equal(updated, np.rint(updated))


@some
@given(
    paths(),
    st.integers(0, 30),
    st.booleans(),
)
def test_any_past_can_be_learned_from(past: Floats, now: int, kept: bool) -> None:
    """Zeros, huge days, a day of history or none: shares in 0..1, the rest finite, quantiles in order."""
    assume(now <= len(past))
    days = np.arange(len(past))
    hidden = days[:, None] - np.arange(past.shape[1]) >= now
    mean = np.where(hidden, np.nan, past.sum(axis=1, keepdims=True) + 1.0) if kept else None
    table = BookingTable(np.where(hidden, np.nan, past), days % KINDS, now, mean, mean)
    learned = learn_pickup({"a": table, "b": table})["a"]
    assert ((learned.share >= 0) & (learned.share <= 1)).all()
    for part in (learned.usual, learned.concentration, learned.errors, learned.spread, learned.levels):
        assert np.isfinite(part).all()
    assert ((learned.weight >= 0) & (learned.weight <= 1)).all()
    assert ((learned.follows >= 0) & (learned.follows <= 1)).all()
    assert (np.diff(learned.errors, axis=1) >= 0).all()
    assert (np.diff(learned.levels, axis=1) >= -1e-12).all()


@given(st.floats(1.0, 1e12))
def test_log_gamma_is_the_library_s(x: float) -> None:
    """Against math.lgamma, relative for large values."""
    assert math.isclose(float(log_gamma(np.array(x))), math.lgamma(x), rel_tol=1e-12, abs_tol=1e-8)


def test_ranks_are_kept_where_all_paths_differ() -> None:
    """The path that was third lowest is third lowest."""
    rng = np.random.default_rng(3)
    prior = rng.gamma(9.0, 3.0, (50, 3))
    flat = np.full((LEADS, KINDS), 0.5)
    even = Pickup(
        flat, flat * 20, np.full(LEADS, 40.0), np.ones(LEADS), np.tile(ERROR_LEVELS - 0.5, (LEADS, 1)),
        np.ones(LEADS), np.tile(ERROR_LEVELS, (LEADS, 1)), np.full(LEADS, 0.5),
    )  # fmt: skip
    updated = update_paths(prior, np.array([3.0, 12.0, 30.0]), np.array([1, 2, 3]), np.arange(3), even)
    assert np.array_equal(ranks_of(updated), ranks_of(prior))
