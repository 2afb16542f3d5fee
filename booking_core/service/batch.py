"""The batch: everything one transaction has locked, and what its jobs change.

A job says what it needs locked and judges in memory; loading and writing are set-based, whatever the number
of jobs. docs/locking.md tells the order of the locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from booking_core.clock import Clock
from booking_core.domain import Booking, LoanState, QuotaState, Refused, SlotState
from booking_core.problems import violation_rows
from booking_core.queueing import Entry, followed
from booking_core.service.core import Asking, Moment, moment_of
from booking_core.store import attempts, bookings, quotas, settings, slots, waitlist
from booking_core.store.attempts import Episode
from booking_core.store.bookings import KnownKey
from booking_core.store.quotas import COUNTED_STATUSES, Levels
from booking_core.store.rows import commit, together
from booking_core.store.waitlist import Waiting
from metrics.contract import OfferOutcome, Outcome, Reason
from metrics.instruments import UNKNOWN_CHANNEL
from metrics.logs import hashed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job has locked or read before it is judged."""

    slots: tuple[tuple[str, str], ...] = ()
    """(slot id, channel): the slot and the levels that bookings of this channel count in."""
    loans: tuple[str, ...] = ()
    """With their live booking's reference and, locked, their open wish episode."""
    bookings: tuple[str, ...] = ()
    """Locked, with their slot, levels and loan."""
    entries: tuple[str, ...] = ()
    """Waitlist entries, locked, with their loan; the live entries of all loans are locked in any case."""
    keys: tuple[tuple[str, str], ...] = ()
    """(token id, idempotency key)."""


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """A piece of work on a batch. `work` judges and notes what changes: no I/O, no clock but the batch's.

    What it answers is told only after the commit. What it raises undoes the whole batch, which is then
    tried again in halves until it stands alone.
    """

    needs: Needs
    work: Callable[[Batch], T]


@dataclass(slots=True)
class Batch:
    """One transaction's locked rows by their keys (unknown ones are absent), and what is to be written."""

    now: Moment
    slots: dict[str, SlotState]
    loans: dict[str, LoanState]
    bookings: dict[str, Booking]
    entries: dict[str, Entry]
    keys: dict[tuple[str, str], KnownKey]
    waiting: list[Waiting]
    levels: dict[tuple[str, str], Levels]
    episodes: dict[str, Episode]
    """Open ones by loan."""
    offers_ended: list[OfferOutcome] = field(default_factory=list)
    """What became of offers to the waitlist."""
    _new: set[str] = field(default_factory=set)
    _changed: set[str] = field(default_factory=set)
    _slots: set[str] = field(default_factory=set)
    _counters: dict[int, QuotaState] = field(default_factory=dict)
    _keys: list[KnownKey] = field(default_factory=list)
    _events: list[dict[str, Any]] = field(default_factory=list)
    _attempts: list[dict[str, Any]] = field(default_factory=list)
    _episodes: dict[int, Episode] = field(default_factory=dict)
    _entries: dict[str, Entry] = field(default_factory=dict)
    _entry_events: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, connection: Connection, wall: Clock, needs: Iterable[Needs]) -> Batch:
        """The batch with all that the jobs need, locked in the order of docs/locking.md.

        What names the rows is looked up before, if it is not known; then everything is asked at once.
        """
        needs = list(needs)
        refs = {ref for n in needs for ref in n.bookings}
        named = {ref for n in needs for ref in n.entries}
        booked = bookings.read_bookings(connection, refs)().values()
        places = {place for n in needs for place in n.slots} | {(b.slot_id, b.channel) for b in booked}
        loans = {ref for n in needs for ref in n.loans} | {b.loan_ref for b in booked}
        loans |= waitlist.loans_of(connection, named)
        seen = slots.seen_slots(connection, {slot_id for slot_id, _ in places})
        with together(connection):
            found = slots.lock_slots(connection, {slot_id for slot_id, _ in places})
            locked = bookings.read_bookings(connection, refs, lock=True)
            entries = waitlist.lock_entries(connection, named, loans)
            known = bookings.known_keys(connection, {key for n in needs for key in n.keys})
            levels = quotas.lock_levels(connection, [(seen[s], c) for s, c in places if s in seen])
            bank = settings.read_settings(connection)
            read = slots.read_loans(connection, loans)
            waiting = waitlist.waiting(connection, {slot.branch_id for slot in seen.values()})
            episodes = attempts.lock_open_episodes(connection, loans)
        batch = cls(
            now=moment_of(bank(), wall()),
            slots=found(),
            loans=read(),
            bookings=locked(),
            entries=entries(),
            keys=known(),
            waiting=waiting(),
            levels={},
            episodes=episodes(),
        )
        # what moved while we waited is judged anew by `run`
        moved = slots.moved(seen, batch.slots)
        moved += [b.booking_ref for b in batch.bookings.values() if (b.slot_id, b.channel) not in places]
        if moved:
            raise Moved(moved[0])
        batch.levels = levels()
        return batch

    def waiting_for(self, slot: SlotState, channel: str) -> int:
        """How many entries of the waitlist the slot's free units go to before newcomers of the channel."""
        return waitlist.ahead(self.waiting, slot, channel)

    def put(self, before: Booking | None, after: Booking, actor: str) -> Booking:
        """The booking as it now stands: units moved from where it was, and a line in its history."""
        if before is not None:
            after = replace(after, version=after.version + 1)
            self._count(before, -1)
        self._count(after, +1)
        self.bookings[after.booking_ref] = after
        (self._new if before is None else self._changed).add(after.booking_ref)
        self._events.append(
            {
                "booking_ref": after.booking_ref,
                "at_utc": self.now.wall,
                "from_status": before and before.status,
                "to_status": after.status,
                "slot_id": after.slot_id,
                "actor": actor[:64],
            }
        )
        if loan := self.loans.get(after.loan_ref):
            loan.live_booking_ref = after.booking_ref if after.status in slots.LIVE else None
        if entry := self.entry_of(after.loan_ref):
            self._follow(entry, before.status if before else None, after, actor)
        return after

    def entry_of(self, loan_ref: str) -> Entry | None:
        """The loan's waitlist entry that waits or has an offer."""
        live = (e for e in self.entries.values() if e.loan_ref == loan_ref and e.status in waitlist.LIVE)
        return next(live, None)

    def keep_key(self, known: KnownKey) -> None:
        """Remember the answer under its key, for copies in this batch and later."""
        self.keys[known.token_id, known.key] = known
        self._keys.append(known)

    def attempt(
        self,
        asking: Asking,
        *,
        loan_ref: str | None,
        slot: SlotState | None,
        channel: str | None,
        refused: Refused | None = None,
        booking_ref: str | None = None,
    ) -> None:
        """Record one try to take a slot; what is unknown of a malformed one is None."""
        reason = refused and refused.reason
        now = time.perf_counter()
        ended = asking.answered or now
        ago = timedelta(seconds=now - ended)
        self._attempts.append(
            {
                "at_utc": self.now.wall - ago,
                "business_utc": self.now.business - ago,
                "trace_id": asking.trace_id,
                "loan_hash": hashed(loan_ref) if loan_ref else None,
                "branch_id": slot and slot.branch_id,
                "region_id": slot and slot.region_id,
                "slot_id": slot and slot.slot_id,
                "service_day": slot and slot.service_day,
                "channel": channel or UNKNOWN_CHANNEL,
                "outcome": (Outcome.REFUSED if refused else Outcome.HELD).value,
                "reason": reason and reason.value,
                "cause": reason and reason.cause.value,
                "booking_ref": booking_ref,
                "violations": (violation_rows(refused.violations) or None) if refused else None,
                "duration_seconds": ended - asking.started,
            }
        )

    def fold(
        self,
        loan_ref: str,
        slot: SlotState | Entry,
        channel: str,
        *,
        reason: Reason | None = None,
        booking_ref: str | None = None,
    ) -> None:
        """Fold a try of now into the loan's open wish episode, or open one; a booking closes it."""
        now, idle_days = self.now.business, self.now.settings.idle_days
        episode = self.episodes.get(loan_ref)
        if episode is not None and episode.idle(now, idle_days) and not self._waited(loan_ref):
            episode.close_unmet(idle_days)
            self._episodes[id(episode)] = episode
            episode = None
        if episode is None:
            place = (slot.branch_id, slot.region_id, slot.service_day)
            episode = Episode(loan_ref, *place, channel, opened_business_utc=now, last_try_business_utc=now)
            self.episodes[loan_ref] = episode
        episode.fold(slot, now, reason, booking_ref)
        self._episodes[id(episode)] = episode
        if booking_ref:
            del self.episodes[loan_ref]

    def put_entry(
        self,
        entry: Entry,
        kind: str | None,
        actor: str,
        *,
        reason: str | None = None,
        slot_id: str | None = None,
    ) -> None:
        """Note a waitlist entry, new or changed, with a line of its history unless `kind` is None."""
        self.entries[entry.entry_ref] = self._entries[entry.entry_ref] = entry
        if kind is None:
            return
        event = {"entry_ref": entry.entry_ref, "at_utc": self.now.wall, "kind": kind, "reason": reason}
        self._entry_events.append({**event, "slot_id": slot_id, "actor": actor[:64]})

    def write(self, connection: Connection) -> None:
        """Write what changed and commit; locked rows first, then new ones in the order of their keys."""
        waitlist.write_entries(connection, list(self._entries.values()), self._entry_events)
        with together(connection):
            self._write_bookings(connection)
            commit(connection)

    def _write_bookings(self, connection: Connection) -> None:
        slots.set_slot_units(connection, [self.slots[slot_id] for slot_id in self._slots])
        quotas.set_used(connection, self._counters.values())
        bookings.change_bookings(connection, [self.bookings[ref] for ref in self._changed - self._new])
        bookings.add_bookings(connection, [self.bookings[ref] for ref in self._new])
        bookings.add_events(connection, self._events)
        bookings.keep_keys(connection, self._keys)
        attempts.write_episodes(connection, self._episodes.values())
        attempts.add_attempts(connection, self._attempts)

    def _follow(self, entry: Entry, was: str | None, after: Booking, actor: str) -> None:
        """Move the loan's waitlist entry on with its booking."""
        if (follows := followed(entry, was, after.status)) is None:
            return
        status, kind = follows
        reason = Reason.HOLD_EXPIRED.value if status == "expired" else None
        moved = replace(
            entry,
            status=status,
            booking_ref=after.booking_ref,
            closed_reason=reason,
            skipped_reason=None,
        )
        self.put_entry(moved, kind, actor, reason=reason, slot_id=after.slot_id)
        if was == "offered":
            self.offers_ended.append(OfferOutcome(kind))

    def _waited(self, loan_ref: str) -> bool:
        """Whether the loan was on the waitlist when the batch began: who waits still wishes."""
        return any(entry.loan_ref == loan_ref for entry in self.entries.values())

    def _count(self, booking: Booking, sign: int) -> None:
        """Move what the booking takes of its slot and of every level it counts in."""
        if booking.status not in COUNTED_STATUSES:
            return
        slot = self.slots[booking.slot_id]
        if booking.status == "offered":
            slot.offered_units += sign * booking.units
        else:
            slot.used_units += sign * booking.units
        self._slots.add(slot.slot_id)
        for counter in self.levels[booking.slot_id, booking.channel].counted:
            counter.used_units += sign * counter.key.measured(booking.units, booking.reserved_cny or 0)
            self._counters[id(counter)] = counter


class Moved(Exception):  # noqa: N818 – nothing failed
    """A booking moved to another slot between the look and the lock: nothing happened, load again."""
