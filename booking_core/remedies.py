"""What a refused customer can do next: ranked actions, each of which could be sent as it stands.

Looked up after the refusal, outside its locks, with bounded queries; every slot offered was judged
free by the same `decide` a moment ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection

from booking_core.decide import Rules, decide, decide_slot
from booking_core.domain import Accepted, LoanState, Refused, SlotState, Wish
from booking_core.store import quotas, slots
from metrics.contract import Cause, Reason

Remedy: TypeAlias = dict[str, Any]

SAME_DAY, OTHER_DAYS, OTHER_BRANCHES = 3, 3, 2
"""How many slots are offered of each kind."""
DAYS_BEFORE, DAYS_AFTER = 7, 28
CANDIDATES: Final = 24

ANOTHER_SLOT_HELPS: Final = frozenset(
    {Reason.SLOT_CLOSED, Reason.NOTICE_TOO_SHORT, Reason.OUTSIDE_BOOKING_WINDOW, Reason.LOAN_NOT_ELIGIBLE,
     Reason.HOLD_EXPIRED}
)


def remedies_for(
    connection: Connection,
    refused: Refused,
    wish: Wish,
    *,
    slot: SlotState | None,
    loan: LoanState | None,
    rules: Rules,
    business_now: datetime,
    holder: str | None = None,
    region_claim: str | None = None,
) -> list[Remedy]:
    """The actions for this refusal, best first; empty where none would work."""
    if refused.reason is Reason.DUPLICATE_BOOKING:
        booking = f"/v1/bookings/{refused.context['booking']}"
        return [
            {"action": "view_booking", "method": "GET", "href": booking},
            {"action": "cancel_booking", "method": "DELETE", "href": booking},
        ]
    if refused.reason is Reason.LOAN_NOT_FOUND:
        return [{"action": "change_field", "pointer": "/loan"}]
    if refused.reason is Reason.IDEMPOTENCY_CONFLICT:
        return [{"action": "change_field", "header": "Idempotency-Key"}]
    changes = [{"action": "change_field", "pointer": e.pointer} for e in refused.errors]
    wants_slot = (
        refused.reason.cause is Cause.CAPACITY
        or refused.reason in ANOTHER_SLOT_HELPS
        or any(e.pointer == "/slot" for e in refused.errors)
    )
    if not wants_slot or loan is None or (holder is not None and loan.holder != holder):
        return changes
    free = _free_slots(connection, wish, slot, loan, rules, business_now, holder, region_claim)
    return [_take_slot(wish, candidate, rules) for candidate in free] + changes


def free_of(
    connection: Connection, wish: Wish, candidates: Sequence[SlotState], loan: LoanState | None,
    rules: Rules, business_now: datetime, holder: str | None = None,
) -> Iterator[tuple[SlotState, Accepted | Refused]]:
    """Each candidate with what `decide` says of it now, as committed."""
    levels = quotas.read_levels(connection, candidates, wish.channel)
    for slot in candidates:
        asked = replace(wish, slot_id=slot.slot_id)
        limits = levels[slot.slot_id]
        if loan is None:
            yield slot, decide_slot(asked, slot=slot, quotas=limits, rules=rules, business_now=business_now)
        else:
            yield slot, decide(
                asked, slot=slot, loan=loan, quotas=limits, rules=rules, business_now=business_now,
                holder=holder,
            )


def _free_slots(
    connection: Connection, wish: Wish, slot: SlotState | None, loan: LoanState, rules: Rules,
    business_now: datetime, holder: str | None, region_claim: str | None,
) -> list[SlotState]:
    """Same day and branch first, then other days of the branch, then other branches that day."""
    today = business_now.astimezone(rules.zone).date()
    branch = slot.branch_id if slot else loan.branch_id
    region = slot.region_id if slot else slots.region_of(connection, branch)
    if region_claim not in (None, region):
        return []
    day = max(slot.service_day, today) if slot else today
    if loan.eligible_from is not None:
        day = max(day, loan.eligible_from)
    day = min(day, today + timedelta(days=rules.booking_window_days))

    def free(candidates: Iterable[SlotState], wanted: int) -> list[SlotState]:
        judged = free_of(connection, wish, list(candidates)[:CANDIDATES], loan, rules, business_now, holder)
        return [s for s, verdict in judged if isinstance(verdict, Accepted)][:wanted]

    start = slot.start_utc if slot else business_now
    same = sorted(slots.branch_slots(connection, branch, day, day), key=lambda s: abs(s.start_utc - start))
    other = slots.first_free_slots(
        connection, branch_id=branch, first=max(today, day - timedelta(days=DAYS_BEFORE)),
        last=day + timedelta(days=DAYS_AFTER),
    )
    near = sorted((s for s in other if s.service_day != day), key=lambda s: abs(s.service_day - day))
    around = slots.first_free_slots(connection, region_id=region, first=day, last=day, limit=CANDIDATES)
    elsewhere = (s for s in around if s.branch_id != branch)
    return list(
        chain(free((s for s in same if s.free_units), SAME_DAY), free(near, OTHER_DAYS),
              free(elsewhere, OTHER_BRANCHES))
    )


def _take_slot(wish: Wish, slot: SlotState, rules: Rules) -> Remedy:
    body: dict[str, Any] = {"loan": wish.loan_ref, "slot": slot.slot_id, "channel": wish.channel}
    if wish.amount_cny is not None:
        body["amount"] = str(wish.amount_cny)
    body |= {k: v for k, v in (("option", wish.option), ("contact", wish.contact)) if v is not None}
    return {
        "action": "take_slot", "slot": slot.slot_id, "branch": slot.branch_id,
        "start": slot.start_utc.astimezone(rules.zone).isoformat(),
        "method": "POST", "href": "/v1/bookings", "body": body,
    }
