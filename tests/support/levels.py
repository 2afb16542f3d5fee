"""What every level holds and may hold, recounted from the bookings: nothing here reads a counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, select

from booking_core import tables as t
from booking_core.invariants import snapshot
from booking_core.store.quotas import COUNTED_STATUSES, period_id, periods_of

TABLES = (
    "slots",
    "bookings",
    "quotas",
    "quota_periods",
    "quota_temporaries",
    "waitlist",
    "loans",
    "booking_events",
)


@dataclass
class Levels:
    """A bank at one moment: its rows by table, what each level holds, and the limits in force.

    A level is a slot ("slot:ID") or a quota's concrete period (its period id).
    """

    rows: dict[str, list[dict[str, Any]]]
    used: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.slots = {slot["slot_id"]: slot for slot in self.rows["slots"]}
        self._standing = {quota["quota_id"]: quota["limit_units"] for quota in self.rows["quotas"]}
        self._overrides = {p["period_id"]: p["limit_units"] for p in self.rows["quota_periods"]}
        self._extra: Counter[str] = Counter()
        for extra in self.rows["quota_temporaries"]:
            if extra["ended_utc"] is None:
                names = ("scope_kind", "scope_id", "channel", "period_kind", "period_start")
                self._extra[":".join(str(extra[name]) for name in names)] += extra["extra_units"]
        for booking in self.rows["bookings"]:
            if booking["status"] in COUNTED_STATUSES:
                self.move(booking, +1)

    def move(self, booking: Mapping[str, Any], sign: int) -> None:
        """Count the booking in, or out with -1."""
        for level, amount in self._amounts(
            booking["slot_id"], booking["channel"], booking["units"], booking["reserved_cny"]
        ).items():
            self.used[level] += sign * amount

    def limit(self, level: str) -> int | None:
        """The limit in force, None where there is none."""
        if level.startswith("slot:"):
            return int(self.slots[level.removeprefix("slot:")]["capacity_units"])
        limit = self._overrides.get(level)
        if limit is None:
            limit = self._standing.get(level.rsplit(":", 1)[0])
        return None if limit is None else limit + self._extra[level]

    def over(self) -> dict[str, str]:
        """What holds more than its limit: level -> what it says."""
        return {
            level: f"{level} oversold: {used} of {limit}"
            for level, used in self.used.items()
            if (limit := self.limit(level)) is not None and used > limit
        }

    def full(self, slot_id: str, channel: str, cny: int) -> list[str]:
        """The levels that leave no room for one unit and the yuan in the slot."""
        return [
            level
            for level, amount in self._amounts(slot_id, channel, 1, cny).items()
            if (limit := self.limit(level)) is not None and self.used[level] + amount > limit
        ]

    def room(self, slot_id: str, channel: str) -> int:
        """How many more units fit into the slot; funds are left out."""
        return min(
            limit - self.used[level]
            for level in self._amounts(slot_id, channel, 1, 0)
            if ":funds_day:" not in level and (limit := self.limit(level)) is not None
        )

    def _amounts(self, slot_id: str, channel: str, units: int, cny: int) -> dict[str, int]:
        slot = self.slots[slot_id]
        found = {f"slot:{slot_id}": units}
        for period in periods_of(slot["branch_id"], slot["region_id"], slot["service_day"], channel):
            found[period_id(period)] = period[0].measured(units, cny or 0)
        return found


def levels(engine: Engine) -> Levels:
    """The bank as one snapshot tells it."""
    with snapshot(engine) as connection:
        found = {name: connection.execute(select(t.metadata.tables[name])).mappings() for name in TABLES}
        return Levels({name: [dict(row) for row in some] for name, some in found.items()})


def unfair(bank: Levels, refused: Iterable[tuple[str, str, int]] = ()) -> list[str]:
    """Levels that are oversold, and refused wishes (slot, channel, yuan) for which there is room."""
    roomy = [f"{wish} was refused and fits" for wish in refused if not bank.full(*wish)]
    return [*bank.over().values(), *roomy]
