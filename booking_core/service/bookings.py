"""Taking a slot: judged and written in a batch, every refusal recorded with it.

What a refused customer can do next is looked up afterwards, without locks.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from booking_core.actions import change_fields
from booking_core.decide import Rules, decide
from booking_core.domain import Accepted, Booking, LoanState, QuotaState, Refused, SlotState, Wish
from booking_core.remedies import Remedy, Situation, advise, advise_alone, advise_async
from booking_core.service.availability import availability_of
from booking_core.service.batch import Batch, Job, Needs
from booking_core.service.batching import do
from booking_core.service.core import Asking, Caller, Core, Moment, moment
from booking_core.store import quotas, slots, waitlist
from booking_core.store.bookings import KnownKey
from metrics.contract import OPENS_EPISODE, Cause, Channel, Reason
from metrics.instruments import UNKNOWN_CHANNEL

RECORDED: Final = frozenset({Cause.CAPACITY, Cause.INPUT, Cause.RULE})
"""Causes whose refusals are put on record with the answer. Of the others some are later: see api.late."""

log = logging.getLogger(__name__)


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
class Judgement:
    """A refusal as the batch judged it, with what it was judged against."""

    refused: Refused
    seen: Situation


def book(core: Core, asking: Asking, wish: Wish, key: str) -> Taken | Refusal:
    """The hold or booking taken for the wish, or why not; either is on record when this returns."""
    return told(core, wish, do(core, taking(asking, wish, key)))


def taking(asking: Asking, wish: Wish, key: str) -> Job[Taken | Judgement]:
    """The job that takes the wished slot: a hold, or a booking where amount and option are given."""
    caller, fingerprint = asking.caller, _fingerprint(wish)

    def work(batch: Batch) -> Taken | Judgement:
        if known := batch.keys.get((caller.token_id, key)):
            if known.fingerprint == fingerprint:
                return Taken(known.body, replayed=True)
            return refuse_in(batch, asking, Refused(Reason.IDEMPOTENCY_CONFLICT), wish)
        slot, loan = batch.slots.get(wish.slot_id), batch.loans.get(wish.loan_ref)
        seen = situation(batch, asking, wish)
        limits = batch.levels[slot.slot_id, wish.channel].judged if slot else ()
        waiting = batch.waiting_for(slot, wish.channel) if slot else 0
        verdict = judge(caller, wish, seen, limits, waiting)
        if isinstance(verdict, Refused):
            return refuse_in(batch, asking, verdict, wish)
        assert slot is not None  # noqa: S101 – an accepted wish has its slot and its loan
        assert loan is not None  # noqa: S101
        now = batch.now
        until = None if verdict.confirm_at_once else now.wall + timedelta(seconds=now.rules.hold_seconds)
        booking = new_booking(wish, slot, verdict, "held" if until else "confirmed", until, now.wall)
        batch.put(None, booking, caller.name)
        body = {"booking": booking_json(booking, slot, now.rules), "trace_id": asking.trace_id}
        batch.keep_key(KnownKey(caller.token_id, key, fingerprint, body, now.wall))
        ref = booking.booking_ref
        batch.attempt(asking, loan_ref=wish.loan_ref, slot=slot, channel=wish.channel.value, booking_ref=ref)
        batch.fold(wish.loan_ref, slot, wish.channel.value, booking_ref=ref)
        return Taken(body)

    needs = Needs(
        slots=((wish.slot_id, wish.channel.value),), loans=(wish.loan_ref,), keys=((caller.token_id, key),)
    )
    return Job(needs, work)


def told(core: Core, wish: Wish, answer: Taken | Judgement) -> Taken | Refusal:
    """The answer as it is told to the customer: counted, a refusal with its remedies. Blocks."""
    _note(core, wish, answer)
    return with_remedies(core, answer, wish) if isinstance(answer, Judgement) else answer


async def told_async(core: Core, wish: Wish, answer: Taken | Judgement) -> Taken | Refusal:
    """The same for the event loop."""
    _note(core, wish, answer)
    if isinstance(answer, Taken):
        return answer
    core.instruments.refused(wish.channel, answer.refused.reason)
    try:
        return Refusal(*await advise_async(availability_of(core), answer.refused, wish, answer.seen))
    except SQLAlchemyError as fault:
        return _without_remedies(answer.refused, fault)


def dry_run(core: Core, asking: Asking, wish: Wish) -> Accepted | Refusal:
    """What `book` would decide now; nothing is recorded, nothing taken."""
    with core.engine.connect() as connection:
        seen = _look(core, connection, asking, wish)
        slot, limits, waiting = seen.slot, tuple[QuotaState, ...](), 0
        if slot:
            limits = quotas.read_levels(connection, [slot], wish.channel)[slot.slot_id]
            found = waitlist.waiting(connection, [slot.branch_id])()
            waiting = waitlist.ahead(found, slot, wish.channel)
        verdict = judge(asking.caller, wish, seen, limits, waiting)
        if isinstance(verdict, Accepted):
            return verdict
        return Refusal(*advise_alone(connection, verdict, wish, seen))


def refuse(core: Core, asking: Asking, refused: Refused, told: Wish | Told, *, opens: bool = True) -> Refusal:
    """The refusal with its remedies, recorded as an attempt (and in the wish episode where it opens one)."""
    if refused.reason.cause not in RECORDED:
        with core.engine.connect() as connection:
            return with_remedies(core, Judgement(refused, _look(core, connection, asking, told)), told)
    return with_remedies(core, do(core, refusing(asking, refused, told, opens=opens)), told)


def refusing(asking: Asking, refused: Refused, told: Wish | Told, *, opens: bool = True) -> Job[Judgement]:
    """The job that records a refusal judged elsewhere."""
    needs = Needs(
        slots=((told.slot_id, told.channel or Channel.APP.value),) if told.slot_id else (),
        loans=(told.loan_ref,) if told.loan_ref else (),
    )
    return Job(needs, lambda batch: refuse_in(batch, asking, refused, told, opens=opens))


def refuse_in(
    batch: Batch, asking: Asking, refused: Refused, told: Wish | Told, *, opens: bool = True
) -> Judgement:
    """The refusal, recorded: as an attempt, and in the loan's wish episode where it opens one."""
    seen = situation(batch, asking, told)
    entry = batch.entry_of(told.loan_ref or "")
    if refused.reason is Reason.DUPLICATE_BOOKING and entry and entry.status == "offered":
        refused = replace(refused, context=refused.context | {"entry": entry.entry_ref})
    if late := asking.answered is not None:  # who has booked since wishes no more
        opens = opens and not (seen.loan and seen.loan.live_booking_ref)
    if late or refused.reason.cause in RECORDED:
        batch.attempt(asking, loan_ref=told.loan_ref, slot=seen.slot, channel=told.channel, refused=refused)
        if opens and seen.slot and seen.own_loan and refused.reason.cause in OPENS_EPISODE:
            channel = told.channel or UNKNOWN_CHANNEL
            batch.fold(seen.own_loan.loan_ref, seen.slot, channel, reason=refused.reason)
    return Judgement(refused, seen)


def with_remedies(core: Core, judged: Judgement, told: Wish | Told) -> Refusal:
    """The refusal as it is told, with what to do instead; counted."""
    refused = judged.refused
    core.instruments.refused(told.channel or UNKNOWN_CHANNEL, refused.reason)
    if not isinstance(told, Wish):
        return Refusal(refused, change_fields(refused))
    try:
        return Refusal(*advise(availability_of(core), refused, told, judged.seen))
    except SQLAlchemyError as fault:
        return _without_remedies(refused, fault)


def _without_remedies(refused: Refused, fault: SQLAlchemyError) -> Refusal:
    """The refusal, which is on record and stands though a look around failed."""
    log.warning("a refusal is told without remedies: %s", str(fault).partition("\n")[0])
    return Refusal(refused, change_fields(refused))


def judge(
    caller: Caller, wish: Wish, seen: Situation, limits: Iterable[QuotaState], waiting: int
) -> Accepted | Refused:
    """What `decide` says of the wish, after what the caller's token may do at all."""
    if seen.slot and not caller.may_see(seen.slot.region_id):
        return forbidden(seen.slot.region_id)
    if wish.channel not in caller.channels():
        return forbidden_channel(caller)
    return decide(
        wish,
        slot=seen.slot,
        loan=seen.loan,
        quotas=limits,
        rules=seen.rules,
        business_now=seen.business_now,
        holder=seen.holder,
        waiting=waiting,
    )


def situation(batch: Batch, asking: Asking, told: Wish | Told) -> Situation:
    """What a wish is judged against, as the batch has it."""
    slot = batch.slots.get(told.slot_id) if told.slot_id else None
    return _situation(asking, batch.now, slot, batch.loans.get(told.loan_ref or ""))


def forbidden(region_id: str | None) -> Refused:
    """The refusal of what lies in a region that the token does not claim."""
    needs = {"needs": f"a token for region {region_id}", "needs_zh": f"需要分区 {region_id} 的令牌"}
    return Refused(Reason.FORBIDDEN, context=needs)


def forbidden_channel(caller: Caller) -> Refused:
    """The refusal of a channel that the token may not book through."""
    own = ", ".join(sorted(caller.channels()))
    needs = {"needs": f"one of the channels {own}", "needs_zh": f"可用渠道为 {own}"}
    return Refused(Reason.FORBIDDEN, context=needs)


def booking_json(booking: Booking, slot: SlotState, rules: Rules) -> dict[str, Any]:
    """A booking as the API tells it; times with the bank's offset, `expires_at` in wall time."""
    until, amount = booking.held_until_utc, booking.amount_cny
    start, end = local_time(slot.start_utc, rules.zone), local_time(slot.end_utc, rules.zone)
    body = {
        "ref": booking.booking_ref,
        "status": booking.status,
        "loan": booking.loan_ref,
        "slot": booking.slot_id,
        "branch": booking.branch_id,
        "service_day": booking.service_day.isoformat(),
        "start": start,
        "end": end,
        "channel": booking.channel,
        "expires_at": until and until.isoformat(timespec="seconds"),
        "amount": None if amount is None else str(amount),
        "option": booking.option,
    }
    return {name: value for name, value in body.items() if value is not None}


def new_booking(
    wish: Wish, slot: SlotState, verdict: Accepted, status: str, until: datetime | None, now: datetime
) -> Booking:
    """The booking that the accepted wish becomes: offered or held until then, or confirmed."""
    return Booking(
        booking_ref=new_ref("B", now),
        loan_ref=wish.loan_ref,
        slot_id=slot.slot_id,
        branch_id=slot.branch_id,
        region_id=slot.region_id,
        service_day=slot.service_day,
        channel=wish.channel.value,
        status=status,
        units=verdict.units,
        amount_cny=wish.amount_cny,
        option=wish.option,
        contact=wish.contact,
        created_utc=now,
        held_until_utc=until,
        reserved_cny=verdict.reserved_cny,
    )


def new_ref(prefix: str, now: datetime) -> str:
    """A reference that sorts by time (its index grows at one end) and cannot be guessed (64 random bits)."""
    return f"{prefix}{int(now.timestamp() * 1000):011x}{secrets.token_hex(8)}"


@lru_cache(maxsize=10_000)
def local_time(moment_utc: datetime, zone: ZoneInfo) -> str:
    """The moment as the API tells it: with the bank's offset."""
    return moment_utc.astimezone(zone).isoformat()


def _note(core: Core, wish: Wish, answer: Taken | Judgement) -> None:
    """Count what was held, and what became of a slot that was shown as free."""
    refused = answer.refused if isinstance(answer, Judgement) else None
    if isinstance(answer, Taken) and answer.replayed:
        return
    availability_of(core).judge_shown(wish.slot_id, wish.channel.value, refused)
    if refused is None:
        core.instruments.held(wish.channel)


def _look(core: Core, connection: Connection, asking: Asking, told: Wish | Told) -> Situation:
    slot = slots.read_slot(connection, told.slot_id) if told.slot_id else None
    loan = slots.read_loan(connection, told.loan_ref) if told.loan_ref else None
    return _situation(asking, moment(core, connection), slot, loan)


def _situation(asking: Asking, now: Moment, slot: SlotState | None, loan: LoanState | None) -> Situation:
    caller = asking.caller
    claims = (caller.holder, caller.region_id, caller.channels())
    return Situation(slot, loan, now.rules, now.business, *claims)


def _fingerprint(wish: Wish) -> str:
    """What makes two requests the same: all that was asked, in one canonical form."""
    amount = None if wish.amount_cny is None else str(wish.amount_cny.normalize())
    told = [wish.loan_ref, wish.slot_id, wish.channel, amount, wish.option, wish.contact]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
