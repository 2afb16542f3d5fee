"""A storm in memory: several processes tell refused customers remedies, who follow the first at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from booking_core.choosing import Share, Tally
from booking_core.decide import Rules, judge_capacity
from booking_core.domain import LoanState, QuotaKey, QuotaState, Refused, SlotState, Wish, period_start
from booking_core.remedies import Situation, run, search
from booking_core.store.availability import BranchDays, NextLimits, Roomiest, View
from metrics.contract import Channel, PeriodKind, ScopeKind

RULES = Rules(ZoneInfo("Asia/Shanghai"), min_notice_minutes=60, booking_window_days=62, hold_seconds=600)
NOW = datetime(2026, 3, 2, 0, tzinfo=UTC)  # a Monday morning in Shanghai
TODAY = date(2026, 3, 2)
LOAN = LoanState("L1", "c1", "b0", "active", Decimal(1000), Decimal(100), None)


@dataclass
class Bank:
    """Branches b0, b1 … of one region, their slots of some days, and the used units of every limit.

    The first slot of each day is full from the start: the one that everyone wishes.
    """

    branches: int = 20
    days: int = 10
    slots_a_day: int = 16
    capacity: int = 4
    limits: dict[tuple[ScopeKind, PeriodKind], int] = field(default_factory=dict)
    """Limit of each branch or of the region, by kind of period."""

    def __post_init__(self) -> None:
        self.slots: dict[tuple[str, date], list[SlotState]] = {}
        self.used: dict[tuple[QuotaKey, date], int] = {}
        for branch in range(self.branches):
            for n in range(1, self.days + 1):
                day = TODAY + timedelta(days=n)
                self.slots[f"b{branch}", day] = [
                    self._slot(f"b{branch}", day, k) for k in range(self.slots_a_day + 1)
                ]
        self.by_id = {slot.slot_id: slot for some in self.slots.values() for slot in some}

    @property
    def spare(self) -> float:
        """The share of the units that is free."""
        free = sum(slot.free_units for slot in self.by_id.values())
        return free / (self.branches * self.days * self.slots_a_day * self.capacity)

    def quotas(self, branch: str, day: date) -> tuple[QuotaState, ...]:
        """The limits of a branch's day as they stand."""
        found = []
        for (scope, kind), limit in self.limits.items():
            key = QuotaKey(scope, branch if scope is ScopeKind.BRANCH else "north", kind)
            start = period_start(kind, day)
            found.append(QuotaState(key, start, limit, self.used.get((key, start), 0)))
        return tuple(found)

    def take(self, slot_id: str) -> Refused | None:
        """One unit of the slot, or why not: what `book` would do under locks."""
        slot = self.by_id[slot_id]
        levels = self.quotas(slot.branch_id, slot.service_day)
        if refused := judge_capacity(1, slot, levels, RULES):
            return refused
        slot.used_units += 1
        for level in levels:
            self.used[level.key, level.start] = level.used_units + 1
        return None

    def look(self, question: BranchDays | Roomiest | NextLimits, at: float) -> Any:
        """What a look at the database would bring."""
        match question:
            case NextLimits():
                return {}
            case BranchDays(branch, first, last):
                places = [(b, d) for b, d in self.slots if b == branch and first <= d <= last]
            case Roomiest(_, day):
                places = [(b, d) for b, d in self.slots if d == day]
        return View(
            slots=[replace(slot) for place in places for slot in self.slots[place]],
            limits={place: self.quotas(*place) for place in places},
            waiting=dict.fromkeys(places, 0),
            region_id="north",
            seen_at=at,
        )

    def _slot(self, branch: str, day: date, n: int) -> SlotState:
        start = datetime(day.year, day.month, day.day, 1, tzinfo=UTC) + timedelta(minutes=30 * n)
        slot_id, end = f"{branch}-{day}-{n}", start + timedelta(minutes=30)
        used = 0 if n else self.capacity
        return SlotState(slot_id, branch, "north", day, start, end, self.capacity, used, 0, closed=False)


@dataclass
class Outcome:
    """What became of the refused customers."""

    held: int = 0
    taken: int = 0
    """The first remedy was a slot, and it was full when they came."""
    other: int = 0
    """The first remedy was no slot."""

    @property
    def success(self) -> float:
        """The share of refused customers whose first remedy ended in a held slot."""
        return self.held / (self.held + self.taken + self.other)


def storm(
    bank: Bank,
    *,
    customers: int = 2000,
    a_second: float = 2000,
    processes: int = 4,
    seconds_to_follow: float = 0.0,
    others: float = 0.0,
    busy: float = 1.0,
    make_tally: Callable[[Callable[[], float], Callable[[], Share]], Tally] = Tally,
    wished: Callable[[Random], str] = lambda _: f"b0-{TODAY + timedelta(days=3)}-0",
    seed: int = 1,
) -> Outcome:
    """All wish a slot that is refused, and do what they are told first; looks are shared for a second.

    For each there are some (`others`) who take any slot of the wished day, told by nobody. The first process
    is so many times as `busy` as each other one.
    """
    now = [0.0]
    dice = Random(seed)
    tallies = [make_tally(lambda: now[0], lambda n=n: (n, processes)) for n in range(processes)]
    rngs = [Random(seed * 100 + n) for n in range(processes)]
    looks: dict[tuple[int, Any], tuple[float, Any]] = {}
    outcome, following = Outcome(), []

    def follow(until: float) -> None:
        while following and following[0][0] <= until:
            _, process, slot_id = following.pop(0)
            tallies[process].note_followed(seconds_to_follow)
            if bank.take(slot_id):
                outcome.taken += 1
            else:
                outcome.held += 1

    for n in range(customers):
        now[0] = n / a_second
        follow(now[0])
        [process] = dice.choices(range(processes), [busy, *[1.0] * (processes - 1)])

        def look(question: Any, process: int = process) -> Any:
            begun, answer = looks.get((process, question), (-9.0, None))
            if now[0] - begun >= 1:
                answer = bank.look(question, now[0])
                looks[process, question] = now[0], answer
                for place in getattr(answer, "places", {}).values():
                    tallies[process].learn_place(place)
            return answer

        slot = replace(bank.by_id[wished(dice)])
        if dice.random() < others:
            bank.take(dice.choice(bank.slots[slot.branch_id, slot.service_day]).slot_id)
        wish = Wish("L1", slot.slot_id, Channel.APP)
        refused = judge_capacity(1, slot, (), RULES)
        assert refused is not None
        seen = Situation(slot, LOAN, RULES, NOW)
        tallies[process].note_refusal()
        remedies = run(search(refused, wish, seen, tallies[process], rngs[process]), look)
        if remedies and remedies[0]["action"] == "take_slot":
            following.append((now[0] + seconds_to_follow, process, remedies[0]["slot"]))
        else:
            outcome.other += 1
    follow(float("inf"))
    return outcome
