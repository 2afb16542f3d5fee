"""Demand: imported history and wish episodes united, and what became of the wishes."""

from __future__ import annotations

from datetime import date
from typing import Final

import pandas as pd
from sqlalchemy import (
    ColumnElement,
    Engine,
    Float,
    Integer,
    Subquery,
    case,
    cast,
    func,
    literal,
    select,
    union_all,
)

from booking_core import tables as t
from booking_core.read.quotas import LIVE_STATUSES
from booking_core.read.sql import DAY, UTC_TIME, frame, in_region

_DAILY: Final = {"ds": DAY, "y": "float64", "synthetic_ratio": "float64"}


def demand(
    engine: Engine, *, until: date, since: date | None = None, region: str | None = None
) -> pd.DataFrame:
    """Daily demand [unique_id, ds, y, synthetic_ratio, censored] of each branch, by branch and day.

    y: units first wished for that day, imported and recorded added up. synthetic_ratio: the share of
    y that is the synthetic overlay. censored: demand was at least y, since some of the day's imported part
    is known only so. A day with open slots that nobody wished is a true 0; a day of
    which nothing is known has no row. Days since..until, both included.
    """
    parts = _parts(since, until)
    statement = (
        select(
            parts.c.branch_id.label("unique_id"),
            parts.c.day.label("ds"),
            *_sums(parts),
            func.max(parts.c.censored).label("censored"),
        )
        .join(t.branches, t.branches.c.branch_id == parts.c.branch_id)
        .where(*in_region(t.branches.c.region_id, region))
        .group_by(parts.c.branch_id, parts.c.day)
        .order_by(parts.c.branch_id, parts.c.day)
    )
    return frame(engine, statement, {"unique_id": "str", **_DAILY, "censored": "bool"})


def daily_total(engine: Engine, *, since: date, until: date, region: str | None = None) -> pd.DataFrame:
    """[ds, y, synthetic_ratio]: `demand` summed over the branches, by day."""
    parts = _parts(since, until)
    statement = (
        select(parts.c.day.label("ds"), *_sums(parts))
        .join(t.branches, t.branches.c.branch_id == parts.c.branch_id)
        .where(*in_region(t.branches.c.region_id, region))
        .group_by(parts.c.day)
        .order_by(parts.c.day)
    )
    return frame(engine, statement, _DAILY)


def _sums(parts: Subquery) -> tuple[ColumnElement[float], ColumnElement[float]]:
    """The columns y and synthetic_ratio of grouped parts."""
    y = func.sum(parts.c.units)
    ratio = case((y > 0, func.sum(parts.c.synthetic_units) / y), else_=0.0)
    return y.label("y"), ratio.label("synthetic_ratio")


def _parts(since: date | None, until: date) -> Subquery:
    """Rows [branch_id, day, units, synthetic_units, censored] whose sums by branch and day are demand."""
    history, episodes, slots = t.demand_history.c, t.wish_episodes.c, t.slots.c
    zero, exact = literal(0.0, Float), literal(0, Integer)

    def within(day: ColumnElement[date]) -> ColumnElement[bool]:
        return day <= until if since is None else day.between(since, until)

    imported = select(
        history.branch_id,
        history.day,
        history.units,
        case((history.synthetic, history.units), else_=zero).label("synthetic_units"),
        case((history.censored, 1), else_=0).label("censored"),
    ).where(within(history.day))
    recorded = (
        select(episodes.branch_id, episodes.wished_day, cast(func.count(), Float), zero, exact)
        .where(within(episodes.wished_day))
        .group_by(episodes.branch_id, episodes.wished_day)
    )
    opened = (
        select(slots.branch_id, slots.service_day, zero, zero, exact)
        .where(within(slots.service_day), slots.closed.is_(False))
        .distinct()
    )
    return union_all(imported, recorded, opened).subquery()


def unmet_by_day(engine: Engine, *, since: date, until: date, region: str | None = None) -> pd.DataFrame:
    """What became of the wishes for each day and branch, by day then branch.

    [service_day, branch_id, region_id, demand_units, booked_units, displaced_units, unmet_units,
    open_units]; the day is the one first wished; open = neither booked nor given up yet.
    """
    c = t.wish_episodes.c
    counted = {
        f"{outcome}_units": func.sum(case((c.outcome == outcome, 1), else_=0))
        for outcome in ("booked", "displaced", "unmet", "open")
    }
    statement = (
        select(
            c.wished_day.label("service_day"),
            c.branch_id,
            c.region_id,
            func.count().label("demand_units"),
            *(column.label(name) for name, column in counted.items()),
        )
        .where(c.wished_day.between(since, until), *in_region(c.region_id, region))
        .group_by(c.wished_day, c.branch_id, c.region_id)
        .order_by(c.wished_day, c.branch_id)
    )
    dtypes = {"service_day": DAY, "branch_id": "str", "region_id": "str", "demand_units": "int64"}
    return frame(engine, statement, dtypes | dict.fromkeys(counted, "int64"))


def displaced_in(engine: Engine, *, since: date, until: date, region: str | None = None) -> pd.DataFrame:
    """Units in use by wishes first made for another branch or day, by where, when and how they are booked.

    [service_day, branch_id, channel, wished_day, wished_branch_id, units]; service days since..until, both
    included; region: of the branch booked at. A booking that was cancelled or ran out uses nothing.
    """
    b, w = t.bookings.c, t.wish_episodes.c
    keys = (b.service_day, b.branch_id, b.channel, w.wished_day, w.branch_id.label("wished_branch_id"))
    statement = (
        select(*keys, func.sum(b.units).label("units"))
        .join(t.wish_episodes, w.booking_ref == b.booking_ref)
        .where(
            w.outcome == "displaced",
            b.service_day.between(since, until),
            b.status.in_(LIVE_STATUSES),
            *in_region(b.region_id, region),
        )
        .group_by(b.service_day, b.branch_id, b.channel, w.wished_day, w.branch_id)
        .order_by(b.service_day, b.branch_id, b.channel, w.wished_day, w.branch_id)
    )
    return frame(
        engine,
        statement,
        {
            "service_day": DAY,
            "branch_id": "str",
            "channel": "str",
            "wished_day": DAY,
            "wished_branch_id": "str",
            "units": "int64",
        },
    )


def wishes_by_channel(engine: Engine, *, since: date, until: date, region: str | None = None) -> pd.DataFrame:
    """[branch_id, channel, units]: wishes first made for the days since..until, by how they were made."""
    w = t.wish_episodes.c
    statement = (
        select(w.branch_id, w.channel, func.count().label("units"))
        .where(w.wished_day.between(since, until), *in_region(w.region_id, region))
        .group_by(w.branch_id, w.channel)
        .order_by(w.branch_id, w.channel)
    )
    return frame(engine, statement, {"branch_id": "str", "channel": "str", "units": "int64"})


def wishes_of_day(engine: Engine, day: date, region: str | None = None) -> pd.DataFrame:
    """The wishes for one service day, in the order in which they were first made.

    [episode_id, branch_id, region_id, wished_day, channel, opened_business_utc, outcome, first_reason]
    """
    c = t.wish_episodes.c
    statement = (
        select(
            c.episode_id,
            c.branch_id,
            c.region_id,
            c.wished_day,
            c.channel,
            c.opened_business_utc,
            c.outcome,
            c.first_reason,
        )
        .where(c.wished_day == day, *in_region(c.region_id, region))
        .order_by(c.opened_business_utc, c.episode_id)
    )
    return frame(
        engine,
        statement,
        {
            "episode_id": "int64",
            "branch_id": "str",
            "region_id": "str",
            "wished_day": DAY,
            "channel": "str",
            "opened_business_utc": UTC_TIME,
            "outcome": "str",
            "first_reason": "str",
        },
    )
