"""Quotas: read with their counters; standing limits and temporary extra units, set by an operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictInt
from sqlalchemy import Connection, Row

from booking_core.domain import FieldError, QuotaKey, next_period_start, period_start
from booking_core.service import extras
from booking_core.service.commands import Command, CommandRefused, InvalidCommand, OutsideClaim, record_audit
from booking_core.service.core import Caller
from booking_core.service.plan_drafts import Day, Moment
from booking_core.settings import load_settings
from booking_core.store import quotas, temporaries
from metrics.contract import PeriodKind, PlanRefusal

MOST_UNITS: Final = 1_000_000
MOST_CNY: Final = 10**12
"""Of a limit or extra: in units, and in CNY of a day's funds."""


class TemporaryDraft(BaseModel):
    """The body of POST /v1/quotas/temporary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temporary_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:+-]{1,64}$")]
    quota_id: Annotated[str, Field(max_length=160)]
    period_start: Day
    extra_units: Annotated[StrictInt, Field(gt=0, le=MOST_CNY)]
    expires: Moment
    """Wall time."""


@dataclass(frozen=True, slots=True)
class StoredTemporary:
    """A temporary quota as stored, and whether this request made it."""

    row: Row[Any]
    created: bool


def list_quotas(
    connection: Connection,
    filters: Mapping[str, str | None],
    span: tuple[date | None, date | None],
    caller: Caller,
) -> tuple[list[Row[Any]], list[Row[Any]], list[Row[Any]]]:
    """The standing limits, the counted periods with the limit in force, the temporary quotas in force.

    Those that filters (scope_kind, scope_id), span of period starts and region claim let through.
    """
    regions = quotas.scope_regions(connection)

    def seen(row: Row[Any]) -> bool:
        return caller.may_see(regions.get((row.scope_kind, row.scope_id), ""))

    standing = [row for row in quotas.standing_rows(connection, filters) if seen(row)]
    counted = [row for row in quotas.counted_rows(connection, filters, *span) if seen(row)]
    return standing, counted, [row for row in temporaries.in_force(connection, filters, *span) if seen(row)]


def put_quota(
    connection: Connection, quota_id: str, limit_units: int, command: Command
) -> QuotaKey | CommandRefused | OutsideClaim | InvalidCommand:
    """The quota whose standing limit was set. No booking is cancelled, however low the limit.

    A level that had no limit so far starts counting: the periods booked already get their counters here.
    """
    quotas.lock_slots(connection)
    key = _steered(connection, quota_id, command)
    if not isinstance(key, QuotaKey):
        return key
    if error := _too_many(key, limit_units, "/limit_units"):
        return InvalidCommand((error,))
    quotas.make_counters(connection, quotas.booked_periods(connection, key, _today(connection, command)))
    before = quotas.put_standing(connection, key, limit_units, command.now)
    record_audit(
        connection, command, "quota.put", quota_id, {"limit_units": before}, {"limit_units": limit_units}
    )
    return key


def put_temporary(
    connection: Connection, draft: TemporaryDraft, command: Command
) -> StoredTemporary | CommandRefused | OutsideClaim | InvalidCommand:
    """The extra units that were put in force until they expire; the same draft again changes nothing."""
    quotas.lock_slots(connection)
    key = _steered(connection, draft.quota_id, command)
    if not isinstance(key, QuotaKey):
        return key
    if known := temporaries.read_temporary(connection, draft.temporary_id):
        told = (key, draft.period_start), draft.extra_units, draft.expires
        same = told == (quotas.period_of(known), known.extra_units, known.expires_utc)
        return StoredTemporary(known, created=False) if same else InvalidCommand((_taken(draft),))
    if errors := _unfit(draft, key, _today(connection, command), command.now):
        return InvalidCommand(errors)
    period = (key, draft.period_start)
    counter = quotas.read_counters(connection, [period]).get(period)
    if not quotas.standing_limits(connection, [period]) and (not counter or counter.override_units is None):
        return CommandRefused(PlanRefusal.QUOTA_NOT_FOUND, {"quota_id": draft.quota_id})
    quotas.make_counters(connection, [period])
    temporaries.add_temporary(
        connection,
        period,
        temporary_id=draft.temporary_id,
        extra_units=draft.extra_units,
        expires_utc=draft.expires,
        created_utc=command.now,
        created_by=command.actor,
    )
    after = draft.model_dump(mode="json", exclude={"temporary_id"})
    record_audit(connection, command, "quota.temporary", draft.temporary_id, None, after)
    row = temporaries.read_temporary(connection, draft.temporary_id)
    assert row is not None  # noqa: S101 – written above
    return StoredTemporary(row, created=True)


def end_temporary(
    connection: Connection, temporary_id: str, command: Command
) -> str | CommandRefused | OutsideClaim:
    """The id of the temporary quota that is in force no longer; ending it twice changes nothing."""
    row = temporaries.read_temporary(connection, temporary_id)
    if row is None:
        missing = {"what": f"temporary quota {temporary_id}", "what_zh": f"临时名额 {temporary_id}"}
        return CommandRefused(PlanRefusal.RESOURCE_NOT_FOUND, missing)
    region = quotas.scope_regions(connection)[row.scope_kind, row.scope_id]
    if not command.caller.may_see(region):
        return OutsideClaim(region)
    if temporaries.end_temporaries(connection, [temporary_id], command.now):
        extra = {"extra_units": row.extra_units}
        record_audit(connection, command, "quota.temporary_end", temporary_id, extra, None)
    return temporary_id


def _steered(
    connection: Connection, quota_id: str, command: Command
) -> QuotaKey | CommandRefused | OutsideClaim:
    """The quota of the id, if there is such a scope and the caller may steer it."""
    regions = quotas.scope_regions(connection)
    key = quotas.key_of(quota_id)
    if key is None or (key.scope_kind, key.scope_id) not in regions:
        return CommandRefused(PlanRefusal.QUOTA_NOT_FOUND, {"quota_id": quota_id})
    region = regions[key.scope_kind, key.scope_id]
    return key if command.caller.may_see(region) else OutsideClaim(region)


def _today(connection: Connection, command: Command) -> date:
    bank = load_settings(connection)
    return bank.local_day(bank.business_now(command.now))


def _too_many(key: QuotaKey, units: int, pointer: str) -> FieldError | None:
    """What is wrong with a limit that only a day's funds may have, or None."""
    if key.period_kind is PeriodKind.FUNDS_DAY or units <= MOST_UNITS:
        return None
    text = f"at most {MOST_UNITS:,} units; only a {PeriodKind.FUNDS_DAY}, which counts CNY, may have more"
    return FieldError(pointer, text, f"最多 {MOST_UNITS:,} 个名额；仅以元计的 {PeriodKind.FUNDS_DAY} 可更多")


def _taken(draft: TemporaryDraft) -> FieldError:
    text = f"{draft.temporary_id} stands for other extra units; choose a new id"
    return FieldError("/temporary_id", text, f"编号 {draft.temporary_id} 已用于其他临时名额，请使用新的编号")


def _unfit(draft: TemporaryDraft, key: QuotaKey, today: date, now: datetime) -> tuple[FieldError, ...]:
    """What is wrong with the draft of a temporary quota that is new."""
    errors = []
    if extras.is_of_a_plan(draft.temporary_id):
        text = "ids that end in : and a number are those of plans' extra units; choose another one"
        errors.append(
            FieldError("/temporary_id", text, "以冒号加数字结尾的编号留给计划的临时名额，请使用其他编号")
        )
    kind, start = key.period_kind, draft.period_start
    if start != (first := period_start(kind, start)):
        text = f"the {kind} of {start} starts on {first}"
        errors.append(FieldError("/period_start", text, f"{start} 所在的 {kind} 周期始于 {first}"))
    elif next_period_start(kind, start) <= today:
        text = f"the {kind} from {start} is over; today is {today}"
        errors.append(FieldError("/period_start", text, f"自 {start} 起的周期已结束，今天是 {today}"))
    if draft.expires <= now:
        text = f"{draft.expires.isoformat()} is past; it is {now.isoformat(timespec='seconds')} now"
        text_zh = f"{draft.expires.isoformat()} 已过，当前时间为 {now.isoformat(timespec='seconds')}"
        errors.append(FieldError("/expires", text, text_zh))
    many = _too_many(key, draft.extra_units, "/extra_units")
    return (*errors, many) if many else tuple(errors)
