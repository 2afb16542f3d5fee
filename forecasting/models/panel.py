"""Many daily series on one calendar: what is forecast together, and which of them are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from forecasting.frames import Floats
from forecasting.models.bounds import filled
from forecasting.models.gaps import Gap, without_gaps
from forecasting.models.level_regression import Bools
from forecasting.models.openings import Openings

WEEK: Final = 7
ALONE_SERIES: Final = 8
"""Up to so many series have a Prophet fit each."""
GROUP_SERIES: Final = 20
"""More share one: a fit is half of what plain Prophet costs for a series, and the third voice of three."""
SCALE_DAYS: Final = 182
PROFILE_DAYS: Final = 364


@dataclass(frozen=True, slots=True)
class Panel:
    """Daily series (series, days) on the same days, NaN = unknown; a series may begin or end within them.

    `opened` (series, days + coming days) says which days are open; `gaps` names the days of wrong records
    that were made unknown, by id. `bounds` (series, days): what was recorded on days known only as "at
    least", NaN on all others, None where there is no such day; `values` has there what was filled in.
    """

    ids: tuple[str, ...]
    days: pd.DatetimeIndex
    values: Floats
    country: str
    openings: tuple[Openings, ...]
    gaps: Mapping[str, Sequence[Gap]]
    bounds: Floats | None = None

    @property
    def recorded(self) -> Floats:
        """The values as recorded: bounds where demand is known only as "at least"."""
        return self.values if self.bounds is None else np.where(self.bounded, self.bounds, self.values)

    @property
    def exact(self) -> Floats:
        """The values that a forecast can be held against: unknown where only a bound is known."""
        return self.values if self.bounds is None else np.where(self.bounded, np.nan, self.values)

    @property
    def bounded(self) -> Bools:
        """Which days are known only as "at least"."""
        if self.bounds is None:
            return np.zeros(self.values.shape, dtype=bool)
        bounded: Bools = ~np.isnan(self.bounds)
        return bounded

    def until(self, day: int) -> Panel:
        """The panel as it was known before position `day`; openings learned and bounds filled in again."""
        return _panel(
            self.ids, self.days[:day], self.recorded[:, :day], self.bounded[:, :day], self.country, {}
        )

    def opened(self, steps: int) -> Bools:
        """Which days are open (series, days + steps)."""
        days = self.days.union(self.coming(steps))
        return np.array([opening.open_days(days, self.country) for opening in self.openings], dtype=bool)

    def coming(self, steps: int) -> pd.DatetimeIndex:
        """The days after the last one."""
        return pd.date_range(self.days[-1] + pd.Timedelta(days=1), periods=steps, freq="D", unit="us")


def panel_of(
    series: Mapping[str, pd.Series], country: str, at_least: Mapping[str, pd.DatetimeIndex] | None = None
) -> Panel:
    """The panel of regular daily series (NaN = unknown), by id, in the ids' order.

    Days of wrong records (outages, double imports) are made unknown and named in `gaps`. at_least: the days
    whose demand is known only so, by id; they are filled in.
    """
    gaps: dict[str, Sequence[Gap]] = {}
    kept: dict[str, pd.Series] = {}
    for name, y in series.items():
        kept[name], found = without_gaps(y, country)
        if found:
            gaps[name] = found
    first = min(y.index[0] for y in kept.values())
    last = max(y.index[-1] for y in kept.values())
    days = pd.date_range(first, last, freq="D", unit="us")
    values = np.array([y.reindex(days).to_numpy(dtype=np.float64) for y in kept.values()])
    marked = np.zeros(values.shape, dtype=bool)
    for place, name in enumerate(kept):
        if at_least and name in at_least:
            marked[place] = days.isin(at_least[name]) & ~np.isnan(values[place])
    return _panel(tuple(kept), days, values, marked, country, gaps)


def _panel(
    ids: tuple[str, ...],
    days: pd.DatetimeIndex,
    recorded: Floats,
    bounded: Bools,
    country: str,
    gaps: Mapping[str, Sequence[Gap]],
) -> Panel:
    openings = tuple(_openings(row, days, country) for row in recorded)
    if not bounded.any():
        return Panel(ids, days, recorded, country, openings, gaps)
    values = filled(recorded, bounded, days, openings, country)
    return Panel(ids, days, values, country, openings, gaps, np.where(bounded, recorded, np.nan))


def _openings(row: Floats, days: pd.DatetimeIndex, country: str) -> Openings:
    known = np.flatnonzero(~np.isnan(row))
    if len(known) == 0:
        return Openings()
    return Openings.of(pd.Series(row[known[0] :], index=days[known[0] :]), country)


def alike_groups(values: Floats, *, size: int = GROUP_SERIES) -> list[list[int]]:
    """Positions of series in groups of up to `size` alike ones, two groups at least.

    Alike: in the order of the first principal component of their weekly profile and of how the last
    quarter's level stands to the year's. Few series (up to ALONE_SERIES) stay each on its own.
    """
    count = len(values)
    if count <= ALONE_SERIES:
        return [[place] for place in range(count)]
    order = np.argsort(_likeness(values), kind="stable")
    groups = max(2, -(-count // size))
    return [sorted(int(place) for place in part) for part in np.array_split(order, groups)]


def _likeness(values: Floats) -> Floats:
    recent = values[:, -PROFILE_DAYS:]
    with np.errstate(all="ignore"):
        level = _mean(recent)
        weekly = [_mean(recent[:, place::WEEK]) / level for place in range(min(WEEK, recent.shape[1]))]
        course = _mean(recent[:, -91:]) / level
    table = np.column_stack([*weekly, course])
    table = np.where(np.isfinite(table), table, 1.0)
    centred = table - table.mean(axis=0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    direction = direction * np.sign(direction[np.abs(direction).argmax()])
    found: Floats = centred @ direction
    return found


def group_index(values: Floats) -> Floats:
    """The common course of a group (days,): the mean of its series, each in hundredths of its own level."""
    with np.errstate(all="ignore"):
        level = _mean(values[:, -SCALE_DAYS:])
        level = np.where(np.isfinite(level) & (level > 0), level, _mean(values))
        shares = 100.0 * values / level[:, None]
    known = np.isfinite(shares)
    count = known.sum(axis=0)
    total = np.where(known, shares, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    mean: Floats = np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)
    return mean
