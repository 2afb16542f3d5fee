"""Joint sample paths from marginals and residuals: what makes sums over weeks and months right.

Arrays are (paths, steps). Everything random comes from the generator that is passed in.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecasting.frames import Floats

Ranks = npt.NDArray[np.intp]


def block_bootstrap(
    residuals: Floats, paths: int, steps: int, *, block: int, align: int, rng: np.random.Generator
) -> Floats:
    """Residuals redrawn in contiguous blocks, (paths, steps); neighbouring steps keep their dependence.

    `residuals` is one series without NaN, oldest first, seen as a ring. Blocks start at multiples of `align`
    counted back from its end, so that a block keeps its place in the day or week. No residuals: zeros.
    """
    if len(residuals) == 0:
        return np.zeros((paths, steps))
    blocks = -(-steps // block)
    places = max(len(residuals) // align, 1)
    starts = (len(residuals) - align * rng.integers(1, places + 1, size=(paths, blocks, 1))) % len(residuals)
    index = (starts + np.arange(block)) % len(residuals)
    drawn: Floats = residuals[index].reshape(paths, blocks * block)[:, :steps]
    return drawn


def ranks_of(values: Floats) -> Ranks:
    """Each path's rank (0 = lowest) among all paths, per step."""
    return values.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")


def arrange(marginals: Floats, ranks: Ranks) -> Floats:
    """Paths with the values `marginals` (ascending along axis 0) at each step, in the order of `ranks`."""
    return np.take_along_axis(marginals, ranks, axis=0)


def stratified_levels(paths: int) -> Floats:
    """Evenly spaced quantile levels, one for each path."""
    return (np.arange(paths) + 0.5) / paths
