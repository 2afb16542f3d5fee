"""A moving level with known day effects: z[t] = level[t] + x[t]·β + noise, fitted in closed form.

The level is an exponentially weighted mean with rate α. Its one-step forecast is linear in z and in x, so
that with both filtered alike (z − the filter's forecast of z, x − the filter's forecast of x) the effects β
are a ridge regression: the generalised least squares of a local-level model (Harvey, "Forecasting,
Structural Time Series Models and the Kalman Filter", 1989, sections 2.3 and 3.4), with a normal prior on
each effect. What the forecast missed h steps ahead, from every past day, is its error distribution: it holds
the level's wandering, too. A day without a known value moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from forecasting.frames import Floats

Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

RATES: Final = (0.03, 0.07, 0.15, 0.3)
"""What α is chosen from, by the mean absolute error over all horizons of the last year."""
HALF_LIFE_DAYS: Final = 500.0
"""Effects are learned from days weighted by age."""
START_DAYS: Final = 14
"""The level begins as their mean."""
BURN_IN_DAYS: Final = 28
ERROR_DAYS: Final = 365
"""Origins whose errors count."""
NEAR: Final = 3
"""Horizons this near share their errors."""
LEAST_ERRORS: Final = 20
DENSE_STEPS: Final = 7
MIDDLE_STEP, MIDDLE_STEPS = 3, 28
SPARSE_STEP: Final = 14
"""Each of the first seven horizons has its own errors, then one in 3 up to four weeks, then one in 14."""
OUTLIER_DEVIATIONS: Final = 3.0
"""What a day missed beyond so many robust deviations does not move the level (its error still counts)."""
_VARIANCE_ROUNDS: Final = 3
_MAD: Final = 1.4826
RIDGE_FLOOR: Final = 1e-8
_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class LevelFit:
    """A fitted series: effects (features,), the last level, and past errors (origins, horizons), NaN unknown.

    errors[o, k] is what a forecast from origin `first_origin + o` missed `horizons[k]` steps ahead (0 = the
    first coming step), in units of z.
    """

    rate: float
    effects: Floats
    level: float
    errors: Floats
    first_origin: int
    horizons: Integers
    loss: float


def fit_level(
    z: Floats,
    known: Bools,
    features: Floats,
    prior_sd: Floats,
    *,
    steps: int,
    prior_mean: Floats | None = None,
    rates: Sequence[float] = RATES,
) -> LevelFit:
    """The fit of one series: z (days,), known (days,), features (days, n), prior_sd (n,) in units of z.

    `steps`: the longest horizon whose errors are wanted. The rate with the least loss is taken; one rate
    given is used as it is. At least two known days are needed (ValueError otherwise).
    """
    places = np.flatnonzero(known)
    if len(places) < 2:  # noqa: PLR2004
        raise ValueError(f"{len(places)} known days; expected at least 2")
    mean = np.zeros(features.shape[1]) if prior_mean is None else prior_mean
    centred = np.where(known, z, 0.0) - features @ mean
    columns = np.column_stack([centred, features])[places]
    age = len(z) - 1 - places
    weight = 0.5 ** (age / HALF_LIFE_DAYS)
    weight[: min(BURN_IN_DAYS, len(places) // 4)] = 0.0
    horizons = _horizons(steps)
    fits = [_fit_at(rate, columns, places, weight, known, prior_sd, horizons) for rate in rates]
    best = min(fits, key=lambda fit: fit.loss)
    return LevelFit(
        best.rate,
        best.effects + mean,
        best.level,
        best.errors,
        best.first_origin,
        horizons,
        best.loss,
    )


def _fit_at(
    rate: float,
    columns: Floats,
    places: Integers,
    weight: Floats,
    known: Bools,
    prior_sd: Floats,
    horizons: Integers,
) -> LevelFit:
    """The fit with one rate; columns (known days, 1 + features) hold z less its prior mean, then features."""
    before = _levels_before(rate, columns)
    effects, rest = _ridge(columns - before[:-1], weight, prior_sd)
    limit = OUTLIER_DEVIATIONS * _MAD * float(np.median(np.abs(rest[weight > 0])))
    over = np.where(weight > 0, rest - np.clip(rest, -limit, limit), 0.0)
    if limit > 0.0 and over.any():
        mild = columns.copy()
        mild[:, 0] -= over
        before[:, 0] = _levels_before(rate, mild[:, :1])[:, 0]
        effects, rest = _ridge(mild - before[:-1], weight, prior_sd)
    level_before = before[:, 0] - before[:, 1:] @ effects
    days = len(known)
    # the level seen from each day: that after the last known day before it
    seen = np.searchsorted(places, np.arange(days + 1), side="left")
    levels = level_before[seen]
    remainder = np.full(days, np.nan)
    remainder[places] = columns[:, 0] - columns[:, 1:] @ effects
    first = min(max(BURN_IN_DAYS, days - ERROR_DAYS - int(horizons[-1])), max(days - 1, 0))
    errors = np.full((days + 1 - first, len(horizons)), np.nan)
    for number, horizon in enumerate(horizons):
        last = days - int(horizon)
        if last > first:
            errors[: last - first, number] = remainder[first + horizon :] - levels[first:last]
    absolute = np.abs(errors)
    loss = float(np.nanmean(absolute)) if np.isfinite(absolute).any() else float(np.abs(rest).mean())
    return LevelFit(rate, effects, float(levels[-1]), errors, first, horizons, loss)


def _levels_before(rate: float, columns: Floats) -> Floats:
    """The filter's level of each column before each row, and after the last: (rows + 1, columns)."""
    start: Floats = columns[:START_DAYS].mean(axis=0)
    decay = 1.0 - rate
    # l' = (1 − α) l + α value
    after, _ = lfilter([rate], [1.0, -decay], columns, axis=0, zi=(decay * start)[None, :])
    return np.vstack([start, after])


def _ridge(filtered: Floats, weight: Floats, prior_sd: Floats) -> tuple[Floats, Floats]:
    """The effects (features,) and what they leave (rows,); column 0 is explained by the others."""
    target, inputs = filtered[:, 0], filtered[:, 1:]
    weighted = inputs * weight[:, None]
    gram, moment = weighted.T @ inputs, weighted.T @ target
    variance = max(float(np.average(target**2, weights=weight)), _TINY)
    effects: Floats = np.zeros(len(prior_sd))
    rest: Floats = target
    # parts of the month sum to 1: where nothing varies, the prior alone would leave the system singular
    floor = RIDGE_FLOOR * max(float(np.diag(gram).mean()), 1.0)
    for _ in range(_VARIANCE_ROUNDS):
        penalty = np.diag(variance / prior_sd**2 + floor)
        effects = np.asarray(np.linalg.solve(gram + penalty, moment), dtype=np.float64)
        rest = target - inputs @ effects
        variance = max(float(np.average(rest**2, weights=weight)), _TINY)
    return effects, rest


def coming_quantiles(
    fit: LevelFit, features: Floats, places: Integers, past_places: Integers, levels: Floats
) -> Floats:
    """The quantiles (levels, steps) of z on the coming days.

    features (steps, n) of the coming days. places (steps,) and past_places (days,) say which days are alike
    in spread (a weekday, say): errors are scaled by their kind's typical size, drawn towards all days'.
    """
    steps = len(features)
    centre = fit.level + features @ fit.effects
    scale = _scales(fit, past_places)
    origins = fit.first_origin + np.arange(len(fit.errors))
    wide = np.empty((len(levels), len(fit.horizons)))
    targets = np.minimum(origins[:, None] + fit.horizons[None, :], len(past_places) - 1)
    scaled = fit.errors / scale[past_places[targets]]
    flat = scaled[np.isfinite(scaled)]
    for number, horizon in enumerate(fit.horizons):
        near = np.abs(fit.horizons - horizon) <= NEAR
        errors = scaled[:, near]
        errors = errors[np.isfinite(errors)]
        pool = errors if len(errors) >= LEAST_ERRORS else flat
        wide[:, number] = np.quantile(pool, levels) if len(pool) else 0.0
    column = np.abs(fit.horizons[None, :] - np.arange(steps)[:, None]).argmin(axis=1)
    spread: Floats = wide[:, column] * scale[places]
    return centre + spread


KIND_DAYS: Final = 20.0
"""Days of a kind at which its own spread counts for half."""
LEAST_KIND_DAYS: Final = 8
SCALE_RANGE: Final = (0.3, 3.0)


def _scales(fit: LevelFit, past_places: Integers) -> Floats:
    """How much wider than usual the errors of each kind of day are."""
    kinds = int(past_places.max()) + 1 if len(past_places) else 1
    scale = np.ones(max(kinds, 7))
    nearest = np.abs(fit.errors[:-1, 0])
    kind = past_places[fit.first_origin : fit.first_origin + len(nearest)]
    usual = float(np.nanmedian(nearest)) if np.isfinite(nearest).any() else 0.0
    if usual <= 0.0:
        return scale
    for number in range(kinds):
        own = nearest[kind == number]
        own = own[np.isfinite(own)]
        if len(own) >= LEAST_KIND_DAYS and (middle := float(np.median(own))) > 0.0:
            share = len(own) / (len(own) + KIND_DAYS)
            scale[number] = np.exp(share * np.log(middle / usual))
    return np.clip(scale, *SCALE_RANGE)


def _horizons(steps: int) -> Integers:
    """The horizons whose errors are kept, 0 = the first coming step."""
    dense = np.arange(min(steps, DENSE_STEPS))
    middle = np.arange(DENSE_STEPS + MIDDLE_STEP - 1, min(steps, MIDDLE_STEPS + 1), MIDDLE_STEP)
    sparse = np.arange(MIDDLE_STEPS + SPARSE_STEP, steps, SPARSE_STEP)
    return np.concatenate([dense, middle, sparse]).astype(np.int64)
