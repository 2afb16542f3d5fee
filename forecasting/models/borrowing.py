"""A new branch's forecast: the group's course at its own level, until it has a history of its own."""

from __future__ import annotations

from typing import Final

import numpy as np

from forecasting.frames import Floats
from forecasting.models.panel import Panel

OWN_DAYS: Final = 14
"""Known days from which weeks8 and the others speak for a series."""
LEAST_DONORS: Final = 3
DONOR_DAYS: Final = 56
PRIOR_DAYS: Final = 3.0
"""Known days at which a series' own level counts for half against its group's typical one."""
WIDER: Final = 1.5
"""A borrowed band is so much wider: the branch's own ways are unknown."""


def borrowed(panel: Panel, quantiles: Floats, steps: int) -> Floats:
    """The quantiles (series, levels, steps), those of series with less than two known weeks borrowed.

    Borrowed: the mean of the others' quantiles, each in its own level, times the new one's level, which is
    drawn towards the median branch's. With fewer than three others of eight weeks they stay as they are.
    """
    known = (~np.isnan(panel.values)).sum(axis=1)
    donors = np.flatnonzero((known >= DONOR_DAYS) & np.isfinite(quantiles).all(axis=(1, 2)))
    fresh = np.flatnonzero(known < OWN_DAYS)
    if len(donors) < LEAST_DONORS or not len(fresh):
        return quantiles
    opened = panel.opened(steps)
    past = panel.values.shape[1]
    recent = panel.values[donors, -DONOR_DAYS:]
    seen = ~np.isnan(recent)
    level = np.where(seen, recent, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    good = level > 0
    if good.sum() < LEAST_DONORS:
        return quantiles
    shape = (quantiles[donors[good]] / level[good, None, None]).mean(axis=0)
    middle = shape[len(shape) // 2]
    course = np.maximum(middle + WIDER * (shape - middle), 0.0)
    daily = recent[good] / level[good, None]
    with np.errstate(all="ignore"):
        usual_day = np.nanmean(np.where(np.isnan(daily), np.nan, daily), axis=0)
    answer = quantiles.copy()
    typical = float(np.median(level[good]))
    for place in fresh:
        own = panel.values[place, -DONOR_DAYS:]
        both = ~np.isnan(own) & (usual_day > 0)
        days = int(both.sum())
        expected = float(usual_day[both].sum()) if days else 0.0
        share = days / (days + PRIOR_DAYS)
        own_level = float(own[both].sum()) / expected if expected > 0 else typical
        scale = share * own_level + (1.0 - share) * typical
        answer[place] = scale * course * opened[place, past:]
    return answer
