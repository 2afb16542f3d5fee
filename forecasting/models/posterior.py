"""A day's demand when part of it is known: Bayes on the forecast, with a share that varies from day to day.

Before anything was wished, demand Y is a gamma with the forecast's mean and variance or, where the forecast
is doubted, one far wider. Of Y units a share Beta(s·f, s·(1 − f)) is on hand, so n of them on hand are
beta-binomial given Y: f is the usual share, s its concentration. s → ∞ is multiplicative pick-up, where what
is on hand scales what is to come (the gamma-Poisson update of call-centre forecasts: Weinberg, Brown and
Stroud, JASA 102, 2007). s = the gamma's shape is additive pick-up: what is to come does not depend on what is
on hand (Lukacs, Annals of Mathematical Statistics 26, 1955).

More on hand never means less demand as long as s·(1 − f) ≥ 1, which is kept: the likelihood ratio of n + 1
to n then rises with Y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from forecasting.frames import Floats

DOUBT_SPREAD: Final = 3.0
CELLS: Final = 160
_COARSE: Final = 80
_TAIL: Final = 1e-7
_TINY: Final = 1e-9
_LEAST_TOTAL: Final = 0.25  # a gamma's density may have no value at 0; a count of 0 has one
_HALF_LOG_2_PI: Final = 0.9189385332046727


@dataclass(frozen=True, slots=True)
class DayEvidence:
    """What is known of each day's demand; all (days,).

    mean, variance: of the forecast. doubt: how likely it is far off, below 1. on_hand: units. share, below 1,
    and concentration: of a day's demand that is usually on hand; share 0: on_hand says nothing.
    """

    mean: Floats
    variance: Floats
    doubt: Floats
    on_hand: Floats
    share: Floats
    concentration: Floats

    def quantiles(self, levels: Floats) -> Floats:
        """The quantiles (levels, days) of each day's whole demand at `levels` (levels, days), from 0 to 1."""
        edges, cumulative = _remaining(self)
        columns = [np.interp(levels[:, d], cumulative[:, d], edges[:, d]) for d in range(len(self.mean))]
        return self.on_hand + np.column_stack(columns)

    def levels(self, values: Floats) -> Floats:
        """The levels (values, days) at which `values` (values, days) stand in each day's whole demand."""
        edges, cumulative = _remaining(self)
        still = values - self.on_hand
        return np.column_stack(
            [np.interp(still[:, d], edges[:, d], cumulative[:, d]) for d in range(len(self.mean))]
        )

    def before(self) -> DayEvidence:
        """The same days before anything was on hand."""
        nothing = np.zeros_like(self.mean)
        return DayEvidence(self.mean, self.variance, self.doubt, nothing, nothing, nothing + 1.0)


def log_gamma(x: Floats) -> Floats:
    """The logarithm of Γ(x) for x ≥ 1, to about 1e-8 (relative for large x): Stirling's series at x + 3."""
    y = x + 3.0
    over = 1.0 / (y * y)
    series = (1 / 12 - over * (1 / 360 - over * (1 / 1260 - over * (1 / 1680 - over / 1188)))) / y
    value: Floats = (y - 0.5) * np.log(y) - y + _HALF_LOG_2_PI + series - np.log(x * (x + 1.0) * (x + 2.0))
    return value


def _remaining(days: DayEvidence) -> tuple[Floats, Floats]:
    """The distribution of what is still to come: cell edges and the probability up to them, (edges, days)."""
    mean = np.maximum(days.mean, _TINY)
    variance = np.maximum(days.variance, _TINY * mean)
    apart = np.maximum(1.0 - days.share, _TINY)
    concentration = np.maximum(days.concentration, 1.0 / apart)
    wide = DOUBT_SPREAD**2 * variance
    farthest = np.maximum(mean + 6 * np.sqrt(wide) + 10 * wide / mean - days.on_hand, 0.0)
    scaled = 4 * apart / np.maximum(days.share, 0.05) * (days.on_hand + 1)
    farthest = np.maximum(farthest, np.where(days.share > 0, scaled, 0.0)) + 5.0

    def weigh(still: Floats, width: Floats) -> Floats:
        total = still + days.on_hand
        log = _log_forecast(np.maximum(total, _LEAST_TOTAL), mean, variance, days.doubt)
        if days.share.any():
            evidence = (
                log_gamma(total + 1)
                - log_gamma(still + 1)
                + log_gamma(still + concentration * apart)
                - log_gamma(total + concentration)
            )
            log = log + np.where(days.share > 0, evidence, 0.0)
        weight: Floats = np.exp(log - log.max(axis=0)) * width
        return weight

    edges = farthest * (np.arange(_COARSE + 1)[:, None] / _COARSE) ** 2
    cumulative = _cumulate(weigh((edges[1:] + edges[:-1]) / 2, np.diff(edges, axis=0)))
    low = _edge(edges, cumulative, _TAIL, before=True)
    high = _edge(edges, cumulative, 1 - _TAIL, before=False)
    # few units are counted one by one, many in even cells
    counted = high <= CELLS - 1
    places = np.arange(CELLS + 1)[:, None]
    even = low + (high - low) * places / CELLS
    edges = np.where(counted, np.maximum(places - 0.5, 0.0), even)
    middle = np.where(counted, places[:-1], (even[1:] + even[:-1]) / 2)
    width = np.where(counted, 1.0, np.diff(even, axis=0))
    return edges, _cumulate(weigh(middle, width))


def _log_forecast(total: Floats, mean: Floats, variance: Floats, doubt: Floats) -> Floats:
    """The log density of the forecast, but for a constant: its gamma, and with `doubt` the wider one."""
    parts = []
    for share, wider in ((1.0 - doubt, 1.0), (np.maximum(doubt, _TINY), DOUBT_SPREAD**2)):
        shape, rate = mean**2 / (variance * wider), mean / (variance * wider)
        size = shape * np.log(rate) - log_gamma(shape + 1) + np.log(shape)
        parts.append(np.log(share) + size + (shape - 1.0) * np.log(total) - rate * total)
    joined: Floats = np.logaddexp(*parts)
    return joined


def _cumulate(weights: Floats) -> Floats:
    """Probabilities up to each edge, from 0 to 1."""
    sums = np.vstack([np.zeros(weights.shape[1]), np.cumsum(weights, axis=0)])
    cumulative: Floats = sums / sums[-1]
    return cumulative


def _edge(edges: Floats, cumulative: Floats, level: float, *, before: bool) -> Floats:
    """The last edge below which less than the level lies, or the first below which at least that lies."""
    place = (cumulative < level).sum(axis=0)
    place = np.maximum(place - 1, 0) if before else np.minimum(place, len(edges) - 1)
    found: Floats = edges[place, np.arange(edges.shape[1])]
    return found
