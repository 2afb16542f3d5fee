"""What was forecast for days that have come, so many days before: for learning from, not for showing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

import pandas as pd
from sqlalchemy import Date, Engine, Integer, String, column, select, values

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.sql import DAY, frame, in_region, typed

_COLUMNS: Final = {
    "unique_id": "str",
    "ds": DAY,
    "lead_days": "int64",
    "mean": "float64",
    "q10": "float64",
    "q90": "float64",
}


def past_forecasts(
    engine: Engine, *, since: date, until: date, leads: Sequence[int], region: str | None = None
) -> pd.DataFrame:
    """The demand forecasts of the days since..until − 1 when `leads` days were left, by branch, day and lead.

    [unique_id (branch), ds, lead_days, mean, q10, q90]. A ready run of period p stands at the start of the
    next business day: it forecast day d when (d − p − 1) days were left. Of several runs of a period the
    last one trained counts.
    """
    r, v = tf.forecast_runs.c, tf.forecast_values.c
    first = since - timedelta(days=max(leads, default=0) + 1)
    with engine.connect() as connection:
        runs = dict(
            connection.execute(
                select(r.period, r.run_id)
                .where(r.kind == "demand", r.status == "ready", r.period >= first, r.period < until)
                .order_by(r.period, r.trained_utc, r.run_id)
            )
            .tuples()
            .all()
        )
    wanted = [
        (run_id, day, lead)
        for period, run_id in runs.items()
        for lead in sorted(set(leads))
        if since <= (day := period + timedelta(days=lead + 1)) < until
    ]
    if not wanted:
        return typed(pd.DataFrame(columns=list(_COLUMNS)), _COLUMNS)
    made = (
        values(column("run_id", String), column("day", Date), column("lead_days", Integer), name="made")
        .data(wanted)
        .cte("made")
    )
    statement = (
        select(v.branch_id.label("unique_id"), v.day.label("ds"), made.c.lead_days, v.mean, v.q10, v.q90)
        .join(made, (made.c.run_id == v.run_id) & (made.c.day == v.day))
        .join(t.branches, t.branches.c.branch_id == v.branch_id)
        .where(*in_region(t.branches.c.region_id, region))
        .order_by(v.branch_id, v.day, made.c.lead_days)
    )
    return frame(engine, statement, _COLUMNS)
