"""SQL of announced events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, or_, select, tuple_, update

from booking_core import tables as t
from booking_core import tables_forecast as tf
from metrics.contract import BANK_SCOPE_ID, EventKind, ScopeKind

_E = tf.events


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are asked for; None = whatever."""

    first: date | None = None
    last: date | None = None
    """Events with a day within first..last."""
    kind: EventKind | None = None
    region: str | None = None
    """Events that hold in this region: the bank's, the region's, its branches'."""
    ended: bool = False
    """Those that were ended too."""


def event_row(connection: Connection, event_id: str) -> Row[Any] | None:
    """The event, ended or not; None where there is none."""
    return connection.execute(select(_E).where(_E.c.event_id == event_id)).one_or_none()


def insert_event(connection: Connection, **columns: Any) -> None:
    """Write a new event."""
    connection.execute(insert(_E).values(**columns))


def end_event(connection: Connection, event_id: str, now: datetime) -> bool:
    """Whether the event stood and is ended now."""
    statement = update(_E).where(_E.c.event_id == event_id, _E.c.ended_utc.is_(None)).values(ended_utc=now)
    return bool(connection.execute(statement).rowcount)


def event_page(
    connection: Connection, wanted: Wanted, after: tuple[date, str] | None, limit: int
) -> Sequence[Row[Any]]:
    """At most `limit` events in the order of (first day, id), after the one given."""
    e = _E.c
    where: list[ColumnElement[bool]] = [] if wanted.ended else [e.ended_utc.is_(None)]
    where += [e.last_day >= wanted.first] if wanted.first else []
    where += [e.first_day <= wanted.last] if wanted.last else []
    where += [e.kind == wanted.kind] if wanted.kind else []
    where += [_holds_in(wanted.region)] if wanted.region else []
    where += [tuple_(e.first_day, e.event_id) > tuple_(*after)] if after else []
    statement = select(_E).where(*where).order_by(e.first_day, e.event_id).limit(limit)
    return connection.execute(statement).all()


def _holds_in(region: str) -> ColumnElement[bool]:
    b = t.branches.c
    branches = select(f"{ScopeKind.BRANCH}:" + b.branch_id).where(b.region_id == region)
    wide = (f"{ScopeKind.BANK}:{BANK_SCOPE_ID}", f"{ScopeKind.REGION}:{region}")
    return or_(_E.c.scope.in_(wide), _E.c.scope.in_(branches))
