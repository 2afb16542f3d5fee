"""Taking, confirming and cancelling: judge under locks, write, and record every refusal.

A refused wish gives its locks back at once; its attempt is written by a transaction of its own
before the answer leaves, together with what the customer was offered instead.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from booking_core.decide import Rules, decide, judge_amount
from booking_core.domain import Accepted, LoanState, Refused, SlotState, Wish
from booking_core.problems import violation_rows
from booking_core.remedies import Remedy, remedies_for
from booking_core.service.core import Caller, Core, rules_of
from booking_core.settings import BankSettings, load_settings
from booking_core.store import attempts, bookings, quotas, slots
from booking_core.store.bookings import Booking
from metrics.contract import OPENS_EPISODE, Cause, Channel, Outcome, Reason
from metrics.instruments import UNKNOWN_CHANNEL

RECORDED = frozenset({Cause.CAPACITY, Cause.INPUT, Cause.RULE})
"""Causes whose refusals are attempts of the database; the others are counted only."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, within which trace, since when (perf_counter seconds)."""

    caller: Caller
    trace_id: str
    started: float


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that was granted: the answer, and whether it was given before."""

    body: dict[str, Any]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request with what to do instead."""

    refused: Refused
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What a request told of its wish, as far as it could be read."""

    loan_ref: str | None = None
    slot_id: str | None = None
    channel: Channel | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a hold is confirmed with."""

    amount_cny: Decimal
    option: str
    contact: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """The settings and both clocks, read once for a judgement."""

    settings: BankSettings
    rules: Rules
    wall: datetime
    business: datetime


def moment(core: Core, connection: Connection) -> Moment:
    """The settings as committed and the time now."""
    settings, wall = load_settings(connection), core.wall()
    return Moment(settings, rules_of(settings), wall, settings.business_now(wall))


def book(core: Core, asking: Asking, wish: Wish, key: str) -> Taken | Refusal:
    """The hold or booking taken for the wish, or why not; either is on record when this returns."""
    verdict = core.retried(lambda: _take(core, asking, wish, key))
    if isinstance(verdict, Refused):
        return refuse(core, asking, verdict, Told(wish.loan_ref, wish.slot_id, wish.channel), wish)
    if not verdict.replayed:
        core.instruments.held(wish.channel)
        core.instruments.batch_size.observe(1)
    return verdict


def dry_run(core: Core, asking: Asking, wish: Wish) -> Accepted | Refusal:
    """What `book` would decide now; nothing is recorded, nothing taken."""
    with core.engine.connect() as connection:
        now = moment(core, connection)
        slot = slots.read_slot(connection, wish.slot_id)
        limits = quotas.read_levels(connection, [slot], wish.channel)[slot.slot_id] if slot else ()
        loan = slots.read_loan(connection, wish.loan_ref)
        verdict = _outside_claim(asking.caller, slot) or decide(
            wish, slot=slot, loan=loan, quotas=limits, rules=now.rules, business_now=now.business,
            holder=asking.caller.holder,
        )
        if isinstance(verdict, Accepted):
            return verdict
        verdict = quotas.with_next_limits(connection, verdict)
        return Refusal(verdict, _remedies(connection, asking, verdict, wish, slot, loan, now))


def refuse(
    core: Core, asking: Asking, refused: Refused, told: Told, wish: Wish | None = None, *, opens: bool = True
) -> Refusal:
    """The refusal with its remedies, recorded as an attempt (and in the wish episode where it opens one)."""
    remedies: tuple[Remedy, ...] = ()
    with core.engine.connect() as connection:
        now = moment(core, connection)
        slot = slots.read_slot(connection, told.slot_id) if told.slot_id else None
        loan = slots.read_loan(connection, told.loan_ref) if told.loan_ref else None
        refused = quotas.with_next_limits(connection, refused)
        if wish is not None:
            remedies = _remedies(connection, asking, refused, wish, slot, loan, now)
        elif refused.errors:
            remedies = tuple({"action": "change_field", "pointer": e.pointer} for e in refused.errors)
    if refused.reason.cause in RECORDED:
        core.retried(lambda: _record(core, asking, refused, told, slot, loan, remedies, opens=opens))
    core.instruments.refused(told.channel or UNKNOWN_CHANNEL, refused.reason)
    return Refusal(refused, remedies)


def confirm(core: Core, asking: Asking, booking_ref: str, settlement: Settlement) -> Taken | Refusal | None:
    """The booking that the hold became, why it did not, or None for an unknown booking.

    A hold that is over is given back here if the sweep has not done so; a repetition changes nothing.
    """

    def change(connection: Connection, booking: Booking, slot: SlotState) -> Booking | Refused:
        now = moment(core, connection)
        if booking.status == "held" and booking.held_until_utc and booking.held_until_utc <= now.wall:
            booking = release(connection, booking, slot, "expired", now.wall, asking.caller.name)
        wanted = (settlement.amount_cny, settlement.option, settlement.contact)
        if booking.status == "confirmed":
            same = wanted == (booking.amount_cny, booking.option, booking.contact)
            return booking if same else Refused(Reason.IDEMPOTENCY_CONFLICT)
        if booking.status != "held":
            return Refused(Reason.HOLD_EXPIRED, context={"booking": booking_ref, "status": booking.status})
        loan = slots.read_loan(connection, booking.loan_ref)
        if loan is not None and (refused := judge_amount(settlement.amount_cny, loan)):
            return refused
        changes = dict(zip(("amount_cny", "option", "contact"), wanted, strict=True))
        bookings.change_booking(
            connection, booking, now=now.wall, actor=asking.caller.name, status="confirmed",
            held_until_utc=None, **changes,
        )
        return replace(booking, status="confirmed", held_until_utc=None, **changes)

    return _change(core, asking, booking_ref, change)


def cancel(core: Core, asking: Asking, booking_ref: str) -> Taken | Refusal | None:
    """The cancelled booking, its units given back; None for an unknown one; a repetition changes nothing."""

    def change(connection: Connection, booking: Booking, slot: SlotState) -> Booking | Refused:
        if booking.status == "cancelled":
            return booking
        if booking.status not in ("held", "confirmed"):
            return Refused(Reason.HOLD_EXPIRED, context={"booking": booking_ref, "status": booking.status})
        return release(connection, booking, slot, "cancelled", core.wall(), asking.caller.name)

    return _change(core, asking, booking_ref, change)


def find(core: Core, asking: Asking, booking_ref: str) -> Taken | Refusal | None:
    """The booking as it stands, None for one that the caller may not know of."""
    with core.engine.connect() as connection:
        booking = bookings.read_booking(connection, booking_ref)
        if booking is None or not _own(connection, asking.caller, booking):
            return None
        if not asking.caller.may_see(booking.region_id):
            return Refusal(_forbidden(booking.region_id))
        slot = slots.read_slot(connection, booking.slot_id)
        return Taken({"booking": booking_json(booking, slot, moment(core, connection).rules)})


def release(
    connection: Connection, booking: Booking, slot: SlotState, status: str, now: datetime, actor: str
) -> Booking:
    """The booking moved to `status`, its units given back; slot and booking are locked, counters here."""
    levels = quotas.lock_levels(connection, slot, booking.channel)
    slots.add_slot_units(connection, slot.slot_id, -booking.units)
    quotas.add_units(connection, levels.counted, -booking.units)
    bookings.change_booking(
        connection, booking, now=now, actor=actor, status=status, held_until_utc=None
    )
    return replace(booking, status=status, held_until_utc=None)


def booking_json(booking: Booking, slot: SlotState | None, rules: Rules) -> dict[str, Any]:
    """A booking as the API tells it; times with the bank's offset, `expires_at` in wall time."""
    body: dict[str, Any] = {
        "ref": booking.booking_ref, "status": booking.status, "loan": booking.loan_ref,
        "slot": booking.slot_id, "branch": booking.branch_id,
        "service_day": booking.service_day.isoformat(), "channel": booking.channel,
    }
    if slot is not None:
        body["start"] = slot.start_utc.astimezone(rules.zone).isoformat()
        body["end"] = slot.end_utc.astimezone(rules.zone).isoformat()
    if booking.held_until_utc is not None:
        body["expires_at"] = booking.held_until_utc.isoformat(timespec="seconds")
    if booking.amount_cny is not None:
        body |= {"amount": str(booking.amount_cny), "option": booking.option}
    return body


def _take(core: Core, asking: Asking, wish: Wish, key: str) -> Taken | Refused:
    """One try to take the wish: all locks, the decision, all writes; a refusal is rolled back."""
    caller, fingerprint = asking.caller, _fingerprint(wish)
    with core.transaction() as connection:
        slot = slots.lock_slot(connection, wish.slot_id)
        if known := bookings.known_key(connection, caller.token_id, key):
            if known.fingerprint == fingerprint:
                return Taken(known.body, replayed=True)
            return Refused(Reason.IDEMPOTENCY_CONFLICT)
        now = moment(core, connection)
        levels = quotas.lock_levels(connection, slot, wish.channel) if slot else quotas.Levels((), ())
        verdict = _outside_claim(caller, slot) or decide(
            wish, slot=slot, loan=slots.read_loan(connection, wish.loan_ref), quotas=levels.judged,
            rules=now.rules, business_now=now.business, holder=caller.holder,
        )
        if isinstance(verdict, Refused) or slot is None:
            connection.rollback()
            return verdict if isinstance(verdict, Refused) else Refused(Reason.INTERNAL_ERROR)
        held_until = None if verdict.confirm_at_once else now.wall + timedelta(seconds=now.rules.hold_seconds)
        booking = Booking(
            booking_ref=f"B{secrets.token_hex(8)}", loan_ref=wish.loan_ref, slot_id=slot.slot_id,
            branch_id=slot.branch_id, region_id=slot.region_id, service_day=slot.service_day,
            channel=wish.channel, status="confirmed" if verdict.confirm_at_once else "held",
            units=verdict.units, amount_cny=wish.amount_cny, option=wish.option, contact=wish.contact,
            created_utc=now.wall, held_until_utc=held_until, version=1,
        )
        slots.add_slot_units(connection, slot.slot_id, verdict.units)
        quotas.add_units(connection, levels.counted, verdict.units)
        bookings.add_booking(connection, booking, actor=caller.name)
        body = {"booking": booking_json(booking, slot, now.rules), "trace_id": asking.trace_id}
        bookings.keep_key(connection, caller.token_id, key, fingerprint, body, now.wall)
        wished = attempts.Wished(
            wish.loan_ref, slot.branch_id, slot.region_id, slot.service_day, wish.channel
        )
        attempts.fold_wish(
            connection, wished, business_now=now.business, idle_days=now.settings.idle_days,
            booking_ref=booking.booking_ref,
        )
        attempts.add_attempt(
            connection,
            attempts.Attempt(
                at_utc=now.wall, business_utc=now.business, trace_id=asking.trace_id, channel=wish.channel,
                outcome=Outcome.HELD, loan_ref=wish.loan_ref, branch_id=slot.branch_id,
                region_id=slot.region_id, slot_id=slot.slot_id, service_day=slot.service_day,
                booking_ref=booking.booking_ref, duration_seconds=time.perf_counter() - asking.started,
            ),
        )
        return Taken(body)


def _record(
    core: Core, asking: Asking, refused: Refused, told: Told, slot: SlotState | None,
    loan: LoanState | None, remedies: tuple[Remedy, ...], *, opens: bool,
) -> None:
    channel = told.channel or UNKNOWN_CHANNEL
    with core.transaction() as connection:
        now = moment(core, connection)
        attempts.add_attempt(
            connection,
            attempts.Attempt(
                at_utc=now.wall, business_utc=now.business, trace_id=asking.trace_id, channel=channel,
                outcome=Outcome.REFUSED, loan_ref=told.loan_ref, branch_id=slot.branch_id if slot else None,
                region_id=slot.region_id if slot else None, slot_id=slot.slot_id if slot else None,
                service_day=slot.service_day if slot else None, reason=refused.reason,
                cause=refused.reason.cause, violations=violation_rows(refused.violations) or None,
                first_remedy=remedies[0]["action"] if remedies else None,
                duration_seconds=time.perf_counter() - asking.started,
            ),
        )
        if opens and slot and loan and refused.reason.cause in OPENS_EPISODE:
            wished = attempts.Wished(
                loan.loan_ref, slot.branch_id, slot.region_id, slot.service_day, channel
            )
            attempts.fold_wish(
                connection, wished, business_now=now.business, idle_days=now.settings.idle_days,
                reason=refused.reason,
            )


def _change(
    core: Core, asking: Asking, booking_ref: str,
    change: Callable[[Connection, Booking, SlotState], Booking | Refused],
) -> Taken | Refusal | None:
    """Run a change of one booking under its locks (slot, then booking) and tell what came of it."""

    def work() -> Taken | tuple[Refused, Booking] | None:
        with core.transaction() as connection:
            seen = bookings.read_booking(connection, booking_ref)
            if seen is None or not _own(connection, asking.caller, seen):
                return None
            if not asking.caller.may_see(seen.region_id):
                return _forbidden(seen.region_id), seen
            slot = slots.lock_slot(connection, seen.slot_id)
            booking = bookings.read_booking(connection, booking_ref, lock=True)
            if slot is None or booking is None:
                return None
            outcome = change(connection, booking, slot)
            if isinstance(outcome, Refused):
                return outcome, booking
            return Taken({"booking": booking_json(outcome, slot, rules_of(load_settings(connection)))})

    result = core.retried(work)
    if not isinstance(result, tuple):
        return result
    refused, booking = result
    channel = Channel(booking.channel)
    wish = Wish(booking.loan_ref, booking.slot_id, channel, booking.units)
    told = Told(booking.loan_ref, booking.slot_id, channel)
    return refuse(core, asking, refused, told, wish, opens=False)


def _remedies(
    connection: Connection, asking: Asking, refused: Refused, wish: Wish, slot: SlotState | None,
    loan: LoanState | None, now: Moment,
) -> tuple[Remedy, ...]:
    found = remedies_for(
        connection, refused, wish, slot=slot, loan=loan, rules=now.rules, business_now=now.business,
        holder=asking.caller.holder, region_claim=asking.caller.region_id,
    )
    return tuple(found)


def _own(connection: Connection, caller: Caller, booking: Booking) -> bool:
    """Whether a customer token's holder owns the booking's loan; other tokens act for any."""
    if caller.holder is None:
        return True
    loan = slots.read_loan(connection, booking.loan_ref)
    return loan is not None and loan.holder == caller.holder


def _outside_claim(caller: Caller, slot: SlotState | None) -> Refused | None:
    if slot is None or caller.may_see(slot.region_id):
        return None
    return _forbidden(slot.region_id)


def _forbidden(region_id: str) -> Refused:
    return Refused(Reason.FORBIDDEN, context={"needs": f"a token for region {region_id}"})


def _fingerprint(wish: Wish) -> str:
    told = [
        wish.loan_ref, wish.slot_id, wish.channel,
        None if wish.amount_cny is None else str(wish.amount_cny.normalize()), wish.option, wish.contact,
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def told_by(taken: Taken) -> Told:
    """What a booking tells of the wish behind it."""
    booking = taken.body["booking"]
    return Told(booking["loan"], booking["slot"], Channel(booking["channel"]))
