"""Rosters are stated and ended, never changed and never erased: past plans must stay explainable.

For each branch, day and skill at most one standing roster tells who is there, so that no head counts twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from booking_core.domain import FieldError
from booking_core.rosters import store
from booking_core.rosters.drafts import RosterDraft
from booking_core.service.commands import Command, CommandRefused, InvalidCommand, OutsideClaim, record_audit
from booking_core.store.quotas import scope_regions
from booking_core.words import word_zh
from metrics.contract import PlanRefusal, ScopeKind

LONGEST: Final = timedelta(days=366)
"""From a roster's first day to its last."""


@dataclass(frozen=True, slots=True)
class StoredRoster:
    """A roster as stored, and whether this request made it."""

    row: Row[Any]
    created: bool = False


def state(
    connection: Connection, draft: RosterDraft, command: Command
) -> StoredRoster | OutsideClaim | InvalidCommand:
    """The roster as stored, by this command or by an earlier one with the same id and body."""
    region = _region_of(connection, draft.branch)
    if region is None:
        text = f"{draft.branch!r} is no branch of this bank"
        return InvalidCommand((FieldError("/branch", text, f"{draft.branch!r} 不是本行的网点"),))
    if not command.caller.may_see(region):
        return OutsideClaim(region)
    store.lock_branch(connection, draft.branch)
    entries = draft.stored_entries()
    if known := store.roster_row(connection, draft.roster_id):
        same = (known.branch_id, known.entries) == (draft.branch, entries)
        return StoredRoster(known) if same else InvalidCommand((_taken(draft),))
    if errors := _unfit(draft) or _told_already(connection, draft):
        return InvalidCommand(errors)
    first, last = _span(draft)
    store.insert_roster(
        connection,
        roster_id=draft.roster_id,
        branch_id=draft.branch,
        first_day=first,
        last_day=last,
        entries=entries,
        created_by=command.actor,
        created_utc=command.now,
    )
    after = {"branch": draft.branch, "entries": entries}
    record_audit(connection, command, "roster.create", draft.roster_id, None, after)
    row = store.roster_row(connection, draft.roster_id)
    assert row is not None  # noqa: S101 – written above
    return StoredRoster(row, created=True)


def end(
    connection: Connection, roster_id: str, command: Command
) -> StoredRoster | CommandRefused | OutsideClaim:
    """The roster, which no later plan sees; ending it twice changes nothing."""
    row = store.roster_row(connection, roster_id)
    if row is None:
        missing = {"what": f"roster {roster_id}", "what_zh": f"排班 {roster_id}"}
        return CommandRefused(PlanRefusal.RESOURCE_NOT_FOUND, missing)
    region = _region_of(connection, row.branch_id)
    if region is None or not command.caller.may_see(region):
        return OutsideClaim(region or "")
    if not store.end_roster(connection, roster_id, command.now):
        return StoredRoster(row)
    ended = {"ended": command.now.isoformat()}
    record_audit(connection, command, "roster.end", roster_id, {"ended": None}, ended)
    ended_row = store.roster_row(connection, roster_id)
    assert ended_row is not None  # noqa: S101 – updated above
    return StoredRoster(ended_row)


def _region_of(connection: Connection, branch: str) -> str | None:
    return scope_regions(connection).get((ScopeKind.BRANCH, branch))


def _span(draft: RosterDraft) -> tuple[date, date]:
    days = [entry.day for entry in draft.entries]
    return min(days), max(days)


def _taken(draft: RosterDraft) -> FieldError:
    text = f"{draft.roster_id} stands for another roster; end that one, or choose a new id"
    return FieldError(
        "/roster_id", text, f"编号 {draft.roster_id} 已用于其他排班，请结束该排班或使用新的编号"
    )


def _unfit(draft: RosterDraft) -> tuple[FieldError, ...]:
    """What is wrong with the times and days of a roster that is new."""
    errors = [
        FieldError(
            f"/entries/{n}/to", f"{e.until} is not after {e.first}", f"{e.until} 须晚于开始时间 {e.first}"
        )
        for n, e in enumerate(draft.entries)
        if e.until <= e.first
    ]
    first, last = _span(draft)
    if last - first > LONGEST:
        text = f"from {first} to {last} are more than {LONGEST.days} days; state shorter rosters"
        errors.append(FieldError("/entries", text, f"{first} 至 {last} 超过 {LONGEST.days} 天，请分开提交"))
    return tuple(errors)


def _told_already(connection: Connection, draft: RosterDraft) -> tuple[FieldError, ...]:
    """The first entry of which another standing roster tells already who is there."""
    told = {
        (entry["day"], entry["skill"]): row.roster_id
        for row in store.standing_rosters(connection, draft.branch, *_span(draft))
        for entry in row.entries
    }
    for n, entry in enumerate(draft.entries):
        if other := told.get((entry.day.isoformat(), str(entry.skill))):
            text = (
                f"roster {other} tells already who is at the {entry.skill} of {draft.branch} on {entry.day}: "
                "end it first"
            )
            skill = word_zh("skill", entry.skill)
            zh = f"排班 {other} 已安排 {draft.branch} 于 {entry.day} 的{skill}，请先结束该排班"
            return (FieldError(f"/entries/{n}/day", text, zh),)
    return ()
