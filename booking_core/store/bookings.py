"""Bookings, their history, and the idempotency keys that answer a repeated request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from booking_core import tables as t
from booking_core.store import locking


@dataclass(frozen=True, slots=True)
class Booking:
    """A row of bookings."""

    booking_ref: str
    loan_ref: str
    slot_id: str
    branch_id: str
    region_id: str
    service_day: date
    channel: str
    status: str
    units: int
    amount_cny: Decimal | None
    option: str | None
    contact: str | None
    created_utc: datetime
    held_until_utc: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What an idempotency key was used for."""

    fingerprint: str
    body: dict[str, Any]


def add_booking(connection: Connection, booking: Booking, *, actor: str) -> None:
    """Write a new booking and the first line of its history."""
    values = {c.name: getattr(booking, c.name) for c in t.bookings.c}
    connection.execute(insert(t.bookings).values(values))
    add_event(connection, booking.booking_ref, None, booking.status, booking.created_utc, actor)


def read_booking(connection: Connection, booking_ref: str, *, lock: bool = False) -> Booking | None:
    """The booking; locked only by a transaction that has its slot locked already."""
    statement: Select[Any] = select(t.bookings).where(t.bookings.c.booking_ref == booking_ref)
    row = connection.execute(locking.lock_clause(statement) if lock else statement).first()
    return Booking(**row._mapping) if row else None  # noqa: SLF001


def change_booking(
    connection: Connection, booking: Booking, *, now: datetime, actor: str, status: str, **changes: Any
) -> None:
    """Move a locked booking to another status, with its history."""
    values = {**changes, "status": status, "version": booking.version + 1}
    connection.execute(
        update(t.bookings).where(t.bookings.c.booking_ref == booking.booking_ref).values(values)
    )
    add_event(connection, booking.booking_ref, booking.status, status, now, actor)


def add_event(
    connection: Connection, booking_ref: str, before: str | None, after: str, now: datetime, actor: str
) -> None:
    """A line of a booking's history."""
    connection.execute(
        insert(t.booking_events).values(
            booking_ref=booking_ref, at_utc=now, from_status=before, to_status=after, actor=actor
        )
    )


def expired_holds(connection: Connection, now: datetime, limit: int = 200) -> Sequence[str]:
    """References of holds whose time is over, oldest first."""
    b = t.bookings.c
    statement = select(b.booking_ref).where(b.status == "held", b.held_until_utc <= now)
    return connection.scalars(statement.order_by(b.held_until_utc).limit(limit)).all()


def known_key(connection: Connection, token_id: str, key: str) -> KnownKey | None:
    """What the key was used for by this token, None for a new key."""
    k = t.idempotency_keys.c
    statement = select(k.fingerprint, k.body).where(k.token_id == token_id, k.key == key)
    row = connection.execute(statement).first()
    return KnownKey(row.fingerprint, row.body) if row else None


def keep_key(
    connection: Connection, token_id: str, key: str, fingerprint: str, body: dict[str, Any], now: datetime
) -> None:
    """Remember the answer to a request that was accepted."""
    connection.execute(
        insert(t.idempotency_keys).values(
            token_id=token_id, key=key, fingerprint=fingerprint, status_code=201, body=body, created_utc=now
        )
    )


def any_key(connection: Connection, before: datetime) -> bool:
    """Whether a key from before then is still kept."""
    k = t.idempotency_keys.c
    return connection.execute(select(k.key).where(k.created_utc < before).limit(1)).first() is not None


def forget_keys(connection: Connection, before: datetime) -> int:
    """How many keys from before then were removed."""
    k = t.idempotency_keys
    return connection.execute(delete(k).where(k.c.created_utc < before)).rowcount
