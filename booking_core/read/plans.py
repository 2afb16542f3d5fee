"""Plans and their items, newest first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Any, Final

import pandas as pd
from sqlalchemy import Engine, case, exists, func, or_, select

from booking_core import tables as t
from booking_core.read.sql import DAY, UTC_TIME, frame, in_region
from metrics.contract import ALL_CHANNELS, NOBODY_DECIDED, PeriodKind

WAITING: Final = ("pending", "approved")
"""Statuses of a plan that waits: for a person, or to be applied after one's word."""
_QUARTER: Final = "%Y-%m-%dT%H:%M:%SZ"
_PLANS: Final = {
    "plan_id": "str",
    "kind": "str",
    "region_id": "str",
    "period": "str",
    "status": "str",
    "in_band": "bool",
    "verdict": "str",
    "model": "str",
    "forecast_run_id": "str",
    "policy": "object",
    "inputs": "object",
    "created_utc": UTC_TIME,
    "created_by": "str",
    "decided_utc": UTC_TIME,
    "decided_by": "str",
    "applied_utc": UTC_TIME,
    "note": "str",
    "decide_by_utc": UTC_TIME,
}
_ITEMS: Final = {
    "plan_id": "str",
    "seq": "int64",
    "scope_kind": "str",
    "scope_id": "str",
    "channel": "str",
    "period_kind": "str",
    "period_start": DAY,
    "starts_utc": UTC_TIME,
    "old_limit": "Int64",
    "proposed": "float64",
    "new_limit": "Int64",
    "quantile": "float64",
    "guardrail": "str",
    "condition": "str",
    "inputs": "object",
    "before_override": "Int64",
    "applied_limit": "Int64",
}


def plans(
    engine: Engine,
    *,
    kind: str | None = None,
    region: str | None = None,
    status: Collection[str] | None = None,
    periods: tuple[date, date] | None = None,
    limit: int | None = 50,
) -> pd.DataFrame:
    """The latest plans, newest period first: the columns of the table, without the fingerprint.

    kind: "quota", "extra" or "server" (whose region is "bank"). status: in one of these. periods: of these
    days, both included. None = any. limit: None = all there are; meant for few days, or for statuses that
    few plans are in.
    """
    p = t.plans.c
    asked = [p.kind == kind] if kind is not None else []
    asked += [p.status.in_(status)] if status is not None else []
    if periods is not None:  # a quarter-hour's period begins with its day
        first, last = periods
        asked += [p.period >= first.isoformat(), p.period < (last + timedelta(days=1)).isoformat()]
    statement = (
        select(*(p[name] for name in _PLANS))
        .where(*in_region(p.region_id, region), *asked)
        .order_by(p.period.desc(), p.created_utc.desc(), p.plan_id)
        .limit(limit)
    )
    return frame(engine, statement, _PLANS)


def plan_items(engine: Engine, plan_id: str) -> pd.DataFrame:
    """The items of one plan in their order: the columns of the table; empty for an unknown plan."""
    i = t.plan_items.c
    statement = select(*(i[name] for name in _ITEMS)).where(i.plan_id == plan_id).order_by(i.seq)
    return frame(engine, statement, _ITEMS)


def has_day_limits(engine: Engine, plan_id: str) -> bool:
    """Whether the plan has a day's limit of all channels that had one before; reads no more than one."""
    i = t.plan_items.c
    asked = (i.plan_id == plan_id, i.period_kind == PeriodKind.DAY, i.channel == ALL_CHANNELS)
    with engine.connect() as connection:
        return bool(connection.scalar(select(exists().where(*asked, i.old_limit.is_not(None)))))


def plan_record(engine: Engine, plan_id: str) -> dict[str, Any] | None:
    """The plan with its items in the words of GET /v1/plans/{id}, None for an unknown one.

    Plain JSON values; what only the table knows (times, the fingerprint) is left out.
    """
    p, i = t.plans.c, t.plan_items.c
    with engine.connect() as connection:
        plan = connection.execute(select(t.plans).where(p.plan_id == plan_id)).one_or_none()
        if plan is None:
            return None
        rows = connection.execute(select(t.plan_items).where(i.plan_id == plan_id).order_by(i.seq)).all()
    told = ("plan_id", "kind", "period", "status", "in_band", "verdict", "model", "forecast_run_id")
    columns = [c.name for c in t.plan_items.columns if c.name not in {"plan_id", "seq", "starts_utc"}]
    items = []
    for row in rows:
        item = {name: getattr(row, name) for name in columns}
        item["period_start"] = None if row.period_start is None else row.period_start.isoformat()
        items.append(item | {"starts": None if row.starts_utc is None else f"{row.starts_utc:{_QUARTER}}"})
    return (
        {name: getattr(plan, name) for name in told}
        | {"region": plan.region_id, "policy": dict(plan.policy), "inputs": dict(plan.inputs)}
        | {"items": items}
    )


def plan_totals(engine: Engine, plan_ids: Sequence[str]) -> pd.DataFrame:
    """Each plan's day items (or quarter-hours) summed up, by plan; a plan without such items has no row.

    [plan_id, items, changed, bound (by a guardrail), old_units, new_units (of the items that had a limit
    before; keep counts as the old one), most (highest new limit)]
    """
    i = t.plan_items.c
    new = func.coalesce(i.new_limit, i.old_limit)
    dtypes = {"plan_id": "str"} | dict.fromkeys(
        ("items", "changed", "bound", "old_units", "new_units", "most"), "int64"
    )
    statement = (
        select(
            i.plan_id,
            func.count().label("items"),
            func.sum(
                case((i.new_limit.is_distinct_from(i.old_limit) & i.new_limit.is_not(None), 1), else_=0)
            ).label("changed"),
            func.count(i.guardrail).label("bound"),
            func.coalesce(func.sum(i.old_limit), 0).label("old_units"),
            func.coalesce(func.sum(case((i.old_limit.is_not(None), new))), 0).label("new_units"),
            func.coalesce(func.max(new), 0).label("most"),
        )
        .where(i.plan_id.in_(plan_ids), i.period_kind.in_(("day", "quarter_hour")))
        .group_by(i.plan_id)
        .order_by(i.plan_id)
    )
    return frame(engine, statement, dtypes)


def applied_plan_id(engine: Engine, kind: str, region: str) -> str | None:
    """The plan of this kind and region that is in force, None where none is."""
    p = t.plans.c
    statement = (
        select(p.plan_id)
        .where(p.kind == kind, p.region_id == region, p.status == "applied")
        .order_by(p.period.desc(), p.applied_utc.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        return connection.scalar(statement)


def extras_asked(engine: Engine, *, since: date, region: str) -> pd.DataFrame:
    """The highest limit that the region's extra plans asked for, by what they limit, of periods from since.

    [scope_kind, scope_id, channel, period_kind, period_start, in_band, new_limit]. Whatever became of the
    plan: applied, taken back, rejected by a person, or recorded only; not those that nobody decided in time.
    """
    p, i = t.plans.c, t.plan_items.c
    keys = (i.scope_kind, i.scope_id, i.channel, i.period_kind, i.period_start, p.in_band)
    statement = (
        select(*keys, func.max(i.new_limit).label("new_limit"))
        .join(t.plans, p.plan_id == i.plan_id)
        .where(
            p.kind == "extra",
            p.region_id == region,
            i.period_start >= since,
            or_(p.status != "rejected", p.decided_by != NOBODY_DECIDED),
        )
        .group_by(*keys)
        .order_by(*keys)
    )
    dtypes = dict.fromkeys(("scope_kind", "scope_id", "channel", "period_kind"), "str")
    return frame(engine, statement, dtypes | {"period_start": DAY, "in_band": "bool", "new_limit": "int64"})
