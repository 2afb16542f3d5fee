"""Days that the records got wrong, marked and told: outages, partial outages, imports that ran twice.

A model that learns from them forecasts them. Marked days become unknown, and each is told with what stood
there, what was usual and why, so that a person can disagree. Marking is conservative: a real day lost costs
more than an odd one kept, since quantiles bear an odd day. Hence nothing is marked that the calendar may
explain (a holiday, days near one, month ends), whose neighbours are odd too, that comes back each year (New
Year's night of an ambulance service), or that a series does by nature: one that varies a lot, or has odd days
again and again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.frames import Floats
from forecasting.models.calendar import Bools
from forecasting.models.openings import (
    OUTAGE_LEAST_LEVEL,
    OUTAGE_MOST_DAYS,
    Openings,
    marks_of,
    without_outages,
)

WEEKS_AROUND: Final = 4
LEAST_AROUND: Final = 4  # days of a weekday within four weeks that say what is usual

LOW_SHARE: Final = 0.1
HIGH_TIMES: Final = 3.0
ODD_DEVIATIONS: Final = 6.0
NORMAL_DEVIATIONS: Final = 3.0
MOST_DEVIATION: Final = 0.4
"""A series that varies more (on the logarithm) has days of a tenth or thrice by chance."""

NEAR_HOLIDAY_DAYS: Final = 3
YEAR_DAYS: Final = 365.25
SAME_SEASON_DAYS: Final = 4  # a yearly day moves by weekdays
MOST_ODD_SHARE: Final = 0.005
MOST_ODD_DAYS: Final = 2

_LEAST_DEVIATION: Final = 0.02


class GapKind(StrEnum):
    """Why a day is marked unknown."""

    OUTAGE = "outage"
    PARTIAL_OUTAGE = "partial_outage"
    SPIKE = "spike"


@dataclass(frozen=True, slots=True)
class Gap:
    """One day marked unknown: what stood there, what was usual of its weekday then, and why in a sentence."""

    day: date
    kind: GapKind
    units: float
    usual_units: float
    why: str


def without_gaps(y: pd.Series, country: str) -> tuple[pd.Series, list[Gap]]:
    """The regular daily series with days of wrong records made unknown (NaN), and those days in order.

    Marked are (`outage`) runs of 3 to 28 open, ordinary days of exactly 0, as `without_outages` finds them;
    (`partial_outage`) up to 28 ordinary days in a row below a tenth of what is usual of their weekday;
    (`spike`) single days of three times the usual or more. The last two must lie six robust deviations out,
    between normal days, in a series of at least 5 units a day that hardly varies.
    """
    days = pd.DatetimeIndex(y.index)
    openings = Openings.of(y, country)
    cleaned, _ = without_outages(y, country, openings)
    ordinary = openings.open_days(days, country) & marks_of(days, country).ordinary
    usual = _usual(cleaned, ordinary)
    gaps = [
        _gap(day, GapKind.OUTAGE, y, usual, "a run of zeros in a series that hardly knows any")
        for day in np.flatnonzero(y.notna() & cleaned.isna())
    ]
    odd = _Odd.of(cleaned, usual, ordinary, country)
    if odd is not None:
        for kind, found, why in (
            (GapKind.PARTIAL_OUTAGE, odd.low(), "below a tenth of the usual, between normal days"),
            (GapKind.SPIKE, odd.high(), "three times the usual or more, between normal days"),
        ):
            gaps += [_gap(place, kind, y, usual, why) for place in np.flatnonzero(found)]
            cleaned = cleaned.mask(pd.Series(found, index=y.index))
    return cleaned, sorted(gaps, key=lambda gap: gap.day)


@dataclass(frozen=True, slots=True)
class _Odd:
    """Each day's departure from its weekday's usual, and what may be marked at all."""

    units: Floats
    usual: Floats
    error: Floats
    """log(units ÷ usual); NaN on days that are not ordinary."""
    deviation: float
    plain: Bools
    """Days that no holiday or month end explains."""

    @classmethod
    def of(cls, y: pd.Series, usual: Floats, ordinary: Bools, country: str) -> Self | None:
        """None where the series is too small or varies too much for any day to be impossible."""
        units = np.where(ordinary, y.to_numpy(dtype=np.float64), np.nan)
        known = ~np.isnan(units) & ~np.isnan(usual)
        if not known.any() or np.median(usual[known]) < OUTAGE_LEAST_LEVEL:
            return None
        error = np.where(known, np.log((units + 0.5) / (usual + 0.5)), np.nan)
        deviation = 1.4826 * float(np.nanmedian(np.abs(error)))
        if deviation > MOST_DEVIATION:
            return None
        plain = known & ~_explained(pd.DatetimeIndex(y.index), country)
        return cls(units, usual, error, max(deviation, _LEAST_DEVIATION), plain)

    def low(self) -> Bools:
        """Runs of days below a tenth of the usual."""
        small = (self.units < LOW_SHARE * self.usual) & (self.error < -ODD_DEVIATIONS * self.deviation)
        return self._singled_out(small & (self.usual >= OUTAGE_LEAST_LEVEL), OUTAGE_MOST_DAYS)

    def high(self) -> Bools:
        """Single days of thrice the usual or more."""
        large = (self.units >= HIGH_TIMES * self.usual) & (self.error > ODD_DEVIATIONS * self.deviation)
        return self._singled_out(large, 1)

    def _singled_out(self, odd: Bools, most_days: int) -> Bools:
        """The runs of odd days that are short, stand between normal days, do not recur and are few."""
        found = np.zeros(len(odd), dtype=bool)
        runs = 0
        # neighbours are the nearest known ordinary days: a weekend's closed days part nothing
        known = np.flatnonzero(~np.isnan(self.error))
        flags = np.concatenate(([False], odd[known], [False])).astype(np.int8)
        for start, stop in np.flatnonzero(np.diff(flags)).reshape(-1, 2):
            run, around = known[start:stop], known[max(start - 1, 0) : stop + 1]
            beside = np.setdiff1d(around, run)
            normal = np.abs(self.error[beside]) <= NORMAL_DEVIATIONS * self.deviation
            if len(run) > most_days or len(beside) < 2 or not normal.all():  # noqa: PLR2004 - one on each side
                continue
            if not self.plain[run].all() or self._comes_back(run):
                continue
            found[run] = True
            runs += 1
        few = max(MOST_ODD_DAYS, MOST_ODD_SHARE * len(known))
        return found if runs <= few else np.zeros(len(odd), dtype=bool)

    def _comes_back(self, run: npt.NDArray[np.intp]) -> bool:
        """Whether days of the same season in another year were at least half as far out, the same way."""
        apart = np.arange(len(self.error)) - run.mean()
        years = np.round(apart / YEAR_DAYS)
        season = (years != 0) & (np.abs(apart - years * YEAR_DAYS) <= SAME_SEASON_DAYS)
        size = float(np.mean(self.error[run]))
        with np.errstate(invalid="ignore"):
            return bool((self.error[season] / size >= 0.5).any())  # noqa: PLR2004


def _explained(days: pd.DatetimeIndex, country: str) -> Bools:
    """Days within three of a holiday or make-up workday, and the last and first workdays of a month."""
    special = ~marks_of(days, country).ordinary
    spread = np.convolve(special, np.ones(2 * NEAR_HOLIDAY_DAYS + 1))
    near = spread[NEAR_HOLIDAY_DAYS : NEAR_HOLIDAY_DAYS + len(days)] > 0
    explained: Bools = near | marks_of(days, country).month_edge
    return explained


def _usual(y: pd.Series, ordinary: Bools) -> Floats:
    """Per day the median of the other ordinary days of its weekday within four weeks; NaN of too few."""
    values = np.where(ordinary, y.to_numpy(dtype=np.float64), np.nan)
    padded = np.pad(values, 7 * WEEKS_AROUND, constant_values=np.nan)
    weeks = [week for week in range(-WEEKS_AROUND, WEEKS_AROUND + 1) if week]
    around = np.stack([padded[7 * (WEEKS_AROUND + week) :][: len(values)] for week in weeks])
    enough = (~np.isnan(around)).sum(axis=0) >= LEAST_AROUND
    usual = np.full(len(values), np.nan)
    usual[enough] = np.nanmedian(around[:, enough], axis=0)
    return usual


def _gap(place: np.intp, kind: GapKind, y: pd.Series, usual: Floats, why: str) -> Gap:
    day = pd.DatetimeIndex(y.index)[int(place)].date()
    return Gap(day, kind, float(y.iloc[int(place)]), float(usual[place]), why)
