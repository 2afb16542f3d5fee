"""Claims about explanations that hold for any fit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecasting.models.explain import day_effects

NAMES = ("weekday_1", "holiday", "before_break", "days_1_5", "yearly_1_sin", "event_campaign")
ROOTS = st.floats(-50.0, 50.0)
SHARES = st.floats(0.0, 1.0)


@given(
    level=st.floats(0.5, 1e6),
    effects=st.lists(ROOTS, min_size=6, max_size=6),
    coming=st.lists(st.lists(SHARES, min_size=6, max_size=6), min_size=1, max_size=5),
    usual=st.lists(SHARES, min_size=6, max_size=6),
)
def test_base_times_effects_is_the_forecast(
    level: float, effects: list[float], coming: list[list[float]], usual: list[float]
) -> None:
    """However parts mix, nothing is left over: base × effects = z², and no effect is negative or unknown."""
    found, days, mean = np.array(effects), np.array(coming), np.array(usual)
    made = day_effects(level, found, days, mean, NAMES)
    assert all(np.isfinite(effect).all() and (effect >= 0).all() for effect in made.effects.values())
    mean[[1, 2, 5]] = 0.0  # no holiday, break or event on the usual day
    root = level + mean @ found
    z = level + days @ found
    if root < 0.01:
        return  # no usual day to count from
    # a day at or below 0 is told as one in a million of the usual day
    expected = np.maximum(z, 1e-3 * root) ** 2
    np.testing.assert_allclose(made.product, expected, rtol=1e-5)


@given(level=st.floats(1.0, 1e3), effect=st.floats(-0.4, 5.0), share=SHARES)
def test_one_part_alone_is_its_leave_one_out_ratio(level: float, effect: float, share: float) -> None:
    """With a single part at work the effect is (z ÷ (z − part))²: what the day would be without it."""
    effects = np.array([effect, 0, 0, 0, 0, 0])
    made = day_effects(level, effects, np.array([[share, 0, 0, 0, 0, 0]]), np.zeros(6), NAMES)
    z = level + share * effect
    np.testing.assert_allclose(made.effects["weekday"], [(z / level) ** 2], rtol=1e-6)
