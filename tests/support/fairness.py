"""Who waits, and whether they were served in their order: judged by `decide` on what the bookings say."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

from booking_core.decide import Rules, judge_loan, judge_time
from booking_core.domain import LoanState, SlotState, Wish
from booking_core.queueing import Entry
from metrics.contract import Channel
from tests.support.bank import ZONE
from tests.support.levels import Levels

RULES = Rules(ZoneInfo(ZONE), min_notice_minutes=60, booking_window_days=62, hold_seconds=600)


class Queue:
    """The waitlist of a bank at one moment."""

    def __init__(self, bank: Levels, now: datetime) -> None:
        self._bank, self._now = bank, now
        names = {f.name for f in fields(Entry)}
        self._entries = [
            Entry(**{name: row[name] for name in row.keys() & names}) for row in bank.rows["waitlist"]
        ]
        self._loans = {row["loan_ref"]: LoanState(**row) for row in bank.rows["loans"]}
        self._slots = {slot_id: SlotState(**row) for slot_id, row in bank.slots.items()}
        self._places = {b["booking_ref"]: (b["slot_id"], b["channel"]) for b in bank.rows["bookings"]}

    def place_of(self, booking_ref: str) -> tuple[str, str] | None:
        """(slot, channel) of the booking, None for one that is not there yet."""
        return self._places.get(booking_ref)

    def room(self, slot_id: str, channel: str, without: str) -> int:
        """How many more bookings of the channel the slot and its levels of units allow, one not counted."""
        own = [b for b in self._bank.rows["bookings"] if b["booking_ref"] == without]
        for booking in own:
            self._bank.move(booking, -1)
        room = self._bank.room(slot_id, channel)
        for booking in own:
            self._bank.move(booking, +1)
        return room

    def ahead(self, slot_id: str, channel: str) -> list[Entry]:
        """Those who wait for the slot's day: as many units as they are belong to them before any newcomer."""
        slot = self._slots[slot_id]
        return [
            e
            for e in self._entries
            if e.status == "waiting"
            and e.skipped_reason is None
            and (e.branch_id, e.channel) == (slot.branch_id, channel)
            and e.covers(slot.service_day)
        ]

    def assert_in_order(self, since: Levels) -> None:
        """Whoever was offered a place since then: nobody before them in the queue could have taken it.

        The offers are taken back one by one, so that each is judged on what was free when it was made.
        """
        known = {row["booking_ref"] for row in since.rows["bookings"]}
        offers = [b for b in self._bank.rows["bookings"] if b["booking_ref"] not in known]
        order = {e["booking_ref"]: e["event_id"] for e in self._bank.rows["booking_events"]}
        waiting = [e for e in self._entries if e.status == "waiting"]
        for offer in sorted(offers, key=lambda b: -order[b["booking_ref"]]):
            self._bank.move(offer, -1)
            given = next(e for e in self._entries if e.booking_ref == offer["booking_ref"])
            earlier = [e for e in waiting if e.turn < given.turn]
            passed = [e for e in earlier if self._could_take(e, offer["slot_id"])]
            assert not passed, f"{given} was offered {offer['slot_id']}, {passed} were earlier"
            waiting.append(given)
        for offer in offers:
            self._bank.move(offer, +1)

    def assert_nobody_waits_for_what_is_free(self) -> None:
        """No slot is left that one of those who wait could take."""
        for entry in self._entries:
            free = [
                slot for slot in self._slots if entry.status == "waiting" and self._could_take(entry, slot)
            ]
            assert not free, f"{free} are free and {entry} waits"

    def _could_take(self, entry: Entry, slot_id: str) -> bool:
        slot, loan = self._slots[slot_id], self._loans[entry.loan_ref]
        if slot.branch_id != entry.branch_id or not entry.covers(slot.service_day):
            return False
        wish: Any = Wish(entry.loan_ref, slot_id, Channel(entry.channel))
        refused = judge_loan(wish, loan, slot, None) or judge_time(slot, RULES, self._now)
        return not refused and not self._bank.full(slot_id, entry.channel, ceil(loan.payoff_cny))
