"""Waitlist entries and their history; who waits, who is next, and what a branch freed before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, or_, select, union_all

from booking_core import tables as t
from booking_core.domain import SlotState, next_period_start
from booking_core.queueing import MOST_HISTORY, PRIORITIES, Entry
from booking_core.store.rows import Among, add_rows, among, by_keys, one_of, put_rows, rows_of
from metrics.contract import ALL_CHANNELS, PeriodKind, ScopeKind

LIVE: Final = ("waiting", "offered")
"""An entry in one of these keeps its loan from another."""
LOCK: Final = 20_161_129
"""PostgreSQL's advisory lock of whoever promotes."""


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


def lock_entries(
    connection: Connection, entry_refs: Collection[str], loan_refs: Collection[str]
) -> Callable[[], dict[str, Entry]]:
    """Asks for the entries, and the live ones of the loans; locked in the order of their references."""
    rows = _entries(connection, lock=True, refs=entry_refs, loans=loan_refs)
    return lambda: {row["entry_ref"]: Entry(**row) for row in rows()}


def loans_of(connection: Connection, entry_refs: Collection[str]) -> set[str]:
    """The loans of the entries, which never change."""
    return {row["loan_ref"] for row in _loans(connection, refs=entry_refs)()}


@by_keys
def _entries(among: Among) -> Select[Any]:
    w = t.waitlist
    named = select(w.c.entry_ref).where(among(w.c.entry_ref, "refs"))
    live = select(w.c.entry_ref).where(among(w.c.loan_ref, "loans"), one_of(w.c.status, LIVE))
    # no index serves an "or" of both
    return select(w).where(w.c.entry_ref.in_(union_all(named, live))).order_by(w.c.entry_ref)


@by_keys
def _loans(among: Among) -> Select[Any]:
    return select(t.waitlist.c.loan_ref).where(among(t.waitlist.c.entry_ref, "refs"))


def read_entry(connection: Connection, entry_ref: str) -> Entry | None:
    """The entry as committed, None for an unknown one."""
    row = connection.execute(select(t.waitlist).where(t.waitlist.c.entry_ref == entry_ref)).first()
    return _entry(row) if row else None


def waiting(connection: Connection, branch_ids: Collection[str]) -> Callable[[], list[Waiting]]:
    """Asks who waits at the branches, by channel and days; without those that cannot take what is free."""
    rows = _waiting(connection, branches=branch_ids)
    return lambda: [Waiting(*row.values()) for row in rows()]


@by_keys
def _waiting(among: Among) -> Select[Any]:
    w = t.waitlist.c
    by = (w.branch_id, w.channel, w.wished_day, w.latest_day)
    first_in_turn = (_waits(), w.skipped_reason.is_(None))
    return select(*by, func.count()).where(*first_in_turn, among(w.branch_id, "branches")).group_by(*by)


def ahead(found: Iterable[Waiting], slot: SlotState, channel: str) -> int:
    """How many of those who wait the slot's free units go to before newcomers of the channel."""
    return sum(w.entries for w in found if w.covers(slot.branch_id, slot.service_day, channel))


def position(connection: Connection, entry: Entry) -> int:
    """The entry's place in the queue (`queueing.position`), as committed.

    One that is about to take the place of its loan's entry does not wait behind that.
    """
    w = t.waitlist.c
    before = or_(
        w.priority > entry.priority,
        and_(
            w.priority == entry.priority,
            or_(
                w.joined_utc < entry.joined_utc,
                and_(w.joined_utc == entry.joined_utc, w.entry_ref < entry.entry_ref),
            ),
        ),
    )
    same_days = (w.wished_day <= entry.latest_day, w.latest_day >= entry.wished_day)
    others = (w.branch_id == entry.branch_id, w.loan_ref != entry.loan_ref)
    statement = select(func.count()).where(_waits(), *others, *same_days, before)
    return 1 + (connection.scalar(statement) or 0)


def write_entries(connection: Connection, entries: Sequence[Entry], events: Sequence[dict[str, Any]]) -> None:
    """Write the entries, new or changed, and append to their history.

    Ended ones first, then in the order of their loans: the index of live loans is a lock as well.
    """
    ordered = sorted(entries, key=lambda e: (e.status in LIVE, e.loan_ref))
    put_rows(connection, t.waitlist, rows_of(ordered))
    add_rows(connection, t.waitlist_events, events)


# --- promotion --------------------------------------------------------------------------------


def alone(connection: Connection) -> bool:
    """Whether this transaction may promote: on PostgreSQL nobody else does until it ends; SQLite has few."""
    if connection.dialect.name != "postgresql":
        return True
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(LOCK))))


def branches_waiting(connection: Connection) -> Sequence[tuple[str, str, date, date]]:
    """The branches with someone who waits, their region, the first and last day that suits one of them."""
    w, b = t.waitlist.c, t.branches.c
    days = (func.min(w.wished_day).label("first"), func.max(w.latest_day).label("last"))
    hull = select(w.branch_id, *days).where(_waits()).group_by(w.branch_id).subquery()
    statement = select(b.branch_id, b.region_id, hull.c.first, hull.c.last)
    return connection.execute(statement.join(hull, hull.c.branch_id == b.branch_id)).tuples().all()


def full_days(connection: Connection, scope_ids: Collection[str], since: date) -> dict[str, set[date]]:
    """The days of each scope on which a limit for all channels is used up, by scope id.

    Of periods that begin on `since` or later. A limit that nobody has booked under is not known.
    """
    p, q = t.quota_periods.c, t.quotas.c
    same = and_(*(p[name] == q[name] for name in ("scope_kind", "scope_id", "channel", "period_kind")))
    limit = func.coalesce(p.limit_units, q.limit_units) + p.extra_units
    statement = (
        select(p.scope_id, p.period_kind, p.period_start)
        .select_from(t.quota_periods.outerjoin(t.quotas, same))
        .where(p.scope_kind.in_(list(ScopeKind)), among(connection, p.scope_id, scope_ids))
        .where(p.channel == ALL_CHANNELS, p.period_kind.in_(list(PeriodKind)), p.period_start >= since)
        .where(p.used_units >= limit)
    )
    full: dict[str, set[date]] = {}
    for scope_id, kind, start in connection.execute(statement):
        days = (next_period_start(PeriodKind(kind), start) - start).days
        full.setdefault(scope_id, set()).update(start + timedelta(days=n) for n in range(days))
    return full


def free_slots(connection: Connection, branch_id: str, first: date, last: date) -> list[SlotState]:
    """The branch's open slots with room on the days, in order of time, as committed."""
    s = t.slots.c
    room = (s.closed.is_(False), s.used_units + s.offered_units < s.capacity_units)
    statement = select(t.slots).where(s.branch_id == branch_id, s.service_day.between(first, last), *room)
    return [SlotState(**row._mapping) for row in connection.execute(statement.order_by(s.start_utc))]  # noqa: SLF001


def queue(connection: Connection, branch_id: str, first: date, last: date, limit: int) -> list[Entry]:
    """The next who wait for the days, in their order: `limit` from the front, and as many that are in turn.

    Those that are skipped are looked at again every time, yet keep nobody behind them from being seen.
    """
    w = t.waitlist.c
    here = (_waits(), w.branch_id == branch_id, w.wished_day <= last, w.latest_day >= first)
    found: dict[str, Entry] = {}
    for in_turn in ((), (w.skipped_reason.is_(None),)):
        left = limit
        for priority in PRIORITIES:  # each a range of ix_waitlist_queue; together they would be sorted
            statement = select(t.waitlist).where(*here, *in_turn, w.priority == priority)
            rows = connection.execute(statement.order_by(w.joined_utc, w.entry_ref).limit(left)).all()
            found |= {row.entry_ref: _entry(row) for row in rows}
            left -= len(rows)
    return sorted(found.values(), key=lambda entry: entry.turn)


def skipped(connection: Connection, branch_ids: Collection[str], limit: int) -> list[Entry]:
    """Some entries of the branches that cannot take what is free, or could not when they were looked at."""
    w = t.waitlist.c
    here = (among(connection, w.branch_id, branch_ids), w.skipped_reason.is_not(None))
    return [_entry(row) for row in connection.execute(select(t.waitlist).where(_waits(), *here).limit(limit))]


def last_skips(connection: Connection, entry_refs: Collection[str]) -> dict[str, str]:
    """Why each of the entries was skipped last, of those that were."""
    e = t.waitlist_events.c
    mine = (among(connection, e.entry_ref, entry_refs), e.kind == "skipped")
    rows = connection.execute(select(e.entry_ref, e.reason).where(*mine).order_by(e.event_id))
    return dict(rows.tuples().all())


def past(connection: Connection, today: date, limit: int) -> list[Entry]:
    """Some entries that still wait though their last day is over."""
    statement = select(t.waitlist).where(_waits(), t.waitlist.c.latest_day < today).limit(limit)
    return [_entry(row) for row in connection.execute(statement)]


def offered(connection: Connection) -> dict[str, int]:
    """How many offers stand, by branch."""
    w = t.waitlist.c
    statement = select(w.branch_id, func.count()).where(one_of(w.status, ("offered",))).group_by(w.branch_id)
    return dict(connection.execute(statement).tuples().all())


# --- history ----------------------------------------------------------------------------------


def freed(
    connection: Connection, branch_id: str, now: datetime, day: timedelta, service_days: Sequence[date]
) -> list[int]:
    """The units that the branch freed in each of the last days, oldest first, none before the bank's first.

    A day ends now and lasts as long as told; `service_days` are those of the bookings that are looked at.
    Cancellations count each; of the holds that ran out on one slot in a day one counts, since the next one to
    hold it may have let it run out again. Offers that ran out do not count: they go on to the next in line.
    """
    b, e = t.bookings.c, t.booking_events.c
    began = connection.scalar(select(e.at_utc).order_by(e.event_id).limit(1))
    days = min(MOST_HISTORY, 0 if began is None else (now - began) // day)
    ends = ("cancelled", "expired")
    statement = (
        select(e.at_utc, e.to_status, b.slot_id)
        .join_from(t.bookings, t.booking_events, e.booking_ref == b.booking_ref)
        .where(b.service_day.in_(service_days), b.branch_id == branch_id, one_of(b.status, ends))
        .where(one_of(e.to_status, ends), e.from_status != "offered")
        .order_by(e.event_id)
    )
    units = [0] * days
    counted: set[tuple[int, str]] = set()
    for at, status, slot_id in connection.execute(statement):
        ago = (now - at) // day
        if not 0 <= ago < days or (status == "expired" and (ago, slot_id) in counted):
            continue
        counted.add((ago, slot_id))
        units[-1 - ago] += 1
    return units


def _waits() -> ColumnElement[bool]:
    return one_of(t.waitlist.c.status, ("waiting",))


def _entry(row: Row[Any]) -> Entry:
    return Entry(**row._mapping)  # noqa: SLF001 – _mapping is SQLAlchemy's public name for it
