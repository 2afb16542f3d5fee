"""The waitlist as customers use it: join, look, leave, accept what is offered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, Engine

from booking_core.domain import Booking, FieldError, LoanState, Refused, Wish
from booking_core.lifecycle import judge_step
from booking_core.queueing import PRIORITIES, Entry, Promise, judge_join, promise
from booking_core.service import prospects
from booking_core.service.batch import Batch, Job, Needs
from booking_core.service.batching import do
from booking_core.service.bookings import (
    Judgement,
    Refusal,
    Taken,
    booking_json,
    forbidden,
    forbidden_channel,
    new_ref,
    refuse,
    refuse_in,
    with_remedies,
)
from booking_core.service.changes import change_booking, release
from booking_core.service.core import Asking, Caller, Core, Moment, moment
from booking_core.service.offers import choose, offer
from booking_core.store import bookings, slots, waitlist
from metrics.contract import Channel, Reason, TokenScope


@dataclass(frozen=True, slots=True)
class Joining:
    """What someone who joins asks for, checked for form."""

    loan_ref: str
    branch_id: str
    wished_day: date
    channel: Channel
    latest_day: date | None = None
    """None = so many days after the wished one as the bank's settings say."""
    priority: int | None = None
    priority_reason: str | None = None
    """Staff only: both or neither."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known before anything is locked."""

    entry: Entry
    place: int
    """In the queue."""
    slot_id: str | None
    """A free place for it, where nobody is ahead."""


def join(core: Core, asking: Asking, wanted: Joining) -> Taken | Refusal:
    """The loan's place in the queue, or why there is none. Joining again for what it covers changes nothing.

    A wish that the entry does not cover takes its place, at the end of the queue. Where a place is free and
    nobody is ahead it is offered at once.
    """
    caller, wish = asking.caller, Wish(wanted.loan_ref, "", wanted.channel)
    with core.engine.connect() as connection:
        now = moment(core, connection)
        look = _look(connection, caller, wanted, now)
    if isinstance(look, Refused):
        return refuse(core, asking, look, wish)
    wished, slot_id = _promised(core.engine, look, now), look.slot_id

    def work(batch: Batch) -> str | Judgement:
        loan, known = batch.loans.get(wanted.loan_ref), batch.entry_of(wanted.loan_ref)
        if loan is None or caller.holder not in {None, loan.holder}:
            refused = Refused(Reason.LOAN_NOT_FOUND, context={"loan": wanted.loan_ref})
            return refuse_in(batch, asking, refused, wish)
        if known is not None and _same(known, wished, wanted):
            if known.status == "waiting" and wanted.priority not in {None, known.priority}:
                moved = replace(known, priority=wished.priority)
                batch.put_entry(moved, "joined", caller.name, reason=wanted.priority_reason)
            return known.entry_ref
        if refused_now := judge_join(wished, loan, batch.now.rules, batch.now.business):
            return refuse_in(batch, asking, refused_now, wish)
        if known is not None:
            batch.put_entry(replace(known, status="left"), "left", caller.name)
        # a microsecond apart, since those of one batch join at one moment but not at the same time
        joined = batch.now.wall + timedelta(microseconds=len(batch.entries))
        entry = replace(wished, entry_ref=new_ref("W", batch.now.wall), joined_utc=joined)
        batch.put_entry(entry, "joined", caller.name, reason=wanted.priority_reason)
        slot = batch.slots.get(slot_id) if slot_id else None
        free = slot is not None and not batch.waiting_for(slot, entry.channel)
        offered = free and offer(batch, entry, slot_id or "", caller.name)
        if offered:  # there is nothing left to promise, and nothing to judge promises by
            batch.put_entry(replace(batch.entries[entry.entry_ref], promise=None, due_day=None), None, "")
        batch.fold(entry.loan_ref, entry, entry.channel, reason=None if offered else Reason.SLOT_FULL)
        return entry.entry_ref

    places = ((slot_id, wished.channel),) if slot_id else ()
    answer = do(core, Job(Needs(slots=places, loans=(wanted.loan_ref,)), work))
    if isinstance(answer, Judgement):
        return with_remedies(core, answer, wish)
    with core.engine.connect() as connection:
        entry = waitlist.read_entry(connection, answer)
        assert entry is not None  # noqa: S101 – entries are never removed
        return Taken(_body(core, connection, entry))


def find(core: Core, asking: Asking, entry_ref: str) -> Taken | Refusal | None:
    """The entry as it stands, None for one that the caller may not know of."""
    with core.engine.connect() as connection:
        entry = _known(connection, asking.caller, entry_ref)
        return Taken(_body(core, connection, entry)) if isinstance(entry, Entry) else entry


def leave(core: Core, asking: Asking, entry_ref: str) -> Taken | Refusal | None:
    """The entry, left; an offer goes back. One that has ended stays as it is; None for an unknown one."""
    with core.engine.connect() as connection:
        known = _known(connection, asking.caller, entry_ref)
    if not isinstance(known, Entry):
        return known
    actor, booking_ref = asking.caller.name, known.booking_ref

    def work(batch: Batch) -> bool:
        entry = batch.entries[entry_ref]
        if entry.status == "waiting":
            batch.put_entry(replace(entry, status="left"), "left", actor)
        elif entry.status == "offered":
            if entry.booking_ref is None or entry.booking_ref not in batch.bookings:
                return False  # offered between the look and the lock
            release(batch, batch.bookings[entry.booking_ref], "cancelled", actor)
        return True

    needs = Needs(entries=(entry_ref,), bookings=(booking_ref,) if booking_ref else ())
    return find(core, asking, entry_ref) if do(core, Job(needs, work)) else leave(core, asking, entry_ref)


def accept(core: Core, asking: Asking, entry_ref: str) -> Taken | Refusal | Entry | None:
    """The offer, now a hold; the entry itself while it has none; None for an unknown one.

    Too late is hold_expired; a repetition is told the booking as it stands.
    """
    with core.engine.connect() as connection:
        known = _known(connection, asking.caller, entry_ref)
    if not isinstance(known, Entry) or known.status == "waiting":
        return known
    if known.booking_ref is None:
        over = {"booking": known.entry_ref, "status": known.status}
        wish = Wish(known.loan_ref, "", Channel(known.channel))
        return refuse(core, asking, Refused(Reason.HOLD_EXPIRED, context=over), wish, opens=False)
    actor = asking.caller.name

    def change(batch: Batch, booking: Booking) -> Booking | Refused:
        if booking.over(batch.now.wall):
            booking = release(batch, booking, "expired", actor)
        if booking.status != "offered" and booking.status in slots.LIVE:
            return booking
        if refused := judge_step(booking, "held"):
            return refused
        until = batch.now.wall + timedelta(seconds=batch.now.rules.hold_seconds)
        loan_ref, slot, ref = booking.loan_ref, batch.slots[booking.slot_id], booking.booking_ref
        batch.attempt(asking, loan_ref=loan_ref, slot=slot, channel=booking.channel, booking_ref=ref)
        batch.fold(loan_ref, slot, booking.channel, booking_ref=ref)
        return batch.put(booking, replace(booking, status="held", held_until_utc=until), actor)

    outcome = change_booking(core, asking, known.booking_ref, change)
    if isinstance(outcome, Taken) and not outcome.replayed:
        core.instruments.held(known.channel)
    return outcome


def _look(connection: Connection, caller: Caller, wanted: Joining, now: Moment) -> Look | Refused:
    """The entry that would be made, and a free place for it; or what is wrong with it."""
    region = slots.region_of(connection, wanted.branch_id)
    if refused := _judge_form(caller, wanted, region):
        return refused
    loan = slots.read_loan(connection, wanted.loan_ref)
    entry = _entry(caller, wanted, region or "", loan, now)
    place = waitlist.position(connection, entry)
    if loan is None or place > 1:
        return Look(entry, place, None)
    free = waitlist.free_slots(connection, entry.branch_id, entry.wished_day, entry.latest_day)
    chosen = choose(connection, now, [entry], free, 1) if free else []
    return Look(entry, place, next((choice.slot_id for choice in chosen), None))


def _promised(engine: Engine, look: Look, now: Moment) -> Entry:
    """The entry that would be made, with what is promised to it."""
    entry, today = look.entry, now.settings.local_day(now.business)
    if (outlook := prospects.outlook(engine, entry, now)) is None:
        return entry
    freed = prospects.freed(engine, entry.branch_id, now)
    told = promise(freed, look.place, today, entry.latest_day, outlook)
    if told is None:
        return entry
    return replace(entry, promise=_promise_json(told), due_day=told.by or entry.latest_day)


def _judge_form(caller: Caller, wanted: Joining, region: str | None) -> Refused | None:
    """What is wrong with the wish whatever the loan, or what the caller's token may not ask for; or None."""
    errors = []
    if region is None:
        text = f"no branch {wanted.branch_id!r}; GET /v1/branches lists them"
        errors.append(
            FieldError("/branch", text, f"没有网点 {wanted.branch_id!r}，可用 GET /v1/branches 查询")
        )
    if wanted.latest_day is not None and wanted.latest_day < wanted.wished_day:
        text = f"{wanted.latest_day} is before the wished day {wanted.wished_day}"
        text_zh = f"{wanted.latest_day} 早于期望日期 {wanted.wished_day}"
        errors.append(FieldError("/latest_day", text, text_zh))
    if (wanted.priority is None) != (wanted.priority_reason is None):
        text = "priority and priority_reason belong together: staff say why"
        errors.append(
            FieldError("/priority_reason", text, "priority 与 priority_reason 须同时提供：请说明原因")
        )
    if errors:
        fields = ", ".join(error.pointer for error in errors)
        return Refused(Reason.INVALID_FIELD, errors=tuple(errors), context={"fields": fields})
    if not caller.may_see(region):
        return forbidden(region)
    if wanted.channel not in caller.channels():
        return forbidden_channel(caller)
    if wanted.priority is not None and TokenScope.OPERATOR not in caller.scopes:
        needs = {"needs": "scope operator for a priority", "needs_zh": "设置优先级需要权限 operator"}
        return Refused(Reason.FORBIDDEN, context=needs)
    return None


def _entry(caller: Caller, wanted: Joining, region: str, loan: LoanState | None, now: Moment) -> Entry:
    """The entry for the wish: from the first of its days on which it could be booked, within the window."""
    today, last_day = now.settings.local_day(now.business), now.rules.last_day(now.business)
    eligible_from = (loan and loan.eligible_from) or today
    latest = wanted.latest_day or wanted.wished_day + timedelta(days=now.settings.waitlist_days)
    return Entry(
        entry_ref="",
        loan_ref=wanted.loan_ref,
        branch_id=wanted.branch_id,
        region_id=region,
        wished_day=max(wanted.wished_day, today, eligible_from),
        latest_day=min(latest, last_day),
        channel=wanted.channel.value,
        priority=PRIORITIES[-1] if wanted.priority is None else wanted.priority,
        status="waiting",
        joined_utc=now.wall,
        actor=caller.name[:64],
    )


def _same(known: Entry, wished: Entry, wanted: Joining) -> bool:
    """Whether the loan's entry covers what is wished already, through whatever channel it came."""
    last = known.latest_day if wanted.latest_day is None else wished.latest_day
    return known.branch_id == wished.branch_id and known.covers(wished.wished_day) and known.covers(last)


def _known(connection: Connection, caller: Caller, entry_ref: str) -> Entry | Refusal | None:
    """The entry, None for one that the caller may not know of."""
    entry = waitlist.read_entry(connection, entry_ref)
    loan = entry and slots.read_loan(connection, entry.loan_ref)
    if entry is None or caller.holder not in {None, loan and loan.holder}:
        return None
    return entry if caller.may_see(entry.region_id) else Refusal(forbidden(entry.region_id))


def _body(core: Core, connection: Connection, entry: Entry) -> dict[str, Any]:
    """The entry as the API tells it, with its position while it waits and its offer while that stands."""
    now, told = moment(core, connection), None
    if entry.status == "offered" and entry.booking_ref:
        booking = bookings.read_booking(connection, entry.booking_ref)
        slot = booking and slots.read_slot(connection, booking.slot_id)
        told = booking_json(booking, slot, now.rules) if booking and slot else None
    return {
        "entry": {
            "ref": entry.entry_ref,
            "status": entry.status,
            "loan": entry.loan_ref,
            "branch": entry.branch_id,
            "wished_day": entry.wished_day.isoformat(),
            "latest_day": entry.latest_day.isoformat(),
            "channel": entry.channel,
            "priority": entry.priority,
            "joined_at": entry.joined_utc.isoformat(timespec="seconds"),
            "booking": entry.booking_ref,
            "closed_reason": entry.closed_reason,
        },
        "position": waitlist.position(connection, entry) if entry.status == "waiting" else None,
        "promise": entry.promise and {name: entry.promise[name] for name in ("by", "chance")},
        "offer": told,
    }


def _promise_json(told: Promise) -> dict[str, Any]:
    """The promise as the entry keeps it; who waits is told `by` and `chance`."""
    by = told.by and told.by.isoformat()
    return {"by": by, "chance": round(told.chance, 3), "raw": round(told.raw, 3)}
