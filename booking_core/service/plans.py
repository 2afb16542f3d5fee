"""Plans: created once, judged by status, applied and taken back in one transaction each.

Every command takes `lock_plans` first; a quota plan's application then takes `lock_slots` and the counters
in the fixed order of the booking transaction (docs/locking.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from booking_core.domain import FieldError
from booking_core.service import extras
from booking_core.service.commands import Command, CommandRefused, InvalidCommand, OutsideClaim, record_audit
from booking_core.service.core import Caller
from booking_core.service.plan_drafts import PlanDraft
from booking_core.settings import load_settings
from booking_core.store import plans, quotas
from metrics.contract import NOBODY_DECIDED, PlanRefusal


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided outside of the core, told by whoever bears the token."""

    by: str | None = None
    """The person's name; None = the bearer of the token."""
    note: str | None = None


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan with its items as stored; `created` only for the call that stored it."""

    row: Row[Any]
    items: list[Row[Any]]
    created: bool = False


PlanAnswer = StoredPlan | CommandRefused | OutsideClaim


def create_plan(connection: Connection, draft: PlanDraft, command: Command) -> PlanAnswer | InvalidCommand:
    """The plan as stored, by this call or by an earlier one with the same id and body."""
    if not command.caller.may_see(draft.region):
        return OutsideClaim(draft.region)
    plans.lock_plans(connection)
    fingerprint = draft.fingerprint()
    known = plans.plan_row(connection, draft.plan_id)
    if known is not None:
        if known.fingerprint != fingerprint:
            return CommandRefused(PlanRefusal.PLAN_ID_CONFLICT, {"plan_id": draft.plan_id})
        return _stored(connection, draft.plan_id)
    errors = _misfits(connection, draft)
    if errors:
        return InvalidCommand(errors)
    if draft.keeps:
        status = "kept"
    elif draft.kind != "server" and plans.applies_automatically(connection, draft.region) is False:
        status = "shadow"  # within the band or not: it is never applied, so nobody need decide
    else:
        status = "proposed" if draft.in_band else "pending"
    waits = status == "pending" and draft.approval_hours is not None
    plan = {
        **draft.model_dump(exclude={"items", "region", "approval_hours"}),
        "decide_by_utc": command.now + timedelta(hours=draft.approval_hours or 0) if waits else None,
        "region_id": draft.region,
        "status": status,
        "fingerprint": fingerprint,
        "created_utc": command.now,
        "created_by": command.actor,
    }
    plans.insert_plan(connection, plan, [item.columns() for item in draft.items])
    created = {"status": status, "items": len(draft.items)}
    record_audit(connection, command, "plan.create", draft.plan_id, None, created)
    return replace(_stored(connection, draft.plan_id), created=True)


def get_plan(connection: Connection, plan_id: str, command: Command) -> PlanAnswer:
    """The plan with its items."""
    row = plans.plan_row(connection, plan_id)
    if row is None:
        return CommandRefused(PlanRefusal.PLAN_NOT_FOUND, {"plan_id": plan_id})
    if not command.caller.may_see(row.region_id):
        return OutsideClaim(row.region_id)
    return _stored(connection, plan_id)


def approve_plan(
    connection: Connection, plan_id: str, command: Command, decision: Decision | None = None
) -> PlanAnswer:
    """The plan, approved in time: pending -> approved; approving twice changes nothing."""
    return _decide(connection, plan_id, command, "approve", ("pending",), "approved", decision)


def reject_plan(
    connection: Connection, plan_id: str, command: Command, decision: Decision | None = None
) -> PlanAnswer:
    """The plan, rejected before it was ever applied; rejecting twice changes nothing."""
    allowed = ("pending", "proposed", "approved", "shadow")
    return _decide(connection, plan_id, command, "reject", allowed, "rejected", decision)


def reject_overdue(connection: Connection, now: datetime) -> int:
    """How many plans were rejected because nobody had decided by their deadline (wall time)."""
    plans.lock_plans(connection)
    command = Command(Caller("", NOBODY_DECIDED, frozenset()), now)
    overdue = plans.overdue_plans(connection, now)
    for plan in overdue:
        note = f"nobody decided by {plan.decide_by_utc:%Y-%m-%dT%H:%M:%SZ}"
        decided = {"decided_utc": now, "decided_by": NOBODY_DECIDED, "note": note}
        _move(connection, command, "reject", plan, "rejected", {"note": note}, **decided)
    return len(overdue)


def apply_plan(connection: Connection, plan_id: str, command: Command) -> PlanAnswer:
    """The plan, in force: overrides set (never below what is used), the plan before it superseded.

    An extra plan supersedes none: it puts temporary units on top of what stands.
    Applying the plan that is in force changes nothing.
    """
    plans.lock_plans(connection)
    found = get_plan(connection, plan_id, command)
    if not isinstance(found, StoredPlan) or found.row.status == "applied":
        return found
    plan = found.row
    before = None
    if plan.kind != "extra":  # these stand beside each other
        before = plans.latest_plan(connection, plan.kind, plan.region_id, "applied")
    refusal = _why_not_applied(connection, plan, before)
    if refusal is not None:
        return refusal
    if plan.kind == "quota":
        applied = _set_limits(connection, found)
    elif plan.kind == "extra":
        raised = extras.raise_limits(connection, plan_id, found.items, command)
        if isinstance(raised, CommandRefused):
            return raised
        applied = raised
    else:
        applied = {item.seq: (item.new_limit, None) for item in found.items if item.new_limit is not None}
    plans.set_applied_limits(connection, plan_id, applied)
    if before is not None:
        plans.set_status(connection, before.plan_id, "superseded")
    details = {"limits": len(applied), "supersedes": before and before.plan_id}
    return _move(connection, command, "apply", plan, "applied", details, applied_utc=command.now)


def rollback_plan(connection: Connection, plan_id: str, command: Command) -> PlanAnswer:
    """The plan, taken back: the overrides it replaced stand again, and so does the plan before it."""
    plans.lock_plans(connection)
    found = get_plan(connection, plan_id, command)
    if not isinstance(found, StoredPlan) or found.row.status == "rolled_back":
        return found
    plan = found.row
    if plan.status != "applied":
        return _wrong_status(plan, "rollback")
    decided = {"decided_utc": command.now, "decided_by": command.actor}
    answer = _move(connection, command, "rollback", plan, "rolled_back", {}, **decided)
    before = plans.latest_plan(connection, plan.kind, plan.region_id, "superseded")
    if before is not None:
        plans.set_status(connection, before.plan_id, "applied")
    if plan.kind == "quota":
        _restore_limits(connection, found)
    elif plan.kind == "extra":
        extras.take_back(connection, plan_id, found.items, command)
    return answer


def _why_not_applied(
    connection: Connection, plan: Row[Any], before: Row[Any] | None
) -> CommandRefused | None:
    """The first rule that forbids applying the plan, None when it may be applied."""
    context = {"plan_id": plan.plan_id, "status": plan.status, "command": "apply"}
    context |= {"region": plan.region_id, "period": plan.period}
    if before is not None and _moment(plan) < _moment(before):
        newer = {"applied_period": before.period, "applied_plan_id": before.plan_id}
        return CommandRefused(PlanRefusal.PLAN_OLDER_PERIOD, {**context, **newer})
    if plan.status == "pending":
        return CommandRefused(PlanRefusal.PLAN_NEEDS_APPROVAL, context)
    automatic = plan.kind == "server" or plans.applies_automatically(connection, plan.region_id)
    if plan.status == "shadow" or automatic is False:
        return CommandRefused(PlanRefusal.REGION_IN_SHADOW, context)
    if plan.status not in ("proposed", "approved"):
        return CommandRefused(PlanRefusal.PLAN_WRONG_STATUS, context)
    if load_settings(connection).paused:
        return CommandRefused(PlanRefusal.PAUSED, context)
    return None


def _set_limits(connection: Connection, plan: StoredPlan) -> dict[int, tuple[int, int | None]]:
    """What was set by item seq: (limit, override replaced)."""
    quotas.lock_slots(connection)
    wanted = {quotas.period_of(item): item for item in plan.items if item.new_limit is not None}
    quotas.make_counters(connection, wanted)
    replaced = quotas.read_counters(connection, wanted, lock=True)
    # extra units lie on top of the limit, and what uses them needs no room beneath
    limits = {
        period: max(item.new_limit, replaced[period].used_units - replaced[period].extra_units)
        for period, item in wanted.items()
    }
    quotas.set_overrides(connection, {period: (limit, plan.row.plan_id) for period, limit in limits.items()})
    return {item.seq: (limits[period], replaced[period].override_units) for period, item in wanted.items()}


def _restore_limits(connection: Connection, plan: StoredPlan) -> None:
    """Put the overrides back that the plan replaced, each with the plan that had set it."""
    touched = {quotas.period_of(item): item for item in plan.items if item.applied_limit is not None}
    if not touched:
        return
    quotas.lock_slots(connection)
    first = min(start for _, start in touched)
    setters = plans.override_setters(connection, plan.row.region_id, first)
    set_by = {quotas.period_of(item): item.plan_id for item in setters}
    restored = {period: item.before_override for period, item in touched.items()}
    quotas.set_overrides(
        connection,
        {period: (old, None if old is None else set_by.get(period)) for period, old in restored.items()},
    )


def _decide(
    connection: Connection,
    plan_id: str,
    command: Command,
    verb: str,
    allowed: tuple[str, ...],
    status: str,
    decision: Decision | None,
) -> PlanAnswer:
    plans.lock_plans(connection)
    found = get_plan(connection, plan_id, command)
    if not isinstance(found, StoredPlan) or found.row.status == status:
        return found
    deadline = found.row.decide_by_utc
    overdue = found.row.status == "pending" and deadline is not None and deadline <= command.now
    if found.row.status not in allowed or (overdue and verb == "approve"):
        return _wrong_status(found.row, verb, overdue=overdue)
    made = decision or Decision()
    decided = {"decided_utc": command.now, "decided_by": (made.by or command.actor)[:64], "note": made.note}
    return _move(connection, command, verb, found.row, status, asdict(made) if decision else {}, **decided)


def _move(
    connection: Connection,
    command: Command,
    verb: str,
    plan: Row[Any],
    status: str,
    details: dict[str, Any],
    **values: Any,
) -> StoredPlan:
    """The plan in its new status, with the audit row of the move."""
    plans.set_status(connection, plan.plan_id, status, **values)
    before, after = {"status": plan.status}, {"status": status, **details}
    record_audit(connection, command, f"plan.{verb}", plan.plan_id, before, after)
    return _stored(connection, plan.plan_id)


def _misfits(connection: Connection, draft: PlanDraft) -> tuple[FieldError, ...]:
    """What the draft names that the bank does not have, or that lies outside its region."""
    if draft.kind == "server":
        return ()
    regions = quotas.scope_regions(connection)
    if draft.region not in regions.values():
        return (FieldError("/region", f"region {draft.region!r} is unknown", f"没有分区 {draft.region}"),)
    return tuple(
        FieldError(
            f"/items/{n}/scope_id",
            f"{item.scope_kind} {item.scope_id!r} is no scope of region {draft.region!r}",
            f"{item.scope_kind} {item.scope_id} 不属于分区 {draft.region}",
        )
        for n, item in enumerate(draft.items)
        if regions.get((item.scope_kind, item.scope_id)) != draft.region
    )


def _wrong_status(plan: Row[Any], verb: str, *, overdue: bool = False) -> CommandRefused:
    context = {"plan_id": plan.plan_id, "status": plan.status, "command": verb}
    if overdue:
        context |= {"case": "overdue", "deadline": plan.decide_by_utc.isoformat(timespec="seconds")}
    return CommandRefused(PlanRefusal.PLAN_WRONG_STATUS, context)


def _moment(plan: Row[Any]) -> date | datetime:
    """The plan's period as a value that orders (days for quota plans, times for server plans)."""
    parse = datetime.fromisoformat if plan.kind == "server" else date.fromisoformat
    return parse(plan.period)


def _stored(connection: Connection, plan_id: str) -> StoredPlan:
    row = plans.plan_row(connection, plan_id)
    if row is None:
        raise LookupError(f"plan {plan_id!r} vanished within its own transaction")
    return StoredPlan(row, plans.item_rows(connection, plan_id))
