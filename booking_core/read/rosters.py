"""Who is there, as rosters state it, and the roster proposals that were made from it."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import pandas as pd
from sqlalchemy import Engine, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.sql import DAY, in_region, typed

ROSTER: Final = "roster"
"""Kind of a roster proposal among the proposals."""

_AVAILABLE: Final = {
    "branch_id": "str",
    "day": DAY,
    "skill": "str",
    "starts": "str",
    "ends": "str",
    "heads": "int64",
}


def rostered(engine: Engine, *, since: date, until: date, region: str | None = None) -> pd.DataFrame:
    """Who is there on the days since..until, as standing rosters state it, by branch, day, skill and time.

    [branch_id, day, skill (counter | phone), starts, ends (bank-local times on half-hours, "09:00"; the end
    exclusive, at most "24:00"), heads]. A day of which no roster tells has no row; one on which nobody is
    there has a row of 0 heads.
    """
    r, b = tf.rosters.c, t.branches.c
    statement = (
        select(r.branch_id, r.entries)
        .join(t.branches, b.branch_id == r.branch_id)
        .where(
            r.first_day <= until,
            r.last_day >= since,
            r.ended_utc.is_(None),
            *in_region(b.region_id, region),
        )
    )
    with engine.connect() as connection:
        found = connection.execute(statement).all()
    days = (since.isoformat(), until.isoformat())
    rows = [
        (row.branch_id, entry["day"], entry["skill"], entry["from"], entry["to"], entry["heads"])
        for row in found
        for entry in row.entries
        if days[0] <= entry["day"] <= days[1]
    ]
    rows.sort()
    return typed(pd.DataFrame(rows, columns=list(_AVAILABLE)), _AVAILABLE)


def roster_proposal(
    engine: Engine, region: str, *, until_period: date | None = None
) -> dict[str, Any] | None:
    """The region's newest roster proposal (as forecasting.rostering makes it); None where there is none.

    until_period: only those made for that period or an earlier one.
    """
    p = tf.forecast_proposals.c
    statement = select(p.body).where(p.kind == ROSTER, p.region_id == region)
    if until_period is not None:
        statement = statement.where(p.period <= until_period.isoformat())
    with engine.connect() as connection:
        body = connection.scalar(statement.order_by(p.period.desc()).limit(1))
    return None if body is None else dict(body)
