"""Which days of a daily series are open, and which zeros are outages: known by rules, never learned.

A closed day's demand is exactly 0, so models see and forecast open days only. An outage says nothing about
demand, so its zeros become unknown.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pandas as pd

from forecasting.models.calendar import HOLIDAY, MAKE_UP, Bools, day_types

RECENT_DAYS: Final = 182
EDGE_WORKDAYS: Final = 2
"""Workdays at each end of a month that are not ordinary ones."""
LEAST_SEEN: Final = 3  # fewer ordinary days of a weekday, or of holidays at all, prove nothing
CLOSED_SHARE: Final = 0.02  # a holiday with at most this share of a usual day is a closed day

OUTAGE_LEAST_DAYS: Final = 3  # shorter runs of zeros happen: a storm, a local feast
OUTAGE_MOST_DAYS: Final = 28  # longer ones are taken at their word: the branch is closed
OUTAGE_LEAST_LEVEL: Final = 5.0  # at smaller counts zeros in a row are chance
OUTAGE_MOST_ZEROS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Openings:
    """The closed days of one series: weekdays (0 = Monday), holidays by name, holidays never seen."""

    closed_weekdays: frozenset[int] = frozenset()
    closed_holidays: frozenset[str] = frozenset()
    open_holidays: frozenset[str] = frozenset()
    unseen_holidays_closed: bool = False

    @classmethod
    def of(cls, y: pd.Series, country: str) -> Self:
        """The openings learned from a regular daily series (NaN = unknown).

        A weekday is closed when its ordinary days of the last half year are at least three and all 0 or all
        absent. A holiday is closed when each day of its name had (almost) nothing or is absent; one never
        seen follows the majority of those seen.
        """
        values = y.to_numpy(dtype=np.float64)
        known = ~np.isnan(values)
        if not known.any():
            return cls()
        marks = marks_of(pd.DatetimeIndex(y.index), country)
        recent = marks.ordinary.copy()
        recent[:-RECENT_DAYS] = False
        closed: set[int] = set()
        for number in range(7):
            days = values[recent & (marks.weekday == number)]
            if len(days) >= LEAST_SEEN and not (days > 0).any():
                closed.add(number)
        open_weekday = ~np.isin(marks.weekday, sorted(closed))
        usual = values[marks.ordinary & open_weekday]
        seen = usual[~np.isnan(usual)]
        level = float(np.median(seen)) if len(seen) else 0.0
        gaps_are_rare = bool(len(usual)) and 1.0 - len(seen) / len(usual) < CLOSED_SHARE
        if level <= 0:
            return cls(frozenset(closed))
        on_holiday = np.flatnonzero(marks.holiday & open_weekday)
        units = np.where(known, values, 0.0 if gaps_are_rare else np.inf)[on_holiday]
        empty = units <= CLOSED_SHARE * level
        names = marks.names[on_holiday]
        open_names = frozenset(str(name) for name in names[~empty])
        return cls(
            frozenset(closed),
            frozenset(str(name) for name in names[empty]) - open_names,
            open_names,
            len(empty) >= LEAST_SEEN and int(empty.sum()) * 2 > len(empty),
        )

    def open_days(self, days: pd.DatetimeIndex, country: str) -> Bools:
        """Per day whether it is open; a make-up workday is open when any workday is."""
        marks = marks_of(days, country)
        closed = np.isin(marks.weekday, sorted(self.closed_weekdays))
        for place in np.flatnonzero(marks.holiday & ~closed):
            name = marks.names[place]
            closed[place] = name in self.closed_holidays or (
                self.unseen_holidays_closed and name not in self.open_holidays
            )
        closed[marks.make_up] = len(self.closed_weekdays) >= 7  # noqa: PLR2004 - the days of a week
        return ~closed


@dataclass(frozen=True, slots=True)
class Marks:
    """What the calendar says of each of some days."""

    ordinary: Bools
    holiday: Bools
    make_up: Bools
    month_edge: Bools
    """The last and first EDGE_WORKDAYS workdays of a month."""
    names: np.ndarray[tuple[int], np.dtype[np.object_]]
    weekday: np.ndarray[tuple[int], np.dtype[np.int64]]


def marks_of(days: pd.DatetimeIndex, country: str) -> Marks:
    """The marks of ascending days; those without holes are kept, since every series asks for the same."""
    span = (days[-1] - days[0]).days + 1 if len(days) else 0
    if span == len(days) and span:
        return _marks_of_span(days[0].normalize(), span, country)
    return _marks(days, country)


@functools.lru_cache(maxsize=64)
def _marks_of_span(first: pd.Timestamp, days: int, country: str) -> Marks:
    return _marks(pd.date_range(first, periods=days, freq="D", unit="us"), country)


def _marks(days: pd.DatetimeIndex, country: str) -> Marks:
    types = day_types(days, country)
    holiday, make_up = ((types["kind"] == kind).to_numpy() for kind in (HOLIDAY, MAKE_UP))
    return Marks(
        ~(holiday | make_up),
        holiday,
        make_up,
        np.logical_or.reduce(
            [types[edge].between(1, EDGE_WORKDAYS).to_numpy() for edge in ("month_start", "month_end")]
        ),
        types["holiday"].to_numpy(dtype=object),
        np.asarray(days.weekday, dtype=np.int64),
    )


def without_outages(y: pd.Series, country: str, openings: Openings | None = None) -> tuple[pd.Series, int]:
    """The series with the zeros of outages made unknown (NaN), and how many days those were.

    An outage is a run of 3 to 28 open, ordinary days of exactly 0 in a series that otherwise hardly knows
    zeros (at most 5 % of them, usual level at least 5 units).
    """
    openings = openings or Openings.of(y, country)
    days = pd.DatetimeIndex(y.index)
    ordinary = openings.open_days(days, country) & ~marks_of(days, country).holiday
    usual = y[ordinary]
    known = usual.dropna()
    if known.empty or known.median() < OUTAGE_LEAST_LEVEL or (known == 0).mean() > OUTAGE_MOST_ZEROS:
        return y, 0
    zero = usual == 0
    run = (zero != zero.shift()).cumsum()
    length = zero.groupby(run).transform("sum")
    outage = zero & (length >= OUTAGE_LEAST_DAYS) & (length <= OUTAGE_MOST_DAYS)
    cleaned = y.copy()
    cleaned[outage.index[outage]] = np.nan
    return cleaned, int(outage.sum())
