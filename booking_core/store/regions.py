"""SQL of the regions' modes: whether plans are applied by themselves, who says so and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from booking_core.tables import regions


def region_row(connection: Connection, region_id: str, *, lock: bool = False) -> Row[Any] | None:
    """The region, None where there is none.

    Locked, nobody else changes its mode until the transaction ends; rows that refer to it may be written
    (NO KEY UPDATE). On SQLite the writer lock does it.
    """
    statement = select(regions).where(regions.c.region_id == region_id)
    return connection.execute(statement.with_for_update(key_share=True) if lock else statement).one_or_none()


def region_rows(connection: Connection, region_id: str | None) -> list[Row[Any]]:
    """Every region, or only this one, by id."""
    statement = select(regions).where(*([] if region_id is None else [regions.c.region_id == region_id]))
    return list(connection.execute(statement.order_by(regions.c.region_id)))


def set_mode(
    connection: Connection, region_id: str, *, automatic: bool, fixed: bool, reason: str | None, now: datetime
) -> None:
    """Write the region's mode, whether a person fixed it, why, and since when (wall time)."""
    connection.execute(
        update(regions)
        .where(regions.c.region_id == region_id)
        .values(
            automatic_application=automatic,
            automatic_fixed=fixed,
            automatic_reason=reason,
            automatic_since_utc=now,
        )
    )
