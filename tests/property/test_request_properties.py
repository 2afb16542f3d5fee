"""Whatever comes, a request forecast is finite, never negative, in order, and blind to the future."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.frames import Floats
from forecasting.models.requests import begin, fit, predict, update
from tests.support.request_series import grid_of

LEVELS = (0.01, 0.1, 0.5, 0.9, 0.95, 0.999)
LEADS = {1: (1, 7, 60, 2880), 5: (1, 12, 576), 10: (1, 6, 288), 15: (1, 4, 192), 60: (1, 48)}

counts = st.one_of(
    st.just(0.0),
    st.just(float("nan")),
    st.integers(0, 40).map(float),
    st.floats(0, 1e-3),
    st.floats(1e6, 1e12),
)
few = settings(max_examples=25, deadline=None)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, Floats]:
    """A step length and a repeated pattern of wild, empty or unknown steps."""
    minutes = draw(st.sampled_from(sorted(LEADS)))
    pattern = draw(st.lists(counts, min_size=1, max_size=30))
    return minutes, np.resize(np.array(pattern), draw(st.integers(0, 400)))


@few
@given(histories())
def test_any_series_has_a_sound_forecast(history: tuple[int, Floats]) -> None:
    """Finite, ≥ 0 and ascending at every lead, after any steps and after none."""
    minutes, y = history
    days = -(-len(y) * minutes // 1440)
    told = predict(fit(grid_of(days, minutes), y), LEADS[minutes], LEVELS)
    assert np.isfinite(told).all()
    assert (told >= 0).all()
    assert (np.diff(told, axis=0) >= 0).all()


@few
@given(histories(), st.floats(0, 1e9), st.integers(1, 30))
def test_what_comes_later_changes_no_forecast(
    history: tuple[int, Floats], other: float, steps_later: int
) -> None:
    """A forecast made in passing is the one made of the same steps alone."""
    minutes, y = history
    grid = grid_of(-(-(len(y) + steps_later) * minutes // 1440), minutes)
    alone = predict(fit(grid, y), LEADS[minutes], LEVELS)
    state = begin(grid)
    for value in y:
        update(state, float(value))
    passing = predict(state, LEADS[minutes], LEVELS)
    for _ in range(steps_later):
        update(state, other)
    assert np.array_equal(alone, passing)


@few
@given(st.sampled_from(sorted(LEADS)), st.floats(0, 1e6), st.integers(30, 300))
def test_a_constant_is_forecast_as_itself(minutes: int, value: float, steps: int) -> None:
    """The median of a constant series is the constant, within a tenth or half a request."""
    state = fit(grid_of(-(-steps * minutes // 1440), minutes), np.full(steps, value))
    told = predict(state, LEADS[minutes], [0.5])[0] * 60 * minutes
    assert (np.abs(told - value) <= 0.1 * value + 0.5).all()
