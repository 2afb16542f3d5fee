"""How many workers a forecast is worth: a worker more as long as it saves enough violating minutes.

A quantile alone spends the same on a worker that keeps load of 1 from becoming too much, which happens
often, and on the 20th, which hardly changes anything. So the quantile follows from a price: with r workers
the load is too much with probability P(load > r), and the workers are those that make P(load > r) + price ×
r least. This is the newsvendor's marginal rule (Porteus, "Foundations of Stochastic Inventory Theory",
2002, ch. 1) with a loss that counts minutes, as a service level objective does, instead of the load beyond
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from forecasting.frames import Floats

Integers = npt.NDArray[np.int64]

_BEYOND: Final = 1.5
"""The tail above the outermost quantile is as long as its last stretch times this …"""
_LAST_SHARE: Final = 0.2
"""… and leaves this share of what lay beyond the outermost quantile."""


def workers_worth(
    levels: Sequence[float],
    quantiles: Floats,
    price: float | Floats,
    most: int,
    least: Integers | None = None,
) -> Integers:
    """The workers worth their price, 0 to `most`, one for each column; 0 where a quantile is unknown (NaN).

    quantiles: (levels, columns), the load as workers kept fully busy, at ascending levels inside (0, 1), at
    least two. price: the probability of too much load that one worker must take away, one or by column.
    least: by column the workers that are there in any case, so that only those beyond have a price; without
    it a load may be so high that none at all is cheapest. Between the quantiles the load is spread evenly,
    below them down to 0. ValueError for fewer levels or a price outside (0, 1).
    """
    prices = np.asarray(price, dtype=np.float64)
    if not ((prices > 0) & (prices < 1)).all():
        raise ValueError(f"price {price}: expected a probability between 0 and 1")
    edges, shares = _spread(levels, quantiles)
    columns = edges.shape[1]
    free = np.zeros(columns, dtype=np.int64) if least is None else least
    least_cost = np.full(columns, np.inf)
    worth = np.zeros(columns, dtype=np.int64)
    for workers in range(most + 1):
        cost = 1.0 - _held(edges, shares, np.full(columns, workers)) + prices * workers
        better = (workers >= free) & (cost < least_cost - 1e-12)
        least_cost, worth = np.where(better, cost, least_cost), np.where(better, workers, worth)
    result: Integers = np.where(np.isnan(quantiles).any(axis=0), 0, worth)
    return result


def share_held(levels: Sequence[float], quantiles: Floats, workers: Integers) -> Floats:
    """P(load ≤ workers) by column: the quantile that so many workers are; arguments as `workers_worth`'s."""
    edges, shares = _spread(levels, quantiles)
    return _held(edges, shares, workers)


def _spread(levels: Sequence[float], quantiles: Floats) -> tuple[Floats, Floats]:
    """Where the load's distribution bends, (edges, columns), and the share below each edge."""
    if len(levels) < 2 or quantiles.shape[0] != len(levels):  # noqa: PLR2004 – a stretch has two ends
        raise ValueError(
            f"{len(levels)} levels for {quantiles.shape[0]} quantiles: expected two or more of each"
        )
    known = ~np.isnan(quantiles).any(axis=0)
    ascending = np.maximum.accumulate(np.where(known, quantiles, 0.0), axis=0)
    tail = ascending[-1] + _BEYOND * (ascending[-1] - ascending[-2])
    edges = np.vstack([np.zeros_like(tail), ascending, tail])
    return edges, np.array([0.0, *levels, 1.0 - _LAST_SHARE * (1.0 - levels[-1])])


def _held(edges: Floats, shares: Floats, workers: Integers) -> Floats:
    """The share of the load's distribution that so many workers (by column) carry."""
    columns = np.arange(edges.shape[1])
    below = (edges <= workers).sum(axis=0)
    low = np.clip(below - 1, 0, len(shares) - 2)
    left, right = edges[low, columns], edges[low + 1, columns]
    part = np.clip((workers - left) / np.maximum(right - left, 1e-9), 0.0, 1.0)
    held: Floats = shares[low] + (shares[low + 1] - shares[low]) * part
    return np.where(below == len(shares), 1.0, held)
