"""Attempts and wish episodes: what customers wanted, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, select

from booking_core import tables as t
from booking_core.domain import SlotState
from booking_core.queueing import Entry
from booking_core.store import locking
from booking_core.store.rows import Among, add_rows, by_keys, change_rows, one_of, rows_of
from metrics.contract import Reason


@dataclass(slots=True)
class Episode:
    """A wish episode: its first wished branch and day stay, later tries fold in."""

    loan_ref: str
    branch_id: str
    region_id: str
    wished_day: date
    channel: str
    opened_business_utc: datetime
    last_try_business_utc: datetime
    tries: int = 0
    first_reason: str | None = None
    closed_business_utc: datetime | None = None
    outcome: str = "open"
    booking_ref: str | None = None
    episode_id: int | None = None
    """None = not stored yet."""

    def idle(self, business_now: datetime, idle_days: int) -> bool:
        """Whether its last try lies more than the idle days back."""
        return self.last_try_business_utc < business_now - timedelta(days=idle_days)

    def close_unmet(self, idle_days: int) -> None:
        """Close it as of the moment its idle time was over."""
        self.outcome = "unmet"
        self.closed_business_utc = self.last_try_business_utc + timedelta(days=idle_days)

    def fold(
        self,
        slot: SlotState | Entry,
        business_now: datetime,
        reason: Reason | None,
        booking_ref: str | None,
    ) -> None:
        """Fold a try in, or a join; a booking closes it, elsewhere or on another day as "displaced"."""
        self.tries += 1
        self.last_try_business_utc = business_now
        if booking_ref:
            as_wished = (self.branch_id, self.wished_day) == (slot.branch_id, slot.service_day)
            self.outcome = "booked" if as_wished else "displaced"
            self.booking_ref, self.closed_business_utc = booking_ref, business_now
        elif self.first_reason is None:
            self.first_reason = reason and reason.value


def add_attempts(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Record tries to take a slot; what is unknown of a malformed one is None."""
    add_rows(connection, t.attempts, rows)


def lock_open_episodes(
    connection: Connection, loan_refs: Collection[str]
) -> Callable[[], dict[str, Episode]]:
    """Asks for the open episode of each loan that has one, locked in the order of the loans."""
    rows = _open_episodes(connection, lock=True, loans=loan_refs)
    return lambda: {row["loan_ref"]: Episode(**row) for row in rows()}


@by_keys
def _open_episodes(among: Among) -> Select[Any]:
    e = t.wish_episodes
    mine = (among(e.c.loan_ref, "loans"), one_of(e.c.outcome, ["open"]))
    return select(e).where(*mine).order_by(e.c.loan_ref)


def write_episodes(connection: Connection, episodes: Collection[Episode]) -> None:
    """Write the episodes as they now stand: stored ones first, a closed one makes room for a new one."""
    ordered = sorted(episodes, key=attrgetter("loan_ref"))
    change_rows(connection, t.wish_episodes, "episode_id", rows_of(e for e in ordered if e.episode_id))
    new = rows_of(e for e in ordered if e.episode_id is None)
    for row in new:
        del row["episode_id"]
    add_rows(connection, t.wish_episodes, new)


def close_idle(connection: Connection, *, business_now: datetime, idle_days: int) -> int:
    """How many episodes without a try for the idle days were closed as unmet."""
    e = t.wish_episodes
    statement = select(e).where(one_of(e.c.outcome, ["open"]), _idle(business_now, idle_days)).limit(1000)
    rows = connection.execute(locking.lock_clause(statement.order_by(e.c.loan_ref)))
    idle = [Episode(**row._mapping) for row in rows]  # noqa: SLF001
    for episode in idle:
        episode.close_unmet(idle_days)
    write_episodes(connection, idle)
    return len(idle)


def any_idle(connection: Connection, *, business_now: datetime, idle_days: int) -> bool:
    """Whether an open episode has had no try for the idle days."""
    e = t.wish_episodes.c
    statement = select(e.episode_id).where(one_of(e.outcome, ["open"]), _idle(business_now, idle_days))
    return connection.execute(statement.limit(1)).first() is not None


def _idle(business_now: datetime, idle_days: int) -> ColumnElement[bool]:
    """The condition that nothing was tried for the idle days; who is on the waitlist still wishes."""
    e, w = t.wish_episodes.c, t.waitlist.c
    on_the_list = exists().where(w.loan_ref == e.loan_ref, one_of(w.status, ["waiting", "offered"]))
    return and_(e.last_try_business_utc < business_now - timedelta(days=idle_days), ~on_the_list)
