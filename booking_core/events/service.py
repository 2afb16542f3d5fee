"""Events are announced and ended, never changed and never erased: past forecasts must stay explainable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row

from booking_core.domain import FieldError
from booking_core.events import store
from booking_core.events.drafts import EventDraft
from booking_core.service.commands import Command, CommandRefused, InvalidCommand, OutsideClaim, record_audit
from booking_core.store.quotas import scope_regions
from metrics.contract import BANK_SCOPE_ID, PlanRefusal, ScopeKind

LONGEST_DAYS: Final = 366
"""Of one event: a longer one is a slip of the pen, or no event."""

_DRAFTED: Final = tuple(EventDraft.model_fields)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as stored, and whether this request made it."""

    row: Row[Any]
    created: bool = False


def announce(
    connection: Connection, draft: EventDraft, command: Command
) -> StoredEvent | OutsideClaim | InvalidCommand:
    """The event as stored, by this command or by an earlier one with the same id and body."""
    region = _region_of(connection, draft.scope)
    if region is None:
        return InvalidCommand((_no_scope(draft.scope),))
    if not command.caller.may_see(region):
        return OutsideClaim(region)
    if known := store.event_row(connection, draft.event_id):
        told = {name: getattr(known, name) for name in _DRAFTED}
        return StoredEvent(known) if told == draft.model_dump() else InvalidCommand((_taken(draft),))
    if errors := _unfit(draft):
        return InvalidCommand(errors)
    store.insert_event(connection, **draft.model_dump(), created_by=command.actor, created_utc=command.now)
    after = draft.model_dump(mode="json", exclude={"event_id"})
    record_audit(connection, command, "event.create", draft.event_id, None, after)
    row = store.event_row(connection, draft.event_id)
    assert row is not None  # noqa: S101 – written above
    return StoredEvent(row, created=True)


def end(
    connection: Connection, event_id: str, command: Command
) -> StoredEvent | CommandRefused | OutsideClaim:
    """The event, which no later forecast sees; ending it twice changes nothing."""
    row = store.event_row(connection, event_id)
    if row is None:
        missing = {"what": f"event {event_id}", "what_zh": f"事件 {event_id}"}
        return CommandRefused(PlanRefusal.RESOURCE_NOT_FOUND, missing)
    region = _region_of(connection, row.scope) or BANK_SCOPE_ID
    if not command.caller.may_see(region):
        return OutsideClaim(region)
    if not store.end_event(connection, event_id, command.now):
        return StoredEvent(row)
    ended = {"ended": command.now.isoformat()}
    record_audit(connection, command, "event.end", event_id, {"ended": None}, ended)
    ended_row = store.event_row(connection, event_id)
    assert ended_row is not None  # noqa: S101 – updated above
    return StoredEvent(ended_row)


def _region_of(connection: Connection, scope: str) -> str | None:
    """The region of the scope, "bank" for the bank; None where the bank has no such scope."""
    kind, _, scope_id = scope.partition(":")
    return scope_regions(connection).get((kind, scope_id))


def _no_scope(scope: str) -> FieldError:
    expected = f"{ScopeKind.BANK}:{BANK_SCOPE_ID}, {ScopeKind.REGION}:ID, {ScopeKind.BRANCH}:ID"
    text = f"{scope!r} names no scope of this bank; expected one of {expected}"
    return FieldError("/scope", text, f"{scope!r} 不是本行的范围；格式为 {expected}")


def _taken(draft: EventDraft) -> FieldError:
    text = f"{draft.event_id} stands for another event; end that one, or choose a new id"
    return FieldError("/event_id", text, f"编号 {draft.event_id} 已用于其他事件，请结束该事件或使用新的编号")


def _unfit(draft: EventDraft) -> tuple[FieldError, ...]:
    """What is wrong with the days of the draft of an event that is new."""
    first, last = draft.first_day, draft.last_day
    if last < first:
        text = f"{last} is before first_day {first}"
        return (FieldError("/last_day", text, f"{last} 早于 first_day {first}"),)
    if (last - first).days >= LONGEST_DAYS:
        text = f"from {first} to {last} are more than {LONGEST_DAYS} days; announce a shorter event"
        return (FieldError("/last_day", text, f"{first} 至 {last} 超过 {LONGEST_DAYS} 天，请缩短"),)
    return ()
