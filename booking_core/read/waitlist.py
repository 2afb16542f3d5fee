"""The waitlist: who waits for places that no demand counts."""

from __future__ import annotations

from datetime import date

import pandas as pd
from sqlalchemy import Engine, and_, func, or_, select

from booking_core import tables as t
from booking_core.read.sql import DAY, frame, in_region


def backlog(engine: Engine, *, since: date, region: str | None = None) -> pd.DataFrame:
    """Entries that wait for days from `since` on and that the demand of none of these days counts.

    [branch_id, channel, first_day, latest_day, entries], by branch and days; first_day: since or later. A
    wish counts as demand of the branch and day that it was first made for: an entry is not counted where
    that day is over, or where it waits at another branch or for other days than these.
    """
    w, e = t.waitlist.c, t.wish_episodes.c
    counted = and_(
        e.branch_id == w.branch_id, e.wished_day >= since, e.wished_day.between(w.wished_day, w.latest_day)
    )
    statement = (
        select(
            w.branch_id,
            w.channel,
            w.wished_day.label("first_day"),
            w.latest_day,
            func.count().label("entries"),
        )
        .select_from(
            t.waitlist.outerjoin(t.wish_episodes, and_(e.loan_ref == w.loan_ref, e.outcome == "open"))
        )
        .where(
            w.status == "waiting",
            w.latest_day >= since,
            or_(e.loan_ref.is_(None), ~counted),
            *in_region(w.region_id, region),
        )
        .group_by(w.branch_id, w.channel, w.wished_day, w.latest_day)
        .order_by(w.branch_id, w.channel, w.wished_day, w.latest_day)
    )
    dtypes = {"branch_id": "str", "channel": "str", "first_day": DAY, "latest_day": DAY, "entries": "int64"}
    found = frame(engine, statement, dtypes)
    begin = pd.Timestamp(since)
    return found.assign(first_day=found["first_day"].where(found["first_day"] >= begin, begin))
