"""What is free, as committed, read without locks: for calendars and for what refused customers can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final, TypeAlias

from sqlalchemy import Connection, func, select

from booking_core import tables as t
from booking_core.choosing import Place
from booking_core.domain import QuotaState, SlotState
from booking_core.store import quotas, slots, waitlist
from metrics.contract import UNIT_PERIODS

ROOMIEST: Final = 400
"""Slots that a look at a whole region's day brings at most: of each branch those with the most room."""

UNLIMITED: Final = 10**9
"""Units free where no limit stands."""

BranchDay: TypeAlias = tuple[str, date]


@dataclass
class View:
    """Slots with everything that `decide` needs to judge them, as committed at one moment."""

    slots: Sequence[SlotState]
    limits: dict[BranchDay, tuple[QuotaState, ...]]
    waiting: dict[BranchDay, int]
    region_id: str | None
    """Of the branch; None for an unknown branch, or where several were looked at."""
    seen_at: float = 0.0

    def free_units(self, slot: SlotState) -> int:
        """Units free at the narrowest of the slot's limits, the day's funds apart, beside those who wait."""
        at = slot.branch_id, slot.service_day
        return max(0, min(slot.free_units, self._shared[at]) - self.waiting[at])

    @cached_property
    def _shared(self) -> dict[BranchDay, int]:
        """Units free at the narrowest limit that all slots of a branch's day share."""
        return {
            at: min((q.free_units for q in some if q.key.period_kind in UNIT_PERIODS), default=UNLIMITED)
            for at, some in self.limits.items()
        }

    @cached_property
    def places(self) -> dict[BranchDay, Place]:
        """The open slots with room by branch and day; full ones are absent."""
        found: dict[BranchDay, list[SlotState]] = {}
        for slot in self.slots:
            if slot.free_units and not slot.closed:
                found.setdefault((slot.branch_id, slot.service_day), []).append(slot)
        return {
            at: Place(at[0], some[0].region_id, at[1], some, self.limits[at], self.waiting[at], self.seen_at)
            for at, some in found.items()
        }


@dataclass(frozen=True, slots=True)
class BranchDays:
    """All slots of a branch from the first to the last day, for a channel."""

    branch_id: str
    first: date
    last: date
    channel: str

    def read(self, connection: Connection) -> View:
        """What stands committed."""
        found = slots.branch_slots(connection, self.branch_id, self.first, self.last)
        region = found[0].region_id if found else slots.region_of(connection, self.branch_id)
        return _view(connection, found, self.channel, region)


@dataclass(frozen=True, slots=True)
class Roomiest:
    """The roomiest slots of a region's branches (None: of the whole bank) on a day, for a channel."""

    region_id: str | None
    day: date
    channel: str

    def read(self, connection: Connection) -> View:
        """What stands committed."""
        found = roomiest_slots(connection, self.region_id, self.day)
        return _view(connection, found, self.channel, self.region_id)


@dataclass(frozen=True, slots=True)
class NextLimits:
    """The limits in force in the periods that follow the full ones of a refusal, where known."""

    asked: tuple[tuple[str, date], ...]

    def read(self, connection: Connection) -> dict[str, int]:
        """Quota id -> the next limit."""
        return quotas.limits_in_force(connection, self.asked)


def roomiest_slots(
    connection: Connection, region_id: str | None, day: date, limit: int = ROOMIEST
) -> list[SlotState]:
    """Open slots of the day with room at active branches, the roomiest of each, in order of time."""
    s, b = t.slots.c, t.branches.c
    free = s.capacity_units - s.used_units - s.offered_units
    rank = func.row_number().over(partition_by=s.branch_id, order_by=(free.desc(), s.start_utc))
    of_region = [b.region_id == region_id] if region_id is not None else []
    ranked = (  # by way of the branches, since slots are found by branch and day
        select(s.slot_id, rank.label("rank"))
        .select_from(t.branches.join(t.slots, s.branch_id == b.branch_id))
        .where(b.active, *of_region, s.service_day == day, s.closed.is_(False), free > 0)
        .subquery()
    )
    chosen = select(ranked.c.slot_id).order_by(ranked.c.rank, ranked.c.slot_id).limit(limit).subquery()
    statement = select(t.slots).join(chosen, chosen.c.slot_id == s.slot_id).order_by(s.start_utc, s.slot_id)
    return [SlotState(**row._mapping) for row in connection.execute(statement)]  # noqa: SLF001


def _view(connection: Connection, found: Sequence[SlotState], channel: str, region: str | None) -> View:
    """The slots with their limits and with who waits for them."""
    first = {
        (slot.branch_id, slot.service_day): slot for slot in found
    }  # limits are the same for a whole day
    levels = quotas.read_levels(connection, list(first.values()), channel) if first else {}
    ahead = waitlist.waiting(connection, {branch for branch, _ in first})()
    return View(
        slots=found,
        limits={at: tuple(levels[slot.slot_id]) for at, slot in first.items()},
        waiting={at: waitlist.ahead(ahead, slot, channel) for at, slot in first.items()},
        region_id=region,
    )
