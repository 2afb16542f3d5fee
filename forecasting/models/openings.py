"""Which days of a daily series are open, and which zeros are outages: known by rules, never learned.

A closed day's demand is exactly 0, so models see and forecast open days only. An outage says nothing about
demand, so its zeros become unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pandas as pd

from forecasting.models.calendar import HOLIDAY, MAKE_UP, Bools, day_types

RECENT_DAYS: Final = 182
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
        known = y.dropna()
        if known.empty:
            return cls()
        types = day_types(pd.DatetimeIndex(y.index), country)
        ordinary = ~types["kind"].isin([HOLIDAY, MAKE_UP])
        weekday = pd.Series(pd.DatetimeIndex(y.index).weekday, index=y.index)
        recent = ordinary & (y.index > y.index[-1] - pd.Timedelta(days=RECENT_DAYS))
        closed: set[int] = set()
        for number in range(7):
            days = y[recent & (weekday == number)]
            if len(days) >= LEAST_SEEN and not (days > 0).any():
                closed.add(number)
        usual = y[ordinary & ~weekday.isin(closed)]
        level = float(usual.median()) if usual.notna().any() else 0.0
        gaps_are_rare = bool(len(usual)) and float(usual.isna().mean()) < CLOSED_SHARE
        if level <= 0:
            return cls(frozenset(closed))
        is_holiday = (types["kind"] == HOLIDAY) & ~weekday.isin(closed)
        shut: dict[str, bool] = {}
        days_shut = days_seen = 0
        for name, days in y[is_holiday].groupby(types["holiday"][is_holiday]):
            empty = days.fillna(0.0 if gaps_are_rare else np.inf) <= CLOSED_SHARE * level
            shut[str(name)] = bool(empty.all())
            days_shut, days_seen = days_shut + int(empty.sum()), days_seen + len(days)
        return cls(
            frozenset(closed),
            frozenset(name for name, is_shut in shut.items() if is_shut),
            frozenset(name for name, is_shut in shut.items() if not is_shut),
            days_seen >= LEAST_SEEN and days_shut * 2 > days_seen,
        )

    def open_days(self, days: pd.DatetimeIndex, country: str) -> Bools:
        """Per day whether it is open; a make-up workday is open when any workday is."""
        types = day_types(days, country)
        kind = types["kind"].to_numpy()
        weekday_closed = np.isin(np.asarray(days.weekday), sorted(self.closed_weekdays))
        holiday_closed = np.array(
            [
                name in self.closed_holidays
                or (self.unseen_holidays_closed and name not in self.open_holidays)
                for name in types["holiday"]
            ],
            dtype=bool,
        )
        closed = np.where(kind == HOLIDAY, weekday_closed | holiday_closed, weekday_closed)
        make_up_closed = len(self.closed_weekdays) >= 7  # noqa: PLR2004 - the days of a week
        opened: Bools = ~np.where(kind == MAKE_UP, make_up_closed, closed).astype(bool)
        return opened


def without_outages(y: pd.Series, country: str) -> tuple[pd.Series, int]:
    """The series with the zeros of outages made unknown (NaN), and how many days those were.

    An outage is a run of 3 to 28 open, ordinary days of exactly 0 in a series that otherwise hardly knows
    zeros (at most 5 % of them, usual level at least 5 units).
    """
    openings = Openings.of(y, country)
    days = pd.DatetimeIndex(y.index)
    ordinary = openings.open_days(days, country) & (day_types(days, country)["kind"] != HOLIDAY).to_numpy()
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
