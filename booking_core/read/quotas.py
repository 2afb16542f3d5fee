"""Quotas as they stand: the effective limit and use of every concrete period."""

from __future__ import annotations

from datetime import date
from typing import Final

import pandas as pd
from sqlalchemy import Engine, func, select

from booking_core import tables as t
from booking_core.domain import next_period_start, period_start
from booking_core.read.bank import branches
from booking_core.read.sql import DAY, frame, in_region, typed
from metrics.contract import ALL_CHANNELS, PeriodKind, ScopeKind

LIVE_STATUSES: Final = ("offered", "held", "confirmed", "checked_in", "completed", "no_show")
"""Bookings that use a quota's units."""

_SCOPE: Final = ["scope_kind", "scope_id", "channel", "period_kind"]
_PERIODS: Final = {
    "scope_kind": "str",
    "scope_id": "str",
    "channel": "str",
    "region_id": "str",
    "period_kind": "str",
    "period_start": DAY,
    "limit_units": "Int64",
    "standing_units": "Int64",
    "extra_units": "int64",
    "used_units": "int64",
    "plan_id": "str",
}


def quota_periods(
    engine: Engine,
    *,
    since: date,
    until: date,
    period_kind: str = PeriodKind.DAY,
    scope_kind: str = ScopeKind.BRANCH,
    region: str | None = None,
) -> pd.DataFrame:
    """One row for each period that touches since..until, of every scope that has any limit there.

    [scope_kind, scope_id, channel, region_id, period_kind, period_start, limit_units (in force; missing =
    no limit), standing_units, extra_units (of temporary quotas, in limit_units), used_units, plan_id (that
    set the override)]. Periods not yet counted by the core (no limit, or nothing booked) have their live
    bookings counted here.
    """
    kind = PeriodKind(period_kind)
    starts = _starts(kind, since, until)
    q, p = t.quotas.c, t.quota_periods.c
    standing = frame(
        engine,
        select(
            q.scope_kind, q.scope_id, q.channel, q.period_kind, q.limit_units.label("standing_units")
        ).where(q.scope_kind == scope_kind, q.period_kind == kind),
        dict.fromkeys(_SCOPE, "str") | {"standing_units": "Int64"},
    )
    concrete = frame(
        engine,
        select(
            p.scope_kind,
            p.scope_id,
            p.channel,
            p.period_kind,
            p.period_start,
            p.limit_units.label("override_units"),
            p.extra_units,
            p.used_units.label("counted_units"),
            p.plan_id,
        ).where(
            p.scope_kind == scope_kind, p.period_kind == kind, p.period_start.between(starts[0], starts[-1])
        ),
        dict.fromkeys(_SCOPE, "str")
        | {
            "period_start": DAY,
            "override_units": "Int64",
            "extra_units": "Int64",
            "counted_units": "Int64",
            "plan_id": "str",
        },
    )
    overridden = concrete.loc[concrete["override_units"].notna(), _SCOPE]
    scopes = pd.concat([standing[_SCOPE], overridden]).drop_duplicates()
    scopes = _with_region(engine, scopes, scope_kind, region)
    days = pd.DataFrame({"period_start": pd.to_datetime(pd.Series(starts)).astype(DAY)})
    rows = (
        scopes.merge(days, how="cross")
        .merge(standing, how="left", on=_SCOPE)
        .merge(concrete, how="left", on=[*_SCOPE, "period_start"])
    )
    rows["extra_units"] = rows["extra_units"].fillna(0)
    rows["limit_units"] = rows["override_units"].fillna(rows["standing_units"]) + rows["extra_units"]
    rows["used_units"] = rows["counted_units"].fillna(0)
    uncounted = rows["counted_units"].isna()
    if uncounted.any():
        rows.loc[uncounted, "used_units"] = _booked_units(engine, rows[uncounted], kind, region)
    rows = rows.sort_values(["scope_id", "channel", "period_start"], ignore_index=True)
    return typed(rows, _PERIODS)


def live_bookings(engine: Engine, *, since: date, until: date, region: str | None = None) -> pd.DataFrame:
    """[service_day, branch_id, region_id, channel, units]: bookings that use units, whatever the limits."""
    b = t.bookings.c
    statement = (
        select(b.service_day, b.branch_id, b.region_id, b.channel, func.sum(b.units).label("units"))
        .where(
            b.service_day.between(since, until), b.status.in_(LIVE_STATUSES), *in_region(b.region_id, region)
        )
        .group_by(b.service_day, b.branch_id, b.region_id, b.channel)
        .order_by(b.service_day, b.branch_id, b.channel)
    )
    return frame(
        engine,
        statement,
        {"service_day": DAY, "branch_id": "str", "region_id": "str", "channel": "str", "units": "int64"},
    )


def slot_capacity(engine: Engine, *, since: date, until: date, region: str | None = None) -> pd.DataFrame:
    """[service_day, capacity_units, used_units] of all open slots together, by day."""
    s = t.slots.c
    statement = (
        select(
            s.service_day,
            func.sum(s.capacity_units).label("capacity_units"),
            func.sum(s.used_units).label("used_units"),
        )
        .where(s.service_day.between(since, until), s.closed.is_(False), *in_region(s.region_id, region))
        .group_by(s.service_day)
        .order_by(s.service_day)
    )
    return frame(engine, statement, {"service_day": DAY, "capacity_units": "int64", "used_units": "int64"})


def _starts(kind: PeriodKind, since: date, until: date) -> list[date]:
    """The starts of the periods that touch since..until."""
    starts = [period_start(kind, since)]
    while (following := next_period_start(kind, starts[-1])) <= until:
        starts.append(following)
    return starts


def _with_region(engine: Engine, scopes: pd.DataFrame, scope_kind: str, region: str | None) -> pd.DataFrame:
    """The scopes with their region_id, those outside the region left out."""
    if scope_kind == ScopeKind.BRANCH:
        known = branches(engine)[["branch_id", "region_id"]]
        scopes = scopes.merge(known, how="left", left_on="scope_id", right_on="branch_id")
    elif scope_kind == ScopeKind.REGION:
        scopes = scopes.assign(region_id=scopes["scope_id"])
    else:
        scopes = scopes.assign(region_id=pd.Series(None, index=scopes.index, dtype="str"))
    return scopes if region is None else scopes[scopes["region_id"] == region]


def _booked_units(engine: Engine, rows: pd.DataFrame, kind: PeriodKind, region: str | None) -> list[int]:
    """The units booked in each row's period and scope, counted from the bookings themselves."""
    first = rows["period_start"].min().date()
    last = next_period_start(kind, rows["period_start"].max().date())
    booked = live_bookings(engine, since=first, until=last, region=region)
    if booked.empty:
        return [0] * len(rows)
    booked["start"] = pd.to_datetime(
        booked["service_day"].map(lambda day: period_start(kind, day.date()))
    ).astype(DAY)
    booked["bank"] = "bank"
    column = {ScopeKind.BRANCH: "branch_id", ScopeKind.REGION: "region_id"}.get(
        rows["scope_kind"].iloc[0], "bank"
    )
    anywhere = booked.assign(channel=ALL_CHANNELS)
    counts = pd.concat([booked, anywhere]).groupby([column, "channel", "start"])["units"].sum().to_dict()
    return [
        int(counts.get((scope, channel, start), 0))
        for scope, channel, start in zip(rows["scope_id"], rows["channel"], rows["period_start"], strict=True)
    ]
