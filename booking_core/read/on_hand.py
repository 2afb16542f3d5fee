"""Wishes on hand: how much of a service day's demand was known so many days, or at such an hour, before."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import pandas as pd
from sqlalchemy import ColumnElement, Date, Engine, Integer, case, column, func, literal, select, values

from booking_core import tables as t
from booking_core.read.bank import bank_settings
from booking_core.read.sql import DAY, QUARTER_HOUR_SECONDS, frame, in_region, quarter_index, typed

_QUARTERS_A_DAY: Final = 96
_EPOCH: Final = date(1970, 1, 1)
_ON_HAND: Final = {"unique_id": "str", "ds": DAY, "lead_days": "int64", "units": "int64"}
_ARRIVALS: Final = {"unique_id": "str", "ds": DAY, "units": "int64", "day_units": "int64"}


def on_hand(
    engine: Engine, *, until: date, horizon_days: int, history_days: int, region: str | None = None
) -> pd.DataFrame:
    """Wish episodes opened before the business day `until`, by first wished branch, service day and lead.

    [unique_id (branch), ds (service day first wished), lead_days, units], by branch, day and lead. lead_days:
    whole bank-local days from the day on which the episode was opened to the service day; 0 = on the day
    itself. Service days: the `history_days` before `until`, whose demand is complete, and the `horizon_days`
    from `until` on, of which this is what was known when `until` began. No row: nobody wished.
    """
    zone = bank_settings(engine).tzinfo()
    c = t.wish_episodes.c
    first, last = until - timedelta(days=history_days), until + timedelta(days=horizon_days - 1)
    opened_day = _local_quarter(c.opened_business_utc, zone, first, until) // _QUARTERS_A_DAY
    statement = (
        select(
            c.branch_id.label("unique_id"),
            c.wished_day.label("ds"),
            opened_day.label("opened_day"),
            func.count().label("units"),
        )
        .where(
            c.wished_day.between(first, last),
            c.opened_business_utc < _moment(until, time(), zone),
            *in_region(c.region_id, region),
        )
        .group_by(c.branch_id, c.wished_day, opened_day)
        .order_by(c.branch_id, c.wished_day, opened_day.desc())
    )
    rows = frame(engine, statement, {"unique_id": "str", "ds": DAY, "opened_day": "int64", "units": "int64"})
    service_day = (rows["ds"] - pd.Timestamp(_EPOCH)).dt.days
    return typed(rows.assign(lead_days=service_day - rows["opened_day"]), _ON_HAND)


def arrivals_so_far(
    engine: Engine, day: date, until: datetime, *, history_days: int = 0, region: str | None = None
) -> pd.DataFrame:
    """Wish episodes for the service day `day` opened before the business moment `until`, by branch.

    [unique_id (branch), ds, units, day_units], by branch and day. With `history_days` also that many service
    days before `day`: units are those opened before the same bank-local time of each day, day_units all of
    its own (of `day` itself: those so far). Raises ValueError for a naive `until`.
    """
    if until.tzinfo is None:
        raise ValueError(f"until {until!r} is naive; expected an aware moment, e.g. in UTC")
    zone = bank_settings(engine).tzinfo()
    behind = until.astimezone(zone).date() - day
    clock = until.astimezone(zone).time()
    days = [day - timedelta(days=back) for back in range(history_days + 1)]
    cuts = (
        values(column("day", Date), column("cut_utc", t.UtcDateTime()), name="cuts")
        .data([(each, _moment(each + behind, clock, zone)) for each in days])
        .cte("cuts")
    )
    c = t.wish_episodes.c
    statement = (
        select(
            c.branch_id.label("unique_id"),
            c.wished_day.label("ds"),
            func.sum(case((c.opened_business_utc < cuts.c.cut_utc, 1), else_=0)).label("units"),
            func.count().label("day_units"),
        )
        .join(cuts, cuts.c.day == c.wished_day)
        .where(
            c.wished_day.between(days[-1], day),
            c.opened_business_utc < until,
            *in_region(c.region_id, region),
        )
        .group_by(c.branch_id, c.wished_day)
        .order_by(c.branch_id, c.wished_day)
    )
    return frame(engine, statement, _ARRIVALS)


def _moment(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """The UTC moment of a bank-local day and time."""
    return datetime.combine(day, clock, zone).astimezone(UTC)


def _local_quarter(
    moment: ColumnElement[datetime], zone: ZoneInfo, first: date, until: date
) -> ColumnElement[int]:
    """The number of whole quarter-hours of bank-local time since 1970: databases differ in naming zones.

    Exact from two years before `first` to `until`; earlier moments take the offset of that time.
    """
    changes = _offset_changes(zone, first - timedelta(days=732), until)
    offset: ColumnElement[int] = literal(changes[-1][1], Integer)
    if len(changes) > 1:
        ends = [start for start, _ in changes[1:]]
        before = [quarters for _, quarters in changes[:-1]]
        offset = case(*((moment < end, q) for end, q in zip(ends, before, strict=True)), else_=changes[-1][1])
    return quarter_index(moment) + offset


def _offset_changes(zone: ZoneInfo, first: date, last: date) -> list[tuple[datetime, int]]:
    """The zone's offsets in quarter-hours and since when each holds, from `first` to `last`."""
    step = timedelta(seconds=QUARTER_HOUR_SECONDS)

    def offset(at: datetime) -> int:
        shift = at.astimezone(zone).utcoffset()
        return 0 if shift is None else int(shift / step)

    at = datetime.combine(first, time(), UTC)
    end = datetime.combine(last, time(), UTC) + timedelta(days=2)
    changes = [(at, offset(at))]
    while at < end:
        following = at + timedelta(days=1)
        if offset(following) != changes[-1][1]:
            while offset(at) == changes[-1][1]:
                at += step
            changes.append((at, offset(at)))
        at = following
    return changes
