"""The waitlist's rules: who is first, what is promised, who is offered which place. Pure: no I/O, no clock.

The order: a priority that staff gave (1, with its reason; else 0) goes first, then who joined first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from booking_core.decide import Rules, decide
from booking_core.domain import Accepted, LoanState, QuotaState, Refused, SlotState, Wish
from metrics.contract import ALL_CHANNELS, Channel, PeriodKind, Reason, ScopeKind

PRIORITIES: Final = (1, 0)
"""Those there are, first served first: 1 is given by staff only, with a reason, e.g. hardship."""
PROMISED_CHANCE: Final = 0.9
"""The least chance at which a date is promised."""
LEAST_HISTORY: Final = 28
"""Days of history below which nothing is promised."""
MOST_HISTORY: Final = 56
"""Days of history that a promise looks back on."""
SHRINK: Final = 30
"""So many promises that said the truth are added to those that are known."""
MOST_STEP: Final = 2
"""A plan is not expected to raise a limit by more than this factor; policies allow a little more."""
OWN_REASONS: Final = frozenset({Reason.LOAN_NOT_ELIGIBLE, Reason.FUNDS_CAP_REACHED})
"""What keeps one loan from a place that another may take: such an entry is skipped and holds nobody back."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A waitlist entry as stored: a loan's wish for one place at a branch on one of its days."""

    entry_ref: str
    loan_ref: str
    branch_id: str
    region_id: str
    wished_day: date
    latest_day: date
    channel: str
    priority: int
    status: str
    """waiting | offered | booked | left | expired"""
    joined_utc: datetime
    actor: str
    booking_ref: str | None = None
    """The offer, then the booking that it became."""
    closed_reason: str | None = None
    skipped_reason: str | None = None
    """Why it cannot take what is free just now; None = it is in turn."""
    promise: dict[str, Any] | None = None
    due_day: date | None = None
    """By when the promise is to be kept: the day promised, else the last one; None = nothing was promised."""

    @property
    def service_day(self) -> date:
        """The day that its wish counts for."""
        return self.wished_day

    @property
    def turn(self) -> tuple[int, datetime, str]:
        """Its place in the order of the queue."""
        return -self.priority, self.joined_utc, self.entry_ref

    def covers(self, day: date) -> bool:
        """Whether the day suits."""
        return self.wished_day <= day <= self.latest_day


@dataclass(frozen=True, slots=True)
class Promise:
    """What is told to who joins: a place by that day with that chance, or the chance by the last day."""

    by: date | None
    """The day that is promised, at a chance of PROMISED_CHANCE or more; None where no day is that safe."""
    chance: float
    """What is told."""
    raw: float
    """As reckoned, before anything is taken off for broken promises: by that promises are judged."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known beyond a branch's own releases."""

    opening_units: int = 0
    """What the next plan is expected to open: see `opening`."""
    plan_chance: float = 0.0
    """That a day brings a plan which is applied."""
    shortfall: float = 0.0
    """By how much past promises were kept less often than they said."""


@dataclass(frozen=True, slots=True)
class PlannedDay:
    """A coming day of a branch as the next plan will find it."""

    low_units: int
    """A low quantile of its demand as forecast."""
    most_units: int
    """What its staff can serve."""
    free_units: int
    """Of its slots together."""
    levels: Sequence[QuotaState]
    """The limits that a unit of it counts in."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What promotion does with an entry: offers it the slot, skips it, closes it, or takes a skip back."""

    entry: Entry
    slot_id: str | None = None
    skipped: Reason | None = None
    closed: Reason | None = None


def position(entry: Entry, queue: Sequence[Entry]) -> int:
    """1 + how many wait at the branch before it for days that it could take too."""
    return 1 + sum(
        other.branch_id == entry.branch_id
        and other.status == "waiting"
        and other.loan_ref != entry.loan_ref
        and other.turn < entry.turn
        and other.wished_day <= entry.latest_day
        and other.latest_day >= entry.wished_day
        for other in queue
    )


def promise(
    freed: Sequence[int],
    place: int,
    today: date,
    latest: date,
    outlook: Outlook = Outlook(),
) -> Promise | None:
    """The earliest day by which `place` units will have come free with at least 90 % chance.

    `freed` holds the units that the branch freed a day, oldest first; None where they are too few to tell.
    The chance of h days is the share of all windows of h consecutive days, the end joined to the beginning,
    whose sum reaches `place`: the empirical distribution of a sum over overlapping windows (Boylan & Babai
    2016) with the circular blocks of Politis & Romano (1992), so that every day counts alike and a longer
    wait never looks worse. A window is at most half as long as the history. On top come the units that the
    next plan is expected to open, with the chance that one is applied by then. Where promises were broken
    more often than they said, that much less is told, and a day is promised only where that is 90 % still.
    It assumes that the coming days free as the last ones did, that what is freed suits whoever is first, that
    everyone ahead takes a place and none comes in ahead by priority. Today counts nothing.
    """
    if len(freed) < LEAST_HISTORY:
        return None
    chance = 0.0
    round_trip = [*freed, *freed]
    sums = [0] * len(freed)
    for days in range(1, min((latest - today).days, len(freed) // 2) + 1):
        sums = [total + round_trip[start + days - 1] for start, total in enumerate(sums)]
        alone, opened = (
            sum(total + units >= place for total in sums) / len(sums) for units in (0, outlook.opening_units)
        )
        planned = 1.0 - (1.0 - outlook.plan_chance) ** days
        chance = alone + planned * (opened - alone)
        if (told := chance - outlook.shortfall) >= PROMISED_CHANCE:
            return Promise(today + timedelta(days=days), told, chance)
    return Promise(None, max(0.0, chance - outlook.shortfall), chance)


def opening(days: Sequence[PlannedDay]) -> int:
    """Units that the next plan is expected to open on the days, all together.

    A plan sets a branch's day to a high quantile of its demand, so a limit below a low quantile will be
    raised to that at least, as far as one step and the staff allow. Other levels stay as they are: each unit
    needs room in all of them, and in the slots.
    """
    taken: dict[tuple[str, date], int] = {}
    total = 0
    for day in days:
        own = next((q for q in day.levels if _own_day(q)), None)
        if own is None:
            continue
        limit = min(day.low_units, day.most_units, max(own.limit_units * MOST_STEP, own.limit_units + 1))
        units = min(limit - max(own.limit_units, own.used_units), day.free_units)
        others = [(q.key.quota_id, q.start, q.free_units) for q in day.levels if q is not own]
        units = min([units, *(free - taken.get((name, start), 0) for name, start, free in others)])
        if units > 0:
            total += units
            for name, start, _ in others:
                taken[name, start] = taken.get((name, start), 0) + units
    return total


def _own_day(level: QuotaState) -> bool:
    key = level.key
    return (key.scope_kind, key.period_kind, key.channel) == (ScopeKind.BRANCH, PeriodKind.DAY, ALL_CHANNELS)


def kept(due: date, today: date, offered: date | None, ended: date | None) -> bool | None:
    """Whether a promise for the day `due` was kept; None where it cannot be told (yet).

    offered: the business day of the entry's first offer. ended: when it ended without one for reasons of its
    own (it left, booked by itself, was no longer eligible): then nobody knows.
    """
    if due >= today:  # not before its day is over: else kept ones were counted early, broken ones late
        return None
    if offered is not None and offered <= due:
        return True
    return None if ended is not None and ended <= due else False


def shortfall(chances: Sequence[float], were_kept: Sequence[bool]) -> float:
    """By how much promises were kept less often than they said, 0 or more, drawn to 0 where few are known."""
    gap = sum(chances) - sum(were_kept)
    return max(0.0, gap / (len(chances) + SHRINK))


def judge_join(entry: Entry, loan: LoanState, rules: Rules, business_now: datetime) -> Refused | None:
    """Why the entry could never become a booking of this loan, or None."""
    today, last_day = business_now.astimezone(rules.zone).date(), rules.last_day(business_now)
    if _ineligible(entry, loan):
        eligible_from = "–" if loan.eligible_from is None else str(loan.eligible_from)
        context = {"loan": loan.loan_ref, "status": loan.status, "eligible_from": eligible_from}
        return Refused(Reason.LOAN_NOT_ELIGIBLE, context=context)
    if entry.latest_day < today or entry.wished_day > last_day:
        days = {"start": str(entry.wished_day), "earliest": str(today), "last_day": str(last_day)}
        return Refused(Reason.OUTSIDE_BOOKING_WINDOW, context=days)
    if loan.live_booking_ref is not None:
        return Refused(Reason.DUPLICATE_BOOKING, context={"booking": loan.live_booking_ref})
    return None


def ended(entry: Entry, loan: LoanState | None, today: date) -> Reason | None:
    """Why a waiting entry can never be booked any more, or None."""
    if loan is None or _ineligible(entry, loan):
        return Reason.LOAN_NOT_ELIGIBLE
    if loan.live_booking_ref is not None:  # made while the entry was
        return Reason.DUPLICATE_BOOKING
    return Reason.OUTSIDE_BOOKING_WINDOW if entry.latest_day < today else None


def choices(
    queue: Sequence[Entry],
    free: Sequence[SlotState],
    loans: Mapping[str, LoanState],
    limits: Mapping[tuple[date, str], Sequence[QuotaState]],
    rules: Rules,
    business_now: datetime,
    at_most: int,
) -> Iterator[Choice]:
    """Who of the queue (in its order) gets which of the branch's free slots (in order of time), by `decide`.

    Each gets the first slot that it may take, nearest to its wished day; at most so many are offered one. Who
    waits on as before is left out. `limits` by day and channel. Slots and limits are moved on.
    """
    full: set[tuple[date, str]] = set()
    for entry in queue:
        if at_most == 0:
            return
        choice = _choice(entry, loans.get(entry.loan_ref), free, limits, full, rules, business_now)
        if choice is not None:
            at_most -= choice.slot_id is not None
            yield choice


def _choice(
    entry: Entry,
    loan: LoanState | None,
    free: Sequence[SlotState],
    limits: Mapping[tuple[date, str], Sequence[QuotaState]],
    full: set[tuple[date, str]],
    rules: Rules,
    business_now: datetime,
) -> Choice | None:
    """What is to be done with the entry, None = it waits on; days that are full for its channel are noted."""
    if closed := ended(entry, loan, business_now.astimezone(rules.zone).date()):
        return Choice(entry, closed=closed)
    skipped: Reason | None = None
    refused_days: set[date] = set()
    for slot in free:
        day, levels = slot.service_day, limits[slot.service_day, entry.channel]
        shut = day in refused_days or (day, entry.channel) in full
        if shut or not slot.free_units or not entry.covers(day):
            continue
        wish = Wish(entry.loan_ref, slot.slot_id, Channel(entry.channel))
        verdict = decide(wish, slot=slot, loan=loan, quotas=levels, rules=rules, business_now=business_now)
        if isinstance(verdict, Accepted):
            slot.offered_units += verdict.units
            for level in levels:
                level.used_units += level.key.measured(verdict.units, verdict.reserved_cny)
            return Choice(entry, slot_id=slot.slot_id)
        if verdict.reason in OWN_REASONS:
            skipped = skipped or verdict.reason
            refused_days.add(day)
        elif verdict.violations:
            full.add((day, entry.channel))
    return None if skipped == entry.skipped_reason else Choice(entry, skipped=skipped)


def followed(entry: Entry, was: str | None, becomes: str) -> tuple[str, str] | None:
    """(status, kind of event) of the entry when a booking of its loan becomes something else; None: nothing.

    Its own offer is taken, runs out or is cancelled; or the customer books by themselves while they wait.
    What becomes of the booking afterwards never brings the entry back.
    """
    match entry.status, was, becomes:
        case "waiting", None, "offered":
            return "offered", "offered"
        case "waiting", None, _:
            return "booked", "booked"
        case "offered", "offered", "held":
            return "booked", "accepted"
        case "offered", "offered", "cancelled":
            return "left", "left"
        case "offered", "offered", "expired":
            return "expired", "expired"
    return None


def _ineligible(entry: Entry, loan: LoanState) -> bool:
    begins = loan.eligible_from
    return loan.status != "active" or (begins is not None and begins > entry.latest_day)
