"""Quota policies: each day's units as a policy would have set them on its eve, from what was known then.

Arrays: `values` (series, days) is all demand known at the end, day 0 of the replay at `first`; quotas are
(series, weeks × 7). With a total, every policy shares out the same units each week.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from forecasting.decisions.allocation import Integers, split_total
from forecasting.decisions.trust import POOL_PATHS, PRIOR, faded, past_ways, pooled, trust
from forecasting.frames import Floats
from forecasting.models.components import MODEL_LEVELS
from forecasting.models.reconcile import level_paths

WEEK: Final = 7
YEAR_WEEKS: Final = 52
MEAN_WEEKS: Final = 8
GRAINS: Final = 2_000
"""A week's total is shared out in so many grains: demand of a replay may be money or parts of a unit."""
POOL: Final = "pool"
_LEVELS: Final = np.array(MODEL_LEVELS)


def weekly_totals(values: Floats, first: int) -> Floats:
    """Each series' mean week over the 52 weeks before `first`: the total from outside, (series,)."""
    total: Floats = values[:, first - YEAR_WEEKS * WEEK : first].sum(axis=1) / YEAR_WEEKS
    return total


def in_proportion(weights: Floats, totals: Floats) -> Floats:
    """The totals shared out within each week by weights (series, days); evenly where all are 0."""
    series, days = weights.shape
    weekly = weights.reshape(series, days // WEEK, WEEK)
    sums = weekly.sum(axis=2, keepdims=True)
    shares = np.where(sums > 0, weekly / np.where(sums > 0, sums, 1.0), 1.0 / WEEK)
    return (shares * totals[:, None, None]).reshape(series, days)


def last_week(values: Floats, first: int, days: int) -> Floats:
    """The demand of the same day a week before."""
    return values[:, first - WEEK : first - WEEK + days]


def weekday_mean(values: Floats, first: int, days: int, weeks: int = MEAN_WEEKS) -> Floats:
    """The mean demand of the same weekday over the last weeks."""
    shifted = [values[:, first - WEEK * k : first - WEEK * k + days] for k in range(1, weeks + 1)]
    mean: Floats = np.mean(shifted, axis=0)
    return mean


def weekday_quantile(values: Floats, first: int, days: int, level: float) -> Floats:
    """weeks8's quantile: of the same weekday over the last eight weeks."""
    shifted = [values[:, first - WEEK * k : first - WEEK * k + days] for k in range(1, MEAN_WEEKS + 1)]
    found: Floats = np.quantile(shifted, level, axis=0)
    return found


def year_quantile(values: Floats, first: int, days: int, level: float) -> Floats:
    """The quantile of all days of the last 52 weeks: one number, moving slowly."""
    span = YEAR_WEEKS * WEEK
    return np.column_stack(
        [np.quantile(values[:, day - span : day], level, axis=1) for day in range(first, first + days)]
    )


def by_trust(
    values: Floats, first: int, models: Mapping[str, Floats], totals: Floats
) -> tuple[Floats, list[dict[str, float]]]:
    """Slotcast's quotas with a total, and the trust of each night in each way to foretell.

    models: by name, levels (days, series, MODEL_LEVELS, 7), row k made on the eve of day k. Each night what
    is left of the week is shared out over the days that are left, by all ways together; and on paper by each
    of them alone, of which the days that have come are the judge, on all series together. A unit set for a
    day that has passed is gone, whether it was used or not.
    """
    days, series = next(iter(models.values())).shape[:2]
    losses = dict.fromkeys([*models, *PRIOR], 0.0)
    left = {way: np.full(series, GRAINS) for way in [POOL, *losses]}
    grains = np.where(totals > 0, totals, 1.0) / GRAINS
    nights: list[dict[str, float]] = []
    quotas = np.zeros((series, days))
    for day in range(days):
        if day % WEEK == 0:
            left = {way: np.where(totals > 0, GRAINS, 0) for way in left}
        steps = WEEK - day % WEEK
        told = {
            name: level_paths(levels[day, :, :, :steps], MODEL_LEVELS, POOL_PATHS)
            for name, levels in models.items()
        }
        ways = told | past_ways(values[:, : first + day], steps)
        weights = trust(losses)
        nights.append(weights)
        units = {
            way: _first_day(paths / grains[:, None, None], left[way])
            for way, paths in {POOL: pooled(ways, weights), **ways}.items()
        }
        left = {way: left[way] - units[way] for way in left}
        quotas[:, day] = units[POOL] * grains
        came = values[:, first + day]
        unserved = {way: float(np.maximum(came - units[way] * grains, 0.0).sum()) for way in ways}
        usual = float(values[:, first + day - YEAR_WEEKS * WEEK : first + day].mean(axis=1).sum())
        losses = faded(losses, unserved, usual)
    return quotas, nights


def _first_day(paths: Floats, left: Integers) -> Integers:
    """The grains of the first day of paths (series, steps, n), each series with its own left to share out."""
    return np.array([split_total(int(n), own).units[0] for n, own in zip(left, paths, strict=True)])


def foresight(demand: Floats, totals: Floats) -> Floats:
    """The totals as perfect foresight shares them out: as demand goes, (series, days)."""
    return in_proportion(demand, totals)


def policies_with_total(
    values: Floats, first: int, models: Mapping[str, Floats], upper: Mapping[str, Floats] | None = None
) -> dict[str, Floats]:
    """The quotas of every policy at the same weekly totals.

    models: what each model of the forecast said, as for `by_trust`; upper: further policies' weights.
    """
    days = next(iter(models.values())).shape[0]
    totals = weekly_totals(values, first)
    came = values[:, first : first + days]
    slotcast, _ = by_trust(values, first, models, totals)
    return {
        "static": in_proportion(np.ones_like(came), totals),
        "last_week": in_proportion(last_week(values, first, days), totals),
        "weekday_mean": in_proportion(weekday_mean(values, first, days), totals),
        **{name: in_proportion(weights, totals) for name, weights in (upper or {}).items()},
        "slotcast": slotcast,
        "foresight": foresight(came, totals),
    }


def policies_at_level(
    values: Floats, first: int, levels: Floats, level: float, upper: Mapping[str, Floats] | None = None
) -> dict[str, Floats]:
    """The quotas of every policy without a total: each its own quantile at the level."""
    days, series = levels.shape[:2]
    own = [
        [float(np.interp(level, _LEVELS, quantiles)) for quantiles in night] for night in levels[:, :, :, 0]
    ]
    return {
        "static": year_quantile(values, first, days, level),
        "weekday_quantile": weekday_quantile(values, first, days, level),
        **(upper or {}),
        "slotcast": np.array(own).reshape(days, series).T.copy(),
    }
