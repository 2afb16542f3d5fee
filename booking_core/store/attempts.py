"""Attempts and wish episodes: what customers wanted, and what became of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from booking_core import tables as t
from booking_core.domain import SlotState
from booking_core.store import locking
from metrics.contract import Reason
from metrics.logs import hashed


def add_attempt(
    connection: Connection,
    *,
    loan_ref: str | None,
    slot: SlotState | None,
    reason: Reason | None,
    **columns: Any,
) -> None:
    """Record one try to take a slot; what is unknown of a malformed one is None."""
    place = ("branch_id", "region_id", "slot_id", "service_day")
    connection.execute(
        insert(t.attempts).values(
            loan_hash=hashed(loan_ref) if loan_ref else None,
            reason=reason,
            cause=reason and reason.cause,
            **{name: getattr(slot, name) for name in place if slot},
            **columns,
        )
    )


def fold_wish(
    connection: Connection,
    loan_ref: str,
    slot: SlotState,
    channel: str,
    *,
    business_now: datetime,
    idle_days: int,
    reason: Reason | None = None,
    booking_ref: str | None = None,
) -> None:
    """Fold one try for the slot into the loan's open episode (or open one); a booking closes it.

    The first wished branch and day stay; a booking elsewhere or on another day is "displaced".
    """
    e = t.wish_episodes
    closed = {"booking_ref": booking_ref, "closed_business_utc": business_now} if booking_ref else {}
    statement = select(e).where(e.c.loan_ref == loan_ref, e.c.outcome == "open")
    row = connection.execute(locking.lock_clause(statement)).first()
    if row is not None and row.last_try_business_utc < business_now - timedelta(days=idle_days):
        _close(connection, e.c.episode_id == row.episode_id, idle_days)
        row = None
    if row is None:
        connection.execute(
            insert(e).values(
                loan_ref=loan_ref,
                branch_id=slot.branch_id,
                region_id=slot.region_id,
                wished_day=slot.service_day,
                channel=channel,
                tries=1,
                first_reason=reason,
                opened_business_utc=business_now,
                last_try_business_utc=business_now,
                outcome="booked" if booking_ref else "open",
                **closed,
            )
        )
        return
    values: dict[str, Any] = {"tries": row.tries + 1, "last_try_business_utc": business_now, **closed}
    if booking_ref:
        as_wished = (row.branch_id, row.wished_day) == (slot.branch_id, slot.service_day)
        values["outcome"] = "booked" if as_wished else "displaced"
    elif row.first_reason is None:
        values["first_reason"] = reason
    connection.execute(update(e).where(e.c.episode_id == row.episode_id).values(values))


def close_idle(connection: Connection, *, business_now: datetime, idle_days: int) -> int:
    """How many episodes without a try for the idle days were closed as unmet."""
    return _close(connection, _idle(business_now, idle_days), idle_days)


def any_idle(connection: Connection, *, business_now: datetime, idle_days: int) -> bool:
    """Whether an open episode has had no try for the idle days."""
    e = t.wish_episodes.c
    statement = select(e.episode_id).where(e.outcome == "open", _idle(business_now, idle_days))
    return connection.execute(statement.limit(1)).first() is not None


def _idle(business_now: datetime, idle_days: int) -> ColumnElement[bool]:
    return t.wish_episodes.c.last_try_business_utc < business_now - timedelta(days=idle_days)


def _close(connection: Connection, which: ColumnElement[bool], idle_days: int) -> int:
    """How many open episodes were closed as unmet, each as of the day its idle time was over."""
    e = t.wish_episodes
    statement = select(e.c.episode_id, e.c.last_try_business_utc).where(e.c.outcome == "open", which)
    rows = connection.execute(locking.lock_clause(statement.limit(1000))).all()
    for episode_id, last_try in rows:
        closed = last_try + timedelta(days=idle_days)
        values = {"outcome": "unmet", "closed_business_utc": closed}
        connection.execute(update(e).where(e.c.episode_id == episode_id).values(values))
    return len(rows)
