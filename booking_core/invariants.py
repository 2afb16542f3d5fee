"""What must always hold, recounted from the bookings themselves: for each invariant the rows that break it.

Cheap at millions of bookings: only what lies from a first day on, added up in SQL. `python -m
booking_core.invariants` prints every broken row of the current month on, and ends with 1 where there is one.
"""

from __future__ import annotations

import fcntl
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    String,
    case,
    func,
    literal,
    or_,
    select,
    union_all,
)

from booking_core import tables as t
from booking_core.clock import utc_now
from booking_core.database import make_engine
from booking_core.domain import period_start
from booking_core.settings import load_settings
from booking_core.store.quotas import COUNTED_STATUSES
from booking_core.store.rows import one_of
from booking_core.store.slots import LIVE
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, PeriodKind, ScopeKind
from metrics.logs import hashed

SWEEP_GRACE: Final = timedelta(seconds=60)
"""A hold or offer that is over for longer was forgotten by the sweep."""

LOCK: Final = 20_161_128
"""PostgreSQL's advisory lock of whoever recounts."""

_Level = tuple[str, str, str, str, date]
"""scope_kind, scope_id, channel, period_kind, period_start"""


@contextmanager
def alone(connection: Connection) -> Iterator[bool]:
    """Whether this process may recount now: one that asks while another does so need not."""
    if connection.dialect.name == "postgresql":  # until the transaction ends
        yield bool(connection.scalar(select(func.pg_try_advisory_xact_lock(LOCK))))
        return
    with Path(f"{connection.engine.url.database}.recount").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state: a booking between two reads would look like drift."""
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with engine.execution_options(**options).connect() as connection:
        yield connection


def current_month(connection: Connection, now: datetime) -> date:
    """The bank-local day from which on the bank recounts."""
    bank = load_settings(connection)
    return period_start(PeriodKind.MONTH, bank.local_day(bank.business_now(now)))


def broken_rows(connection: Connection, since: date, now: datetime) -> dict[str, list[str]]:
    """One line for each row that breaks an invariant, by invariant; all lists are empty in a healthy bank.

    Slots, bookings and periods from the bank-local day `since` on; `now` (wall time) judges holds and offers.
    """
    slots = list(_slots(connection, since))
    return {
        "slot_within_capacity": [_over(row) for row in slots if row.used + row.offered > row.capacity],
        "slot_used_is_recount": [_drift(row, "used") for row in slots if row.used != row.used_recount],
        "slot_offered_is_recount": [
            _drift(row, "offered") for row in slots if row.offered != row.offered_recount
        ],
        "quota_used_is_recount": list(_quotas(connection, since)),
        "loan_has_one_live_booking": list(_loans(connection)),
        "hold_ends_in_time": list(_forgotten_holds(connection, now - SWEEP_GRACE)),
        "offered_entry_has_its_offer": list(_entries_without_offer(connection)),
    }


def _slots(connection: Connection, since: date) -> Iterable[Row[Any]]:
    """The slots that say something else than their bookings, or are fuller than they may be."""
    s, b = t.slots.c, t.bookings.c
    offered = b.status == "offered"
    recount = (
        select(
            b.slot_id,
            func.sum(case((offered, 0), else_=b.units)).label("used"),
            func.sum(case((offered, b.units), else_=0)).label("offered"),
        )
        .where(b.service_day >= since, b.status.in_(COUNTED_STATUSES))
        .group_by(b.slot_id)
        .subquery()
    )
    used, given = func.coalesce(recount.c.used, 0), func.coalesce(recount.c.offered, 0)
    over = s.used_units + s.offered_units > s.capacity_units
    return connection.execute(
        select(
            s.slot_id,
            s.capacity_units.label("capacity"),
            s.used_units.label("used"),
            s.offered_units.label("offered"),
            used.label("used_recount"),
            given.label("offered_recount"),
        )
        .select_from(t.slots.outerjoin(recount, recount.c.slot_id == s.slot_id))
        .where(s.service_day >= since, or_(over, s.used_units != used, s.offered_units != given))
        .order_by(s.slot_id)
    )


def _over(row: Row[Any]) -> str:
    return f"slot {row.slot_id}: capacity {row.capacity}, used {row.used} and offered {row.offered}"


def _drift(row: Row[Any], name: str) -> str:
    said, recount = getattr(row, name), getattr(row, f"{name}_recount")
    return f"slot {row.slot_id}: {name} {said}, its bookings say {recount}"


def _quotas(connection: Connection, since: date) -> Iterator[str]:
    """The periods whose counter is not what their bookings add up to: units, or yuan of a day's funds."""
    p = t.quota_periods.c
    counters = connection.execute(
        select(
            p.period_id, p.scope_kind, p.scope_id, p.channel, p.period_kind, p.period_start, p.used_units
        ).where(p.period_start >= since)
    ).all()
    used = _recount(connection, since, {(c.scope_kind, c.channel == ALL_CHANNELS) for c in counters})
    for period_id, *level, said in sorted(map(tuple, counters)):
        if said != used[tuple(level)]:
            yield f"period {period_id}: used {said}, its bookings say {used[tuple(level)]}"


def _recount(connection: Connection, since: date, kinds: set[tuple[str, bool]]) -> Counter[_Level]:
    """What the bookings add up to at each level of these kinds: (scope, over all channels)."""
    b = t.bookings.c
    by = (b.branch_id, b.region_id, b.service_day, b.channel)
    daily = (
        select(*by, func.sum(b.units).label("units"), func.sum(b.reserved_cny).label("cny"))
        .where(b.service_day >= since, b.status.in_(COUNTED_STATUSES))
        .group_by(*by)
        .cte("daily")
        .c
    )
    scope: dict[str, ColumnElement[str]] = {
        ScopeKind.BRANCH: daily.branch_id,
        ScopeKind.REGION: daily.region_id,
        ScopeKind.BANK: literal(BANK_SCOPE_ID, String),
    }

    def level(kind: str, *, everywhere: bool) -> Select[Any]:
        channel = literal(ALL_CHANNELS, String) if everywhere else daily.channel
        named = (scope[kind].label("scope_id"), channel.label("narrowed"), daily.service_day)
        sums = (func.sum(daily.units), func.coalesce(func.sum(daily.cny), 0))
        return select(literal(kind, String), *named, *sums).group_by(
            "scope_id", "narrowed", daily.service_day
        )

    used: Counter[_Level] = Counter()
    if not kinds:
        return used
    levels = [level(kind, everywhere=everywhere) for kind, everywhere in sorted(kinds)]
    for kind, scope_id, channel, day, units, cny in connection.execute(union_all(*levels)):
        for period in PeriodKind:
            counted = int(cny) if period is PeriodKind.FUNDS_DAY else int(units)
            used[kind, scope_id, channel, period, period_start(period, day)] += counted
    return used


def _loans(connection: Connection) -> Iterator[str]:
    """The loans with several live bookings, told by hash since these lines are logged."""
    b = t.bookings.c
    statement = select(b.loan_ref, func.count()).where(one_of(b.status, LIVE)).group_by(b.loan_ref)
    for loan_ref, bookings in connection.execute(statement.having(func.count() > 1)):
        yield f"loan {hashed(loan_ref)}: {bookings} live bookings"


def _forgotten_holds(connection: Connection, before: datetime) -> Iterator[str]:
    b = t.bookings.c
    statement = select(b.booking_ref, b.status, b.held_until_utc).where(one_of(b.status, ("held", "offered")))
    for ref, status, until in connection.execute(statement.where(b.held_until_utc < before)):
        yield f"booking {ref}: {status} until {until:%Y-%m-%dT%H:%M:%SZ}, which is over"


def _entries_without_offer(connection: Connection) -> Iterator[str]:
    w, b = t.waitlist.c, t.bookings.c
    offer = (b.booking_ref == w.booking_ref) & (b.status == "offered")
    statement = select(w.entry_ref, w.booking_ref).where(
        w.status == "offered", ~select(b.booking_ref).where(offer).exists()
    )
    for entry_ref, booking_ref in connection.execute(statement):
        yield f"waitlist entry {entry_ref}: offered, but booking {booking_ref} is no offer"


def main() -> None:
    """Print the broken rows of the configured database."""
    now = utc_now()
    with snapshot(make_engine(read_only=True)) as connection:
        broken = broken_rows(connection, current_month(connection, now), now)
    lines = [f"{name}: {row}" for name, rows in broken.items() for row in rows]
    print("\n".join(lines) or "every invariant holds")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
