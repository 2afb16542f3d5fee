"""Promotion: free places are offered to those who wait, in their order and a few at a time.

Called with every sweep, not after each commit that frees units: nobody else can take what is free meanwhile,
since newcomers are refused while entries wait for it, so all that is at stake are three seconds.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection

from booking_core.decide import decide
from booking_core.domain import Accepted, QuotaState, SlotState, Wish, period_start
from booking_core.queueing import Choice, Entry, choices
from booking_core.service.batch import Batch, Job, Needs
from booking_core.service.batching import do
from booking_core.service.bookings import new_booking
from booking_core.service.core import Core, Moment, moment
from booking_core.store import quotas, slots, waitlist
from metrics.contract import BANK_SCOPE_ID, Channel, OfferOutcome, PeriodKind, Reason

BRANCHES: Final = 16
"""Branches with room that are looked at in one sweep, drawn anew each time: a look takes about 10 ms."""
LOOKED_AT: Final = 50
"""Entries of a branch looked at in one sweep from the front of its queue, and as many that are in turn."""
AT_ONCE: Final = 32
"""Entries of one transaction: their slots stay locked meanwhile."""
ACTOR: Final = "waitlist"


def promote(core: Core) -> int:
    """How many places were offered; entries that can never be booked any more are closed on the way."""
    with core.engine.connect() as connection:
        if not waitlist.alone(connection) or not (branches := waitlist.branches_waiting(connection)):
            return 0
        now = moment(core, connection)
        today = now.settings.local_day(now.business)
        over = waitlist.past(connection, today, LOOKED_AT)
        chosen = [Choice(entry, closed=Reason.OUTSIDE_BOOKING_WINDOW) for entry in over]
        standing = waitlist.offered(connection)
        places = _open(connection, branches, today)
        shut = {branch_id for branch_id, *_ in branches} - {branch_id for branch_id, *_ in places}
        chosen += [Choice(entry) for entry in waitlist.skipped(connection, shut, LOOKED_AT)]
        for branch_id, first, last in random.sample(places, min(len(places), BRANCHES)):
            room = now.settings.offers_outstanding - standing.get(branch_id, 0)
            room = min(room, now.settings.offers_at_once)
            if room > 0:
                chosen += _chosen(connection, now, branch_id, (first, last), room)
        skipped = [choice.entry.entry_ref for choice in chosen if choice.skipped]
        known = waitlist.last_skips(connection, skipped) if skipped else {}
        parts = [chosen[n : n + AT_ONCE] for n in range(0, len(chosen), AT_ONCE)]
        return sum(do(core, _promotion(part, known)) for part in parts)


def offer(batch: Batch, entry: Entry, slot_id: str, actor: str) -> bool:
    """Whether the slot was offered to the entry, judged by `decide` under its locks."""
    slot, loan, now = batch.slots.get(slot_id), batch.loans.get(entry.loan_ref), batch.now
    wish = Wish(entry.loan_ref, slot_id, Channel(entry.channel))
    verdict = decide(
        wish,
        slot=slot,
        loan=loan,
        quotas=batch.levels[slot_id, entry.channel].judged if slot else (),
        rules=now.rules,
        business_now=now.business,
    )
    if slot is None or not isinstance(verdict, Accepted):
        return False
    starts = now.settings.wall_at(slot.start_utc, now.wall)
    until = min(now.wall + timedelta(seconds=now.settings.offer_seconds), starts)
    offered = new_booking(wish, slot, verdict, "offered", until, now.wall)
    batch.put(None, offered, actor)
    return True


def _open(
    connection: Connection, branches: Sequence[tuple[str, str, date, date]], today: date
) -> list[tuple[str, date, date]]:
    """The branches with a day that somebody waits for and no limit shuts for all; the first and last such."""
    scopes = {scope for branch_id, region_id, _, _ in branches for scope in (branch_id, region_id)}
    month = period_start(PeriodKind.MONTH, today)
    full = waitlist.full_days(connection, {*scopes, BANK_SCOPE_ID}, month)
    found = []
    for branch_id, region_id, first, last in branches:
        shut = [full.get(scope, set()) for scope in (branch_id, region_id, BANK_SCOPE_ID)]
        begin = max(first, today)
        days = [begin + timedelta(days=n) for n in range((last - begin).days + 1)]
        if days := [day for day in days if not any(day in some for some in shut)]:
            found.append((branch_id, days[0], days[-1]))
    return found


def _chosen(
    connection: Connection, now: Moment, branch_id: str, days: tuple[date, date], at_most: int
) -> list[Choice]:
    """What to do with the next entries of the branch, judged without locks.

    A branch where nothing is free has nobody in turn skipped: the next place is theirs before a newcomer's.
    """
    free = waitlist.free_slots(connection, branch_id, *days)
    if not free:
        return [Choice(entry) for entry in waitlist.skipped(connection, [branch_id], LOOKED_AT)]
    days = (free[0].service_day, free[-1].service_day)
    return choose(connection, now, waitlist.queue(connection, branch_id, *days, LOOKED_AT), free, at_most)


def choose(
    connection: Connection, now: Moment, queue: Sequence[Entry], free: Sequence[SlotState], at_most: int
) -> list[Choice]:
    """`queueing.choices` by what stands committed: who of the queue could have which of the free slots."""
    loans = slots.read_loans(connection, [entry.loan_ref for entry in queue])()
    one_a_day = {slot.service_day: slot for slot in free}  # limits are the same for a whole day
    limits: dict[tuple[date, str], Sequence[QuotaState]] = {}
    for channel in {entry.channel for entry in queue}:
        levels = quotas.read_levels(connection, list(one_a_day.values()), channel)
        limits |= {(day, channel): levels[slot.slot_id] for day, slot in one_a_day.items()}
    return list(choices(queue, free, loans, limits, now.rules, now.business, at_most))


def _promotion(chosen: Sequence[Choice], known: Mapping[str, str]) -> Job[int]:
    """The job that does it, under locks: how many were offered a place. `known`: skips that are on record."""

    def work(batch: Batch) -> int:
        offered, missed = 0, set[tuple[str, str]]()
        for choice in chosen:
            entry = batch.entries.get(choice.entry.entry_ref)
            if entry is None or entry.status != "waiting":
                continue
            queue = (entry.branch_id, entry.channel)
            if choice.slot_id and queue in missed:
                continue  # whoever missed a place keeps their turn: those behind wait for the next sweep
            if choice.slot_id:
                given = offer(batch, entry, choice.slot_id, ACTOR)
                offered += given
                missed |= set() if given else {queue}
            elif reason := choice.closed:
                loan = batch.loans.get(entry.loan_ref)
                booked = loan.live_booking_ref if loan else None
                status = "booked" if booked else "expired"
                closed = replace(entry, status=status, booking_ref=booked, closed_reason=reason.value)
                batch.put_entry(closed, status, ACTOR, reason=reason.value)
            else:
                why = choice.skipped and choice.skipped.value
                new = why is not None and known.get(entry.entry_ref) != why
                marked = replace(entry, skipped_reason=why)
                batch.put_entry(marked, "skipped" if new else None, ACTOR, reason=why)
                batch.offers_ended += [OfferOutcome.SKIPPED] if new else []
        return offered

    places = {(c.slot_id, c.entry.channel) for c in chosen if c.slot_id}
    return Job(Needs(slots=tuple(places), entries=tuple(c.entry.entry_ref for c in chosen)), work)
