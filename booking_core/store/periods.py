"""SQL that sets limits of concrete periods from outside a booking: plans, and new standing limits.

Counters are kept only for rows of quota_periods that exist, so whoever creates a row counts the bookings
that are there already, under `lock_slots`: no booking can slip between the count and the row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import product
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from booking_core.decide import SCOPE_ORDER
from booking_core.domain import QuotaKey, next_period_start, period_start
from booking_core.store.limits import COUNTED_STATUSES, Period, quota_key
from booking_core.tables import bookings, quota_periods
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, PeriodKind, ScopeKind


@dataclass(frozen=True, slots=True)
class PeriodRow:
    """A row of quota_periods: what is used, and the override with the plan that set it."""

    used_units: int
    override_units: int | None
    plan_id: str | None


def lock_slots(connection: Connection) -> None:
    """Keep bookings out until the transaction ends (each locks its slot row first); SQLite has one writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE slots IN EXCLUSIVE MODE"))


def locked_periods(connection: Connection, wanted: Collection[Period]) -> dict[Period, PeriodRow]:
    """The rows of these periods, locked, and made (counted) where missing; call `lock_slots` before."""
    found = _existing(connection, wanted)
    missing = [period for period in wanted if period not in found]
    if not missing:
        return found
    end = max(next_period_start(key.period_kind, start) for key, start in missing)
    used = recount(connection, min(start for _, start in missing), end)
    connection.execute(
        insert(quota_periods), [{**_named(period), "used_units": used[period]} for period in missing]
    )
    return found | {period: PeriodRow(used[period], None, None) for period in missing}


def set_overrides(connection: Connection, overrides: Mapping[Period, tuple[int | None, str | None]]) -> None:
    """Set (override, plan behind it) on rows that exist."""
    statement = (
        update(quota_periods)
        .where(*(quota_periods.c[name] == bindparam(f"_{name}") for name in _NAMES))
        .values(limit_units=bindparam("_limit"), plan_id=bindparam("_plan"))
    )
    rows = [
        {f"_{name}": value for name, value in _named(period).items()} | {"_limit": limit, "_plan": plan_id}
        for period, (limit, plan_id) in overrides.items()
    ]
    if rows:
        connection.execute(statement, rows)


def recount(connection: Connection, first: date, end: date | None = None) -> Counter[Period]:
    """The units of counted bookings in every period of every scope and channel, of days in [first, end).

    Right for periods that lie within these days.
    """
    b = bookings.c
    where = [b.service_day >= first, b.status.in_(COUNTED_STATUSES)]
    where += [] if end is None else [b.service_day < end]
    by = (b.branch_id, b.region_id, b.channel, b.service_day)
    used: Counter[Period] = Counter()
    for row in connection.execute(select(*by, func.sum(b.units).label("units")).where(*where).group_by(*by)):
        scope_ids = (row.branch_id, row.region_id, BANK_SCOPE_ID)
        scopes = zip(SCOPE_ORDER, scope_ids, strict=True)
        for (scope, scope_id), kind, channel in product(scopes, PeriodKind, (ALL_CHANNELS, row.channel)):
            used[QuotaKey(scope, scope_id, kind, channel), period_start(kind, row.service_day)] += row.units
    return used


def booked_periods(connection: Connection, key: QuotaKey, first_day: date) -> list[Period]:
    """The periods of the quota, from the one that contains `first_day` on, that its scope has bookings in."""
    b = bookings.c
    where = [b.service_day >= period_start(key.period_kind, first_day), b.status.in_(COUNTED_STATUSES)]
    if key.scope_kind is not ScopeKind.BANK:
        where.append((b.branch_id if key.scope_kind is ScopeKind.BRANCH else b.region_id) == key.scope_id)
    days = connection.execute(select(b.service_day).distinct().where(*where))
    return [(key, start) for start in sorted({period_start(key.period_kind, day) for (day,) in days})]


_NAMES: Final = ("scope_kind", "scope_id", "channel", "period_kind", "period_start")


def _named(period: Period) -> dict[str, Any]:
    key, start = period
    values = (key.scope_kind, key.scope_id, key.channel, key.period_kind, start)
    return dict(zip(_NAMES, values, strict=True))


def _existing(connection: Connection, wanted: Collection[Period]) -> dict[Period, PeriodRow]:
    """The rows there are, locked; rows are read by scope, kind and span, since a plan has hundreds."""
    table = quota_periods.c
    if not wanted:
        return {}
    starts = [start for _, start in wanted]
    rows = connection.execute(
        select(quota_periods)
        .where(
            table.scope_kind.in_({key.scope_kind for key, _ in wanted}),
            table.scope_id.in_({key.scope_id for key, _ in wanted}),
            table.period_start.between(min(starts), max(starts)),
        )
        .with_for_update()
    )
    chosen = set(wanted)
    found = {}
    for row in rows:
        key = quota_key(row.scope_kind, row.scope_id, row.channel, row.period_kind)
        if (key, row.period_start) in chosen:
            found[key, row.period_start] = PeriodRow(row.used_units, row.limit_units, row.plan_id)
    return found
