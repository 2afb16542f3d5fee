"""Attempts and wish episodes: what customers wanted, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from booking_core import tables as t
from booking_core.store import locking
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
    branch_id: str | None = None
    region_id: str | None = None
    slot_id: str | None = None
    service_day: date | None = None
    reason: str | None = None
    cause: str | None = None
    booking_ref: str | None = None
    violations: list[dict[str, Any]] | None = None
    first_remedy: str | None = None
    duration_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Wished:
    """A try as demand sees it: whose loan, which branch and day."""

    loan_ref: str
    branch_id: str
    region_id: str
    day: date
    channel: str


def add_attempt(connection: Connection, attempt: Attempt) -> None:
    """Record the attempt."""
    columns = [c.name for c in t.attempts.c if c.name not in ("attempt_id", "loan_hash")]
    values = {name: getattr(attempt, name) for name in columns}
    values["loan_hash"] = hashed(attempt.loan_ref) if attempt.loan_ref else None
    connection.execute(insert(t.attempts).values(values))


def fold_wish(
    connection: Connection,
    wish: Wished,
    *,
    business_now: datetime,
    idle_days: int,
    reason: str | None = None,
    booking_ref: str | None = None,
) -> None:
    """Fold one try into the loan's open episode (or open one); a booking closes it.

    The first wished branch and day stay; a booking elsewhere or on another day is "displaced".
    """
    e = t.wish_episodes
    statement = select(e).where(e.c.loan_ref == wish.loan_ref, e.c.outcome == "open")
    row = connection.execute(locking.lock_clause(statement)).first()
    if row is not None and row.last_try_business_utc < business_now - timedelta(days=idle_days):
        close_unmet(connection, row.episode_id, idle_days)
        row = None
    closed = {"booking_ref": booking_ref, "closed_business_utc": business_now} if booking_ref else {}
    if row is None:
        connection.execute(
            insert(e).values(
                loan_ref=wish.loan_ref, branch_id=wish.branch_id, region_id=wish.region_id,
                wished_day=wish.day, channel=wish.channel, tries=1, first_reason=reason,
                opened_business_utc=business_now, last_try_business_utc=business_now,
                outcome="booked" if booking_ref else "open", **closed,
            )
        )
        return
    values: dict[str, Any] = {"tries": row.tries + 1, "last_try_business_utc": business_now, **closed}
    if booking_ref:
        as_wished = (row.branch_id, row.wished_day) == (wish.branch_id, wish.day)
        values["outcome"] = "booked" if as_wished else "displaced"
    elif row.first_reason is None:
        values["first_reason"] = reason
    connection.execute(update(e).where(e.c.episode_id == row.episode_id).values(values))


def any_idle(connection: Connection, *, business_now: datetime, idle_days: int) -> bool:
    """Whether an open episode has had no try for the idle days."""
    e = t.wish_episodes.c
    idle = e.last_try_business_utc < business_now - timedelta(days=idle_days)
    return connection.execute(select(e.episode_id).where(e.outcome == "open", idle).limit(1)).first() is not None


def close_idle(connection: Connection, *, business_now: datetime, idle_days: int, limit: int = 1000) -> int:
    """How many episodes without a try for the idle days were closed as unmet, at most `limit`."""
    e = t.wish_episodes.c
    idle = e.last_try_business_utc < business_now - timedelta(days=idle_days)
    statement = select(e.episode_id).where(e.outcome == "open", idle).limit(limit)
    due = connection.scalars(locking.lock_clause(statement)).all()
    return sum(close_unmet(connection, episode_id, idle_days) for episode_id in due)


def close_unmet(connection: Connection, episode_id: int, idle_days: int) -> int:
    """1 if the open episode was closed as unmet, as of the day its idle time was over."""
    e = t.wish_episodes
    is_open = (e.c.episode_id == episode_id) & (e.c.outcome == "open")
    last_try = connection.scalar(select(e.c.last_try_business_utc).where(is_open))
    if last_try is None:
        return 0
    closed = last_try + timedelta(days=idle_days)
    statement = update(e).where(is_open).values(outcome="unmet", closed_business_utc=closed)
    return connection.execute(statement).rowcount
