"""How long a customer is served and how many do not come, measured from finished bookings."""

from __future__ import annotations

from datetime import date
from typing import Final

import pandas as pd
from sqlalchemy import Engine, select

from booking_core import tables as t
from booking_core.read.bank import bank_settings
from booking_core.read.sql import UTC_TIME, frame, in_region, quarter_index, quarter_starts, typed

_BY: Final = ["branch_id", "region_id", "weekday", "hour"]
_FINISHED: Final = {
    "branch_id": "str",
    "region_id": "str",
    "quarter": "int64",
    "status": "str",
    "service_started_utc": UTC_TIME,
    "service_ended_utc": UTC_TIME,
}
_SERVICE_TIMES: Final = {
    "branch_id": "str",
    "region_id": "str",
    "weekday": "int64",
    "hour": "int64",
    "completed": "int64",
    "no_shows": "int64",
    "mean_seconds": "float64",
    "q0.5_seconds": "float64",
    "q0.9_seconds": "float64",
    "no_show_ratio": "float64",
}


def service_times(engine: Engine, *, since: date, until: date, region: str | None = None) -> pd.DataFrame:
    """Handling time and no-shows of the service days since..until, by branch, weekday and hour of the slot.

    [branch_id, region_id, weekday (0 = Monday), hour (bank-local), completed, no_shows, mean_seconds,
    q0.5_seconds, q0.9_seconds (from service start to end, wall time; missing where nobody was served),
    no_show_ratio (of those completed or not shown up)]. Cells without a finished booking have no row.
    """
    b, s = t.bookings.c, t.slots.c
    rows = frame(
        engine,
        select(
            b.branch_id,
            b.region_id,
            quarter_index(s.start_utc).label("quarter"),
            b.status,
            b.service_started_utc,
            b.service_ended_utc,
        )
        .join(t.slots, s.slot_id == b.slot_id)
        .where(
            b.service_day.between(since, until),
            b.status.in_(("completed", "no_show")),
            *in_region(b.region_id, region),
        ),
        _FINISHED,
    )
    local = quarter_starts(rows["quarter"]).dt.tz_convert(bank_settings(engine).zone)
    rows = rows.assign(
        weekday=local.dt.dayofweek,
        hour=local.dt.hour,
        seconds=(rows["service_ended_utc"] - rows["service_started_utc"]).dt.total_seconds(),
        absent=rows["status"] == "no_show",
    )
    groups = rows.groupby(_BY)
    cells = pd.DataFrame(
        {
            "no_shows": groups["absent"].sum(),
            "completed": groups.size() - groups["absent"].sum(),
            "mean_seconds": groups["seconds"].mean(),
            "q0.5_seconds": groups["seconds"].quantile(0.5),
            "q0.9_seconds": groups["seconds"].quantile(0.9),
            "no_show_ratio": groups["absent"].mean(),
        }
    )
    return typed(cells.reset_index(), _SERVICE_TIMES)
