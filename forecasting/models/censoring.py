"""Demand known only as "at least", un-constrained: what it would have been had nobody gone unseen.

Most days are known exactly, days with all their refused on record among them. Of a day that sold out while
the refused left no record only a bound is known. Taken as demand, bounds make quotas too small (a "90 %"
quota held 79 %); left out, smaller still (72 %), since just the busy days are missing; and exact days taken
as bounds make them 17 % too large. So the two are told apart, and only bounds are filled in.

Method: expectation-maximisation for a censored (Tobit) regression of log(1 + y ÷ usual y), of all known
methods the most robust (Queenan, Ferguson, Higbie and Kapoor, Production and Operations Management 16, 2007;
Guo, Xiao and Li, Advances in Operations Research 2012). A day's mean is a smooth level + its weekday + given
features, penalised; its error is normal with a robust deviation for each weekday, drawn to the series'.
Many series are fitted at once: one small matrix each, the same few products for all.

What to train on: a model of quantiles needs values that are spread as demand is, a model of the mean needs
the mean. Filling in the mean makes upper quantiles too low; random draws keep them but add noise of their
own. `y_hat` is spread evenly: the censored days of a weekday take levels of the truncated distribution that
are evenly spaced in any stretch of weeks. docs/forecast-censoring.md has the measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from forecasting.frames import Floats
from forecasting.models.calendar import Bools

WEEK: Final = 7
KNOT_DAYS: Final = 21
"""The level is a broken line with a knot so often."""
ITERATIONS: Final = 40
CLOSE: Final = 0.003  # of a deviation: a series none of whose days moves further is done
BLOCK_SERIES: Final = 256  # fitted at a time, which bounds memory

LEVEL_PENALTY: Final = 1.0  # a step of the level from knot to knot is about one error's deviation
WEEKDAY_PENALTY: Final = 0.1  # a weekday's effect about three
FEATURE_PENALTY: Final = 0.1

WINSOR: Final = 2.5  # deviations beyond which an exact day pulls no harder
REJECT: Final = 5.0  # deviations beyond which it is no day of this kind: a closed day, an outage
WEEKDAY_PRIOR_DAYS: Final = 30.0  # days at which a weekday's own deviation counts for half

LEAST_EXACT_DAYS: Final = 14
DEFAULT_DEVIATION: Final = 0.1
"""Where nothing can be fitted: as likely as not above its bound by a seventh, one in ten by a third."""
LEAST_USUAL: Final = 1e-6  # of the largest day: keeps the logarithm of wild series within bounds
MOST_TIMES: Final = 3.0
"""No day is filled in beyond this times the larger of its bound and the largest exact day."""

_LEAST_DEVIATION: Final = 1e-4
_MOST_DEVIATION: Final = 2.0
_GOLDEN: Final = (math.sqrt(5.0) - 1.0) / 2.0

# The standard normal's upper tail, on a grid: log P(Z > z) and the hazard φ(z) ÷ P(Z > z)
_GRID: Final = np.arange(-8.0, 37.0, 0.005)
_LOG_TAIL: Final = np.log([0.5 * math.erfc(z / math.sqrt(2.0)) for z in _GRID])
_HAZARD: Final = np.exp(-0.5 * _GRID**2 - 0.5 * math.log(2.0 * math.pi) - _LOG_TAIL)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The distribution of demand on each censored day, one after the other (days,)."""

    units: Floats
    """Demand is at least this."""
    mean: Floats
    deviation: Floats
    usual: Floats
    """The unit of the logarithm."""
    most: Floats

    def at(self, levels: Floats) -> Floats:
        """The quantiles (…, days) of demand above its bound, in units, at the bound or above."""
        tail = np.interp(self._scaled, _GRID, _LOG_TAIL) + np.log1p(-levels)
        return self._in_units(self.mean + self.deviation * np.interp(-tail, -_LOG_TAIL, _GRID))

    def expected(self) -> Floats:
        """The mean of demand above its bound, in units: E[exp z | z > b] of a normal z, in closed form."""
        scaled = self._scaled
        shift = np.interp(scaled - self.deviation, _GRID, _LOG_TAIL) - np.interp(scaled, _GRID, _LOG_TAIL)
        return self._in_units(self.mean + 0.5 * self.deviation**2 + shift)

    @property
    def _scaled(self) -> Floats:
        """The bounds in deviations above the mean."""
        scaled = (np.log1p(self.units / self.usual) - self.mean) / self.deviation
        return np.clip(scaled, _GRID[0], _GRID[-1])

    def _in_units(self, z: Floats) -> Floats:
        units: Floats = np.clip(np.expm1(z) * self.usual, self.units, self.most)
        return units


@dataclass(frozen=True, slots=True)
class Unconstrained:
    """Demand with its bounds filled in; the arrays are shaped as the series or panel that was given.

    y_hat: units, for training: exact days as they were, unknown ones NaN, bounds replaced by values at or
    above them, spread as demand is. expected: the same with each bound's mean. fitted: per series whether it
    had enough exact days; where not, bounds are filled in by default (see `unconstrain`).
    """

    y_hat: Floats
    expected: Floats
    fitted: Bools
    _censored: Bools
    _bounds: _Bounds

    def draws(self, n: int, rng: np.random.Generator) -> Floats:
        """Equally likely demands (n, *shape): bounds replaced by independent draws, all else as it was."""
        drawn = np.repeat(self.y_hat[None], n, axis=0)
        drawn[:, self._censored] = self._bounds.at(rng.random((n, len(self._bounds.units))))
        return drawn


def unconstrain(y: Floats, at_least: Bools, *, features: Floats | None = None) -> Unconstrained:
    """Demand of regular daily series with its bounds filled in.

    y: units ≥ 0, NaN = unknown (closed days too, best), one series (days,) or a panel (series, days) of the
    same days. at_least: of the same shape, true where demand is known to be at least `y`; a day with all
    refused on record is exact, not "at least". features: (days, k) of what else moves demand, the same
    for all series, about 0 to 1 in size (calendar.regressors).

    Defaults: a series with fewer than 14 exact days (all days censored, or just opened) is not fitted: each
    bound is taken for its day's median, with the panel's median deviation, or 0.1. A series that never
    changes is filled in with its bounds. No day lies below its bound, or above 3 × the larger of its bound
    and the largest exact day. The same arguments give the same numbers. ValueError for negative or infinite
    units and for shapes that disagree.
    """
    _check(y, at_least, features)
    table = np.atleast_2d(y)
    known = ~np.isnan(table)
    censored = np.atleast_2d(at_least) & known
    exact = known & ~censored
    usual = _usual(table, exact, known)
    z = np.log1p(table / usual[:, None])
    fitted = exact.sum(axis=1) >= LEAST_EXACT_DAYS
    mean, deviation = z.copy(), np.full(table.shape, DEFAULT_DEVIATION)
    basis, penalty = _basis(table.shape[1], features)
    rows = np.flatnonzero(fitted & censored.any(axis=1))
    for start in range(0, len(rows), BLOCK_SERIES):
        block = rows[start : start + BLOCK_SERIES]
        mean[block], deviation[block] = _fit(z[block], censored[block], exact[block], basis, penalty)
    if len(rows):
        deviation[~fitted] = np.median(deviation[rows])
    largest = np.where(exact, table, 0.0).max(axis=1, initial=0.0)
    place = np.nonzero(censored)
    bounds = _Bounds(
        units=table[place],
        mean=mean[place],
        deviation=deviation[place],
        usual=usual[place[0]],
        most=MOST_TIMES * np.maximum(table[place], largest[place[0]]),
    )
    y_hat, expected = table.astype(np.float64), table.astype(np.float64)
    y_hat[place] = bounds.at(_even_levels(censored)[place])
    expected[place] = bounds.expected()
    return Unconstrained(
        y_hat.reshape(y.shape),
        expected.reshape(y.shape),
        fitted.reshape(y.shape[:-1]),
        censored.reshape(y.shape),
        bounds,
    )


def _fit(z: Floats, censored: Bools, exact: Bools, basis: Floats, penalty: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation (series, days) of each day of a block of series."""
    known = censored | exact
    solve = np.stack([np.linalg.inv(basis[row].T @ basis[row] + penalty) for row in known])
    filled = np.where(known, z, 0.0)
    mean = _smoothed(filled, solve, basis)
    spread = 1.4826 * np.nanmedian(np.where(known, np.abs(z - mean), np.nan), axis=1)
    deviation = np.broadcast_to(_bounded(spread)[:, None], z.shape).copy()
    moving = np.arange(len(z))
    for _ in range(ITERATIONS):
        rows = moving  # a series that has settled is left alone, so that it is filled in as it would be alone
        filled, deviation[rows] = _expectations(
            z[rows] - mean[rows], mean[rows], deviation[rows], censored[rows], exact[rows], basis.shape[1]
        )
        renewed = _smoothed(filled, solve[rows], basis)
        far = (np.abs(renewed - mean[rows]) > CLOSE * deviation[rows]).any(axis=1)
        mean[rows] = renewed
        moving = rows[far]
        if not len(moving):
            break
    return mean, deviation


def _smoothed(filled: Floats, solve: Floats, basis: Floats) -> Floats:
    """The regression of complete days on the basis; unknown days are 0 and do not count."""
    weights = np.matmul(solve, (filled @ basis)[:, :, None])[:, :, 0]
    smoothed: Floats = weights @ basis.T
    return smoothed


def _expectations(
    error: Floats, mean: Floats, deviation: Floats, censored: Bools, exact: Bools, columns: int
) -> tuple[Floats, Floats]:
    """What each day is expected to be, given what is known of it (unknown: 0), and the errors' deviation."""
    scaled = error / deviation
    odd = exact & (np.abs(scaled) > REJECT)
    pulled = np.clip(scaled, -WINSOR, WINSOR)
    squares = pulled**2 / _WINSOR_SQUARE
    bound = np.clip(scaled[censored], _GRID[0], _GRID[-1])
    pulled[censored] = np.interp(bound, _GRID, _HAZARD)
    # a censored day's share: E[e² | e > bound] = 1 + bound · hazard(bound), its bound winsorised too
    bound = np.minimum(bound, WINSOR)
    squares[censored] = 1.0 + bound * np.interp(bound, _GRID, _HAZARD)
    pulled[odd] = 0.0
    filled = np.where(censored | exact, mean + pulled * deviation, 0.0)
    used = (censored | exact) & ~odd
    freedom = np.maximum(1.0 - 0.25 * columns / np.maximum(used.sum(axis=1), 1), 0.25)
    return filled, _deviations(np.where(used, squares * deviation**2, 0.0), used, freedom)


def _deviations(squares: Floats, used: Bools, freedom: Floats) -> Floats:
    """The errors' deviation (series, days) by weekday, drawn to the series' where days are few."""
    days = np.maximum(used.sum(axis=1), 1)
    pooled = squares.sum(axis=1) / (days * freedom)
    table = np.empty(squares.shape)
    for weekday in range(WEEK):
        of_day = slice(weekday, None, WEEK)
        own = squares[:, of_day].sum(axis=1) / freedom + WEEKDAY_PRIOR_DAYS * pooled
        table[:, of_day] = (own / (used[:, of_day].sum(axis=1) + WEEKDAY_PRIOR_DAYS))[:, None]
    return _bounded(np.sqrt(table))


def _bounded(deviation: Floats) -> Floats:
    return np.clip(deviation, _LEAST_DEVIATION, _MOST_DEVIATION)


def _basis(days: int, features: Floats | None) -> tuple[Floats, Floats]:
    """The columns (days, columns) whose weighted sum is a day's mean, and their quadratic penalty."""
    knots = max(round((days - 1) / KNOT_DAYS), 1) + 1
    places = np.linspace(0, max(days - 1, 1), knots)
    level = np.maximum(1.0 - np.abs(np.arange(days)[:, None] - places) / (places[1] - places[0]), 0.0)
    steps = np.diff(np.eye(knots), axis=0)
    weekday = np.eye(WEEK)[np.arange(days) % WEEK]
    given = np.zeros((days, 0)) if features is None else features
    columns = np.concatenate([level, weekday, given], axis=1)
    penalty = np.diag(
        np.concatenate(
            [
                np.full(knots, 1e-6),
                np.full(WEEK, WEEKDAY_PENALTY),
                np.full(given.shape[1], FEATURE_PENALTY),
            ]
        )
    )
    penalty[:knots, :knots] += LEVEL_PENALTY * steps.T @ steps
    return columns, penalty


def _usual(table: Floats, exact: Bools, known: Bools) -> Floats:
    """Each series' usual positive day, the unit of its logarithm: of exact days, else of bounds, else 1."""
    usual = np.ones(len(table))
    for row, values in enumerate(table):
        for among in (exact[row], known[row]):
            positive = values[among & (values > 0)]
            if len(positive):
                usual[row] = max(np.median(positive), LEAST_USUAL * np.nanmax(values))
                break
    return usual


def _even_levels(censored: Bools) -> Floats:
    """Levels in (0, 1) for each censored day: of a weekday's, any few in a row are evenly spread.

    Multiples of the golden ratio (Weyl's sequence); weekdays begin at places of their own.
    """
    levels = np.zeros(censored.shape)
    for weekday in range(WEEK):
        of_day = slice(weekday, None, WEEK)
        turn = np.cumsum(censored[:, of_day], axis=1)
        levels[:, of_day] = (0.5 + turn * _GOLDEN + weekday * _GOLDEN**2) % 1.0
    return levels


def _winsor_square() -> float:
    """E[min(e², WINSOR²)] of a standard normal e."""
    density = math.exp(-0.5 * WINSOR**2) / math.sqrt(2.0 * math.pi)
    tail = 0.5 * math.erfc(WINSOR / math.sqrt(2.0))
    return (1.0 - 2.0 * tail) - 2.0 * WINSOR * density + 2.0 * WINSOR**2 * tail


_WINSOR_SQUARE: Final = _winsor_square()


def _check(y: Floats, at_least: Bools, features: Floats | None) -> None:
    if y.ndim not in (1, 2):
        raise ValueError(f"y has {y.ndim} dimensions; expected (days,) or (series, days)")
    if at_least.shape != y.shape:
        raise ValueError(f"at_least has shape {at_least.shape}, y {y.shape}; expected the same")
    if features is not None and (features.ndim != 2 or len(features) != y.shape[-1]):  # noqa: PLR2004
        raise ValueError(f"features have shape {features.shape}; expected ({y.shape[-1]} days, columns)")
    if (y < 0).any() or np.isinf(y).any():
        raise ValueError("y has negative or infinite units; demand is 0 or more, NaN where unknown")
