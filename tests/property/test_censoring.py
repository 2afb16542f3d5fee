"""Whatever is known only as "at least", un-constrained demand keeps what is known and respects each bound."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.frames import Floats
from forecasting.models.calendar import Bools
from forecasting.models.censoring import MOST_TIMES, unconstrain

units = st.one_of(
    st.just(0.0),
    st.just(float("nan")),
    st.integers(0, 60).map(float),
    st.floats(0, 1e-6),
    st.floats(1e9, 1e12),
)
some = settings(max_examples=60, deadline=None)


@st.composite
def panels(draw: st.DrawFn) -> tuple[Floats, Bools]:
    """Up to four series of up to 90 days: constant, repeating or wild, any days censored."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 90)))
    pattern = draw(st.lists(units, min_size=1, max_size=20))
    censored = draw(st.lists(st.booleans(), min_size=1, max_size=11))
    return np.resize(np.array(pattern), shape), np.resize(np.array(censored), shape)


@some
@given(panels(), st.integers(0, 99))
def test_bounds_hold_and_what_is_known_stays(panel: tuple[Floats, Bools], seed: int) -> None:
    """No filled-in day lies below its bound or far above all that is known; all other days are as before."""
    y, at_least = panel
    made = unconstrain(y, at_least)
    most = MOST_TIMES * np.nanmax(y, axis=1, keepdims=True, initial=0.0)
    for filled in (made.y_hat, made.expected, *made.draws(2, np.random.default_rng(seed))):
        assert np.array_equal(np.isnan(filled), np.isnan(y))
        assert np.array_equal(filled[~at_least], y[~at_least], equal_nan=True)
        assert (np.isnan(y) | (filled >= y)).all()
        assert (np.isnan(y) | (filled <= most)).all()


@some
@given(arrays(np.float64, st.integers(1, 90), elements=st.floats(0, 1e9)))
def test_without_a_bound_nothing_changes(y: Floats) -> None:
    """Demand that is known exactly throughout, sold-out days among it, is left alone."""
    made = unconstrain(y, np.zeros(len(y), dtype=bool))
    assert np.array_equal(made.y_hat, y)
    assert np.array_equal(made.expected, y)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.integers(30, 120), st.floats(0.1, 0.6))
def test_a_series_is_filled_in_the_same_alone_and_among_others(seed: int, days: int, share: float) -> None:
    """A panel's series do not depend on each other as long as each can be fitted."""
    rng = np.random.default_rng(seed)
    y = rng.gamma(3.0, 20.0, (3, days))
    at_least = rng.random(y.shape) < share
    at_least[:, :20] = False
    together = unconstrain(y, at_least).y_hat
    alone = np.stack([unconstrain(*one).y_hat for one in zip(y, at_least, strict=True)])
    assert np.allclose(together, alone, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.floats(1e-3, 1e6))
def test_demand_has_no_unit(seed: int, unit: float) -> None:
    """Counted in another unit, demand is filled in with the same values in that unit."""
    rng = np.random.default_rng(seed)
    y = rng.gamma(3.0, 20.0, 100)
    at_least = rng.random(100) < 0.3
    here, there = unconstrain(y, at_least).y_hat, unconstrain(y * unit, at_least).y_hat
    assert np.allclose(here * unit, there, rtol=1e-6)
