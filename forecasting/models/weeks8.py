"""weeks8: the empirical quantiles of the same weekday and time of day over the last 8 weeks.

No fit and nothing to break, which makes it the gate that any model must pass and the first fallback. On
five of eight daily sets it beat Prophet at its defaults.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from forecasting.frames import Floats
from forecasting.models.paths import arrange, block_bootstrap, ranks_of, stratified_levels

WEEKS: Final = 8
BLOCK_WEEKS: Final = 4


def weeks8_levels(history: Floats, steps: int, levels: Floats, *, season: int) -> Floats:
    """The quantiles of each coming step, (levels, steps), ≥ 0 as the history is.

    `history` is regular, oldest first, NaN = unknown; `season` is the number of steps in a week. A place in
    the week without a known value in the 8 weeks takes its last 8 known ones; with none at all, the whole
    window's.
    """
    weekly = _weeks(history, season)
    window = weekly[-WEEKS:]
    if window.shape[0] and not np.isnan(window).any():
        table = np.quantile(window, levels, axis=0)
    else:
        pooled = history[~np.isnan(history)][-WEEKS * season :]
        table = np.column_stack(
            [np.quantile(_known(weekly[:, place], pooled), levels) for place in range(season)]
        )
    return table[:, np.arange(steps) % season]


def weeks8_paths(
    history: Floats, steps: int, *, season: int, paths: int, rng: np.random.Generator, per_day: int = 1
) -> Floats:
    """Sample paths (paths, steps) whose marginals are weeks8's quantiles.

    Their dependence from step to step is that of weeks8's own past errors, drawn in blocks of four weeks.
    """
    marginals = weeks8_levels(history, steps, stratified_levels(paths), season=season)
    errors = _past_errors(history, season)
    drawn = block_bootstrap(errors, paths, steps, block=BLOCK_WEEKS * season, align=per_day, rng=rng)
    # a little noise orders the ties that repeated blocks and constant series leave
    return arrange(marginals, ranks_of(drawn + 1e-6 * rng.standard_normal(drawn.shape)))


def _weeks(history: Floats, season: int) -> Floats:
    """The history as (weeks, places), the last week complete, the first one filled up with NaN."""
    missing = -len(history) % season
    return np.concatenate([np.full(missing, np.nan), history]).reshape(-1, season)


def _known(column: Floats, pooled: Floats) -> Floats:
    """One place's known values: those of the last 8 weeks, else the last 8, else the pool, else 0."""
    recent = column[-WEEKS:]
    for values in (recent[~np.isnan(recent)], column[~np.isnan(column)][-WEEKS:], pooled):
        if len(values):
            return values
    return np.zeros(1)


def _past_errors(history: Floats, season: int) -> Floats:
    """History minus the median of its place in the 8 weeks before, scaled per place; unknown ones are 0."""
    weekly = _weeks(history, season)
    if weekly.shape[0] < 3:  # noqa: PLR2004 - one week to learn from and two to err in
        return np.zeros(0)
    medians = np.full_like(weekly, np.nan)
    with np.errstate(all="ignore"):
        for week in range(1, weekly.shape[0]):
            past = weekly[max(0, week - WEEKS) : week]
            seen = ~np.isnan(past).all(axis=0)
            medians[week, seen] = np.nanmedian(past[:, seen], axis=0)
    errors = weekly[1:] - medians[1:]
    known = np.where(np.isnan(errors), 0.0, errors)
    scale = known.std(axis=0)
    return (known / np.where(scale > 0, scale, 1.0)).ravel()
