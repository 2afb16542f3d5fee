"""Scores: forecasts and plans against what came."""

from __future__ import annotations

from datetime import date
from typing import Final

import pandas as pd
from sqlalchemy import Engine, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.sql import DAY, frame, in_region

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
