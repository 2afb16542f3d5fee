"""Pressure: requests per second that reached the servers, refused ones included."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import pandas as pd
from sqlalchemy import Engine, and_, case, false, func, or_, select

from booking_core import tables_forecast as tf
from booking_core.read.bank import bank_settings
from booking_core.read.sql import QUARTER_HOUR_SECONDS, UTC_TIME, frame, typed

_IMPORTED: Final = "import:%"
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_OLDEST_RUN: Final = timedelta(days=7)


def pressure_quarters(engine: Engine, *, since: datetime, until: datetime) -> pd.DataFrame:
    """Requests by business quarter-hour, in order; imported ones included.

    [starts_utc (business), requests, refused, failed, busy_seconds, wall_seconds, rps, synthetic].
    wall_seconds: how long the quarter-hour lasted on the wall: the setting quarter_seconds, or longer
    where requests a longer time apart fell into it. rps = requests / wall_seconds, so that imported and
    recorded pressure compare also where days are turned faster than the wall. The running quarter-hour
    is not over yet and shows too little. synthetic: some of its requests are.
    """
    p = tf.pressure_minutes.c
    recorded = p.source.not_like(_IMPORTED)
    statement = (
        select(
            p.business_utc.label("starts_utc"),
            func.sum(p.requests).label("requests"),
            func.sum(p.refused).label("refused"),
            func.sum(p.failed).label("failed"),
            func.sum(p.busy_seconds).label("busy_seconds"),
            func.min(case((recorded, p.minute_utc))).label("first"),
            func.max(case((recorded, p.minute_utc))).label("last"),
            func.max(case((p.synthetic, 1), else_=0)).label("synthetic"),
        )
        .where(p.business_utc >= since, p.business_utc < until)
        .group_by(p.business_utc)
        .order_by(p.business_utc)
    )
    counts = {"requests": "int64", "refused": "int64", "failed": "int64", "busy_seconds": "float64"}
    rows = frame(
        engine,
        statement,
        {"starts_utc": UTC_TIME, **counts, "first": UTC_TIME, "last": UTC_TIME, "synthetic": "bool"},
    )
    # Between the first minute's end and the last one's start the quarter-hour surely lasted.
    surely = (rows["last"] - rows["first"]).dt.total_seconds() - _MINUTE.total_seconds()
    rows["wall_seconds"] = surely.fillna(0.0).clip(lower=bank_settings(engine).quarter_seconds)
    rows["rps"] = rows["requests"] / rows["wall_seconds"]
    return typed(
        rows,
        {
            "starts_utc": UTC_TIME,
            **counts,
            "wall_seconds": "float64",
            "rps": "float64",
            "synthetic": "bool",
        },
    )


def pressure_foreseen(engine: Engine, *, first: date, last: date) -> pd.DataFrame:
    """What each quarter-hour of the bank-local days first..last was foreseen to bring, the day before.

    [starts_utc (business), mean_rps, q10_rps … q99_rps (as `read.forecasts.pressure_forecast` has them),
    quarter_seconds, requests_per_wish], in order. Each day comes from the newest ready run made on an earlier
    business day, at most a week before; days without one are absent. The last two are the run's: wall seconds
    of a quarter-hour, and the ratio it was made with (NaN where it does not say).
    """
    p, r = tf.forecast_pressure.c, tf.forecast_runs.c
    runs = (
        select(r.run_id, r.period, r.parameters)
        .where(r.kind == "pressure", r.status == "ready")
        .where(r.period >= first - _OLDEST_RUN, r.period < last)
        .order_by(r.period, r.trained_utc, r.run_id)
    )
    with engine.connect() as connection:
        found = connection.execute(runs).all()
    settings = bank_settings(engine)
    said = {run.run_id: run.parameters for run in found}
    wanted = []
    for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
        made = [run.run_id for run in found if day - _OLDEST_RUN <= run.period < day]
        if made:
            starts, ends = (
                datetime.combine(d, time(), settings.tzinfo()).astimezone(UTC) for d in (day, day + _DAY)
            )
            wanted.append(and_(p.run_id == made[-1], p.starts_utc >= starts, p.starts_utc < ends))
    rates = [column.name for column in p if column.name.endswith("_rps")]
    statement = (
        select(p.starts_utc, *(p[name] for name in rates), p.run_id)
        .where(or_(false(), *wanted))
        .order_by(p.starts_utc)
    )
    columns = {"starts_utc": UTC_TIME} | dict.fromkeys(rates, "float64")
    rows = frame(engine, statement, columns | {"run_id": "str"})
    parameters = {"quarter_seconds": float(QUARTER_HOUR_SECONDS), "requests_per_wish": float("nan")}
    for name, unsaid in parameters.items():
        rows[name] = [said[run_id].get(name, unsaid) for run_id in rows["run_id"]]
    return typed(rows, columns | dict.fromkeys(parameters, "float64"))
