"""Announced events as they were known, and the scopes that hold for each branch."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

import pandas as pd
from sqlalchemy import ColumnElement, Engine, and_, or_, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.sql import DAY, frame, in_region
from metrics.contract import BANK_SCOPE_ID, ScopeKind

BANK_SCOPE: Final = f"{ScopeKind.BANK}:{BANK_SCOPE_ID}"

_EVENTS: Final = {
    "event_id": "str",
    "kind": "str",
    "name": "str",
    "first_day": DAY,
    "last_day": DAY,
    "scope": "str",
    "confirmed": "bool",
    "expected_effect_ratio": "float64",
}


def events(
    engine: Engine, *, since: date, until: date, as_of: datetime | None = None, region: str | None = None
) -> pd.DataFrame:
    """Events with a day within since..until, by first day and id.

    [event_id, kind, name, first_day, last_day (inclusive), scope (bank:bank | region:ID | branch:ID),
    confirmed, expected_effect_ratio (demand ÷ usual as a person expects it; NaN = not told)]
    as_of: aware wall time; only what had been announced by then and was not yet ended. None: what stands
    now. Raises ValueError for a naive as_of. A region reads the bank's events, its own and its branches'.
    """
    if as_of is not None and as_of.tzinfo is None:
        raise ValueError(f"as_of {as_of} has no time zone; expected an aware time")
    e = tf.events.c
    known: ColumnElement[bool] = e.ended_utc.is_(None)
    if as_of is not None:
        known = and_(e.created_utc <= as_of, or_(known, e.ended_utc > as_of))
    statement = (
        select(*(e[name] for name in _EVENTS))
        .where(e.first_day <= until, e.last_day >= since, known)
        .order_by(e.first_day, e.event_id)
    )
    found = frame(engine, statement, _EVENTS)
    if region is None:
        return found
    scopes = {BANK_SCOPE, f"{ScopeKind.REGION}:{region}"}.union(*branch_scopes(engine, region).values())
    return found[found["scope"].isin(scopes)].reset_index(drop=True)


def branch_scopes(engine: Engine, region: str | None = None) -> dict[str, tuple[str, str, str]]:
    """The scopes whose events hold for each branch, by branch id: the bank's, its region's, its own."""
    b = t.branches.c
    statement = select(b.branch_id, b.region_id).where(*in_region(b.region_id, region)).order_by(b.branch_id)
    with engine.connect() as connection:
        rows = connection.execute(statement).all()
    return {
        row.branch_id: (
            BANK_SCOPE,
            f"{ScopeKind.REGION}:{row.region_id}",
            f"{ScopeKind.BRANCH}:{row.branch_id}",
        )
        for row in rows
    }
