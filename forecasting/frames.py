"""The tables that the parts of forecasting hand each other: column names, dtypes, casts, quantile levels.

pandas gives `object` for empty results and `datetime64[us]` by default; every table that crosses a boundary
is cast here, so that an empty frame has the dtypes of a full one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

ID: Final = "unique_id"
TIME: Final = "ds"
VALUE: Final = "y"
CENSORED: Final = "censored"
"""A history's optional column: true where demand is known only as at least `y`."""
MEAN: Final = "mean"

QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
"""The levels that are stored with every forecast; others come from its sample paths."""

SCORED_QUANTILES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The levels over which the weighted quantile loss is averaged."""

LOAD_QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)
"""The levels at which the pressure on servers is foretold: a worker's worth needs the upper tail, too."""

TIME_DTYPE: Final = "datetime64[us]"

Floats = npt.NDArray[np.float64]


def quantile_column(level: float) -> str:
    """The column of a quantile level: 0.1 is `q0.1`, 0.25 is `q0.25`."""
    return f"q{level:g}"


def rps_column(level: float) -> str:
    """The stored column of a quantile of pressure: 0.1 is `q10_rps`, 0.975 is `q975_rps`."""
    return f"q{f'{100 * level:g}'.replace('.', '')}_rps"


def history_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """One series as columns `ds` (naive) and `y` (float, NaN = unknown), sorted by `ds`, index 0..n-1."""
    typed = pd.DataFrame(
        {TIME: frame[TIME].astype(TIME_DTYPE), VALUE: pd.to_numeric(frame[VALUE]).astype("float64")}
    )
    return typed.sort_values(TIME, ignore_index=True)


def series_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Many series as columns `unique_id` (str), `ds` (naive), `y` (float), sorted by id and `ds`.

    `censored` (bool) is kept where it is given.
    """
    typed = pd.DataFrame(
        {
            ID: frame[ID].astype("str"),
            TIME: frame[TIME].astype(TIME_DTYPE),
            VALUE: pd.to_numeric(frame[VALUE]).astype("float64"),
        }
    )
    if CENSORED in frame:
        typed[CENSORED] = frame[CENSORED].astype("bool")
    return typed.sort_values([ID, TIME], ignore_index=True)


def forecast_frame(
    steps: pd.DatetimeIndex, paths: Floats, levels: Sequence[float] = QUANTILES
) -> pd.DataFrame:
    """The forecast of one series: `ds`, `mean` and one column per level; quantiles never cross.

    `paths` is (paths, steps). Levels are written in ascending order whatever their order in `levels`.
    """
    ascending = sorted(set(levels))
    table = {TIME: steps.astype(TIME_DTYPE), MEAN: paths.mean(axis=0)}
    # accumulate: interpolation of equal values may differ in the last bit between two levels
    cuts = np.maximum.accumulate(np.quantile(paths, ascending, axis=0), axis=0)
    table |= {quantile_column(level): cut for level, cut in zip(ascending, cuts, strict=True)}
    return pd.DataFrame(table)


@dataclass(frozen=True, slots=True)
class SamplePaths:
    """Equally likely futures of one daily series, whole days from `first_day` on.

    `values` is (paths, days) in units, never negative. Days of one path belong together, so the quantile of a
    week or a month is the quantile of the paths' sums, never the sum of the days' quantiles.
    """

    first_day: date
    values: Floats

    @property
    def last_day(self) -> date:
        """The last day forecast."""
        return date.fromordinal(self.first_day.toordinal() + self.values.shape[1] - 1)

    def sums(self, first: date, last: date) -> Floats:
        """Each path's units from `first` to `last`, both included; ValueError outside the forecast days."""
        start, stop = (day.toordinal() - self.first_day.toordinal() for day in (first, last))
        if not 0 <= start <= stop < self.values.shape[1]:
            raise ValueError(f"paths cover {self.first_day} to {self.last_day}, asked for {first} to {last}")
        total: Floats = self.values[:, start : stop + 1].sum(axis=1)
        return total

    def quantile_of_sum(self, level: float, first: date, last: date) -> float:
        """The quantile of the units from `first` to `last` together."""
        return float(np.quantile(self.sums(first, last), level))
