"""What becomes of a booking: each change judged in a batch that has it, its slot and its levels locked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil

from booking_core.decide import judge_amount
from booking_core.domain import Booking, Refused, Wish
from booking_core.service.batch import Batch, Job, Needs
from booking_core.service.batching import do
from booking_core.service.bookings import (
    Judgement,
    Refusal,
    Taken,
    Told,
    booking_json,
    forbidden,
    refuse_in,
    with_remedies,
)
from booking_core.service.core import Asking, Caller, Core, moment
from booking_core.store import bookings, slots
from metrics.contract import Channel, Reason

Change = Callable[[Batch, Booking], Booking | Refused]
"""The booking as it becomes (the same where nothing changes), or why not."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a hold is confirmed with."""

    amount_cny: Decimal
    option: str
    contact: str | None = None


def confirm(core: Core, asking: Asking, booking_ref: str, settlement: Settlement) -> Taken | Refusal | None:
    """The booking that the hold became, why it did not, or None for an unknown booking.

    A hold that is over is given back here if the sweep has not done so; a repetition changes nothing.
    The funds reserved become those of the amount.
    """
    actor = asking.caller.name

    def change(batch: Batch, booking: Booking) -> Booking | Refused:
        booking = _expired(batch, booking, actor)
        confirmed = replace(
            booking,
            status="confirmed",
            held_until_utc=None,
            amount_cny=settlement.amount_cny,
            option=settlement.option,
            contact=settlement.contact,
            reserved_cny=ceil(settlement.amount_cny),
        )
        if booking.status == "confirmed":
            return booking if booking == confirmed else Refused(Reason.IDEMPOTENCY_CONFLICT)
        if booking.status != "held":
            return _not_live(booking)
        loan = batch.loans.get(booking.loan_ref)
        if loan and (refused := judge_amount(settlement.amount_cny, loan)):
            return refused
        return batch.put(booking, confirmed, actor)

    return change_booking(core, asking, booking_ref, change)


def cancel(core: Core, asking: Asking, booking_ref: str) -> Taken | Refusal | None:
    """The cancelled booking, its units given back; None for an unknown one; a repetition changes nothing."""

    def change(batch: Batch, booking: Booking) -> Booking | Refused:
        if booking.status == "cancelled":
            return booking
        if booking.status not in {"held", "confirmed"}:
            return _not_live(booking)
        return release(batch, booking, "cancelled", asking.caller.name)

    return change_booking(core, asking, booking_ref, change)


def expire(core: Core, booking_refs: Sequence[str], actor: str) -> int:
    """How many of the holds and offers were over and were given back by this call."""

    def work(batch: Batch) -> int:
        due = [b for ref in booking_refs if (b := batch.bookings.get(ref)) and b.over(batch.now.wall)]
        return sum(release(batch, booking, "expired", actor).status == "expired" for booking in due)

    return do(core, Job(Needs(bookings=tuple(booking_refs)), work))


def find(core: Core, asking: Asking, booking_ref: str) -> Taken | Refusal | None:
    """The booking as it stands, None for one that the caller may not know of."""
    with core.engine.connect() as connection:
        booking = bookings.read_booking(connection, booking_ref)
        loan = booking and slots.read_loan(connection, booking.loan_ref)
        if booking is None or asking.caller.holder not in {None, loan and loan.holder}:
            return None
        slot = slots.read_slot(connection, booking.slot_id)
        if slot is None or not asking.caller.may_see(booking.region_id):
            return Refusal(forbidden(booking.region_id))
        return Taken({"booking": booking_json(booking, slot, moment(core, connection).rules)})


def release(batch: Batch, booking: Booking, status: str, actor: str) -> Booking:
    """The booking moved to `status`, its units given back."""
    return batch.put(booking, replace(booking, status=status, held_until_utc=None), actor)


def told_by(taken: Taken) -> Told:
    """What a booking tells of the wish behind it."""
    booking = taken.body["booking"]
    return Told(booking["loan"], booking["slot"], Channel(booking["channel"]))


def change_booking(
    core: Core, asking: Asking, booking_ref: str, change: Change, *, needs: Needs | None = None
) -> Taken | Refusal | None:
    """What came of the change, None for a booking the caller may not know of; a refusal is an attempt.

    `needs`: what has to be locked besides the booking with its slot, levels and loan.
    """
    all_needs = replace(needs or Needs(), bookings=(booking_ref,))

    def work(batch: Batch) -> Taken | tuple[Judgement, Wish] | None:
        booking = batch.bookings.get(booking_ref)
        if booking is None or not _own(batch, asking.caller, booking):
            return None
        wish = Wish(booking.loan_ref, booking.slot_id, Channel(booking.channel), booking.units)
        if not asking.caller.may_see(booking.region_id):
            return refuse_in(batch, asking, forbidden(booking.region_id), wish, opens=False), wish
        outcome = change(batch, booking)
        if isinstance(outcome, Refused):
            return refuse_in(batch, asking, outcome, wish, opens=False), wish
        return Taken({"booking": booking_json(outcome, batch.slots[outcome.slot_id], batch.now.rules)})

    answer = do(core, Job(all_needs, work))
    return with_remedies(core, *answer) if isinstance(answer, tuple) else answer


def _expired(batch: Batch, booking: Booking, actor: str) -> Booking:
    """The booking, expired here if its time is over and the sweep has not come by yet."""
    return release(batch, booking, "expired", actor) if booking.over(batch.now.wall) else booking


def _own(batch: Batch, caller: Caller, booking: Booking) -> bool:
    """Whether a customer token's holder owns the booking's loan; other tokens act for any."""
    loan = batch.loans.get(booking.loan_ref)
    return caller.holder is None or (loan is not None and loan.holder == caller.holder)


def _not_live(booking: Booking) -> Refused:
    return Refused(Reason.HOLD_EXPIRED, context={"booking": booking.booking_ref, "status": booking.status})
