"""Waitlist entries and their history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from booking_core import tables as t
from booking_core.domain import SlotState
from booking_core.store import locking
from booking_core.store.rows import add_rows, among, put_rows, rows_of


@dataclass(frozen=True, slots=True)
class Entry:
    """A waitlist entry as stored."""

    entry_ref: str
    loan_ref: str
    branch_id: str
    region_id: str
    wished_day: date
    latest_day: date
    channel: str
    priority: int
    status: str
    """waiting | offered | booked | left | expired"""
    joined_utc: datetime
    actor: str
    booking_ref: str | None = None
    """The offer, then the booking that it became."""
    closed_reason: str | None = None
    promise: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many entries wait for a branch and channel within the days."""

    branch_id: str
    channel: str
    wished_day: date
    latest_day: date
    entries: int

    def covers(self, branch_id: str, day: date, channel: str) -> bool:
        """Whether a unit of the branch on the day in the channel would go to these first."""
        here = (self.branch_id, self.channel) == (branch_id, channel)
        return here and self.wished_day <= day <= self.latest_day


def lock_entries(connection: Connection, entry_refs: Collection[str]) -> dict[str, Entry]:
    """The entries by reference, locked in the order of their references."""
    if not entry_refs:
        return {}
    w = t.waitlist
    statement = select(w).where(among(connection, w.c.entry_ref, entry_refs)).order_by(w.c.entry_ref)
    rows = connection.execute(locking.lock_clause(statement))
    return {row.entry_ref: Entry(**row._mapping) for row in rows}  # noqa: SLF001


def waiting(connection: Connection, branch_ids: Collection[str]) -> list[Waiting]:
    """Who waits at the branches, counted by channel and days."""
    if not branch_ids:
        return []
    w = t.waitlist.c
    by = (w.branch_id, w.channel, w.wished_day, w.latest_day)
    here = among(connection, w.branch_id, branch_ids)
    statement = select(*by, func.count()).where(w.status == "waiting", here).group_by(*by)
    return [Waiting(*row) for row in connection.execute(statement)]


def ahead(found: Iterable[Waiting], slot: SlotState, channel: str) -> int:
    """How many of those who wait the slot's free units go to before newcomers of the channel."""
    return sum(w.entries for w in found if w.covers(slot.branch_id, slot.service_day, channel))


def write_entries(connection: Connection, entries: Sequence[Entry], events: Sequence[dict[str, Any]]) -> None:
    """Write the entries, new or changed, and append to their history."""
    put_rows(connection, t.waitlist, rows_of(entries))
    add_rows(connection, t.waitlist_events, events)
