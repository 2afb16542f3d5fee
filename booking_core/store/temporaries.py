"""Temporary quotas: extra units of one period, added to its counter while they are in force.

docs/locking.md says why ending one locks the counter only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from booking_core import tables as t
from booking_core.store import locking
from booking_core.store.quotas import Period, period_id, period_of
from booking_core.store.rows import among

_T = t.quota_temporaries


def read_temporary(connection: Connection, temporary_id: str) -> Row[Any] | None:
    """The temporary quota, in force or ended."""
    return connection.execute(select(_T).where(_T.c.temporary_id == temporary_id)).first()


def in_force(
    connection: Connection, filters: Mapping[str, str | None], first: date | None, last: date | None
) -> Sequence[Row[Any]]:
    """The temporary quotas in force of periods that start within first..last."""
    where: list[ColumnElement[bool]] = [_T.c.ended_utc.is_(None)]
    where += [_T.c[name] == value for name, value in filters.items() if value is not None]
    where += [_T.c.period_start >= first] if first else []
    where += [_T.c.period_start <= last] if last else []
    return connection.execute(select(_T).where(*where).order_by(_T.c.expires_utc, _T.c.temporary_id)).all()


def any_due(connection: Connection, now: datetime) -> bool:
    """Whether a temporary quota in force has expired."""
    return connection.execute(select(_T.c.temporary_id).where(*_due(now)).limit(1)).first() is not None


def add_temporary(connection: Connection, period: Period, **columns: Any) -> None:
    """Put extra units in force on the period's counter, which exists."""
    key, start = period
    scope = {"scope_kind": key.scope_kind, "scope_id": key.scope_id, "channel": key.channel}
    kind = {"period_kind": key.period_kind, "period_start": start}
    connection.execute(insert(_T).values(**scope, **kind, **columns))
    _add_extra(connection, period, columns["extra_units"])


def end_due(connection: Connection, now: datetime) -> int:
    """How many temporary quotas had expired and were ended."""
    return _end(connection, _due(now), now)


def end_temporaries(connection: Connection, temporary_ids: Collection[str], now: datetime) -> int:
    """How many of these temporary quotas were in force and are ended now.

    End several by one call: one after the other they would be locked in the caller's order, not in this one.
    """
    which = [among(connection, _T.c.temporary_id, temporary_ids), _T.c.ended_utc.is_(None)]
    return _end(connection, which, now)


def _due(now: datetime) -> list[ColumnElement[bool]]:
    return [_T.c.ended_utc.is_(None), _T.c.expires_utc <= now]


def _end(connection: Connection, which: Sequence[ColumnElement[bool]], now: datetime) -> int:
    """How many were ended. They are locked by their ids, then their counters in the order of all counters."""
    statement = select(_T).where(*which).order_by(_T.c.temporary_id)
    rows = connection.execute(locking.lock_clause(statement)).all()
    taken: Counter[Period] = Counter()
    for row in rows:
        taken[period_of(row)] += row.extra_units
    for period in sorted(taken, key=period_id):
        _add_extra(connection, period, -taken[period])
    ended = among(connection, _T.c.temporary_id, [row.temporary_id for row in rows])
    connection.execute(update(_T).where(ended).values(ended_utc=now))
    return len(rows)


def _add_extra(connection: Connection, period: Period, units: int) -> None:
    p = t.quota_periods
    extra = p.c.extra_units + units
    connection.execute(update(p).where(p.c.period_id == period_id(period)).values(extra_units=extra))
