"""Bookings, their history, and the idempotency keys that answer a repeated request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, select

from booking_core import tables as t
from booking_core.domain import Booking
from booking_core.store.rows import Among, add_rows, by_keys, change_rows, one_of, rows_of


@dataclass(frozen=True, slots=True)
class KnownKey:
    """An idempotency key as stored: what was asked under it, and the answer."""

    token_id: str
    key: str
    fingerprint: str
    body: dict[str, Any]
    created_utc: datetime


@by_keys
def _bookings(among: Among) -> Select[Any]:
    b = t.bookings
    return select(b).where(among(b.c.booking_ref, "refs")).order_by(b.c.booking_ref)


@by_keys
def _keys(among: Among) -> Select[Any]:
    k = t.idempotency_keys.c
    told = (k.token_id, k.key, k.fingerprint, k.body, k.created_utc)
    return select(*told).where(among(k.token_id, "tokens"), among(k.key, "keys"))


def read_bookings(
    connection: Connection, booking_refs: Collection[str], *, lock: bool = False
) -> Callable[[], dict[str, Booking]]:
    """Asks for the bookings by reference; locked, in their order, only after their slots."""
    rows = _bookings(connection, lock=lock, refs=booking_refs)
    return lambda: {row["booking_ref"]: Booking(**row) for row in rows()}


def read_booking(connection: Connection, booking_ref: str) -> Booking | None:
    """The booking as committed, None for an unknown one."""
    return read_bookings(connection, [booking_ref])().get(booking_ref)


def add_bookings(connection: Connection, new: Sequence[Booking]) -> None:
    """Write new bookings, in the order of their loans: the index of live loans is a lock as well."""
    add_rows(connection, t.bookings, rows_of(sorted(new, key=attrgetter("loan_ref"))))


def change_bookings(connection: Connection, changed: Sequence[Booking]) -> None:
    """Write the locked bookings as they now stand."""
    change_rows(connection, t.bookings, "booking_ref", rows_of(changed))


def add_events(connection: Connection, events: Sequence[dict[str, Any]]) -> None:
    """Append to the bookings' history: booking_ref, from_status, to_status, slot_id, at_utc, actor."""
    add_rows(connection, t.booking_events, events)


def read_events(connection: Connection, booking_ref: str) -> Sequence[Row[Any]]:
    """The booking's history, oldest first."""
    e = t.booking_events
    return connection.execute(select(e).where(e.c.booking_ref == booking_ref).order_by(e.c.event_id)).all()


def due_bookings(connection: Connection, now: datetime, limit: int = 200) -> Sequence[str]:
    """References of holds and offers whose time is over, oldest first."""
    b = t.bookings.c
    statement = select(b.booking_ref).where(one_of(b.status, ["held", "offered"]), b.held_until_utc <= now)
    return connection.scalars(statement.order_by(b.held_until_utc).limit(limit)).all()


def known_keys(
    connection: Connection, keys: Collection[tuple[str, str]]
) -> Callable[[], dict[tuple[str, str], KnownKey]]:
    """Asks what the (token, key) pairs were used for; new ones are absent."""
    rows = _keys(connection, tokens={token for token, _ in keys}, keys=[key for _, key in keys])
    return lambda: {(row["token_id"], row["key"]): KnownKey(**row) for row in rows()}


def keep_keys(connection: Connection, new: Sequence[KnownKey]) -> None:
    """Remember the answers to requests that were accepted, in the order of their keys."""
    rows = rows_of(sorted(new, key=attrgetter("token_id", "key")))
    add_rows(connection, t.idempotency_keys, [{**row, "status_code": 201} for row in rows])


def any_key(connection: Connection, before: datetime) -> bool:
    """Whether a key from before then is still kept."""
    k = t.idempotency_keys.c
    return connection.execute(select(k.key).where(k.created_utc < before).limit(1)).first() is not None


def forget_keys(connection: Connection, before: datetime) -> int:
    """How many keys from before then were removed."""
    k = t.idempotency_keys
    return connection.execute(delete(k).where(k.c.created_utc < before)).rowcount
