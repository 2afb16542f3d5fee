"""Which free slots to recommend when thousands are told at once what else to do: pure, clock and dice given.

A recommendation works if its slot is still free when the customer follows it. But what is known of free slots
is up to a second old, and other worker processes recommend meanwhile. So in a crowd each process recommends
from its own share of the slots first, where no other process sends anyone, and keeps a tally: what it has
just recommended counts as taken, at limits that all processes share once for each of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from math import erf, exp, sqrt
from random import Random
from typing import Final
from zlib import crc32

from booking_core.domain import QuotaState, SlotState
from metrics.contract import PeriodKind

SAFE: Final = 0.9
"""Chance of being free when the customer comes, below which a slot is not recommended."""
CROWD: Final = 5
"""Refusals that a process has answered within the last seconds from which on it is a crowd."""
FOLLOWED_SECONDS: Final = (0.2, 3.0)
"""A recommendation counts as taken until a look that began so much later than it could show it: twice the
time that customers take of late to follow one, within these bounds."""
FIRST_FOLLOWED_SECONDS: Final = 0.2
"""… and so much before anyone has."""
KEPT_SECONDS: Final = 4.0
"""For how long recommendations are remembered at all."""
FADING: Final = 0.99
BELIEVED: Final = 10.0
"""Recommendations from which on it is believed how much of all that is taken is ours; and how it fades."""
TICK_SECONDS: Final = 0.1
"""How finely their times are."""
BESIDES: Final = 0.5
"""Recommendations in a crowd by each other process besides as many as ours: none of ours may be chance."""
AHEAD_SECONDS: Final = 1.0
"""For so long a level is expected to go on filling at its pace before the customer comes."""
DRY_SECONDS: Final = 0.1
"""For how long in a crowd a place that had nothing to recommend is passed over."""
TALLIED_LEVELS: Final = 50_000
"""Levels that a tally remembers at most."""

Share = tuple[int, int]
"""Which of how many worker processes this is."""


@dataclass(frozen=True, slots=True)
class Level:
    """What limits a booking: a quota's period, or all slots of a place, with its free units (or yuan)."""

    level_id: str
    free: int
    funds: bool = False


@dataclass(slots=True)
class Place:
    """A branch's day as seen at a moment: its open slots with room, and the limits that they share."""

    branch_id: str
    region_id: str
    day: date
    slots: Sequence[SlotState]
    limits: Sequence[QuotaState] = ()
    waiting: int = 0
    """Entries of the waitlist that the free units go to first."""
    seen_at: float = 0.0
    free: list[int] = field(init=False)
    """Free units of each slot."""
    whole: Level = field(init=False)
    levels: tuple[Level, ...] = field(init=False)
    room: int = field(init=False)
    """Units free at the narrowest level, the day's funds apart; 0 where others wait."""
    _marks: list[int] = field(init=False)
    """A number of each slot by which it falls into a share."""
    _mine: tuple[Share, tuple[list[int], list[int], int]] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.free = [slot.free_units for slot in self.slots]
        self.whole = Level(f"{self.branch_id} {self.day}", sum(self.free))
        self.levels = tuple(
            Level(level_id(q), q.free_units, q.key.period_kind is PeriodKind.FUNDS_DAY) for q in self.limits
        )
        units = [level.free for level in self.levels if not level.funds]
        self.room = 0 if self.waiting else min([self.whole.free, *units])
        self._marks = [crc32(slot.slot_id.encode()) for slot in self.slots]

    def mine(self, share: Share) -> tuple[list[int], list[int], int]:
        """(numbers of the slots in the share, of the others, free units in the share)."""
        if self._mine is None or self._mine[0] != share:
            number, count = share
            ours = [n for n, mark in enumerate(self._marks) if mark % count == number]
            others = [n for n, mark in enumerate(self._marks) if mark % count != number]
            self._mine = share, (ours, others, sum(self.free[n] for n in ours))
        return self._mine[1]


def level_id(quota: QuotaState) -> str:
    """The id of a quota's period: that of its row."""
    return f"{quota.key.quota_id}:{quota.start}"


@dataclass(slots=True)
class _Known:
    """What a process knows of one level."""

    told: list[tuple[int, float]] = field(default_factory=list)
    """Recommended, by tick of the clock, the newest last."""
    free: float = 0.0
    free_at: float = float("-inf")
    pace: float = 0.0
    """Units a second by which it has been filling."""

    def told_since(self, tick: int) -> float:
        """What has been recommended since, in the level's units."""
        total = 0.0
        for at, amount in reversed(self.told):
            if at < tick:
                break
            total += amount
        return total


class Tally:
    """What this process has recommended lately, what is free as last heard, and how fast levels fill."""

    def __init__(self, clock: Callable[[], float], share: Callable[[], Share] = lambda: (0, 1)) -> None:
        self._clock = clock
        self._share = share
        self._known: dict[str, _Known] = {}
        self._dry: dict[Hashable, float] = {}
        """Places and looks that had nothing to recommend, and until when that is believed."""
        self._followed = FIRST_FOLLOWED_SECONDS
        self._taken = self._ours = 0.0
        """Units that looks showed as taken, and recommended by us: how much of it all is ours."""
        self._lock = threading.Lock()

    def told(self, name: str, seen_at: float) -> float:
        """What of the level has been recommended that a look at the moment cannot show as taken yet."""
        known = self._known.get(name)
        return known.told_since(tick_of(seen_at - self._followed)) if known else 0.0

    def note_followed(self, seconds: float) -> None:
        """Learn from a recommendation that was followed after the seconds."""
        least, most = FOLLOWED_SECONDS
        self._followed += 0.1 * (min(most, max(least, 2 * seconds)) - self._followed)

    def dry(self, what: Hashable) -> bool:
        """Whether it had nothing to recommend a moment ago."""
        return self._dry.get(what, float("-inf")) > self._clock()

    def note_dry(self, what: Hashable, seconds: float) -> None:
        """Believe for the seconds that it has nothing to recommend."""
        if len(self._dry) >= TALLIED_LEVELS:
            self._dry.clear()
        self._dry[what] = self._clock() + seconds

    def crowded(self) -> bool:
        """Whether so many ask what else to do that they must not all be sent to the same slots."""
        known = self._known.get("")
        return known is not None and known.told_since(tick_of(self._clock() - KEPT_SECONDS)) >= CROWD

    def note_refusal(self) -> None:
        """Count a customer who is told what else to do."""
        self.add("", 1)

    def add(self, name: str, amount: float) -> None:
        """Count a recommendation of the level."""
        with self._lock:
            told, tick = self._of(name).told, tick_of(self._clock())
            if told and told[-1][0] == tick:
                told[-1] = tick, told[-1][1] + amount
                return
            told.append((tick, amount))
            while told[0][0] < tick - KEPT_SECONDS / TICK_SECONDS:
                del told[0]

    def learn(self, name: str, free: float, at: float | None = None) -> None:
        """Note how much of the level was free at the moment (None: now)."""
        at = self._clock() if at is None else at
        with self._lock:
            known = self._of(name)
            passed = at - known.free_at
            if passed > 5 * AHEAD_SECONDS:  # too long to tell a pace
                known.pace = 0.0
            elif passed >= AHEAD_SECONDS / 4:
                known.pace = max(0.0, known.free - free) / passed
            elif passed > 0:  # too short; keep the older start of the pace
                known.free = min(known.free, free)
                return
            else:
                return
            known.free, known.free_at = free, at

    def learn_place(self, place: Place) -> None:
        """Note what a look shows: what is free, and how much more was taken than we recommended."""
        name, free, at = place.whole.level_id, place.whole.free, place.seen_at
        known = self._known.get(name)
        if known is not None and AHEAD_SECONDS / 4 <= at - known.free_at <= 5 * AHEAD_SECONDS:
            since, until = tick_of(known.free_at - self._followed), tick_of(at - self._followed)
            ours = known.told_since(since) - known.told_since(until)
            self._ours = FADING * self._ours + ours
            self._taken = FADING * self._taken + max(0.0, known.free - free)
        self.learn(name, free, at)

    def workers(self) -> float:
        """As how many processes like this one all of them count: those that do little count little."""
        count = self._share()[1]
        found = (self._taken + BELIEVED * count) / (self._ours + BELIEVED)
        return min(2.0 * count, max(1.0, found))

    def odds(self) -> Odds:
        """What to expect just now."""
        return Odds(self, self._known.get, self._followed, self._share(), self.crowded())

    def _of(self, name: str) -> _Known:
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= TALLIED_LEVELS:
                old = tick_of(self._clock() - KEPT_SECONDS)
                kept = {k: v for k, v in self._known.items() if v.told and v.told[-1][0] >= old}
                self._known = kept if len(kept) <= TALLIED_LEVELS // 2 else {}
            known = self._known[name] = _Known()
        return known


def tick_of(at: float) -> int:
    """The number of the tick."""
    return int(at / TICK_SECONDS)


class Odds:
    """The chances of one customer who is told now what else to do; to be used at once."""

    def __init__(
        self,
        tally: Tally,
        known: Callable[[str], _Known | None],
        followed: float,
        share: Share,
        crowd: bool,
    ) -> None:
        self._tally, self._known, self._followed = tally, known, followed
        self._share, self._workers = share, tally.workers()
        self.crowd = crowd
        self._besides = BESIDES if crowd else 0.0
        self._levels: dict[tuple[str, float, float], float] = {}

    def chance(self, level: Level, seen_at: float, need: float = 1.0) -> float:
        """The probability that the level still has the need free when the customer comes.

        The other processes are taken to have recommended as much as this one, in a crowd a little more.
        """
        at = level.level_id, seen_at, need
        if (chance := self._levels.get(at)) is None:
            told, coming, free = self._state(level, seen_at)
            coming += (self._workers - 1) * (told + self._besides * need)
            chance = self._levels[at] = poisson_at_most((free - told) / need - 1, coming / need)
        return chance

    def slots(
        self, place: Place, rng: Random, *, near: datetime, cny: int = 0, least: float = SAFE
    ) -> Iterator[SlotState]:
        """The place's slots with at least this chance to be free when the customer comes, best first.

        Nearest in time first; in a crowd those of our share, where no other process sends anyone, in random
        order, each the likelier the more units it has free. `cny`: what is taken of the day's funds.
        """
        careful = self.crowd and least >= SAFE
        if not place.room or (careful and self._tally.dry(place.whole.level_id)):
            return
        funds, found = False, False
        for level in place.levels:
            funds = funds or level.funds
            if self.chance(level, place.seen_at, max(1, cny) if level.funds else 1) < least:
                break
        else:
            for slot in self._likely(place, rng, near, least):
                found = True
                yield slot
        if careful and not found and not funds:
            self._tally.note_dry(place.whole.level_id, DRY_SECONDS)

    def _likely(self, place: Place, rng: Random, near: datetime, least: float) -> Iterator[SlotState]:
        """The same as far as the slots alone decide."""
        told, unguided, _ = self._state(place.whole, place.seen_at)
        slots, free, whole = place.slots, place.free, place.whole.free
        ours: Sequence[int] = ()
        others: Sequence[int] = range(len(slots))
        if self.crowd:
            ours, others, in_share = place.mine(self._share)
            if self._workers * (told + 1) > whole and least >= SAFE:
                others = ()
                if told >= in_share:
                    return
            ours = sorted(ours, key=lambda n: -rng.random() * free[n])
            others = sorted(others, key=lambda n: -rng.random() * free[n])
        else:
            others = sorted(others, key=lambda n: abs(slots[n].start_utc - near))
        sent = (self._workers - 1) * (told + self._besides)
        for some, coming in ((ours, unguided), (others, unguided + sent)):
            for n in some:
                if self._slot_chance(place, n, coming / whole) >= least:
                    yield slots[n]

    def _slot_chance(self, place: Place, n: int, coming: float) -> float:
        """The same of the slot number n; `coming`: how many others are expected for each free unit."""
        room: float = place.free[n] - 1
        if (known := self._known(place.slots[n].slot_id)) is not None:
            seen_at = place.seen_at
            if known.free_at > seen_at:
                room, seen_at = known.free - 1, known.free_at
            room -= round(known.told_since(tick_of(seen_at - self._followed)))
        return poisson_at_most(room, coming * place.free[n])

    def _state(self, level: Level, seen_at: float) -> tuple[float, float, float]:
        """(recommended, about to be taken by customers whom no recommendation sent, free)."""
        known = self._known(level.level_id)
        if known is None:
            return 0.0, 0.0, level.free
        free: float = level.free
        if known.free_at > seen_at:
            free, seen_at = known.free, known.free_at
        told = known.told_since(tick_of(seen_at - self._followed))
        unguided = known.pace * AHEAD_SECONDS
        if unguided:
            guided = known.told_since(tick_of(known.free_at - self._followed - AHEAD_SECONDS))
            unguided = max(0.0, unguided - self._workers * guided)
        return told, unguided, free


def poisson_at_most(count: float, mean: float) -> float:
    """P(X ≤ count) of a Poisson variable with the mean."""
    if count < 0:
        return 0.0
    if mean <= 0 or count >= mean + 4 * sqrt(mean) + 4:
        return 1.0
    if mean > 50:  # noqa: PLR2004 – the normal approximation is good from here on
        return 0.5 * (1 + erf((count + 0.5 - mean) / sqrt(2 * mean)))
    term = total = exp(-mean)
    for n in range(1, int(count) + 1):
        term *= mean / n
        total += term
    return total
