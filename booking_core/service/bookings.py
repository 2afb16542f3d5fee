"""Taking a slot: judged and written under locks, every refusal recorded.

A refused wish gives its locks back at once; its attempt is written by a transaction of its own
before the answer leaves, together with what the customer was offered instead.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from booking_core.decide import Rules, decide
from booking_core.domain import Accepted, QuotaState, Refused, SlotState, Wish
from booking_core.problems import violation_rows
from booking_core.remedies import Remedy, Situation, change_fields, remedies_for
from booking_core.service.core import Caller, Core
from booking_core.settings import BankSettings, load_settings
from booking_core.store import attempts, bookings, quotas, slots
from booking_core.store.bookings import Booking
from metrics.contract import OPENS_EPISODE, Cause, Channel, Outcome, Reason
from metrics.instruments import UNKNOWN_CHANNEL

RECORDED: Final = frozenset({Cause.CAPACITY, Cause.INPUT, Cause.RULE})
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
class Moment:
    """The settings and both clocks, read once for a judgement."""

    settings: BankSettings
    rules: Rules
    wall: datetime
    business: datetime

    def fold(
        self, connection: Connection, loan_ref: str, slot: SlotState, channel: str, **outcome: Any
    ) -> None:
        """Fold a try of now into the loan's wish episode, with its reason or the booking it became."""
        idle_days = self.settings.idle_days
        attempts.fold_wish(
            connection, loan_ref, slot, channel, business_now=self.business, idle_days=idle_days, **outcome
        )


def moment(core: Core, connection: Connection) -> Moment:
    """The settings as committed and the time now."""
    settings, wall = load_settings(connection), core.wall()
    rules = Rules(
        zone=settings.tzinfo(),
        min_notice_minutes=settings.min_notice_minutes,
        booking_window_days=settings.booking_window_days,
        hold_seconds=settings.hold_seconds,
    )
    return Moment(settings, rules, wall, settings.business_now(wall))


def book(core: Core, asking: Asking, wish: Wish, key: str) -> Taken | Refusal:
    """The hold or booking taken for the wish, or why not; either is on record when this returns."""
    verdict = core.retried(lambda: _take(core, asking, wish, key))
    if isinstance(verdict, Refused):
        return refuse(core, asking, verdict, wish)
    if not verdict.replayed:
        core.instruments.held(wish.channel)
        core.instruments.batch_size.observe(1)
    return verdict


def dry_run(core: Core, asking: Asking, wish: Wish) -> Accepted | Refusal:
    """What `book` would decide now; nothing is recorded, nothing taken."""
    with core.engine.connect() as connection:
        seen = _situation(core, connection, asking, wish)
        slot = seen.slot
        limits = quotas.read_levels(connection, [slot], wish.channel)[slot.slot_id] if slot else ()
        verdict = _judge(asking.caller, wish, seen, limits)
        if isinstance(verdict, Accepted):
            return verdict
        verdict = quotas.with_next_limits(connection, verdict)
        return Refusal(verdict, remedies_for(connection, verdict, wish, seen))


def refuse(core: Core, asking: Asking, refused: Refused, told: Wish | Told, *, opens: bool = True) -> Refusal:
    """The refusal with its remedies, recorded as an attempt (and in the wish episode where it opens one)."""
    with core.engine.connect() as connection:
        seen = _situation(core, connection, asking, told)
        refused = quotas.with_next_limits(connection, refused)
        if isinstance(told, Wish):
            found = remedies_for(connection, refused, told, seen)
        else:
            found = change_fields(refused)
    if refused.reason.cause in RECORDED:
        core.retried(lambda: _record(core, asking, refused, told, seen, opens=opens))
    core.instruments.refused(told.channel or UNKNOWN_CHANNEL, refused.reason)
    return Refusal(refused, found)


def forbidden(region_id: str | None) -> Refused:
    """The refusal of what lies in a region that the token does not claim."""
    return Refused(Reason.FORBIDDEN, context={"needs": f"a token for region {region_id}"})


def booking_json(booking: Booking, slot: SlotState, rules: Rules) -> dict[str, Any]:
    """A booking as the API tells it; times with the bank's offset, `expires_at` in wall time."""
    until, amount = booking.held_until_utc, booking.amount_cny
    body = {
        "ref": booking.booking_ref,
        "status": booking.status,
        "loan": booking.loan_ref,
        "slot": booking.slot_id,
        "branch": booking.branch_id,
        "service_day": booking.service_day.isoformat(),
        "start": slot.start_utc.astimezone(rules.zone).isoformat(),
        "end": slot.end_utc.astimezone(rules.zone).isoformat(),
        "channel": booking.channel,
        "expires_at": until and until.isoformat(timespec="seconds"),
        "amount": None if amount is None else str(amount),
        "option": booking.option,
    }
    return {name: value for name, value in body.items() if value is not None}


def _take(core: Core, asking: Asking, wish: Wish, key: str) -> Taken | Refused:
    """One try to take the wish: all locks, the decision, all writes; a refusal is rolled back."""
    caller, fingerprint = asking.caller, _fingerprint(wish)
    with core.transaction() as connection:
        slot = slots.read_slot(connection, wish.slot_id, lock=True)
        if known := bookings.known_key(connection, caller.token_id, key):
            same = known.fingerprint == fingerprint
            return Taken(known.body, replayed=True) if same else Refused(Reason.IDEMPOTENCY_CONFLICT)
        now = moment(core, connection)
        levels = quotas.lock_levels(connection, slot, wish.channel) if slot else quotas.Levels((), ())
        loan = slots.read_loan(connection, wish.loan_ref)
        verdict = _judge(caller, wish, Situation(slot, loan, now.rules, now.business), levels.judged)
        if isinstance(verdict, Refused):
            connection.rollback()
            return verdict
        assert slot is not None  # noqa: S101 – an accepted wish has its slot
        until = None if verdict.confirm_at_once else now.wall + timedelta(seconds=now.rules.hold_seconds)
        booking = Booking(
            booking_ref=f"B{secrets.token_hex(8)}",
            loan_ref=wish.loan_ref,
            slot_id=slot.slot_id,
            branch_id=slot.branch_id,
            region_id=slot.region_id,
            service_day=slot.service_day,
            channel=wish.channel,
            status="held" if until else "confirmed",
            units=verdict.units,
            amount_cny=wish.amount_cny,
            option=wish.option,
            contact=wish.contact,
            created_utc=now.wall,
            held_until_utc=until,
            version=1,
        )
        slots.add_slot_units(connection, slot.slot_id, verdict.units)
        quotas.add_units(connection, levels.counted, verdict.units)
        bookings.add_booking(connection, booking, actor=caller.name)
        body = {"booking": booking_json(booking, slot, now.rules), "trace_id": asking.trace_id}
        bookings.keep_key(connection, caller.token_id, key, fingerprint, body, now=now.wall)
        _add_attempt(connection, asking, wish, slot, now, booking_ref=booking.booking_ref)
        now.fold(connection, wish.loan_ref, slot, wish.channel, booking_ref=booking.booking_ref)
        return Taken(body)


def _judge(caller: Caller, wish: Wish, seen: Situation, limits: Iterable[QuotaState]) -> Accepted | Refused:
    """What `decide` says of the wish; a slot outside the caller's region claim is refused before."""
    if seen.slot and not caller.may_see(seen.slot.region_id):
        return forbidden(seen.slot.region_id)
    return decide(
        wish,
        slot=seen.slot,
        loan=seen.loan,
        quotas=limits,
        rules=seen.rules,
        business_now=seen.business_now,
        holder=caller.holder,
    )


def _record(
    core: Core,
    asking: Asking,
    refused: Refused,
    told: Wish | Told,
    seen: Situation,
    *,
    opens: bool,
) -> None:
    """Write the refused attempt and fold it into the loan's wish episode where its cause opens one."""
    with core.transaction() as connection:
        now = moment(core, connection)
        _add_attempt(connection, asking, told, seen.slot, now, refused)
        if opens and seen.slot and seen.own_loan and refused.reason.cause in OPENS_EPISODE:
            channel = told.channel or UNKNOWN_CHANNEL
            now.fold(connection, seen.own_loan.loan_ref, seen.slot, channel, reason=refused.reason)


def _add_attempt(
    connection: Connection,
    asking: Asking,
    told: Wish | Told,
    slot: SlotState | None,
    now: Moment,
    refused: Refused | None = None,
    **columns: Any,
) -> None:
    attempts.add_attempt(
        connection,
        loan_ref=told.loan_ref,
        slot=slot,
        reason=refused.reason if refused else None,
        at_utc=now.wall,
        business_utc=now.business,
        trace_id=asking.trace_id,
        channel=told.channel or UNKNOWN_CHANNEL,
        outcome=Outcome.REFUSED if refused else Outcome.HELD,
        violations=(violation_rows(refused.violations) or None) if refused else None,
        duration_seconds=time.perf_counter() - asking.started,
        **columns,
    )


def _situation(core: Core, connection: Connection, asking: Asking, told: Wish | Told) -> Situation:
    now = moment(core, connection)
    return Situation(
        slot=slots.read_slot(connection, told.slot_id) if told.slot_id else None,
        loan=slots.read_loan(connection, told.loan_ref) if told.loan_ref else None,
        rules=now.rules,
        business_now=now.business,
        holder=asking.caller.holder,
        region_claim=asking.caller.region_id,
    )


def _fingerprint(wish: Wish) -> str:
    """What makes two requests the same: all that was asked, in one canonical form."""
    amount = None if wish.amount_cny is None else str(wish.amount_cny.normalize())
    told = [wish.loan_ref, wish.slot_id, wish.channel, amount, wish.option, wish.contact]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
