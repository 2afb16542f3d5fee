"""Pressure: requests per second that reached the servers, refused ones included."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import pandas as pd
from sqlalchemy import Engine, case, func, select

from booking_core import tables_forecast as tf
from booking_core.read.bank import bank_settings
from booking_core.read.sql import UTC_TIME, frame, typed

_IMPORTED: Final = "import:%"
_MINUTE: Final = timedelta(minutes=1)


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
