"""A fixed total shared out so that one more unit is worth the same everywhere.

Head office fixes a month's total, a region a week's: which branch and day gets how much of it? Units used,
Σ E[min(demand, units)], are greatest when the chance that one more unit would be used, P(demand > units), is
equal in all cells that are free to move (equal marginal returns of a separable concave problem: Gross, 1956;
Ibaraki and Katoh, "Resource Allocation Problems", 1988, ch. 4). With sample paths that chance is the share
of paths beyond the units, so that the greedy answer is found by a search over shares: exact, and quick.

A cell is whatever shares the total: a branch on a day, a day of one branch, a branch over a month.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.frames import Floats

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """A total as shared out."""

    units: Integers
    """By cell, in the order of the paths."""
    worth: float
    """The chance that one more unit would be used where it is worth most: what raising the total buys."""
    left_units: int
    """Of the total, what no cell may take (all are at their caps)."""
    floors_met: bool
    """False: the total is less than the floors, and they were shared out themselves."""


def split_total(
    total: int, paths: Floats, *, floors: Integers | None = None, caps: Integers | None = None
) -> Split:
    """The total over cells so that as many units as can be expected are used; Σ units = total − left_units.

    paths: (cells, paths) demand in units, of each cell on its own (which path of one belongs to which of
    another does not matter: only sums do), rounded to whole units, as customers are. floors, caps: (cells,)
    units. Beyond the largest path nothing is known to be used; what is left then goes where demand spreads
    most, up to the caps. ValueError for a negative total, a floor above its cap, and shapes that do not fit.
    """
    cells, count = paths.shape
    least = np.zeros(cells, dtype=np.int64) if floors is None else floors.astype(np.int64)
    most = np.full(cells, np.iinfo(np.int64).max // max(cells, 1)) if caps is None else caps.astype(np.int64)
    _check(total, cells, count, least, most)
    floors_met = int(least.sum()) <= total
    if not floors_met:
        least, most = np.zeros_like(least), least
    samples = np.floor(np.sort(paths, axis=1) + 0.5)

    def wanted(rank: int) -> Integers:
        """Units of each cell that at least `rank` of its paths would use."""
        if rank > count:
            return least
        return np.clip(samples[:, count - rank].astype(np.int64), least, most)

    low, high = 0, count + 1  # wanted(high) fits into the total; wanted(low) does not, as far as is known
    while high - low > 1:
        middle = (low + high) // 2
        if int(wanted(middle).sum()) <= total:
            high = middle
        else:
            low = middle
    units = wanted(high)
    if low > 0:  # every further unit is worth the same, up to what one path fewer asks for
        units = _spread(total - int(units.sum()), units, wanted(low), wanted(low) - units)
    else:
        beyond = samples[:, -1] - samples[:, count // 2] + np.sqrt(np.maximum(samples[:, -1], 1.0))
        units = _spread(total - int(units.sum()), units, most, beyond)
    free = units < most
    used = (samples > units[:, None]).mean(axis=1)
    return Split(
        units=units,
        worth=float(used[free].max()) if free.any() else 0.0,
        left_units=total - int(units.sum()),
        floors_met=floors_met,
    )


def _spread(left: int, units: Integers, most: Integers, shares: Floats | Integers) -> Integers:
    """The units with as many of the left ones as fit below `most`, in proportion to `shares`."""
    units = units.copy()
    weight = np.where(units < most, np.maximum(shares, 0.0), 0.0)
    while left > 0 and weight.sum() > 0:
        room = most - units
        exact = left * weight / weight.sum()
        step = np.minimum(np.floor(exact).astype(np.int64), room)
        if (spare := left - int(step.sum())) > 0:
            open_cells = np.flatnonzero((weight > 0) & (step < room))
            order = open_cells[np.argsort(-(exact - step)[open_cells], kind="stable")]
            step[order[:spare]] += 1
        units += step
        left -= int(step.sum())
        weight = np.where(units < most, weight, 0.0)
    return units


def _check(total: int, cells: int, count: int, floors: Integers, caps: Integers) -> None:
    if total < 0:
        raise ValueError(f"the total is {total} units; expected 0 or more")
    if count < 1 or floors.shape != (cells,) or caps.shape != (cells,):
        raise ValueError(
            f"{cells} cells of {count} paths with {floors.shape} floors and {caps.shape} caps; expected at "
            "least one path, and a floor and a cap for each cell"
        )
    if (bad := np.flatnonzero(floors > caps)).size:
        place = int(bad[0])
        raise ValueError(f"cell {place} has the floor {floors[place]} above its cap {caps[place]}")
