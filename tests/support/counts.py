"""Recounting: what counters should say, from the bookings themselves."""

from __future__ import annotations

from sqlalchemy import Engine, func, select

from booking_core import tables as t
from booking_core import tables_forecast  # noqa: F401 – its tables are on the same metadata
from booking_core.domain import QuotaKey
from booking_core.store.quotas import COUNTED_STATUSES, count_units
from metrics.contract import PeriodKind, ScopeKind


def drift(engine: Engine) -> list[str]:
    """One line for each counter of a slot or quota period that is not what the bookings add up to."""
    with engine.connect() as connection:
        used = dict(
            connection.execute(
                select(t.bookings.c.slot_id, func.sum(t.bookings.c.units))
                .where(t.bookings.c.status.in_(COUNTED_STATUSES))
                .group_by(t.bookings.c.slot_id)
            )
            .tuples()
            .all()
        )
        wrong = [
            f"slot {slot.slot_id}: {slot.used_units}, bookings {used.get(slot.slot_id, 0)}"
            for slot in connection.execute(select(t.slots))
            if slot.used_units != used.get(slot.slot_id, 0)
        ]
        for row in connection.execute(select(t.quota_periods)).all():
            key = QuotaKey(ScopeKind(row.scope_kind), row.scope_id, PeriodKind(row.period_kind), row.channel)
            counted = count_units(connection, [(key, row.period_start)])[key, row.period_start]
            if row.used_units != counted:
                wrong.append(f"{key.quota_id} {row.period_start}: {row.used_units}, bookings {counted}")
    return wrong


def attempts_by_outcome(engine: Engine) -> dict[str, int]:
    """How many attempts are on record, by outcome."""
    a = t.attempts.c
    with engine.connect() as connection:
        return dict(connection.execute(select(a.outcome, func.count()).group_by(a.outcome)).tuples().all())


def rows(engine: Engine, table: str) -> list[dict[str, object]]:
    """Every row of the table, in the order of its key."""
    found = t.metadata.tables[table]
    with engine.connect() as connection:
        return [dict(r) for r in connection.execute(select(found).order_by(*found.primary_key)).mappings()]
