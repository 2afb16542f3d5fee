"""Scores: forecasts and plans against what came."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import pandas as pd
from sqlalchemy import ColumnElement, Engine, Subquery, and_, case, func, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.sql import DAY, frame, in_region

_LAST_BITS: Final = 1e-6
"""Quantiles of whole units may differ from them in their last bits: demand equals them all the same."""
_FORECASTS: Final = {
    "run_id": "str",
    "branch_id": "str",
    "day": DAY,
    "horizon_days": "int64",
    "actual": "float64",
    "mean": "float64",
    "inside80": "bool",
    "pinball": "float64",
}
_PLANS: Final = {
    "plan_id": "str",
    "region_id": "str",
    "day": DAY,
    "demand_units": "float64",
    "served_units": "float64",
    "refused_units": "float64",
    "idle_units": "float64",
    "refused_old_units": "float64",
    "idle_old_units": "float64",
    "regret_units": "float64",
}
_TOTALS: Final = {
    "plan_id": "str",
    "region_id": "str",
    "first_day": DAY,
    "last_day": DAY,
    "demand_units": "float64",
    "served_units": "float64",
    "refused_units": "float64",
    "idle_units": "float64",
    "refused_old_units": "float64",
    "idle_old_units": "float64",
    "regret_units": "float64",
    "cost": "float64",
    "cost_old": "float64",
    "waited": "int64",
    "waiting_days": "float64",
}
_SERVERS: Final = {
    "day": DAY,
    "quarters": "int64",
    "planned_hours": "float64",
    "run_hours": "float64",
    "needed_hours": "float64",
    "short_hours": "float64",
}
_DRIFT: Final = {
    "run_id": "str",
    "day": DAY,
    "scope": "str",
    "days": "int64",
    "coverage80": "float64",
    "coverage80_promised": "float64",
    "wape": "float64",
    "wape_promised": "float64",
    "verdict": "str",
    "condition": "str",
}


def forecast_scores(engine: Engine, *, since: date, region: str | None = None) -> pd.DataFrame:
    """Scored forecasts for the days from `since` on, by day, branch and run.

    [run_id, branch_id, day, horizon_days, actual, mean, inside80, pinball]
    """
    s = tf.score_forecasts.c
    statement = (
        select(*(s[name] for name in _FORECASTS))
        .join(t.branches, t.branches.c.branch_id == s.branch_id)
        .where(s.day >= since, *in_region(t.branches.c.region_id, region))
        .order_by(s.day, s.branch_id, s.run_id)
    )
    return frame(engine, statement, _FORECASTS)


def plan_scores(engine: Engine, *, since: date, region: str | None = None) -> pd.DataFrame:
    """Scored plans for the days from `since` on, by day and plan; *_old: had the old quotas stayed.

    [plan_id, region_id, day, demand_units, served_units, refused_units, idle_units, refused_old_units,
    idle_old_units, regret_units]
    """
    s, p = tf.score_plans.c, t.plans.c
    columns = [p.region_id if name == "region_id" else s[name] for name in _PLANS]
    statement = (
        select(*columns)
        .join(t.plans, p.plan_id == s.plan_id)
        .where(s.day >= since, *in_region(p.region_id, region))
        .order_by(s.day, s.plan_id)
    )
    return frame(engine, statement, _PLANS)


def plan_total_scores(engine: Engine, *, since: date, region: str | None = None) -> pd.DataFrame:
    """Whole plans whose last day lies on `since` or later, by last day and plan.

    [plan_id, region_id, first_day, last_day, demand_units, served_units, refused_units, idle_units,
    refused_old_units, idle_old_units (without any plan), regret_units, cost, cost_old (in idle units), waited
    (customers), waiting_days (mean; NaN = nobody waited)]
    """
    s, p = tf.score_plan_totals.c, t.plans.c
    columns = [p.region_id if name == "region_id" else s[name] for name in _TOTALS]
    statement = (
        select(*columns)
        .join(t.plans, p.plan_id == s.plan_id)
        .where(s.last_day >= since, *in_region(p.region_id, region))
        .order_by(s.last_day, s.plan_id)
    )
    return frame(engine, statement, _TOTALS)


def server_scores(engine: Engine, *, since: date) -> pd.DataFrame:
    """Worker-hours by business day from `since` on.

    [day, quarters, planned_hours, run_hours, needed_hours, short_hours (needed and not running)]
    """
    s = tf.score_servers.c
    statement = select(*(s[name] for name in _SERVERS)).where(s.day >= since).order_by(s.day)
    return frame(engine, statement, _SERVERS)


def level_shares(
    engine: Engine, *, since: date, until: date, horizon_days: int, region: str | None = None
) -> dict[str, Any]:
    """How often demand stayed within the stored quantiles of forecasts made 1..horizon_days before.

    {"days", "branch_days", "q10" … "q90" (shares of the branch days on which demand was at or below, None
    without any), "q10_below" … (less)}, of days since..until. A branch's day counts once, by the last
    forecast made for it.
    """
    v, names = tf.forecast_values.c, ("q10", "q25", "q50", "q75", "q90")
    r = _nearest(since, until, region, tf.score_forecasts.c.horizon_days.between(1, horizon_days)).c
    statement = (
        select(
            func.count(func.distinct(r.day)).label("days"),
            func.count().label("branch_days"),
            *(_share(r.actual <= v[name] + _LAST_BITS).label(name) for name in names),
            *(_share(r.actual < v[name] - _LAST_BITS).label(f"{name}_below") for name in names),
        )
        .join(tf.forecast_values, and_(v.run_id == r.run_id, v.branch_id == r.branch_id, v.day == r.day))
        .where(r.place == 1)
    )
    with engine.connect() as connection:
        return dict(connection.execute(statement).one()._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def scored_medians(engine: Engine, *, since: date, until: date, region: str | None = None) -> pd.DataFrame:
    """The median of the last forecast made for each branch's scored day since..until, and what came.

    [branch_id, day, horizon_days, actual, q50]
    """
    v = tf.forecast_values.c
    r = _nearest(since, until, region).c
    statement = (
        select(r.branch_id, r.day, r.horizon_days, r.actual, v.q50)
        .join(tf.forecast_values, and_(v.run_id == r.run_id, v.branch_id == r.branch_id, v.day == r.day))
        .where(r.place == 1)
        .order_by(r.branch_id, r.day)
    )
    dtypes = {name: _FORECASTS[name] for name in ("branch_id", "day", "horizon_days", "actual")}
    return frame(engine, statement, dtypes | {"q50": "float64"})


def _nearest(since: date, until: date, region: str | None, *asked: ColumnElement[bool]) -> Subquery:
    """Scored days with their place among the forecasts made for that day: 1 for the last one."""
    s = tf.score_forecasts.c
    last_first = func.row_number().over(
        partition_by=(s.branch_id, s.day), order_by=(s.horizon_days, s.run_id.desc())
    )
    return (
        select(s.run_id, s.branch_id, s.day, s.horizon_days, s.actual, last_first.label("place"))
        .join(t.branches, t.branches.c.branch_id == s.branch_id)
        .where(s.day.between(since, until), *in_region(t.branches.c.region_id, region), *asked)
        .subquery()
    )


def _share(holds: ColumnElement[bool]) -> ColumnElement[Any]:
    """The share of the rows on which it holds."""
    return func.avg(case((holds, 1.0), else_=0.0))


def forecast_drift(engine: Engine, *, since: date, scope: str | None = None) -> pd.DataFrame:
    """How live forecasts kept what their backtest promised, judged from `since` on; by day, scope, run.

    [run_id, day (last day judged), scope (bank | group:NAME), days (series' days judged), coverage80, wape
    (NaN = nothing came), *_promised (NaN = no promise), verdict, condition (missing = fit)]. scope: only
    this one.
    """
    d = tf.forecast_drift.c
    statement = (
        select(*(d[name] for name in _DRIFT))
        .where(d.day >= since, *([] if scope is None else [d.scope == scope]))
        .order_by(d.day, d.scope, d.run_id)
    )
    return frame(engine, statement, _DRIFT)
