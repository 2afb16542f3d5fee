"""What becomes of a booking: each change judged in a batch that has it, its slot and its levels locked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from math import ceil
from typing import Any

from booking_core import lifecycle
from booking_core.actions import change_fields
from booking_core.decide import Rules, decide, judge_amount, judge_capacity
from booking_core.domain import (
    Accepted,
    Booking,
    FieldError,
    LoanState,
    QuotaState,
    Refused,
    SlotState,
    Wish,
)
from booking_core.lifecycle import judge_step
from booking_core.remedies import Remedy
from booking_core.service.availability import availability_of
from booking_core.service.batch import Batch, Job, Needs
from booking_core.service.batching import do
from booking_core.service.bookings import (
    Judgement,
    Refusal,
    Taken,
    Told,
    booking_json,
    forbidden,
    forbidden_channel,
    refuse_in,
    with_remedies,
)
from booking_core.service.core import Asking, Caller, Core, moment
from booking_core.store import bookings, slots
from metrics.contract import Channel, PeriodKind, Reason

Change = Callable[[Batch, Booking], Booking | Refused]
"""The booking as it becomes (the same where nothing changes), or why not."""

MOVABLE = frozenset({"held", "confirmed"})
"""A booking in one of these is helped by another slot."""


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
        if refused := judge_step(booking, "confirmed"):
            return refused
        loan = batch.loans.get(booking.loan_ref)
        if loan and (refused := judge_amount(settlement.amount_cny, loan)):
            return refused
        if refused := _judge_funds(batch, booking, confirmed.reserved_cny):
            return refused
        return batch.put(booking, confirmed, actor)

    return change_booking(core, asking, booking_ref, change)


def cancel(core: Core, asking: Asking, booking_ref: str) -> Taken | Refusal | None:
    """The cancelled booking, its units given back; None for an unknown one; a repetition changes nothing."""

    def change(batch: Batch, booking: Booking) -> Booking | Refused:
        if booking.status == "cancelled":
            return booking
        return judge_step(booking, "cancelled") or release(batch, booking, "cancelled", asking.caller.name)

    return change_booking(core, asking, booking_ref, change, tried=False)


def reschedule(
    core: Core, asking: Asking, booking_ref: str, slot_id: str, channel: Channel | None = None
) -> Taken | Refusal | None:
    """The booking moved to the slot, in one transaction; None for an unknown one.

    The slot is judged as if the booking did not exist, which keeps its reference, status, end of hold and,
    unless another is named, its channel. Refused, it stays where it was; a repetition changes nothing.
    A try on record, but no new wish: what the customer wished was counted when they booked.
    """
    caller = asking.caller

    def wished(booking: Booking) -> Wish:
        return Wish(booking.loan_ref, slot_id, channel or Channel(booking.channel), booking.units)

    def change(batch: Batch, booking: Booking) -> Booking | Refused:
        booking, wish = _expired(batch, booking, caller.name), wished(booking)
        if refused := judge_step(booking, booking.status):
            return refused
        if (booking.slot_id, booking.channel) == (slot_id, wish.channel):
            return booking
        verdict = _judge_move(batch, caller, booking, wish)
        if isinstance(verdict, Refused):
            return verdict
        slot = batch.slots[slot_id]
        moved = replace(
            booking,
            slot_id=slot_id,
            branch_id=slot.branch_id,
            region_id=slot.region_id,
            service_day=slot.service_day,
            channel=wish.channel.value,
            reserved_cny=verdict.reserved_cny,
        )
        batch.attempt(
            asking, loan_ref=wish.loan_ref, slot=slot, channel=wish.channel.value, booking_ref=booking_ref
        )
        return batch.put(booking, moved, caller.name)

    # the booking's own channel is known for sure only once it is locked
    needs = Needs(slots=tuple((slot_id, c.value) for c in ((channel,) if channel else Channel)))
    outcome = change_booking(core, asking, booking_ref, change, needs=needs, wished=wished)
    if isinstance(outcome, Taken) and not outcome.replayed:
        there = outcome.body["booking"]["channel"]
        core.instruments.held(there)
        availability_of(core).judge_shown(slot_id, there, None)
    return outcome


def check_in(core: Core, asking: Asking, booking_ref: str) -> Taken | Refusal | None:
    """The booking whose customer has come, on its service day; None for an unknown one."""

    def noted(batch: Batch, booking: Booking) -> Booking | Refused:
        today = batch.now.settings.local_day(batch.now.business)
        return lifecycle.check_in(booking, today=today, now=batch.now.wall)

    return _note(core, asking, booking_ref, noted)


def complete(
    core: Core,
    asking: Asking,
    booking_ref: str,
    started: datetime | None = None,
    ended: datetime | None = None,
) -> Taken | Refusal | None:
    """The booking whose customer was served between the wall times; None for an unknown one."""

    def noted(batch: Batch, booking: Booking) -> Booking | Refused:
        return lifecycle.complete(booking, now=batch.now.wall, started=started, ended=ended)

    return _note(core, asking, booking_ref, noted)


def no_show(core: Core, asking: Asking, booking_ref: str) -> Taken | Refusal | None:
    """The booking whose customer did not come, known once its slot has begun; None for an unknown one."""

    def noted(batch: Batch, booking: Booking) -> Booking | Refused:
        start = batch.slots[booking.slot_id].start_utc
        zone, now = batch.now.rules.zone, batch.now.business
        return lifecycle.no_show(booking, slot_start=start.astimezone(zone), business_now=now)

    return _note(core, asking, booking_ref, noted)


def expire(core: Core, booking_refs: Sequence[str], actor: str) -> int:
    """How many of the holds and offers were over and were given back by this call."""

    def work(batch: Batch) -> int:
        due = [b for ref in booking_refs if (b := batch.bookings.get(ref)) and b.over(batch.now.wall)]
        return sum(release(batch, booking, "expired", actor).status == "expired" for booking in due)

    return do(core, Job(Needs(bookings=tuple(booking_refs)), work))


def find(core: Core, asking: Asking, booking_ref: str) -> Taken | Refusal | None:
    """The booking as it stands with its history, None for one that the caller may not know of.

    Customers are not told who of the staff acted.
    """
    with core.engine.connect() as connection:
        booking = bookings.read_booking(connection, booking_ref)
        loan = booking and slots.read_loan(connection, booking.loan_ref)
        if booking is None or asking.caller.holder not in {None, loan and loan.holder}:
            return None
        slot = slots.read_slot(connection, booking.slot_id)
        if slot is None or not asking.caller.may_see(booking.region_id):
            return Refusal(forbidden(booking.region_id))
        history = [
            {
                "at": _wall(row.at_utc),
                "from": row.from_status,
                "to": row.to_status,
                "slot": row.slot_id,
                "actor": None if asking.caller.holder else row.actor,
            }
            for row in bookings.read_events(connection, booking_ref)
        ]
        return Taken({"booking": _told(booking, slot, moment(core, connection).rules), "history": history})


def release(batch: Batch, booking: Booking, status: str, actor: str) -> Booking:
    """The booking moved to `status`, its units given back."""
    return batch.put(booking, replace(booking, status=status, held_until_utc=None), actor)


def told_by(taken: Taken) -> Told:
    """What a booking tells of the wish behind it."""
    booking = taken.body["booking"]
    return Told(booking["loan"], booking["slot"], Channel(booking["channel"]))


def change_booking(
    core: Core,
    asking: Asking,
    booking_ref: str,
    change: Change,
    *,
    needs: Needs | None = None,
    wished: Callable[[Booking], Wish] | None = None,
    tried: bool = True,
) -> Taken | Refusal | None:
    """What came of the change, None for a booking the caller may not know of.

    `needs`: what has to be locked besides the booking with its slot, levels and loan; `wished`: what the
    change asks for, unless what is booked; `tried`: whether a refusal is an attempt (giving back
    and staff's notes are none).
    """
    all_needs = replace(needs or Needs(), bookings=(booking_ref,))

    def work(batch: Batch) -> Taken | Refusal | tuple[Judgement, Wish, Booking] | None:
        booking = batch.bookings.get(booking_ref)
        if booking is None or not _own(batch, asking.caller, booking):
            return None
        wish = wished(booking) if wished else _booked(booking)
        if not asking.caller.may_see(booking.region_id):
            outcome: Booking | Refused = forbidden(booking.region_id)
        else:
            outcome = change(batch, booking)
        if isinstance(outcome, Booking):
            body = {"booking": _told(outcome, batch.slots[outcome.slot_id], batch.now.rules)}
            return Taken(body, replayed=outcome.version == booking.version)
        if not tried:
            return Refusal(outcome, change_fields(outcome))
        judged, now = refuse_in(batch, asking, outcome, wish, opens=False), batch.bookings[booking_ref]
        if wished and now.status in MOVABLE and judged.seen.loan:
            judged = replace(judged, seen=replace(judged.seen, loan=_unbound(now, judged.seen.loan)))
        return judged, wish, now

    answer = do(core, Job(all_needs, work))
    if not isinstance(answer, tuple):
        return answer
    judged, wish, booking = answer
    if wished:
        availability_of(core).judge_shown(wish.slot_id, wish.channel.value, judged.refused)
    refusal = with_remedies(core, judged, wish)
    if booking.status in MOVABLE:
        return replace(refusal, remedies=tuple(_moves(booking, refusal.remedies)))
    return refusal


def _note(core: Core, asking: Asking, booking_ref: str, noted: Change) -> Taken | Refusal | None:
    """What came of something that staff note of a booking; a repetition changes nothing."""

    def change(batch: Batch, booking: Booking) -> Booking | Refused:
        after = noted(batch, booking)
        if after is booking or isinstance(after, Refused):
            return after
        return batch.put(booking, after, asking.caller.name)

    return change_booking(core, asking, booking_ref, change, tried=False)


def _judge_move(batch: Batch, caller: Caller, booking: Booking, wish: Wish) -> Accepted | Refused:
    """What `decide` says of the wish as if the booking did not exist."""
    slot, limits, waiting = batch.slots.get(wish.slot_id), list[QuotaState](), 0
    if slot and not caller.may_see(slot.region_id):
        return forbidden(slot.region_id)
    if wish.channel != booking.channel and wish.channel not in caller.channels():
        return forbidden_channel(caller)
    if slot:
        waiting = batch.waiting_for(slot, wish.channel)
        slot, limits = _without(batch, booking, slot, wish.channel)
    loan = batch.loans.get(booking.loan_ref)
    return decide(
        wish,
        slot=slot,
        loan=loan and _unbound(booking, loan),
        quotas=limits,
        rules=batch.now.rules,
        business_now=batch.now.business,
        waiting=waiting,
    )


def _judge_funds(batch: Batch, booking: Booking, cny: int) -> Refused | None:
    """A refusal where the booking would take more of the day's funds than it holds, and they are used up."""
    if cny <= booking.reserved_cny:
        return None
    slot, limits = _without(batch, booking, batch.slots[booking.slot_id], booking.channel)
    funds = [q for q in limits if q.key.period_kind is PeriodKind.FUNDS_DAY]
    refused = judge_capacity(booking.units, slot, funds, batch.now.rules, cny=cny)
    if refused is None or refused.reason is not Reason.FUNDS_CAP_REACHED:
        return None
    left = min(quota.free_units for quota in funds)
    error = FieldError(
        "/amount", f"at most {left} CNY are left of the day's funds", f"当日额度仅余 {left} 元"
    )
    return replace(refused, errors=(error,))


def _without(
    batch: Batch, booking: Booking, slot: SlotState, channel: str
) -> tuple[SlotState, list[QuotaState]]:
    """The slot and its limits as if the booking took nothing of them: copies."""
    own = {id(counter) for counter in batch.levels[booking.slot_id, booking.channel].counted}

    def freed(quota: QuotaState) -> QuotaState:
        taken = quota.key.measured(booking.units, booking.reserved_cny) if id(quota) in own else 0
        return replace(quota, used_units=quota.used_units - taken)

    if slot.slot_id == booking.slot_id:
        slot = replace(slot, used_units=slot.used_units - booking.units)
    return slot, [freed(quota) for quota in batch.levels[slot.slot_id, channel].judged]


def _unbound(booking: Booking, loan: LoanState) -> LoanState:
    """The loan as if the booking did not exist; an amount once confirmed stays what it takes of the funds."""
    return replace(loan, live_booking_ref=None, payoff_cny=booking.amount_cny or loan.payoff_cny)


def _moves(booking: Booking, remedies: Iterable[Remedy]) -> Iterator[Remedy]:
    """The remedies that help whoever has the booking: other slots and channels by moving there."""
    here = {"slot": booking.slot_id, "channel": booking.channel}
    for remedy in remedies:
        if remedy["action"] in {"take_slot", "other_channel"}:
            body = {name: remedy["body"][name] for name in here}
            if body != here:
                href = f"/v1/bookings/{booking.booking_ref}/reschedule"
                yield {**remedy, "href": href, "body": body}
        elif "href" not in remedy:
            yield remedy


def _booked(booking: Booking) -> Wish:
    return Wish(booking.loan_ref, booking.slot_id, Channel(booking.channel), booking.units)


def _expired(batch: Batch, booking: Booking, actor: str) -> Booking:
    """The booking, expired here if its time is over and the sweep has not come by yet."""
    return release(batch, booking, "expired", actor) if booking.over(batch.now.wall) else booking


def _own(batch: Batch, caller: Caller, booking: Booking) -> bool:
    """Whether a customer token's holder owns the booking's loan; other tokens act for any."""
    loan = batch.loans.get(booking.loan_ref)
    return caller.holder is None or (loan is not None and loan.holder == caller.holder)


def _told(booking: Booking, slot: SlotState, rules: Rules) -> dict[str, Any]:
    """The booking as the API tells it, with what staff noted of it in wall time."""
    noted = {
        "checked_in": booking.checked_in_utc,
        "service_started": booking.service_started_utc,
        "service_ended": booking.service_ended_utc,
    }
    body = booking_json(booking, slot, rules)
    return body | {name: _wall(moment) for name, moment in noted.items() if moment}


def _wall(moment_utc: datetime) -> str:
    return moment_utc.isoformat(timespec="seconds")
