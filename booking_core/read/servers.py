"""Servers: what the actuator decided, and what the server plan asks for."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import pandas as pd
from sqlalchemy import Engine, func, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.sql import UTC_TIME, frame, quarter_index, quarter_starts, typed

_DECISIONS: Final = {
    "at_utc": UTC_TIME,
    "business_utc": UTC_TIME,
    "running": "int64",
    "target": "int64",
    "reactive_need": "int64",
    "forecast_need": "Int64",
    "observed_rps": "float64",
    "reason": "str",
    "plan_id": "str",
}


def scaling_decisions(engine: Engine, *, since_wall: datetime) -> pd.DataFrame:
    """The actuator's decisions since the wall time, in order.

    [at_utc (wall), business_utc, running, target, reactive_need, forecast_need, observed_rps, reason,
    plan_id]; forecast_need is missing where no server plan covered the moment.
    """
    d = tf.scaling_decisions.c
    statement = (
        select(*(d[name] for name in _DECISIONS))
        .where(d.at_utc >= since_wall)
        .order_by(d.at_utc, d.decision_id)
    )
    return frame(engine, statement, _DECISIONS)


def workers_by_quarter(engine: Engine, *, since: datetime, until: datetime) -> pd.DataFrame:
    """[starts_utc (business quarter-hour), running, target]: the most workers of each, in order."""
    d = tf.scaling_decisions.c
    statement = (
        select(
            quarter_index(d.business_utc).label("quarter"),
            func.max(d.running).label("running"),
            func.max(d.target).label("target"),
        )
        .where(d.business_utc >= since, d.business_utc < until)
        .group_by("quarter")
        .order_by("quarter")
    )
    rows = frame(engine, statement, {"quarter": "int64", "running": "int64", "target": "int64"})
    rows["starts_utc"] = quarter_starts(rows["quarter"])
    return typed(rows, {"starts_utc": UTC_TIME, "running": "int64", "target": "int64"})


def server_targets(engine: Engine, *, since: datetime, until: datetime) -> pd.DataFrame:
    """[starts_utc (business quarter-hour), workers, plan_id] of the server plan in force, in order."""
    p, i = t.plans.c, t.plan_items.c
    in_force = (
        select(p.plan_id)
        .where(p.kind == "server", p.status == "applied")
        .order_by(p.period.desc(), p.applied_utc.desc())
        .limit(1)
        .scalar_subquery()
    )
    workers = func.coalesce(i.applied_limit, i.new_limit)
    statement = (
        select(i.starts_utc, workers.label("workers"), i.plan_id)
        .where(i.plan_id == in_force, i.starts_utc >= since, i.starts_utc < until, workers.is_not(None))
        .order_by(i.starts_utc)
    )
    return frame(engine, statement, {"starts_utc": UTC_TIME, "workers": "int64", "plan_id": "str"})


def planned_workers(engine: Engine, *, since: datetime, until: datetime) -> pd.DataFrame:
    """[starts_utc, workers, plan_id] of the server plan that was in force at each business quarter-hour.

    That is the newest plan ever applied that was made at the quarter-hour or before.
    """
    p, i = t.plans.c, t.plan_items.c
    statement = (
        select(
            i.starts_utc,
            i.applied_limit.label("workers"),
            i.plan_id,
            p.period,
            p.applied_utc,
        )
        .join(t.plans, p.plan_id == i.plan_id)
        .where(
            p.kind == "server",
            p.status.in_(("applied", "superseded")),
            i.starts_utc >= since,
            i.starts_utc < until,
            i.applied_limit.is_not(None),
        )
    )
    dtypes = {"starts_utc": UTC_TIME, "workers": "int64", "plan_id": "str"}
    rows = frame(engine, statement, dtypes | {"period": UTC_TIME, "applied_utc": UTC_TIME})
    rows = rows[rows["period"] <= rows["starts_utc"]].sort_values(["starts_utc", "period", "applied_utc"])
    return typed(rows.drop_duplicates("starts_utc", keep="last", ignore_index=True), dtypes)
