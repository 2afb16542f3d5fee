"""Waiting: how many days customers on the waitlist waited beyond the day they wished."""

from __future__ import annotations

from datetime import date

import pandas as pd
from sqlalchemy import Engine, func, select

from booking_core import tables as t
from booking_core.read.sql import DAY, frame, in_region, typed
from metrics.contract import Reason


def waiting_days(
    engine: Engine, *, since: date, until: date, as_of: date, region: str | None = None
) -> pd.DataFrame:
    """[ds (first day that suited), waited (entries), days (summed over them)] of since..until, by day.

    days: from the first day that suited to the day booked. Who got none waited to the last day that suited,
    and who waits still to `as_of`. Who left of their own accord is not counted, nor whose loan could not be
    prepaid any more.
    """
    w, b = t.waitlist.c, t.bookings.c
    rows = frame(
        engine,
        select(w.wished_day.label("ds"), w.latest_day, w.status, b.service_day, func.count().label("waited"))
        .select_from(t.waitlist.outerjoin(t.bookings, b.booking_ref == w.booking_ref))
        .where(w.wished_day.between(since, until), w.status != "left", *in_region(w.region_id, region))
        .where(func.coalesce(w.closed_reason, "") != Reason.LOAN_NOT_ELIGIBLE)
        .group_by(w.wished_day, w.latest_day, w.status, b.service_day),
        {"ds": DAY, "latest_day": DAY, "status": "str", "service_day": DAY, "waited": "int64"},
    )
    now = pd.Timestamp(as_of)
    got = rows["service_day"].where(rows["status"] == "booked")
    last = rows["latest_day"].where(rows["latest_day"] <= now, now)
    end = got.fillna(last).astype(DAY)
    rows["days"] = (end - rows["ds"]).dt.days.clip(lower=0) * rows["waited"]
    summed = rows.groupby("ds", as_index=False)[["waited", "days"]].sum()
    return typed(summed, {"ds": DAY, "waited": "int64", "days": "int64"})
