"""Rolling-origin backtest of a daily series: the same folds for every candidate, and the gate's figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from forecasting.frames import SCORED_QUANTILES, Floats
from forecasting.models.losses import coverage, weighted_quantile_loss

FOLDS: Final = 3
LEAST_FOLDS: Final = 2
FOLD_DAYS: Final = 28
FOLD_STEP_DAYS: Final = 29  # no multiple of 7, so that origins fall on different weekdays
SHORT_FOLD_DAYS: Final = 14
LEAST_TRAINING_DAYS: Final = 56

CHANCE_RATIO: Final = 1.05

BAND: Final = (0.1, 0.9)
BAND_LEVEL: Final = 0.8
FACTOR_RANGE: Final = (0.7, 2.0)
FACTOR_PRIOR_DAYS: Final = 30.0  # backtest days at which the learned factor counts for half

Forecaster = Callable[[pd.Series, pd.DatetimeIndex, int], dict[str, Floats]]
"""(past, coming days, fold number) → paths (paths, days) by candidate."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Days `origin` to `origin + days - 1` (positions in the series) forecast from all before."""

    origin: int
    days: int


def fold_origins(length: int, horizon_days: int) -> list[Fold]:
    """The folds for a series of `length` days, latest first; empty when two do not fit after 8 weeks."""
    for days, step in (
        (min(horizon_days, FOLD_DAYS), FOLD_STEP_DAYS),
        (min(horizon_days, SHORT_FOLD_DAYS), SHORT_FOLD_DAYS + 1),
    ):
        origins = [length - days - step * number for number in range(FOLDS)]
        folds = [Fold(origin, days) for origin in origins if origin >= LEAST_TRAINING_DAYS]
        if len(folds) >= LEAST_FOLDS:
            return folds
    return []


@dataclass(frozen=True, slots=True)
class FoldResult:
    """One candidate in one fold: actual (days,) and the quantiles 0.1…0.9 (levels, days)."""

    actual: Floats
    quantiles: Floats


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the folds say about each candidate that answered in all of them."""

    folds: int
    fold_days: int
    wql: dict[str, float]
    results: dict[str, list[FoldResult]]

    def best(self, *, steady: str, fallback: str) -> str:
        """The candidate with the least WQL, or `steady` where that is within 5 % of it.

        Three folds are few: a small lead is chance more often than not. `fallback` where no figure is finite,
        and on a tie with it.
        """
        finite = {name: score for name, score in self.wql.items() if np.isfinite(score)}
        if not finite:
            return fallback
        least = min(finite, key=lambda name: (finite[name], name != fallback))
        near = finite.get(steady, np.inf) <= CHANCE_RATIO * finite[least]
        return steady if near and finite[steady] < finite.get(fallback, np.inf) else least

    def spread_factor(self, name: str) -> float:
        """The spread about the median with which the 80 % band covers 80 % of the folds' days."""
        return _spread_factor(self.results.get(name, []))

    def coverage80(self, name: str) -> float | None:
        """The folds' share of days inside the 80 % band, each band spread as the other folds ask."""
        results = self.results.get(name, [])
        inside: list[float] = []
        for number, result in enumerate(results):
            factor = _spread_factor(results[:number] + results[number + 1 :])
            low, middle, high = _band(result.quantiles)
            actual = result.actual
            share = coverage(actual, middle + factor * (low - middle), middle + factor * (high - middle))
            inside += [share] * int((~np.isnan(actual)).sum())
        return float(np.mean(inside)) if inside else None


def judge(y: pd.Series, folds: list[Fold], forecast: Forecaster) -> Judgement:
    """Every candidate's figures over the folds of the regular series `y`; unknown days count nowhere."""
    results: dict[str, list[FoldResult]] = {}
    for number, fold in enumerate(folds):
        past = y.iloc[: fold.origin]
        coming = y.iloc[fold.origin : fold.origin + fold.days]
        for name, paths in forecast(past, pd.DatetimeIndex(coming.index), number).items():
            quantiles = np.quantile(paths, SCORED_QUANTILES, axis=0)
            results.setdefault(name, []).append(FoldResult(coming.to_numpy(), quantiles))
    complete = {name: found for name, found in results.items() if len(found) == len(folds)}
    wql = {
        name: weighted_quantile_loss(
            np.concatenate([result.actual for result in found]),
            np.concatenate([result.quantiles for result in found], axis=1),
            SCORED_QUANTILES,
        )
        for name, found in complete.items()
    }
    return Judgement(len(folds), folds[0].days, wql, complete)


def _band(quantiles: Floats) -> tuple[Floats, Floats, Floats]:
    """The rows of the levels 0.1, 0.5 and 0.9."""
    low, high = (SCORED_QUANTILES.index(level) for level in BAND)
    return quantiles[low], quantiles[SCORED_QUANTILES.index(0.5)], quantiles[high]


def _spread_factor(results: list[FoldResult]) -> float:
    """The 0.8 quantile of |error| ÷ half-width on its side, drawn to 1 when days are few, within 0.7 to 2."""
    scores: list[Floats] = []
    for result in results:
        low, middle, high = _band(result.quantiles)
        error = result.actual - middle
        half = np.where(error >= 0, high - middle, middle - low)
        usable = ~np.isnan(error) & (half > 0)
        scores.append(np.abs(error[usable]) / half[usable])
    pooled = np.concatenate(scores) if scores else np.zeros(0)
    if len(pooled) == 0:
        return 1.0
    weight = len(pooled) / (len(pooled) + FACTOR_PRIOR_DAYS)
    factor = 1.0 + weight * (float(np.quantile(pooled, BAND_LEVEL)) - 1.0)
    return float(np.clip(factor, *FACTOR_RANGE))
