"""Days by what they are to customers: workday, weekend, holiday, make-up workday, around breaks and ends.

Everything follows the *effective* day type of the configured country (the `holidays` library, ISO 3166
code, or "none" for weekdays only): a Chinese make-up Sunday (调休) is a workday, a public holiday is not, and
month ends are counted in workdays, because a customer's month ends with the last day on which a counter is
open.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

import holidays
import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.frames import Floats

Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

NO_COUNTRY: Final = "none"

WORK: Final = "work"
WEEKEND: Final = "weekend"
HOLIDAY: Final = "holiday"
MAKE_UP: Final = "make_up"

LONG_BREAK_DAYS: Final = 5
BREAK_DAYS: Final = 3
MONTH_EDGE_WORKDAYS: Final = 5
QUARTER_EDGE_WORKDAYS: Final = 3
WEEKDAY_PREFIX: Final = "weekday_"
IN_LIEU: Final = "day off in lieu"

# Days after the first day of Spring Festival: the run-up and the slow return differ from ordinary weeks.
SPRING_WINDOWS: Final = ((-15, -8), (-7, -3), (-2, -1), (0, 6), (7, 9), (10, 15))
SPRING_FESTIVAL: Final = "Chinese New Year (Spring Festival)"

WEEKS_OF_MONTH: Final = 5
PAY_DAY: Final = "pay_day"

_MARGIN_DAYS: Final = 31  # a break or a month that crosses the asked range is still seen whole


class UnknownCountryError(ValueError):
    """The country has no calendar in the `holidays` library."""


def check_country(country: str) -> str:
    """The country code as used here, upper case or "none"; UnknownCountryError without a calendar."""
    if country.lower() == NO_COUNTRY:
        return NO_COUNTRY
    code = country.upper()
    if code not in holidays.list_supported_countries():
        raise UnknownCountryError(
            f"country {country!r} is unknown; expected an ISO 3166 code such as CN, US, DE, or none"
        )
    return code


def day_types(days: pd.DatetimeIndex, country: str) -> pd.DataFrame:
    """What each day is, one row a day, index `days` (normalised to midnight, must ascend).

    Columns: kind (work|weekend|holiday|make_up), holiday (name, "" if none; observed days bear the name of
    the day they stand for), works (bool), break_days (length of the run of days off that contains the day,
    0 on a workday), since_break and until_break (length of the run of days off just before or after a
    workday, else 0), month_start, month_end, quarter_end (1 = first or last workday, 2 = next to it …; 0 on
    days off), spring_offset (days after the first day of Spring Festival; 999 outside -15..15 and outside
    CN).
    """
    if len(days) == 0:
        return _typed_range(2000, 2000, NO_COUNTRY).iloc[:0]
    table = _typed_range(days[0].year, days[-1].year, country)
    return table.loc[days.normalize()]


@functools.lru_cache(maxsize=64)
def _typed_range(first_year: int, last_year: int, country: str) -> pd.DataFrame:
    """The day types of whole calendar years."""
    margin = timedelta(days=_MARGIN_DAYS)
    days = pd.date_range(
        date(first_year, 1, 1) - margin, date(last_year, 12, 31) + margin, freq="D", unit="us"
    )
    names, make_up, weekend = _country_days(country, first_year - 1, last_year + 1)
    dates = [day.date() for day in days]
    holiday = np.array([names.get(day, "") for day in dates], dtype=object)
    is_make_up = np.array([day in make_up for day in dates])
    is_weekend = np.isin(np.asarray(days.weekday), sorted(weekend))
    kind = np.where(
        is_make_up, MAKE_UP, np.where(holiday != "", HOLIDAY, np.where(is_weekend, WEEKEND, WORK))
    )
    works = np.isin(kind, (WORK, MAKE_UP))
    table = pd.DataFrame({"kind": kind, "holiday": holiday, "works": works}, index=days)
    table[["break_days", "since_break", "until_break"]] = _breaks(works)
    months = pd.Series(np.asarray(days.year * 12 + days.month), index=days)
    quarters = pd.Series(np.asarray(days.year * 4 + days.quarter), index=days)
    table["month_start"] = _rank_of_workday(works, months, from_end=False)
    table["month_end"] = _rank_of_workday(works, months, from_end=True)
    table["quarter_end"] = _rank_of_workday(works, quarters, from_end=True)
    table["spring_offset"] = _spring_offsets(dates, names)
    return table


def _country_days(
    country: str, first_year: int, last_year: int
) -> tuple[dict[date, str], set[date], set[int]]:
    """Names of the days off, the make-up workdays and the weekend's weekdays of a country."""
    if check_country(country) == NO_COUNTRY:
        return {}, set(), {5, 6}
    years = range(first_year, last_year + 1)
    # English names: they are keys here, and the same whatever the machine's language
    with warnings.catch_warnings():
        # a calendar that ends in some year warns; days beyond it are ordinary weekdays
        warnings.simplefilter("ignore")
        calendar = holidays.country_holidays(country, years=years, language="en_US")
    names = {day: _plain_name(name) for day, name in calendar.items()}
    # some calendars name workdays too: a day on which one works is no day off
    make_up = set(calendar.weekend_workdays)
    return {day: name for day, name in names.items() if day not in make_up}, make_up, set(calendar.weekend)


def _weekend(country: str) -> set[int]:
    """The weekdays (0 = Monday) of a country's weekend."""
    return {5, 6} if country == NO_COUNTRY else set(holidays.country_holidays(country).weekend)


def _plain_name(name: str) -> str:
    """A holiday's name without its year's accidents, so that it is one name from year to year."""
    first = name.partition(";")[0].strip()
    return IN_LIEU if first.startswith("Day off") else first.partition(" (observed")[0]


def _breaks(
    works: Bools,
) -> Integers:
    """Per day: length of its own run of days off, of the run just before, of the run just after."""
    runs = np.zeros((len(works), 3), dtype=np.int64)
    edges = np.flatnonzero(np.diff(np.concatenate(([True], works, [True])).astype(np.int8)))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        runs[start:stop, 0] = stop - start
        if stop < len(works):
            runs[stop, 1] = stop - start
        if start > 0:
            runs[start - 1, 2] = stop - start
    return runs


def _rank_of_workday(works: Bools, period: pd.Series, *, from_end: bool) -> pd.Series:
    """1 for the first (or last) workday of its period, 2 for the next one inwards …, 0 on days off."""
    counted = pd.Series(works.astype(np.int64), index=period.index)
    if from_end:
        counted, period = counted[::-1], period[::-1]
    rank = counted.groupby(period).cumsum() * counted
    return rank.sort_index()


def _spring_offsets(dates: list[date], names: dict[date, str]) -> Integers:
    """Days after the first day of Spring Festival, 999 where none is within 15 days."""
    offsets = np.full(len(dates), 999, dtype=np.int64)
    firsts: dict[int, date] = {}
    for day in sorted(names):
        if names[day] == SPRING_FESTIVAL:
            firsts.setdefault(day.year, day)
    for first in firsts.values():
        for shift in range(SPRING_WINDOWS[0][0], SPRING_WINDOWS[-1][1] + 1):
            place = (first - dates[0]).days + shift
            if 0 <= place < len(dates):
                offsets[place] = shift
    return offsets


def regressors(days: pd.DatetimeIndex, country: str) -> pd.DataFrame:
    """The day-type regressors of a model of daily demand, one float column each, index `days`.

    They replace a weekly seasonality: `weekday_*` is the *effective* weekday (0 = Monday, the first workday
    is the reference), where a make-up workday is an average workday plus `make_up`, and a holiday is the
    last day of the weekend plus `holiday` plus, softly, its own name (`named_*`). The others are 0 or 1.
    """
    types = day_types(days, country)
    kind = types["kind"].to_numpy()
    weekend = _weekend(country)
    workdays = [weekday for weekday in range(7) if weekday not in weekend]
    rest = max(weekend) if weekend else workdays[-1]
    weekday = np.asarray(days.weekday)
    columns: dict[str, Floats] = {}
    for number in range(7):
        if number == workdays[0]:
            continue
        ordinary = (weekday == number) & np.isin(kind, (WORK, WEEKEND))
        share = np.where(kind == MAKE_UP, 1.0 / len(workdays) if number in workdays else 0.0, 0.0)
        share = np.where(kind == HOLIDAY, float(number == rest), share)
        columns[f"{WEEKDAY_PREFIX}{number}"] = np.where(ordinary, 1.0, share)
    breaks, since, until = (types[name].to_numpy() for name in ("break_days", "since_break", "until_break"))
    flags = {
        HOLIDAY: kind == HOLIDAY,
        MAKE_UP: kind == MAKE_UP,
        "weekend_in_break": (kind == WEEKEND) & (breaks >= BREAK_DAYS),
        "before_break": until >= BREAK_DAYS,
        "after_break": since >= BREAK_DAYS,
        "before_long_break": until >= LONG_BREAK_DAYS,
        "after_long_break": since >= LONG_BREAK_DAYS,
        "bridge": (kind == WORK) & (since > 0) & (until > 0),
    }
    for edge, count in (
        ("month_start", MONTH_EDGE_WORKDAYS),
        ("month_end", MONTH_EDGE_WORKDAYS),
        ("quarter_end", QUARTER_EDGE_WORKDAYS),
    ):
        rank = types[edge].to_numpy()
        flags |= {f"{edge}_{number}": rank == number for number in range(1, count + 1)}
    offset = types["spring_offset"].to_numpy()
    flags |= {
        f"spring_{first}_{last}": (offset >= first) & (offset <= last) for first, last in SPRING_WINDOWS
    }
    names = types["holiday"].to_numpy()
    flags |= {f"named_{name}": names == name for name in sorted(set(names) - {"", IN_LIEU})}
    columns |= {name: flag.astype(np.float64) for name, flag in flags.items()}
    return pd.DataFrame(columns, index=days)


def extra_regressors(
    days: pd.DatetimeIndex,
    country: str,
    *,
    pay_days: Sequence[int] = (),
    school_terms: Sequence[tuple[date, date]] = (),
) -> pd.DataFrame:
    """Regressors of a bank's own calendar, each a float column of 0 and 1, index `days` (must ascend).

    week_of_month_1 to _5: days 1 to 7, 8 to 14 … of the month. With `pay_days` (days of the month; in a
    shorter month its last day): pay_day, which is the last workday on or before the day named, and
    pay_day_before and pay_day_after, the workdays next to it. With `school_terms` (first, last, both
    included): school_term. Raises ValueError for a pay day outside 1..31 and a term that ends before it
    begins.
    """
    week = (np.asarray(days.day) - 1) // 7 + 1
    flags = {f"week_of_month_{number}": week == number for number in range(1, WEEKS_OF_MONTH + 1)}
    if pay_days:
        flags |= _around_pay_days(days, country, pay_days)
    if school_terms:
        flags["school_term"] = _within(days, school_terms)
    return pd.DataFrame({name: flag.astype(np.float64) for name, flag in flags.items()}, index=days)


def _around_pay_days(days: pd.DatetimeIndex, country: str, pay_days: Sequence[int]) -> dict[str, Bools]:
    """Whether each day is a pay day, the workday before one, the workday after one."""
    if wrong := [day for day in pay_days if not 1 <= day <= 31]:  # noqa: PLR2004 – days of a month
        raise ValueError(f"pay day {wrong[0]}: expected a day of the month, 1 to 31")
    names = (PAY_DAY, f"{PAY_DAY}_before", f"{PAY_DAY}_after")
    if len(days) == 0:
        return {name: np.zeros(0, dtype=np.bool_) for name in names}
    margin = pd.Timedelta(days=_MARGIN_DAYS)
    around = pd.date_range(days[0].normalize() - margin, days[-1].normalize() + margin, freq="D", unit="us")
    number = np.asarray(around.day)
    due = np.isin(number, pay_days) | (np.asarray(around.is_month_end) & (number < max(pay_days)))
    workdays = np.flatnonzero(day_types(around, country)["works"].to_numpy())
    paid = np.searchsorted(workdays, np.flatnonzero(due), side="right") - 1  # place among the workdays
    place = np.asarray((days.normalize() - around[0]).days)
    flags = {}
    for name, shift in zip(names, (0, -1, 1), strict=True):
        moved = paid + shift
        on = np.zeros(len(around), dtype=np.bool_)
        on[workdays[moved[(moved >= 0) & (moved < len(workdays))]]] = True
        flags[name] = on[place]
    return flags


def _within(days: pd.DatetimeIndex, spans: Sequence[tuple[date, date]]) -> Bools:
    """Whether each day lies in one of the spans, ends included."""
    inside = np.zeros(len(days), dtype=np.bool_)
    for first, last in spans:
        if last < first:
            raise ValueError(f"the school term from {first} ends before it begins, on {last}")
        inside |= np.asarray(
            (days >= pd.Timestamp(first)) & (days < pd.Timestamp(last) + pd.Timedelta(days=1))
        )
    return inside
