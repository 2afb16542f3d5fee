"""What a refused customer can do next: ranked actions, each of which could be sent as it stands.

Looked up after the refusal, outside its locks. Each slot offered was judged free by the same `decide`, and is
likely to be free still when the customer comes (booking_core.choosing); else the waitlist comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import Connection

from booking_core import actions
from booking_core.choosing import SAFE, Place, Tally
from booking_core.decide import Rules, decide_slot, judge_loan, reserved_cny
from booking_core.domain import Accepted, LoanState, Refused, SlotState, Violation, Wish, period_start
from booking_core.service.availability import Availability
from booking_core.store.availability import BranchDays, NextLimits, Roomiest, View
from booking_core.store.quotas import key_of
from metrics.contract import Cause, Channel, PeriodKind, Reason, ScopeKind

T = TypeVar("T")

Remedy: TypeAlias = dict[str, Any]
Question: TypeAlias = BranchDays | Roomiest | NextLimits
Search: TypeAlias = Generator[Question, Any, T]
"""Asks what it needs to know, is sent the answers, and returns what it found: no I/O of its own."""

SAME_DAY, OTHER_DAYS, OTHER_BRANCHES = 2, 2, 2
"""How many slots are offered of each kind."""
UNSAFE: Final = 2
"""How many are offered where none is likely to be free for long."""
OTHER: Final = tuple(sorted((n for n in range(-7, 29) if n), key=lambda n: (abs(n), -n)))
"""Other days are looked for this far around the wished one, the nearest first …"""
WEEKS: Final = 3
"""… within so many weeks that have room as far as the refusal tells."""
OTHER_BRANCH_DAYS: Final = (0, 1, -1, 2, -2, 3, -3, 4, 5, 6, 7)
"""Days from the wished one on which other branches are looked at, until one has room."""
FULL_SECONDS: Final = 5.0
"""For how long it is believed in a crowd, for remedies only, that a look shows nothing free."""
BRANCHES_TRIED: Final = 8
JUDGED: Final = 24
"""Slots that are judged at most for one refusal."""
PROBABLE, POSSIBLE = 0.6, 0.25
"""Chances for which slots are offered where none is safe: before the waitlist, and after it."""
TRIED_AGAIN: Final = 12
"""Places that are looked at again for those."""
LATER_CHOICES: Final = 0.1
"""How often a later remedy is expected to be followed, where the first counts one."""
WHOLE: Final = "full"
"""The option of paying the loan off: no smaller amount goes with it."""

EVERYWHERE: Final = frozenset(ScopeKind)
BEYOND_BRANCH: Final = frozenset({ScopeKind.REGION, ScopeKind.BANK})
BANK_WIDE: Final = frozenset({ScopeKind.BANK})
"""Scopes whose full limits rule out: the branch's other days, other branches, other regions."""

ANOTHER_SLOT_HELPS: Final = frozenset(
    {
        Reason.SLOT_CLOSED,
        Reason.NOTICE_TOO_SHORT,
        Reason.OUTSIDE_BOOKING_WINDOW,
        Reason.LOAN_NOT_ELIGIBLE,
        Reason.HOLD_EXPIRED,
    }
)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a wish is judged against, besides quotas: read without locks."""

    slot: SlotState | None
    loan: LoanState | None
    rules: Rules
    business_now: datetime
    holder: str | None = None
    """The customer whose token asks; None = a token that acts for any."""
    region_claim: str | None = None
    channels: frozenset[Channel] = frozenset(Channel) - {Channel.COUNTER}
    """Those that the caller may book through."""

    @property
    def own_loan(self) -> LoanState | None:
        """The loan, if the caller may know of it."""
        return self.loan if self.loan and self.holder in {None, self.loan.holder} else None


def advise_alone(
    connection: Connection, refused: Refused, wish: Wish, situation: Situation
) -> tuple[Refused, tuple[Remedy, ...]]:
    """The refusal with its next limits, and its actions, by what stands committed; nothing is remembered."""
    alone = _told(refused, wish, situation, Tally(lambda: 0.0), Random(0))  # noqa: S311 – no secret
    return run(alone, lambda question: question.read(connection))


def advise(
    availability: Availability, refused: Refused, wish: Wish, situation: Situation
) -> tuple[Refused, tuple[Remedy, ...]]:
    """The refusal with its next limits, and its actions, by what all who ask now share. Blocks."""
    return run(_advice(availability, refused, wish, situation), availability.look)


async def advise_async(
    availability: Availability, refused: Refused, wish: Wish, situation: Situation
) -> tuple[Refused, tuple[Remedy, ...]]:
    """The same for the event loop."""
    advice, answer = _advice(availability, refused, wish, situation), None
    while True:
        try:
            question = advice.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        answer = await availability.look_async(question)


def judged(view: View, slot: SlotState, wish: Wish, situation: Situation) -> Accepted | Refused:
    """What `decide` says of a slot of the view; without a loan the slot alone is judged."""
    at, loan = (slot.branch_id, slot.service_day), situation.loan
    refused = loan and judge_loan(wish, loan, slot, situation.holder)
    return refused or decide_slot(
        wish,
        slot=slot,
        loan=loan,
        quotas=view.limits[at],
        rules=situation.rules,
        business_now=situation.business_now,
        waiting=view.waiting[at],
    )


def search(
    refused: Refused, wish: Wish, situation: Situation, tally: Tally, rng: Random
) -> Search[tuple[Remedy, ...]]:
    """The search for the actions, best first; slots among them are tallied as recommended."""
    for v in refused.violations:  # judged under locks: newer than any look
        level = v.scope_id if v.scope_kind == "slot" else f"{v.quota_id}:{v.period_start}"
        tally.learn(level, max(0, v.limit_units - v.used_units))
    return _Hunt(refused, wish, situation, tally, rng).remedies()


def run(search: Search[T], look: Callable[[Question], Any]) -> T:
    """What the search found, its questions answered by `look`."""
    answer = None
    while True:
        try:
            question = search.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        answer = look(question)


def _advice(
    availability: Availability, refused: Refused, wish: Wish, situation: Situation
) -> Search[tuple[Refused, tuple[Remedy, ...]]]:
    availability.tally.note_refusal()
    told = yield from _told(refused, wish, situation, availability.tally, availability.rng)
    for remedy in told[1]:
        if "slot" in remedy:
            availability.note_shown([remedy["slot"]], remedy["body"]["channel"])
    if told[1] and "slot" in (first := told[1][0]):
        availability.note_sent(first["slot"], first["body"]["channel"])
    return told


def _told(
    refused: Refused, wish: Wish, situation: Situation, tally: Tally, rng: Random
) -> Search[tuple[Refused, tuple[Remedy, ...]]]:
    following = [(v.quota_id, v.next_period_starts) for v in refused.violations if v.next_period_starts]
    if following:
        limits = yield NextLimits(tuple(following))
        told = (replace(v, next_limit_units=limits.get(v.quota_id)) for v in refused.violations)
        refused = replace(refused, violations=tuple(told))
    return refused, (yield from search(refused, wish, situation, tally, rng))


class _Hunt:
    """The search for what one refused customer can do."""

    def __init__(self, refused: Refused, wish: Wish, situation: Situation, tally: Tally, rng: Random) -> None:
        self._refused, self._wish, self._situation = refused, wish, situation
        self._tally, self._rng = tally, rng
        self._odds = tally.odds()
        """As of the last look; others were told meanwhile."""
        self._cny = reserved_cny(wish, situation.loan)
        self._left = JUDGED
        self._tried: list[tuple[View, Place]] = []
        self._free: list[SlotState] = []
        """Found so far, likely to be free still when the customer comes."""
        self._recommended = 0
        self._full = [full for v in refused.violations if (full := _full_period(v))]
        slot, loan, rules, now = situation.slot, situation.loan, situation.rules, situation.business_now
        today, self._last = now.astimezone(rules.zone).date(), rules.last_day(now)
        self._first = max(today, (loan and loan.eligible_from) or today)
        self._day = min(max(slot.service_day if slot else today, self._first), self._last)
        self._near = slot.start_utc if slot else now
        self._earliest = now + timedelta(minutes=rules.min_notice_minutes)
        self._branch = slot.branch_id if slot else loan.branch_id if loan else ""

    def remedies(self) -> Search[tuple[Remedy, ...]]:
        """The actions, best first."""
        refused, slot = self._refused, self._situation.slot
        capacity = refused.reason.cause is Cause.CAPACITY
        match refused.reason:
            case Reason.DUPLICATE_BOOKING:
                return actions.of_booking(refused.context["booking"], refused.context.get("entry"))
            case Reason.LOAN_NOT_FOUND:
                return (actions.change_field("/loan"),)
            case Reason.IDEMPOTENCY_CONFLICT:
                return (actions.change_field("header:Idempotency-Key"),)
        wants_slot = (
            capacity
            or refused.reason in ANOTHER_SLOT_HELPS
            or any(error.pointer == "/slot" for error in refused.errors)
        )
        if not wants_slot or not self._situation.own_loan:
            return actions.change_fields(refused)
        safe = yield from self._safe()
        safe = safe or self._less_safe(PROBABLE)
        waitlist = [actions.join_waitlist(self._wish, slot)] if capacity and slot else []
        if waitlist and not safe:
            waitlist += self._less_safe(POSSIBLE)
        return (*safe, *waitlist, *actions.change_fields(refused))

    def _safe(self) -> Search[list[Remedy]]:
        """What is likely to work, nearest to the wish first; counted as recommended."""
        slot = self._situation.slot
        wished = self._week(self._day, self._wish.channel)
        week: View = (yield from self._look(wished)) if slot else (yield wished)
        region = slot.region_id if slot else week.region_id
        if self._situation.region_claim not in {None, region}:
            return []
        if self._open(self._day, EVERYWHERE):
            self._take(week, (self._branch, self._day), SAME_DAY)
        near = [self._take_slot(slot) for slot in self._free]
        instead = [*(yield from self._other_channel()), *self._smaller_amount(week)]
        yield from self._other_days(week)
        yield from self._other_branches(region)
        further = [self._take_slot(slot) for slot in self._free[len(near) :]]
        return [*near, *instead, *further]

    def _look(self, question: BranchDays | Roomiest) -> Search[View]:
        if self._tally.dry(question):
            return View((), {}, {}, None)
        view: View = yield question
        self._odds = self._tally.odds()
        if self._odds.crowd and not any(place.room for place in view.places.values()):
            self._tally.note_dry(question, FULL_SECONDS)
        return view

    def _other_days(self, week: View) -> Search[None]:
        """Note a slot on each of the nearest other days of the branch."""
        weeks, wanted = {_monday(self._day): week}, OTHER_DAYS
        for days in OTHER:
            day = self._day + timedelta(days=days)
            if not self._open(day, EVERYWHERE):
                continue
            monday = _monday(day)
            if monday not in weeks:
                if len(weeks) > WEEKS:
                    continue
                weeks[monday] = yield from self._look(self._week(day, self._wish.channel))
            wanted -= self._take(weeks[monday], (self._branch, day), 1)
            if not wanted:
                return

    def _other_branches(self, region: str | None) -> Search[None]:
        """Note slots of other branches: of the region, that day or if need be another; at last of any."""
        for days in OTHER_BRANCH_DAYS:
            day = self._day + timedelta(days=days)
            if self._open(day, BEYOND_BRANCH):
                self._take_around((yield from self._look(Roomiest(region, day, self._wish.channel))))
            if self._free:
                return
        if self._situation.region_claim is None and self._open(self._day, BANK_WIDE):
            self._take_around((yield from self._look(Roomiest(None, self._day, self._wish.channel))))

    def _take_around(self, view: View) -> None:
        crowd, rng = self._odds.crowd, self._rng
        others = [place for place in view.places.values() if place.branch_id != self._branch]
        others.sort(key=lambda place: -place.room * (rng.random() if crowd else 1))
        wanted = OTHER_BRANCHES
        for place in others[:BRANCHES_TRIED]:
            wanted -= self._take(view, (place.branch_id, place.day), 1)
            if not wanted:
                return

    def _take(self, view: View, at: tuple[str, date], wanted: int) -> int:
        """How many slots of the place were noted as free, at most the wanted number."""
        if (place := view.places.get(at)) is None:
            return 0
        self._tried.append((view, place))
        found = self._fitting(view, place, SAFE, wanted)
        for slot in found:
            self._count(slot, place)
        self._free += found
        return len(found)

    def _fitting(self, view: View, place: Place, least: float, wanted: int) -> list[SlotState]:
        """Slots of the place that would be granted, with at least this chance when the customer comes."""
        found: list[SlotState] = []
        near = self._near + (place.day - self._day)
        wished = self._situation.slot if self._refused.reason.cause is Cause.CAPACITY else None
        for slot in self._odds.slots(place, self._rng, near=near, cny=self._cny, least=least):
            if len(found) == wanted or not self._left:
                break
            if slot.start_utc < self._earliest or (wished and slot.slot_id == wished.slot_id):
                continue
            self._left -= 1
            if isinstance(judged(view, slot, self._wish, self._situation), Accepted):
                found.append(slot)
        return found

    def _less_safe(self, least: float) -> list[Remedy]:
        """Slots that are free as far as is known, and may not be for long; counted as recommended."""
        self._left = JUDGED
        for view, place in self._tried[:TRIED_AGAIN]:
            if slots := self._fitting(view, place, least, UNSAFE):
                for slot in slots:
                    self._count(slot, place)
                return [self._take_slot(slot) for slot in slots]
        return []

    def _other_channel(self) -> Search[list[Remedy]]:
        """The same slot by another channel of the caller's, where only limits of the wish's channel bind."""
        slot, wish, bind = self._situation.slot, self._wish, self._refused.violations
        keys = [key_of(v.quota_id) for v in bind]
        if slot is None or not keys or any(key is None or key.channel != wish.channel for key in keys):
            return []
        for channel in sorted(self._situation.channels - {wish.channel}, key=list(Channel).index):
            view = yield from self._look(self._week(slot.service_day, channel))
            place, asked = view.places.get((slot.branch_id, slot.service_day)), replace(wish, channel=channel)
            if place is None:
                continue
            likely = self._odds.slots(place, self._rng, near=self._near, cny=self._cny)
            found = next((free for free in likely if free.slot_id == slot.slot_id), None)
            if found and isinstance(judged(view, found, asked, self._situation), Accepted):
                self._count(found, place)
                return [{**self._take_slot(found, asked), "action": "other_channel", "channel": channel}]
        return []

    def _smaller_amount(self, week: View) -> list[Remedy]:
        """The same slot for the amount that the day's funds still have, where only they bind."""
        slot, bind = self._situation.slot, self._refused.violations
        if slot is None or not bind or any(v.period_kind != PeriodKind.FUNDS_DAY for v in bind):
            return []
        fits = min(v.limit_units - v.used_units for v in bind)
        place = week.places.get((slot.branch_id, slot.service_day))
        found = next((s for s in place.slots if s.slot_id == slot.slot_id), None) if place else None
        if place is None or found is None or fits < 1:
            return []
        option = None if self._wish.option == WHOLE else self._wish.option
        asked = replace(self._wish, amount_cny=Decimal(fits), option=option)
        needs = ((level, fits if level.funds else 1) for level in place.levels)
        likely = all(self._odds.chance(level, place.seen_at, need) >= SAFE for level, need in needs)
        if not likely or not isinstance(judged(week, found, asked, self._situation), Accepted):
            return []
        self._count(found, place, fits)
        return [{**self._take_slot(found, asked), "action": "smaller_amount", "amount": str(fits)}]

    def _count(self, slot: SlotState, place: Place, cny: int | None = None) -> None:
        """Tally a recommendation at the slot, its place and every limit, before anyone else looks."""
        weight = LATER_CHOICES if self._recommended else 1
        self._recommended += 1
        self._tally.add(slot.slot_id, weight)
        self._tally.add(place.whole.level_id, weight)
        for level in place.levels:
            amount = (self._cny if cny is None else cny) if level.funds else 1
            self._tally.add(level.level_id, weight * amount)

    def _open(self, day: date, scopes: frozenset[ScopeKind]) -> bool:
        """Whether the day can be booked, and no limit of these scopes that the refusal names covers it."""
        return self._first <= day <= self._last and not any(
            scope in scopes and period_start(kind, day) == start for scope, kind, start in self._full
        )

    def _week(self, day: date, channel: str) -> BranchDays:
        return BranchDays(self._branch, _monday(day), _monday(day) + timedelta(days=6), channel)

    def _take_slot(self, slot: SlotState, wish: Wish | None = None) -> Remedy:
        return actions.take_slot(wish or self._wish, slot, self._situation.rules.zone)


def _full_period(violation: Violation) -> tuple[ScopeKind, PeriodKind, date] | None:
    """What is full, more surely than any look could tell; None where it is the slot alone."""
    start = violation.period_start
    if key := key_of(violation.quota_id):
        return key.scope_kind, key.period_kind, start
    waited_for = violation.scope_kind == "waitlist"
    return (ScopeKind.BRANCH, PeriodKind.DAY, start) if waited_for else None


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())
