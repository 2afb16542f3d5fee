"""A run's paths brought up to date: with the wishes on hand each day, and with the arrivals within the day.

What was forecast stays as it was stored; the updated paths are made anew from it at every call, so a call
repeated gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import bank_settings
from booking_core.read.forecasts import sample_paths
from booking_core.read.on_hand import arrivals_so_far, on_hand
from booking_core.read.past_forecasts import past_forecasts
from forecasting.frames import ID, MEAN, TIME, Floats, SamplePaths
from forecasting.models.pickup import (
    BookingTable,
    Pickup,
    day_table,
    effective_weekdays,
    reforecast_within_day,
    update_paths,
)
from forecasting.models.pickup_learning import learn_pickup

HISTORY_DAYS: Final = 270
MOST_LEADS: Final = 91
"""Columns of a booking table; wishes made still earlier stand in the last one."""
GROUP: Final = 100
"""Branches that learn from each other."""
KEPT_LEADS: Final = (0, 1, 3, 7, 14, 28)
"""Days left at which kept forecasts are judged; between them the judgement is interpolated."""
BAND: Final = 2.5631031310892007
"""Deviations of a normal between its 0.1 and 0.9 quantiles."""

Paths = dict[str, SamplePaths]


def reforecast(engine: Engine, run_id: str, *, until: date, region: str | None = None) -> Paths:
    """The run's paths by branch, updated with the wishes on hand when the business day `until` began.

    Days before `until` stay as they were. Reads the database, writes nothing.
    """
    return reforecast_paths(engine, stored_paths(engine, run_id, region), until=until, region=region)


def reforecast_paths(engine: Engine, stored: Paths, *, until: date, region: str | None = None) -> Paths:
    """These paths by branch, updated with the wishes on hand when the business day `until` began."""
    if not stored:
        return stored
    horizon = max((paths.last_day - until).days for paths in stored.values()) + 1
    booked = on_hand(
        engine, until=until, horizon_days=max(horizon, 0), history_days=HISTORY_DAYS, region=region
    )
    kept = past_forecasts(
        engine, since=until - timedelta(days=HISTORY_DAYS), until=until, leads=KEPT_LEADS, region=region
    )
    return with_on_hand(stored, booked, kept, until=until, country=bank_settings(engine).country)


def with_on_hand(
    paths: Mapping[str, SamplePaths],
    booked: pd.DataFrame,
    kept: pd.DataFrame,
    *,
    until: date,
    country: str,
) -> Paths:
    """The paths by branch updated with what was on hand when `until` began.

    booked: as booking_core.read.on_hand.on_hand gives it. kept: as past_forecasts does, for the same days.
    A branch without wishes keeps its paths.
    """
    learned = _learned(booked, kept, until=until, country=country)
    coming = booked[booked[TIME] >= pd.Timestamp(until)].groupby([ID, TIME])["units"].sum()
    updated: Paths = {}
    for branch, old in paths.items():
        days = pd.date_range(old.first_day, old.last_day, unit="us")
        told = days >= pd.Timestamp(until)
        if branch not in learned or not told.any():
            updated[branch] = old
            continue
        known = coming[branch] if branch in coming.index else pd.Series(dtype=float)
        values = old.values.copy()
        values[:, told] = update_paths(
            values[:, told],
            known.reindex(days[told], fill_value=0).to_numpy(dtype=float),
            (days[told] - pd.Timestamp(until)).days.to_numpy(),
            effective_weekdays(days[told], country),
            learned[branch],
        )
        updated[branch] = replace(old, values=values)
    return updated


def _learned(booked: pd.DataFrame, kept: pd.DataFrame, *, until: date, country: str) -> dict[str, Pickup]:
    """The pick-up of each branch with wishes, in groups, so that memory does not grow with the bank."""
    branches = sorted(booked[ID].unique())
    learned: dict[str, Pickup] = {}
    for start in range(0, len(branches), GROUP):
        group = branches[start : start + GROUP]
        rows, forecasts = booked[booked[ID].isin(group)], kept[kept[ID].isin(group)]
        learned |= learn_pickup(booking_tables(rows, forecasts, until=until, country=country))
    return learned


def booking_tables(
    booked: pd.DataFrame, kept: pd.DataFrame, *, until: date, country: str
) -> dict[str, BookingTable]:
    """The booking table of each branch that has wishes, all with the same leads.

    A branch's records begin with its first wish: leads before that are unknown, not 0.
    """
    now = pd.Timestamp(until)
    leads = int(np.clip(booked["lead_days"].max() + 1, 2, MOST_LEADS)) if len(booked) else 2
    tables: dict[str, BookingTable] = {}
    for branch, rows in booked.groupby(ID):
        begun = (rows[TIME] - pd.to_timedelta(rows["lead_days"], unit="D")).min()
        first = max(begun, now - pd.Timedelta(days=HISTORY_DAYS))
        days = pd.date_range(first, now + pd.Timedelta(days=leads - 1), unit="us")
        units = np.zeros((len(days), leads))
        row = (rows[TIME] - first).dt.days.to_numpy()
        lead = np.clip(rows["lead_days"].to_numpy(), 0, leads - 1)
        inside = (row >= 0) & (row < len(days))
        np.add.at(units, (row[inside], lead[inside]), rows["units"].to_numpy()[inside])
        opened = np.arange(len(days))[:, None] - np.arange(leads)
        told = (opened >= (begun - first).days) & (opened < (now - first).days)
        mean, deviation = _kept(kept[kept[ID] == branch], days, leads)
        tables[str(branch)] = BookingTable(
            np.where(told, units, np.nan),
            effective_weekdays(days, country),
            int((now - first).days),
            mean,
            deviation,
        )
    return tables


def reforecast_day(
    engine: Engine, run_id: str, day: date, *, until: datetime, region: str | None = None
) -> Paths:
    """The run's paths by branch, the service day `day` updated with its wishes up to the moment `until`.

    `day`: the running one, or one of the next. Learned from how the days that are over stood at the same time
    of day with as many days left. Raises ValueError for a naive `until`.
    """
    stored = stored_paths(engine, run_id, region)
    seen = arrivals_so_far(engine, day, until, history_days=HISTORY_DAYS, region=region)
    settings = bank_settings(engine)
    today = settings.local_day(until)
    left = max((day - today).days, 0)
    kept = past_forecasts(
        engine, since=day - timedelta(days=HISTORY_DAYS), until=min(day, today), leads=(left,), region=region
    )
    return with_arrivals(
        stored, seen, kept.assign(lead_days=0), day=day, today=today, country=settings.country
    )


def with_arrivals(
    paths: Mapping[str, SamplePaths],
    seen: pd.DataFrame,
    kept: pd.DataFrame,
    *,
    day: date,
    today: date,
    country: str,
) -> Paths:
    """The paths by branch with the service day `day` updated from its arrivals so far.

    seen: as booking_core.read.on_hand.arrivals_so_far gives it. kept: as past_forecasts, of one number of
    days left, told as 0. Days from `today` on are not over: nothing is learned from them.
    """
    tables: dict[str, BookingTable] = {}
    for branch, rows in seen.groupby(ID):
        past = rows[rows[TIME] < pd.Timestamp(min(day, today))]
        if past.empty:
            continue
        over = pd.date_range(past[TIME].min(), min(day, today) - timedelta(days=1), unit="us")
        by_day = past.set_index(TIME).reindex(over)[["units", "day_units"]].fillna(0.0)
        mean, deviation = _kept(kept[kept[ID] == branch], over, leads=1)
        tables[str(branch)] = day_table(
            by_day["units"].to_numpy(dtype=float),
            by_day["day_units"].to_numpy(dtype=float),
            effective_weekdays(pd.DatetimeIndex([*over, pd.Timestamp(day)]), country),
            mean=mean[:, 0],
            deviation=deviation[:, 0],
        )
    learned = learn_pickup(tables)
    arrivals = seen[seen[TIME] == pd.Timestamp(day)].set_index(ID)["units"]
    kind = int(effective_weekdays(pd.DatetimeIndex([day]), country)[0])
    updated = dict(paths)
    for branch, old in paths.items():
        place = (day - old.first_day).days
        if branch not in learned or not 0 <= place < old.values.shape[1]:
            continue
        values = old.values.copy()
        arrived = float(arrivals.get(branch, 0.0))
        values[:, place] = reforecast_within_day(values[:, place], arrived, kind, learned[branch])
        updated[branch] = replace(old, values=values)
    return updated


def stored_paths(engine: Engine, run_id: str, region: str | None = None) -> Paths:
    """The run's paths by branch as it forecast them."""
    return {
        branch: SamplePaths(first, values.astype(np.float64))
        for branch, (first, values) in sample_paths(engine, run_id, region).items()
    }


def _kept(rows: pd.DataFrame, days: pd.DatetimeIndex, leads: int) -> tuple[Floats, Floats]:
    """The mean and the deviation (days, leads) of the kept forecasts of one branch, NaN = none."""
    mean, deviation = np.full((len(days), leads), np.nan), np.full((len(days), leads), np.nan)
    place = days.get_indexer(pd.DatetimeIndex(rows[TIME]))
    lead = rows["lead_days"].to_numpy()
    inside = (place >= 0) & (lead < leads)
    at = (place[inside], lead[inside])
    mean[at] = rows[MEAN].to_numpy()[inside]
    deviation[at] = ((rows["q90"] - rows["q10"]) / BAND).to_numpy()[inside]
    return mean, deviation
