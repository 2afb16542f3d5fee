"""What becomes of a booking: confirmed, cancelled, expired; each under the locks of its slot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from booking_core.decide import judge_amount
from booking_core.domain import Refused, SlotState, Wish
from booking_core.service.bookings import (
    Asking,
    Refusal,
    Taken,
    Told,
    booking_json,
    forbidden,
    moment,
    refuse,
)
from booking_core.service.core import Caller, Core
from booking_core.store import bookings, quotas, slots
from booking_core.store.bookings import Booking
from metrics.contract import Channel, Reason


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a hold is confirmed with."""

    amount_cny: Decimal
    option: str
    contact: str | None = None


def confirm(core: Core, asking: Asking, booking_ref: str, settlement: Settlement) -> Taken | Refusal | None:
    """The booking that the hold became, why it did not, or None for an unknown booking.

    A hold that is over is given back here if the sweep has not done so; a repetition changes nothing.
    """

    def change(connection: Connection, booking: Booking, slot: SlotState) -> Booking | Refused:
        now, actor = core.wall(), asking.caller.name
        if _over(booking, now):
            booking = release(connection, booking, slot, status="expired", now=now, actor=actor)
        confirmed = replace(
            booking,
            status="confirmed",
            held_until_utc=None,
            amount_cny=settlement.amount_cny,
            option=settlement.option,
            contact=settlement.contact,
        )
        if booking.status == "confirmed":
            return booking if booking == confirmed else Refused(Reason.IDEMPOTENCY_CONFLICT)
        if booking.status != "held":
            return _not_live(booking)
        loan = slots.read_loan(connection, booking.loan_ref)
        if loan and (refused := judge_amount(settlement.amount_cny, loan)):
            return refused
        return bookings.change_booking(connection, booking, confirmed, now=now, actor=actor)

    return _change(core, asking, booking_ref, change)


def cancel(core: Core, asking: Asking, booking_ref: str) -> Taken | Refusal | None:
    """The cancelled booking, its units given back; None for an unknown one; a repetition changes nothing."""

    def change(connection: Connection, booking: Booking, slot: SlotState) -> Booking | Refused:
        if booking.status == "cancelled":
            return booking
        if booking.status not in {"held", "confirmed"}:
            return _not_live(booking)
        actor = asking.caller.name
        return release(connection, booking, slot, status="cancelled", now=core.wall(), actor=actor)

    return _change(core, asking, booking_ref, change)


def expire(core: Core, booking_ref: str, actor: str) -> bool:
    """Whether the hold was over and was given back by this call."""
    with core.transaction() as connection:
        seen = bookings.read_booking(connection, booking_ref)
        locked = _locked(connection, seen) if seen else None
        now = core.wall()
        if locked is None or not _over(locked[0], now):
            return False
        release(connection, *locked, status="expired", now=now, actor=actor)
        return True


def find(core: Core, asking: Asking, booking_ref: str) -> Taken | Refusal | None:
    """The booking as it stands, None for one that the caller may not know of."""
    with core.engine.connect() as connection:
        booking = bookings.read_booking(connection, booking_ref)
        if booking is None or not _own(connection, asking.caller, booking):
            return None
        slot = slots.read_slot(connection, booking.slot_id)
        if slot is None or not asking.caller.may_see(booking.region_id):
            return Refusal(forbidden(booking.region_id))
        return Taken({"booking": booking_json(booking, slot, moment(core, connection).rules)})


def release(
    connection: Connection, booking: Booking, slot: SlotState, *, status: str, now: datetime, actor: str
) -> Booking:
    """The booking moved to `status`, its units given back; slot and booking are locked, counters here."""
    levels = quotas.lock_levels(connection, slot, booking.channel)
    slots.add_slot_units(connection, slot.slot_id, -booking.units)
    quotas.add_units(connection, levels.counted, -booking.units)
    released = replace(booking, status=status, held_until_utc=None)
    return bookings.change_booking(connection, booking, released, now=now, actor=actor)


def told_by(taken: Taken) -> Told:
    """What a booking tells of the wish behind it."""
    booking = taken.body["booking"]
    return Told(booking["loan"], booking["slot"], Channel(booking["channel"]))


def _change(
    core: Core,
    asking: Asking,
    booking_ref: str,
    change: Callable[[Connection, Booking, SlotState], Booking | Refused],
) -> Taken | Refusal | None:
    """Run a change of one booking under its locks and tell what came of it; a refusal is an attempt."""

    def work() -> Taken | tuple[Refused, Booking] | None:
        with core.transaction() as connection:
            seen = bookings.read_booking(connection, booking_ref)
            if seen is None or not _own(connection, asking.caller, seen):
                return None
            if not asking.caller.may_see(seen.region_id):
                return forbidden(seen.region_id), seen
            booking, slot = _locked(connection, seen)
            outcome = change(connection, booking, slot)
            if isinstance(outcome, Refused):
                return outcome, booking
            return Taken({"booking": booking_json(outcome, slot, moment(core, connection).rules)})

    result = core.retried(work)
    if not isinstance(result, tuple):
        return result
    refused, booking = result
    wish = Wish(booking.loan_ref, booking.slot_id, Channel(booking.channel), booking.units)
    return refuse(core, asking, refused, wish, opens=False)


def _locked(connection: Connection, seen: Booking) -> tuple[Booking, SlotState]:
    """The booking and its slot, locked in the fixed order: slot first. Rows of neither are ever deleted."""
    slot = slots.read_slot(connection, seen.slot_id, lock=True)
    booking = bookings.read_booking(connection, seen.booking_ref, lock=True)
    if slot is None or booking is None:
        raise LookupError(f"booking {seen.booking_ref} or its slot {seen.slot_id} has vanished")
    return booking, slot


def _own(connection: Connection, caller: Caller, booking: Booking) -> bool:
    """Whether a customer token's holder owns the booking's loan; other tokens act for any."""
    if caller.holder is None:
        return True
    loan = slots.read_loan(connection, booking.loan_ref)
    return loan is not None and loan.holder == caller.holder


def _over(booking: Booking, now: datetime) -> bool:
    return booking.status == "held" and booking.held_until_utc is not None and booking.held_until_utc <= now


def _not_live(booking: Booking) -> Refused:
    return Refused(Reason.HOLD_EXPIRED, context={"booking": booking.booking_ref, "status": booking.status})
