"""Business time in hindsight: the offset that stood at a wall time, by the clock's moves in the audit."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select

from booking_core.settings import BankSettings
from booking_core.tables import audit

MOVED: Final = "clock.put"
"""What a move of the business clock is called in the audit; before and after are offsets in seconds."""


@dataclass(frozen=True, slots=True)
class PastClock:
    """The offsets of business time from wall time, one after the other."""

    offsets: tuple[int, ...]
    """In seconds; the first one stood until the first move."""
    moved: tuple[datetime, ...] = ()
    """The wall times of the moves, each to the next offset."""

    def business_at(self, at: datetime) -> datetime:
        """Business time (aware UTC) at the wall time `at`, which is past."""
        offset = self.offsets[bisect_right(self.moved, at)]
        return at.astimezone(UTC) + timedelta(seconds=offset)


def past_clock(connection: Connection, settings: BankSettings, since: datetime) -> PastClock:
    """The clock from the wall time `since` on. A bank that never moves its clock has one offset: production.

    What `python -m booking_core set` changed is not in the audit: the demo begins with it.
    """
    a = audit.c
    moves = connection.execute(
        select(a.at_utc, a.before, a.after)
        .where(a.at_utc >= since, a.action == MOVED)
        .order_by(a.at_utc, a.audit_id)
    ).all()
    if not moves:
        return PastClock((settings.business_offset_seconds,))
    return PastClock((moves[0].before, *(move.after for move in moves)), tuple(move.at_utc for move in moves))
