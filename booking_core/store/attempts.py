"""Attempts and wish episodes: what customers wanted, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from booking_core import tables as t
from booking_core.domain import SlotState
from booking_core.store import locking
from metrics.contract import Reason
from metrics.logs import hashed


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to take a slot; what is unknown of a malformed one is None."""

    at_utc: datetime
    business_utc: datetime
    trace_id: str
    channel: str
    outcome: str
    loan_ref: str | None = None
    slot: SlotState | None = None
    reason: Reason | None = None
    booking_ref: str | None = None
    violations: list[dict[str, Any]] | None = None
    first_remedy: str | None = None
    duration_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Wished:
    """A try as demand sees it: whose loan, which slot's branch and day."""

    loan_ref: str
    slot: SlotState
    channel: str


def add_attempt(connection: Connection, attempt: Attempt) -> None:
    """Record the attempt."""
    slot, reason = attempt.slot, attempt.reason
    connection.execute(
        insert(t.attempts).values(
            at_utc=attempt.at_utc,
            business_utc=attempt.business_utc,
            trace_id=attempt.trace_id,
            loan_hash=hashed(attempt.loan_ref) if attempt.loan_ref else None,
            branch_id=slot and slot.branch_id,
            region_id=slot and slot.region_id,
            slot_id=slot and slot.slot_id,
            service_day=slot and slot.service_day,
            channel=attempt.channel,
            outcome=attempt.outcome,
            reason=reason,
            cause=reason and reason.cause,
            booking_ref=attempt.booking_ref,
            violations=attempt.violations,
            first_remedy=attempt.first_remedy,
            duration_seconds=attempt.duration_seconds,
        )
    )


def fold_wish(
    connection: Connection,
    wish: Wished,
    *,
    business_now: datetime,
    idle_days: int,
    reason: Reason | None = None,
    booking_ref: str | None = None,
) -> None:
    """Fold one try into the loan's open episode (or open one); a booking closes it.

    The first wished branch and day stay; a booking elsewhere or on another day is "displaced".
    """
    e, slot = t.wish_episodes, wish.slot
    closed = {"booking_ref": booking_ref, "closed_business_utc": business_now} if booking_ref else {}
    statement = select(e).where(e.c.loan_ref == wish.loan_ref, e.c.outcome == "open")
    row = connection.execute(locking.lock_clause(statement)).first()
    if row is not None and row.last_try_business_utc < business_now - timedelta(days=idle_days):
        _close(connection, e.c.episode_id == row.episode_id, idle_days)
        row = None
    if row is None:
        connection.execute(
            insert(e).values(
                loan_ref=wish.loan_ref,
                branch_id=slot.branch_id,
                region_id=slot.region_id,
                wished_day=slot.service_day,
                channel=wish.channel,
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
