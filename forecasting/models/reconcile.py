"""Branch forecasts that add up: joint paths by the order of past errors, and totals that two views agree on.

A region's quantile is the quantile of its branches' *summed* paths, so the paths of one number must belong
together. Branches are joined by the Schaake shuffle (Clark et al., Journal of Hydrometeorology 5, 2004; as
a copula: Schefzik, Thorarinsdottir and Gneiting, Statistical Science 28, 2013): each branch keeps its own
quantiles, and path p has the rank that the branch's error had on the p-th set of past days, the same days for
all branches. The totals are then moved towards independently made forecasts of region and bank, and each
path's difference is shared among its branches as the best linear guess says (MinT: Wickramasuriya,
Athanasopoulos and Hyndman, JASA 114, 2019).

A bank is done region by region, so that no more than one region's branches are in memory:

1. `past_days` once for the bank;
2. each region: `joint_paths`, of which only the sum over branches is kept;
3. `agreed_totals` of the regions, then of the bank, then `matched` of the regions to the bank;
4. each region again: `joint_paths` (the same numbers) and `matched` to the region's total.

`reconciled` does steps 3 and 4 for branches that are all in memory. Arrays are (series, paths, steps).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from forecasting.frames import Floats
from forecasting.models.paths import stratified_levels

Indices = npt.NDArray[np.intp]

WEEK: Final = 7
BLOCK_DAYS: Final = 28
BOTTOM_UP_SHARE: Final = 0.5
"""Weight of the summed branches in a total; the rest is the total's own forecast."""

_TIE: Final = 1e-6


def past_days(
    days: int, *, paths: int, steps: int, rng: np.random.Generator, block: int = BLOCK_DAYS, align: int = WEEK
) -> Indices:
    """Positions (paths, steps) in a history of `days` residuals: whose errors each path's errors resemble.

    Contiguous blocks that start multiples of `align` days before the history's end, seen as a ring, so that
    weekdays stay together: step 0 follows the history's last day. ValueError without any day.
    """
    if days < 1:
        raise ValueError(f"the residual history has {days} days; expected at least 1")
    blocks = -(-steps // block)
    weeks = max(days // align, 1)
    starts = days - align * rng.integers(1, weeks + 1, size=(paths, blocks, 1))
    places: Indices = ((starts + np.arange(block)) % days).reshape(paths, blocks * block)[:, :steps]
    return places


def joint_paths(
    quantiles: Floats, levels: Sequence[float], residuals: Floats, days: Indices, rng: np.random.Generator
) -> Floats:
    """Paths (series, paths, steps) with the given quantiles, in the order of the residuals on past days.

    quantiles: (series, levels, steps), `levels` ascending within 0..1; between and beyond them the quantile
    function is a straight line over normal deviates, never below 0. residuals: (series, days) of past
    errors, NaN = unknown: taken to go with the others as they go with each other. days: from `past_days`.
    Steps whose quantiles are all 0 (closed) stay 0. The generator orders ties and the unknown; pass one
    seeded by the region, so that a second call gives the same paths. ValueError where shapes disagree.
    """
    if quantiles.shape[0] != residuals.shape[0] or quantiles.shape[2] != days.shape[1]:
        raise ValueError(
            f"quantiles are {quantiles.shape} (series, levels, steps), residuals {residuals.shape} "
            f"(series, days), past days {days.shape} (paths, steps): series and steps must be the same"
        )
    marginals = quantile_functions(quantiles, levels, stratified_levels(days.shape[0]))
    return rejoined(marginals, residuals, days, rng)


def rejoined(paths: Floats, residuals: Floats, days: Indices, rng: np.random.Generator) -> Floats:
    """The paths (series, paths, steps), each step's values dealt anew in the order of the residuals.

    For branches forecast as paths of their own: their values stay, the order comes from the past days.
    """
    scaled = _scaled(residuals)
    known = ~np.isnan(scaled)
    common = np.where(known, scaled, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    own = np.sqrt(max(1.0 - float(common.var()), 0.0))
    dealt = np.empty_like(paths)
    for number, errors in enumerate(scaled):
        drawn, noise = errors[days], rng.standard_normal(days.shape)
        # equal errors (a day drawn twice) are ordered by chance; an unknown one is the others' and chance
        drawn = np.where(np.isnan(drawn), common[days] + own * noise, drawn + _TIE * noise)
        ranks = drawn.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        dealt[number] = np.take_along_axis(np.sort(paths[number], axis=0), ranks, axis=0)
    return dealt


def _scaled(residuals: Floats) -> Floats:
    """The residuals in deviations of their series about their mean; NaN where unknown."""
    known = ~np.isnan(residuals)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = residuals - np.where(known, residuals, 0.0).sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(known, centred, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    scaled: Floats = centred / np.where(spread > 0, spread, 1.0)
    return scaled


def quantile_functions(quantiles: Floats, levels: Sequence[float], at: Floats) -> Floats:
    """The values (series, levels asked for, steps) of quantile functions known at `levels`, ≥ 0.

    Straight lines over normal deviates, so that a normal distribution is met exactly, tails included;
    quantiles that cross are put in order. One level alone is a constant.
    """
    known = np.maximum.accumulate(np.maximum(quantiles, 0.0), axis=1)
    if known.shape[1] == 1:
        return np.repeat(known, len(at), axis=1)
    deviate, wanted = _deviates(levels), _deviates(at)
    left = np.clip(np.searchsorted(deviate, wanted) - 1, 0, len(deviate) - 2)
    weight = ((wanted - deviate[left]) / (deviate[left + 1] - deviate[left]))[:, None]
    values: Floats = known[:, left] + weight * (known[:, left + 1] - known[:, left])
    return np.maximum(values, 0.0)


def level_paths(quantiles: Floats, levels: Sequence[float], paths: int) -> Floats:
    """Quantiles (series, levels, steps) as paths (series, steps, paths), ascending, each as likely.

    Of each step on its own: which path of one belongs to which of another is not told.
    """
    return quantile_functions(quantiles, levels, stratified_levels(paths)).transpose(0, 2, 1)


def agreed_totals(
    totals: Floats, quantiles: Floats, levels: Sequence[float], *, share: float = BOTTOM_UP_SHARE
) -> Floats:
    """Totals (groups, paths, steps) between the summed branches and the totals' own forecasts.

    totals: summed paths. quantiles: (groups, levels, steps) of the totals' own forecasts, NaN = none: there
    the sum stands. Each quantile is `share` of the sum's and the rest of the forecast's; each path keeps its
    rank. A step at which all branches are closed stays 0.
    """
    order = np.argsort(totals, axis=1, kind="stable")
    ascending = np.take_along_axis(totals, order, axis=1)
    own = quantile_functions(quantiles, levels, stratified_levels(totals.shape[1]))
    mixed = np.where(np.isnan(own), ascending, share * ascending + (1.0 - share) * own)
    mixed = np.where(ascending[:, -1:] > 0, mixed, 0.0)
    agreed = np.empty_like(totals)
    np.put_along_axis(agreed, order, mixed, axis=1)
    return agreed


def matched(paths: Floats, totals: Floats) -> Floats:
    """The paths (series, paths, steps) moved so that each sums to its total (paths, steps), never below 0.

    The difference is shared as the regression of each branch on the sum says, that is, more to branches that
    are uncertain and go with the others, in proportion to a branch's level at the step: closed days stay 0.
    Where no branch is open the sum stays 0, whatever the total.
    """
    sums = paths.sum(axis=0)
    weights = _weights(paths, sums)
    moved = np.maximum(paths + (totals - sums) * weights[:, None, :], 0.0)
    reached = moved.sum(axis=0)
    moved *= np.divide(totals, reached, out=np.zeros_like(totals), where=reached > 0)
    result: Floats = moved
    return result


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Coherent paths: in each path and step the branches add up to their region, the regions to the bank.

    branches: (series, paths, steps); regions: (paths, steps) by name; bank: (paths, steps).
    """

    branches: Floats
    regions: dict[str, Floats]
    bank: Floats


def reconciled(
    paths: Floats,
    parent_of: Sequence[str],
    total_quantiles: Mapping[str, Floats],
    levels: Sequence[float],
    *,
    bank_quantiles: Floats | None = None,
    share: float = BOTTOM_UP_SHARE,
) -> Reconciled:
    """Branch paths whose sums agree with independently made totals of regions and bank.

    paths: (series, paths, steps), joint; parent_of: each series' region. total_quantiles: by region
    (levels, steps); a region without one keeps the sum of its branches, as does the bank with None.
    ValueError where a series has no region or a total is of an unknown one.
    """
    if len(parent_of) != len(paths):
        raise ValueError(f"{len(paths)} series, but parent_of names the regions of {len(parent_of)}")
    names = sorted(set(parent_of))
    if unknown := sorted(set(total_quantiles) - set(names)):
        raise ValueError(f"total_quantiles of {unknown}: no series lies there; known are {names}")
    members = {name: np.array([parent == name for parent in parent_of]) for name in names}
    sums = np.stack([paths[members[name]].sum(axis=0) for name in names])
    none = np.full((len(levels), paths.shape[2]), np.nan)
    quantiles = np.stack([total_quantiles.get(name, none) for name in names])
    agreed = agreed_totals(sums, quantiles, levels, share=share)
    if bank_quantiles is not None:
        bank = agreed_totals(agreed.sum(axis=0)[None], bank_quantiles[None], levels, share=share)[0]
        agreed = matched(agreed, bank)
    branches = np.empty_like(paths)
    for name, total in zip(names, agreed, strict=True):
        branches[members[name]] = matched(paths[members[name]], total)
    regions = {name: branches[members[name]].sum(axis=0) for name in names}
    return Reconciled(branches, regions, np.sum(list(regions.values()), axis=0))


def _weights(paths: Floats, sums: Floats) -> Floats:
    """Each branch's share (series, steps) of a difference; columns sum to 1, or to 0 where all are closed."""
    level = paths.mean(axis=1)
    together = ((paths - level[:, None, :]) * (sums - sums.mean(axis=0))).sum(axis=(1, 2))
    together = np.maximum(together, 0.0)
    mean = level.mean(axis=1)
    if not together.any():
        together = mean
    weights = np.divide(together, mean, out=np.zeros_like(mean), where=mean > 0)[:, None] * level
    whole = weights.sum(axis=0)
    # where only branches that move against the sum are open, their levels share it
    weights = np.where(whole > 0, weights, level)
    whole = weights.sum(axis=0)
    shares: Floats = np.divide(weights, whole, out=np.zeros_like(weights), where=whole > 0)
    return shares


def _deviates(levels: Sequence[float] | Floats) -> Floats:
    """The standard normal deviate of each level in (0, 1)."""
    return np.array([NormalDist().inv_cdf(float(level)) for level in levels])
