"""Forecasts broken on purpose: what a decision must survive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from forecasting.frames import Floats

WEEK: Final = 7
SPIKE: Final = 5.0
SPIKE_SHARE: Final = 0.2


def half_level(levels: Floats, since: int) -> Floats:
    """Half of what was forecast, from night `since` on. levels: (days, series, levels, steps)."""
    broken = levels.copy()
    broken[since:] *= 0.5
    return broken


def dead_for_a_week(levels: Floats, since: int) -> Floats:
    """Nothing is forecast, 0 for every day, for the seven nights from `since` on."""
    broken = levels.copy()
    broken[since : since + WEEK] = 0.0
    return broken


def spikes(levels: Floats, since: int) -> Floats:
    """Five times the forecast of every fifth day or so, by series, in all nights from `since` on (seeded)."""
    broken = levels.copy()
    days, series, _, steps = levels.shape
    hit = np.random.default_rng(1).random((days + steps, series)) < SPIKE_SHARE
    for night in range(since, days):
        broken[night] *= np.where(hit[night : night + steps].T[:, None, :], SPIKE, 1.0)
    return broken


FAULTS: Final[Mapping[str, Callable[[Floats, int], Floats]]] = {
    "half_level": half_level,
    "dead_for_a_week": dead_for_a_week,
    "spikes": spikes,
}
