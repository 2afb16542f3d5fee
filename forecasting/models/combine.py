"""One forecast from several: weights and spread learned from backtest folds, drawn towards what is usual.

Arrays: quantiles are (…, levels, steps) and never cross; `actual` is (…, steps), NaN = unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from forecasting.frames import Floats
from forecasting.models.level_regression import Bools

PRIOR_STRENGTH: Final = 0.4
"""How much a departure from equal weights must gain: the weight of its Kullback–Leibler divergence."""
STEPS: Final = 200
RATE: Final = 0.5
STEEPEST: Final = 10.0
"""Where hardly anything was lost, the gradient of what was is huge, and its power infinite."""

USUAL_SPREAD: Final = 1.12
"""Three averaged models covered 72 to 76 % with their 80 % band on most of 13 daily sets; so widened 80."""
USUAL_SPECIAL: Final = 1.15
"""On holidays and at a month's end bands must be wider still; learned so on 12 of 13 daily sets."""
BAND_LEVEL: Final = 0.8
FOLD_WEIGHT: Final = 3.0
"""Independent looks that a fold of one series counts for: its days are alike."""
MOST_SERIES: Final = 9
"""Series of one fold are alike too: they count as the root of their number, this many at most."""
PRIOR_LOOKS: Final = 15.0
SERIES_LOOKS: Final = 30.0
"""Looks at which the panel's spread (a series' own) counts for half."""
LEAST_STEPS: Final = 10
SPREAD_RANGE: Final = (0.5, 2.5)
_TINY: Final = 1e-9


def learn_weights(actual: Floats, quantiles: Floats, levels: Floats, prior: Floats | None = None) -> Floats:
    """The weights (models,), summing to 1, whose quantile average has least loss; near `prior` (equal).

    actual (n,), quantiles (models, levels, n). Minimised is log loss + PRIOR_STRENGTH · KL(weights ‖ prior),
    by exponentiated gradient (Kivinen and Warmuth, Information and Computation 132, 1997).
    """
    models = len(quantiles)
    start = np.full(models, 1.0 / models) if prior is None else prior
    weights = start.copy()
    if models == 1 or len(actual) == 0:
        return weights
    for step in range(STEPS):
        error = actual - np.tensordot(weights, quantiles, 1)
        slope = np.where(error >= 0, levels[:, None], levels[:, None] - 1.0)
        loss = float((slope * error).sum())
        if loss <= _TINY:
            break
        gradient = -np.tensordot(quantiles, slope, ((1, 2), (0, 1))) / loss
        gradient += PRIOR_STRENGTH * np.log(np.maximum(weights, 1e-6) / start)
        centred = np.clip(gradient - float(gradient @ weights), -STEEPEST, STEEPEST)
        weights = np.maximum(weights, _TINY) * np.exp(-RATE / (1.0 + step / 50.0) * centred)
        weights /= weights.sum()
    return weights


@dataclass(frozen=True, slots=True)
class Weights:
    """The models' weights, each summing to 1: on ordinary days and on special ones."""

    ordinary: tuple[float, ...]
    special: tuple[float, ...]


def combined(quantiles: Floats, weights: Weights, special: Bools) -> Floats:
    """The weighted quantile average (series, levels, steps) of (models, series, levels, steps).

    special: (steps,). A model that does not answer for a series (NaN) leaves its weight to the others, though
    they have none; where none answers, NaN.
    """
    answered = ~np.isnan(quantiles).any(axis=(2, 3))
    known = np.where(np.isnan(quantiles), 0.0, quantiles)
    averages = []
    for each in (weights.ordinary, weights.special):
        share = np.array(each)[:, None] * answered
        share = np.where(share.sum(axis=0) > 0, share, answered)
        total = share.sum(axis=0)
        share = np.divide(share, total, out=np.full_like(share, np.nan), where=total > 0)
        averages.append((share[:, :, None, None] * known).sum(axis=0))
    mixed: Floats = np.where(special, averages[1], averages[0])
    return mixed


@dataclass(frozen=True, slots=True)
class Spread:
    """How much wider than combined the bands must be: by series (series,), and on special days besides."""

    series: Floats
    special: float

    def widened(self, quantiles: Floats, special: Bools, middle: int) -> Floats:
        """The quantiles (series, levels, steps) moved away from their median, ≥ 0; special: (steps,)."""
        factor = self.series[:, None, None] * np.where(special, self.special, 1.0)
        centre = quantiles[:, middle : middle + 1]
        return np.maximum(centre + factor * (quantiles - centre), 0.0)


def learn_spread(actual: Floats, quantiles: Floats, special: Bools, band: tuple[int, int, int]) -> Spread:
    """The spread with which the 80 % band covers 80 % of the folds' steps.

    actual (series, folds, steps), quantiles (series, folds, levels, steps), special (folds, steps); band: the
    places of the levels 0.1, 0.5 and 0.9. A split-conformal factor (Romano, Patterson and Candès,
    "Conformalized Quantile Regression", 2019) on |error| ÷ half-width, drawn to USUAL_SPREAD while there is
    little to learn from.
    """
    low, middle, high = (quantiles[:, :, place] for place in band)
    error = actual - middle
    half = np.where(error >= 0, high - middle, middle - low)
    usable = ~np.isnan(error) & (half > _TINY)
    ratio = np.where(usable, np.abs(error) / np.where(usable, half, 1.0), np.nan)
    folds_of = usable.any(axis=2).sum(axis=1)
    panel = _drawn(
        ratio[usable],
        FOLD_WEIGHT * usable.any(axis=(0, 2)).sum() * min(int((folds_of > 0).sum()), MOST_SERIES) ** 0.5,
        PRIOR_LOOKS,
        np.log(USUAL_SPREAD),
    )
    series = np.full(len(actual), np.exp(panel))
    for place in np.flatnonzero(folds_of):
        own = ratio[place][usable[place]]
        series[place] = np.exp(_drawn(own, FOLD_WEIGHT * folds_of[place], SERIES_LOOKS, panel))
    scaled = ratio / series[:, None, None]
    days = special[None] & usable
    looks = float(special.sum()) * min(int(days.any(axis=(1, 2)).sum()), MOST_SERIES) ** 0.5
    return Spread(series, float(np.exp(_drawn(scaled[days], looks, PRIOR_LOOKS, np.log(USUAL_SPECIAL)))))


def _drawn(ratios: Floats, looks: float, prior_looks: float, prior: float) -> float:
    """The log of the ratios' 0.8 quantile, drawn to `prior` (a log) as looks are few."""
    if len(ratios) < LEAST_STEPS:
        return prior
    found = float(np.log(np.clip(np.quantile(ratios, BAND_LEVEL), *SPREAD_RANGE)))
    return (looks * found + prior_looks * prior) / (looks + prior_looks)
