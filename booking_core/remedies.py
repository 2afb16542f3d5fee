"""What a refused customer can do next: ranked actions, each of which could be sent as it stands.

Looked up after the refusal, outside its locks, with bounded queries; every slot offered was judged
free by the same `decide` a moment ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection

from booking_core.decide import Rules, decide_slot, judge_loan
from booking_core.domain import Accepted, LoanState, Refused, SlotState, Wish
from booking_core.store import quotas, slots
from metrics.contract import Cause, Reason

Remedy: TypeAlias = dict[str, Any]

SAME_DAY, OTHER_DAYS, OTHER_BRANCHES = 3, 3, 2
"""How many slots are offered of each kind."""
BEFORE: Final = timedelta(days=7)
AFTER: Final = timedelta(days=28)
"""Other days are looked for this far around the wished one."""
CANDIDATES: Final = 24
"""Slots that are judged for each kind of remedy."""

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
class Judged:
    """A slot with what `decide` says of it now."""

    slot: SlotState
    verdict: Accepted | Refused
    free_units: int
    """Units free at the narrowest of its limits, whatever the verdict says about time or loan."""


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

    @property
    def own_loan(self) -> LoanState | None:
        """The loan, if the caller may know of it."""
        return self.loan if self.loan and self.holder in {None, self.loan.holder} else None


def remedies_for(
    connection: Connection, refused: Refused, wish: Wish, situation: Situation
) -> tuple[Remedy, ...]:
    """The actions for this refusal, best first; empty where none would work."""
    match refused.reason:
        case Reason.DUPLICATE_BOOKING:
            booking = f"/v1/bookings/{refused.context['booking']}"
            return (
                {"action": "view_booking", "method": "GET", "href": booking},
                {"action": "cancel_booking", "method": "DELETE", "href": booking},
            )
        case Reason.LOAN_NOT_FOUND:
            return ({"action": "change_field", "pointer": "/loan"},)
        case Reason.IDEMPOTENCY_CONFLICT:
            return ({"action": "change_field", "pointer": "header:Idempotency-Key"},)
    wants_slot = (
        refused.reason.cause is Cause.CAPACITY
        or refused.reason in ANOTHER_SLOT_HELPS
        or any(error.pointer == "/slot" for error in refused.errors)
    )
    free = _free_slots(connection, wish, situation) if wants_slot and situation.own_loan else []
    zone = situation.rules.zone
    return (*(_take_slot(wish, slot, zone) for slot in free), *change_fields(refused))


def change_fields(refused: Refused) -> tuple[Remedy, ...]:
    """One action for each field that does not fit."""
    return tuple({"action": "change_field", "pointer": error.pointer} for error in refused.errors)


def judged(
    connection: Connection, wish: Wish, candidates: Sequence[SlotState], situation: Situation
) -> Iterator[Judged]:
    """Each candidate as committed, judged without locks; without a loan the slot alone is judged."""
    limits = quotas.read_levels(connection, candidates, wish.channel)
    rules, now = situation.rules, situation.business_now
    for slot in candidates:
        asked, levels, loan = replace(wish, slot_id=slot.slot_id), limits[slot.slot_id], situation.loan
        verdict = (loan and judge_loan(asked, loan, slot, situation.holder)) or decide_slot(
            asked, slot=slot, loan=loan, quotas=levels, rules=rules, business_now=now
        )
        yield Judged(slot, verdict, min([slot.free_units, *(q.free_units for q in levels)]))


def _free_slots(connection: Connection, wish: Wish, situation: Situation) -> list[SlotState]:
    """Free slots: same day and branch first, then other days of the branch, then other branches that day."""
    slot, loan = situation.slot, situation.loan
    today = situation.business_now.astimezone(situation.rules.zone).date()
    branch = slot.branch_id if slot else loan.branch_id if loan else ""
    region = slots.region_of(connection, branch)
    if situation.region_claim not in {None, region}:
        return []
    first = max(today, (loan and loan.eligible_from) or today)
    day = max(slot.service_day if slot else today, first)
    day = min(day, today + timedelta(days=situation.rules.booking_window_days))
    start = slot.start_utc if slot else situation.business_now

    def free(candidates: Iterable[SlotState], wanted: int) -> list[SlotState]:
        known = judged(connection, wish, list(candidates)[:CANDIDATES], situation)
        return [j.slot for j in known if isinstance(j.verdict, Accepted)][:wanted]

    same = slots.branch_slots(connection, branch, day, day)
    same.sort(key=lambda s: abs(s.start_utc - start))
    near = slots.first_free_slots(
        connection, branch_id=branch, first=max(first, day - BEFORE), last=day + AFTER
    )
    near.sort(key=lambda s: abs(s.service_day - day))
    around = slots.first_free_slots(connection, region_id=region, first=day, last=day, limit=CANDIDATES)
    return [
        *free((s for s in same if s.free_units), SAME_DAY),
        *free((s for s in near if s.service_day != day), OTHER_DAYS),
        *free((s for s in around if s.branch_id != branch), OTHER_BRANCHES),
    ]


def _take_slot(wish: Wish, slot: SlotState, zone: Any) -> Remedy:
    told = {
        "loan": wish.loan_ref,
        "slot": slot.slot_id,
        "channel": wish.channel,
        "amount": None if wish.amount_cny is None else str(wish.amount_cny),
        "option": wish.option,
        "contact": wish.contact,
    }
    return {
        "action": "take_slot",
        "slot": slot.slot_id,
        "branch": slot.branch_id,
        "start": slot.start_utc.astimezone(zone).isoformat(),
        "method": "POST",
        "href": "/v1/bookings",
        "body": {name: value for name, value in told.items() if value is not None},
    }
