"""Seasonal naive: last week again, give or take how much one week differed from the next."""

from __future__ import annotations

import numpy as np

from forecasting.frames import Floats
from forecasting.models.paths import block_bootstrap


def seasonal_naive_paths(
    history: Floats, steps: int, *, season: int, paths: int, rng: np.random.Generator, per_day: int = 1
) -> Floats:
    """Sample paths (paths, steps) ≥ 0 around the last value of the same place in the week.

    `history` is regular, oldest first, NaN = unknown; `season` is the number of steps in a week. Errors are
    the past differences between a step and the one a week earlier, redrawn by the week. With less than two
    weeks there are none: the paths are drawn from all that is known (0 if nothing is).
    """
    known = history[~np.isnan(history)]
    if len(known) == 0:
        return np.zeros((paths, steps))
    if len(history) < 2 * season:
        return rng.choice(known, size=(paths, steps))
    filled = history[-season:].copy()
    for week in range(2, len(history) // season + 1):
        earlier = history[len(history) - week * season : len(history) - (week - 1) * season]
        filled = np.where(np.isnan(filled), earlier, filled)
    filled = np.where(np.isnan(filled), np.median(known), filled)
    difference = history[season:] - history[:-season]
    errors = np.where(np.isnan(difference), 0.0, difference)
    errors = errors - np.median(errors)
    drawn = block_bootstrap(errors, paths, steps, block=season, align=per_day, rng=rng)
    return np.maximum(filled[np.arange(steps) % season] + drawn, 0.0)
