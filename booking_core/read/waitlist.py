"""The waitlist: who waits for places that no demand counts, and how its promises were kept."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

import pandas as pd
from sqlalchemy import Engine, and_, func, or_, select

from booking_core import tables as t
from booking_core.promises import judged_promises
from booking_core.read.bank import bank_settings
from booking_core.read.sql import DAY, frame, in_region, typed

BUCKETS: Final = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0)
"""Edges of the buckets of told chance; each holds its upper edge, the first its lower one too."""
_PROMISES: Final = {
    "entry_ref": "str",
    "branch_id": "str",
    "region_id": "str",
    "due_day": DAY,
    "dated": "bool",
    "chance": "float64",
    "kept": "bool",
}


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


def promises(
    engine: Engine, *, since: date, until: date, region: str | None = None, wall_now: datetime | None = None
) -> pd.DataFrame:
    """The promises due on the days since..until that can be judged, by day and entry.

    [entry_ref, branch_id, region_id, due_day, dated (a day was promised; else the chance by the last day
    that suits), chance (told), kept (a place was offered by then)]. A promise of somebody who left before, or
    booked otherwise, cannot be judged. wall_now: aware; default the clock's.
    """
    now, settings = wall_now or datetime.now(UTC), bank_settings(engine)
    with engine.connect() as connection:
        rows = judged_promises(connection, now, settings, since=since, until=until, region=region)
    found = pd.DataFrame(
        [[getattr(row, name) for name in _PROMISES] for row in rows], columns=list(_PROMISES)
    )
    return typed(found, _PROMISES).sort_values(["due_day", "entry_ref"], ignore_index=True)


def promise_calibration(judged: pd.DataFrame) -> pd.DataFrame:
    """[above, up_to, promises, chance (mean told), kept_ratio] by bucket of told chance, of `promises`.

    Calibrated are promises whose kept_ratio is their chance. Buckets without a promise are left out.
    """
    bucket = pd.cut(judged["chance"], list(BUCKETS), include_lowest=True, labels=list(BUCKETS[1:]))
    grouped = judged.assign(up_to=bucket.astype("float64")).groupby("up_to", as_index=False)
    found = grouped.agg(promises=("kept", "size"), chance=("chance", "mean"), kept_ratio=("kept", "mean"))
    below = dict(zip(BUCKETS[1:], BUCKETS[:-1], strict=True))
    found.insert(0, "above", found["up_to"].map(below))
    dtypes = dict.fromkeys(("above", "up_to", "promises", "chance", "kept_ratio"), "float64")
    return typed(found, dtypes | {"promises": "int64"})
