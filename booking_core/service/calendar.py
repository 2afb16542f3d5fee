"""What can be looked at: branches, a branch's calendar, a loan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from booking_core.domain import Accepted, Refused, SlotState, Wish
from booking_core.remedies import Situation, judged
from booking_core.service.availability import availability_of
from booking_core.service.batch import Batch, Job, Needs
from booking_core.service.batching import do
from booking_core.service.bookings import Refusal, forbidden, local_time
from booking_core.service.core import Asking, Core, moment
from booking_core.store import slots
from booking_core.store.availability import BranchDays
from metrics.contract import Cause, Channel, Reason

PAGE_DAYS: Final = 31
"""Days of a calendar in one answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A calendar asked for: a branch and its days, first and last included."""

    branch_id: str
    first: date
    last: date
    loan_ref: str | None = None
    channel: Channel = Channel.APP


def branches(core: Core, asking: Asking, *, after: str, limit: int) -> dict[str, Any]:
    """Active branches within the caller's claim, by id; `next_cursor` where there are more."""
    with core.engine.connect() as connection:
        rows = slots.branches(connection, region_id=asking.caller.region_id, after=after, limit=limit + 1)
    page = [dict(row._mapping) for row in rows[:limit]]  # noqa: SLF001 – SQLAlchemy's public name for it
    return {"branches": page, "next_cursor": page[-1]["branch_id"] if len(rows) > limit else None}


def calendar(core: Core, asking: Asking, asked: Asked) -> dict[str, Any] | Refusal | None:
    """The branch's slots of the days, each judged by `decide`; None for an unknown branch.

    With a loan whose whole range is full, the look counts as a wish for the first open day.
    """
    last = asked.first + min(asked.last - asked.first, timedelta(days=PAGE_DAYS - 1))
    available, channel = availability_of(core), asked.channel.value
    view = available.look(BranchDays(asked.branch_id, asked.first, last, channel))
    if view.region_id is None:
        return None
    if not asking.caller.may_see(view.region_id):
        return Refusal(forbidden(view.region_id))
    with core.engine.connect() as connection:
        now = moment(core, connection)
        loan = slots.read_loan(connection, asked.loan_ref) if asked.loan_ref else None
    seen = Situation(None, loan, now.rules, now.business, asking.caller.holder)
    if asked.loan_ref and seen.own_loan is None:
        return Refusal(Refused(Reason.LOAN_NOT_FOUND, context={"loan": asked.loan_ref}))
    wish = Wish(asked.loan_ref or "", "", asked.channel)
    found = [(slot, judged(view, slot, wish, seen)) for slot in view.slots]
    available.note_shown((slot.slot_id for slot, verdict in found if isinstance(verdict, Accepted)), channel)
    if asked.loan_ref and asked.last <= last:
        _fold_full_range(core, asked.loan_ref, asked.channel, found)
    zone = now.rules.zone
    return {
        "slots": [
            {
                "slot": slot.slot_id,
                "branch": slot.branch_id,
                "service_day": slot.service_day.isoformat(),
                "start": local_time(slot.start_utc, zone),
                "end": local_time(slot.end_utc, zone),
                "free_units": view.free_units(slot),
                "bookable": isinstance(verdict, Accepted),
                "reason": verdict.reason if isinstance(verdict, Refused) else None,
            }
            for slot, verdict in found
        ],
        "next_cursor": (last + timedelta(days=1)).isoformat() if last < asked.last else None,
    }


def loan(core: Core, asking: Asking, loan_ref: str) -> dict[str, Any] | Refusal:
    """The loan as imported, with its live booking."""
    with core.engine.connect() as connection:
        state = slots.read_loan(connection, loan_ref)
        if state is None or asking.caller.holder not in {None, state.holder}:
            return Refusal(Refused(Reason.LOAN_NOT_FOUND, context={"loan": loan_ref}))
        region = slots.region_of(connection, state.branch_id)
    if not asking.caller.may_see(region):
        return Refusal(forbidden(region))
    return {
        "loan": state.loan_ref,
        "branch": state.branch_id,
        "status": state.status,
        "payoff": str(state.payoff_cny),
        "min_prepayment": str(state.min_prepayment_cny),
        "eligible_from": state.eligible_from and state.eligible_from.isoformat(),
        "live_booking": state.live_booking_ref,
    }


def _fold_full_range(
    core: Core, loan_ref: str, channel: Channel, found: Sequence[tuple[SlotState, Accepted | Refused]]
) -> None:
    """Count a look at a range that is full to its last open slot as a wish for its first open day."""
    refused = [(slot, verdict.reason) for slot, verdict in found if isinstance(verdict, Refused)]
    full = [(slot, reason) for slot, reason in refused if reason.cause is Cause.CAPACITY]
    if not full or len(refused) < len(found):
        return
    slot, reason = full[0]  # slots come in order of time

    def work(batch: Batch) -> None:
        batch.fold(loan_ref, slot, channel.value, reason=reason)

    do(core, Job(Needs(loans=(loan_ref,)), work))
