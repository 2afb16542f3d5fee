"""SQL of rosters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, tuple_, update

from booking_core import tables as t
from booking_core import tables_forecast as tf

_R = tf.rosters


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rosters are asked for; None = whatever."""

    first: date | None = None
    last: date | None = None
    """Rosters with a day within first..last."""
    branch: str | None = None
    region: str | None = None
    ended: bool = False
    """Those that were ended too."""


def lock_branch(connection: Connection, branch_id: str) -> None:
    """Nobody else states who is there at the branch until the transaction ends; bookings go on meanwhile.

    NO KEY UPDATE: rows that refer to the branch may be written. On SQLite the writer lock does it.
    """
    b = t.branches.c
    connection.execute(select(b.branch_id).where(b.branch_id == branch_id).with_for_update(key_share=True))


def roster_row(connection: Connection, roster_id: str) -> Row[Any] | None:
    """The roster, ended or not; None where there is none."""
    return connection.execute(select(_R).where(_R.c.roster_id == roster_id)).one_or_none()


def standing_rosters(connection: Connection, branch_id: str, first: date, last: date) -> Sequence[Row[Any]]:
    """The branch's standing rosters with a day within first..last, by id."""
    r = _R.c
    statement = select(_R).where(
        r.branch_id == branch_id, r.first_day <= last, r.last_day >= first, r.ended_utc.is_(None)
    )
    return connection.execute(statement.order_by(r.roster_id)).all()


def insert_roster(connection: Connection, **columns: Any) -> None:
    """Write a new roster."""
    connection.execute(insert(_R).values(**columns))


def end_roster(connection: Connection, roster_id: str, now: datetime) -> bool:
    """Whether the roster stood and is ended now."""
    statement = update(_R).where(_R.c.roster_id == roster_id, _R.c.ended_utc.is_(None)).values(ended_utc=now)
    return bool(connection.execute(statement).rowcount)


def roster_page(
    connection: Connection, wanted: Wanted, after: tuple[date, str] | None, limit: int
) -> Sequence[Row[Any]]:
    """At most `limit` rosters in the order of (first day, id), after the one given."""
    r = _R.c
    where: list[ColumnElement[bool]] = [] if wanted.ended else [r.ended_utc.is_(None)]
    where += [r.last_day >= wanted.first] if wanted.first else []
    where += [r.first_day <= wanted.last] if wanted.last else []
    where += [r.branch_id == wanted.branch] if wanted.branch else []
    where += [t.branches.c.region_id == wanted.region] if wanted.region else []
    where += [tuple_(r.first_day, r.roster_id) > tuple_(*after)] if after else []
    statement = (
        select(_R)
        .join(t.branches, t.branches.c.branch_id == r.branch_id)
        .where(*where)
        .order_by(r.first_day, r.roster_id)
        .limit(limit)
    )
    return connection.execute(statement).all()
