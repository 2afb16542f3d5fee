"""Quota levels of a slot: which limits stand, what is used of them, locked in the one fixed order.

docs/locking.md says why this never oversells and never deadlocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from booking_core import tables as t
from booking_core.decide import SCOPE_ORDER
from booking_core.domain import (
    QuotaKey,
    QuotaState,
    Refused,
    SlotState,
    next_period_start,
    period_start,
)
from booking_core.store import locking
from booking_core.store.limits import COUNTED_STATUSES
from booking_core.store.limits import Period as Level
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, PeriodKind, ScopeKind

_P = t.quota_periods.c
_ROW = (_P.scope_kind, _P.scope_id, _P.channel, _P.period_kind, _P.period_start)


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of one slot: those with a limit, to judge; and every counter, to move."""

    judged: tuple[QuotaState, ...]
    counted: tuple[Level, ...]


def levels_of(slot: SlotState, channel: str) -> list[Level]:
    """Every level that may limit the slot, in lock order.

    Branch, region, bank × day, week, month × all channels, the channel.
    """
    scope_ids = {
        ScopeKind.BRANCH: slot.branch_id,
        ScopeKind.REGION: slot.region_id,
        ScopeKind.BANK: BANK_SCOPE_ID,
    }
    return [
        (QuotaKey(scope, scope_ids[scope], period, name), period_start(period, slot.service_day))
        for scope in SCOPE_ORDER
        for period in PeriodKind
        for name in (ALL_CHANNELS, channel)
    ]


def lock_levels(connection: Connection, slot: SlotState, channel: str) -> Levels:
    """The levels of a slot that is already locked, their counters locked in order, made where missing."""
    levels = levels_of(slot, channel)
    standing = standing_limits(connection, levels)
    present = {level for level, _, _ in _periods(connection, levels, lock=False)}
    for level in levels:
        if level[0] in standing and level not in present:
            create_period(connection, level)
    rows = _periods(connection, levels, lock=True)
    return Levels(
        judged=tuple(
            QuotaState(level[0], level[1], limit, used)
            for level, used, override in rows
            if (limit := standing.get(level[0]) if override is None else override) is not None
        ),
        counted=tuple(level for level, _, _ in rows),
    )


def read_levels(
    connection: Connection, slots: Sequence[SlotState], channel: str
) -> dict[str, tuple[QuotaState, ...]]:
    """The limits of each slot (by slot id) as committed, without locks: for calendars and remedies."""
    by_slot = {slot.slot_id: levels_of(slot, channel) for slot in slots}
    levels = list(dict.fromkeys(level for some in by_slot.values() for level in some))
    standing = standing_limits(connection, levels)
    rows = {level: (used, override) for level, used, override in _periods(connection, levels, lock=False)}
    missing = [level for level in levels if level not in rows and level[0] in standing]
    rows |= {level: (used, None) for level, used in _count_many(connection, missing).items()}
    states = {
        level: QuotaState(level[0], level[1], limit, used)
        for level, (used, override) in rows.items()
        if (limit := standing.get(level[0]) if override is None else override) is not None
    }
    return {slot_id: tuple(states[x] for x in some if x in states) for slot_id, some in by_slot.items()}


def add_units(connection: Connection, levels: Iterable[Level], units: int) -> None:
    """Move the locked counters by `units` (negative gives back)."""
    rows = [_row(level) for level in levels]
    if rows:
        statement = update(t.quota_periods).where(tuple_(*_ROW).in_(rows))
        connection.execute(statement.values(used_units=_P.used_units + units))


def create_period(connection: Connection, level: Level) -> None:
    """Make the counter of a level, counting what is booked already; nothing if another was faster."""
    key, start = level
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(t.quota_periods).values(
        scope_kind=key.scope_kind,
        scope_id=key.scope_id,
        channel=key.channel,
        period_kind=key.period_kind,
        period_start=start,
        used_units=count_units(connection, level),
    )
    connection.execute(statement.on_conflict_do_nothing())


def count_units(connection: Connection, level: Level) -> int:
    """The units booked in the level, counted from the bookings."""
    return _count_many(connection, [level])[level]


def standing_limits(connection: Connection, levels: Iterable[Level]) -> dict[QuotaKey, int]:
    """The standing limits of these levels; absent = none."""
    ids = sorted({key.quota_id for key, _ in levels})
    statement = select(t.quotas).where(t.quotas.c.quota_id.in_(ids))
    return {
        QuotaKey(ScopeKind(r.scope_kind), r.scope_id, PeriodKind(r.period_kind), r.channel): r.limit_units
        for r in connection.execute(statement)
    }


def with_next_limits(connection: Connection, refused: Refused) -> Refused:
    """The refusal with each violation's limit of the next period, where one is known."""
    nexts: dict[str, Level] = {}
    for v in refused.violations:
        if v.period_kind != "slot" and v.next_period_starts is not None:
            channel = v.quota_id.rsplit(":", 2)[1]
            key = QuotaKey(ScopeKind(v.scope_kind), v.scope_id, PeriodKind(v.period_kind), channel)
            nexts[v.quota_id] = (key, v.next_period_starts)
    if not nexts:
        return refused
    limits: dict[QuotaKey, int | None] = dict(standing_limits(connection, nexts.values()))
    for (key, _), _, override in _periods(connection, list(nexts.values()), lock=False):
        limits[key] = limits.get(key) if override is None else override
    violations = tuple(
        replace(v, next_limit_units=limits.get(nexts[v.quota_id][0])) if v.quota_id in nexts else v
        for v in refused.violations
    )
    return replace(refused, violations=violations)


def _periods(
    connection: Connection, levels: Sequence[Level], *, lock: bool
) -> list[tuple[Level, int, int | None]]:
    """Existing counters of the levels as (level, used, override), in lock order."""
    scopes = {kind: n for n, kind in enumerate(SCOPE_ORDER)}
    periods = {kind: n for n, kind in enumerate(PeriodKind)}
    found: list[Row[*tuple[Any, ...]]] = []
    for part in range(0, len(levels), 500):  # SQLite allows 32,766 bound values a statement
        rows = [_row(level) for level in levels[part : part + 500]]
        statement = (
            select(t.quota_periods)
            .where(tuple_(*_ROW).in_(rows))
            .order_by(
                case(scopes, value=_P.scope_kind),
                _P.scope_id,
                case(periods, value=_P.period_kind),
                _P.period_start,
                _P.channel,
            )
        )
        found += connection.execute(locking.lock_clause(statement) if lock else statement).all()
    return [
        (
            (
                QuotaKey(ScopeKind(r.scope_kind), r.scope_id, PeriodKind(r.period_kind), r.channel),
                r.period_start,
            ),
            r.used_units,
            r.limit_units,
        )
        for r in found
    ]


def _count_many(connection: Connection, levels: Sequence[Level]) -> dict[Level, int]:
    """Units booked in each level, with one query for each scope and channel."""
    counts = dict.fromkeys(levels, 0)
    groups: dict[tuple[str, str, str], list[Level]] = {}
    for level in levels:
        groups.setdefault((level[0].scope_kind, level[0].scope_id, level[0].channel), []).append(level)
    b = t.bookings.c
    for (scope_kind, scope_id, channel), some in groups.items():
        first = min(start for _, start in some)
        end = max(next_period_start(key.period_kind, start) for key, start in some)
        where: list[ColumnElement[Any]] = [
            b.service_day >= first,
            b.service_day < end,
            b.status.in_(COUNTED_STATUSES),
        ]
        if scope_kind != ScopeKind.BANK:
            where.append((b.branch_id if scope_kind == ScopeKind.BRANCH else b.region_id) == scope_id)
        if channel != ALL_CHANNELS:
            where.append(b.channel == channel)
        days = connection.execute(
            select(b.service_day, func.sum(b.units)).where(*where).group_by(b.service_day)
        ).all()
        for level in some:
            kind, start = level[0].period_kind, level[1]
            counts[level] = sum(units for day, units in days if period_start(kind, day) == start)
    return counts


def _row(level: Level) -> tuple[str, str, str, str, date]:
    key, start = level
    return key.scope_kind.value, key.scope_id, key.channel, key.period_kind.value, start
