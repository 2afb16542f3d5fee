"""Bookings, their history, and the idempotency keys that answer a repeated request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

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


def add_booking(connection: Connection, booking: Booking, *, actor: str) -> None:
    """Write a new booking and the first line of its history."""
    connection.execute(insert(t.bookings).values(asdict(booking)))
    _add_event(connection, booking, None, booking.created_utc, actor)


def read_booking(connection: Connection, booking_ref: str, *, lock: bool = False) -> Booking | None:
    """The booking; locked only by a transaction that has its slot locked already."""
    statement = select(t.bookings).where(t.bookings.c.booking_ref == booking_ref)
    row = connection.execute(locking.lock_clause(statement) if lock else statement).first()
    return Booking(**row._mapping) if row else None  # noqa: SLF001


def change_booking(
    connection: Connection, booking: Booking, changed: Booking, *, now: datetime, actor: str
) -> Booking:
    """The locked booking as changed, with the next version and a line in its history."""
    changed = replace(changed, version=booking.version + 1)
    connection.execute(
        update(t.bookings).where(t.bookings.c.booking_ref == booking.booking_ref).values(asdict(changed))
    )
    _add_event(connection, changed, booking.status, now, actor)
    return changed


def expired_holds(connection: Connection, now: datetime, limit: int = 200) -> Sequence[str]:
    """References of holds whose time is over, oldest first."""
    b = t.bookings.c
    statement = select(b.booking_ref).where(b.status == "held", b.held_until_utc <= now)
    return connection.scalars(statement.order_by(b.held_until_utc).limit(limit)).all()


def known_key(connection: Connection, token_id: str, key: str) -> Row[Any, Any] | None:
    """What this token used the key for (fingerprint, body), None for a new key."""
    k = t.idempotency_keys.c
    statement = select(k.fingerprint, k.body).where(k.token_id == token_id, k.key == key)
    return connection.execute(statement).first()


def keep_key(
    connection: Connection, token_id: str, key: str, fingerprint: str, body: dict[str, Any], *, now: datetime
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


def _add_event(
    connection: Connection, booking: Booking, before: str | None, now: datetime, actor: str
) -> None:
    event = {"booking_ref": booking.booking_ref, "from_status": before, "to_status": booking.status}
    connection.execute(insert(t.booking_events).values(**event, at_utc=now, actor=actor))
