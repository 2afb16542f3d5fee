"""Promises of the waitlist as judged: one query, for the next promises (store) and for their score (read)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, func, select

from booking_core import tables as t
from booking_core.past_clock import past_clock
from booking_core.queueing import kept
from booking_core.settings import BankSettings
from metrics.contract import Reason

ENDED: Final = ("left", "booked", "expired")
"""Kinds of events that end an entry without its taking an offer."""


@dataclass(frozen=True, slots=True)
class JudgedPromise:
    """What an entry was promised, and whether that was kept."""

    entry_ref: str
    branch_id: str
    region_id: str
    due_day: date
    dated: bool
    """A day was promised; else the chance by the last day that suits."""
    chance: float
    """As told."""
    raw: float
    """As reckoned, before anything was taken off for broken promises."""
    kept: bool
    """A place was offered by then."""


def judged_promises(
    connection: Connection,
    now: datetime,
    settings: BankSettings,
    *,
    since: date,
    until: date,
    region: str | None = None,
    at_most: int | None = None,
) -> list[JudgedPromise]:
    """The promises due on since..until that can be judged at wall time now; of many the last to fall due.

    By due day, the last first, and entry. One of somebody who left before, or booked otherwise, cannot be
    judged, nor can one before its day is over; `at_most` counts those of them that are looked at.
    """
    w, e = t.waitlist.c, t.waitlist_events.c
    first = select(func.min(e.at_utc)).where(e.entry_ref == w.entry_ref).correlate(t.waitlist)
    own = e.kind.in_(ENDED) & (func.coalesce(e.reason, "") != Reason.OUTSIDE_BOOKING_WINDOW)
    statement = (
        select(
            w.entry_ref,
            w.branch_id,
            w.region_id,
            w.due_day,
            w.promise,
            first.where(e.kind == "offered").scalar_subquery().label("offered"),
            first.where(own).scalar_subquery().label("ended"),
        )
        .where(w.due_day.between(since, until), *([] if region is None else [w.region_id == region]))
        .order_by(w.due_day.desc(), w.entry_ref)
        .limit(at_most)
    )
    today = settings.local_day(settings.business_now(now))
    rows = connection.execute(statement).all()
    events = [at for row in rows for at in (row.offered, row.ended) if at is not None]
    clock = past_clock(connection, settings, min(events, default=now))

    def day_of(at: datetime | None) -> date | None:
        return None if at is None else settings.local_day(clock.business_at(at))

    found = []
    for row in rows:
        was_kept = kept(row.due_day, today, day_of(row.offered), day_of(row.ended))
        if was_kept is None:
            continue
        told = row.promise
        found.append(
            JudgedPromise(
                entry_ref=row.entry_ref,
                branch_id=row.branch_id,
                region_id=row.region_id,
                due_day=row.due_day,
                dated=told["by"] is not None,
                chance=float(told["chance"]),
                raw=float(told.get("raw", told["chance"])),  # entries of before told what was reckoned
                kept=was_kept,
            )
        )
    return found
