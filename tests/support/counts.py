"""Recounting: what counters should say, from the bookings themselves."""

from __future__ import annotations

from datetime import UTC, date, datetime

from sqlalchemy import Engine, func, select

from booking_core import tables as t
from booking_core import tables_forecast  # noqa: F401 – its tables are on the same metadata
from booking_core.invariants import broken_rows, snapshot


def drift(engine: Engine) -> list[str]:
    """One line for each row that breaks an invariant, whatever its day; holds may be past their time."""
    with snapshot(engine) as connection:
        broken = broken_rows(connection, date(2000, 1, 1), datetime(2000, 1, 1, tzinfo=UTC))
    return [line for lines in broken.values() for line in lines]


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
