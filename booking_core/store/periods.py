"""SQL that sets limits of concrete periods from outside a booking: plans, and new standing limits.

Counters are kept only for rows of quota_periods that exist, so whoever creates a row counts the bookings
that are there already, under `lock_slots`: no booking can slip between the count and the row.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import Connection, select, text, update

from booking_core.domain import QuotaKey, period_start
from booking_core.store.limits import COUNTED_STATUSES, Period
from booking_core.store.quotas import create_period
from booking_core.tables import bookings, quota_periods
from metrics.contract import PeriodKind, ScopeKind


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
    for period in missing:
        create_period(connection, period)
    return found | _existing(connection, missing)


def set_override(connection: Connection, period: Period, limit: int | None, plan_id: str | None) -> None:
    """Set the override of a row that exists, and the plan behind it."""
    same = [quota_periods.c[name] == value for name, value in zip(_NAMES, _names(period), strict=True)]
    connection.execute(update(quota_periods).where(*same).values(limit_units=limit, plan_id=plan_id))


def booked_periods(connection: Connection, key: QuotaKey, first_day: date) -> list[Period]:
    """The periods of the quota, from the one that contains `first_day` on, that its scope has bookings in."""
    b = bookings.c
    where = [b.service_day >= period_start(key.period_kind, first_day), b.status.in_(COUNTED_STATUSES)]
    if key.scope_kind is not ScopeKind.BANK:
        where.append((b.branch_id if key.scope_kind is ScopeKind.BRANCH else b.region_id) == key.scope_id)
    days = connection.execute(select(b.service_day).distinct().where(*where))
    return [(key, start) for start in sorted({period_start(key.period_kind, day) for (day,) in days})]


_NAMES: Final = ("scope_kind", "scope_id", "channel", "period_kind", "period_start")


def _names(period: Period) -> tuple[str, str, str, str, date]:
    key, start = period
    return key.scope_kind, key.scope_id, key.channel, key.period_kind, start


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
        key = QuotaKey(ScopeKind(row.scope_kind), row.scope_id, PeriodKind(row.period_kind), row.channel)
        if (key, row.period_start) in chosen:
            found[key, row.period_start] = PeriodRow(row.used_units, row.limit_units, row.plan_id)
    return found
