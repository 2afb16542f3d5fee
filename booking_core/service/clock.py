"""The bank's business clock: read, and moved forward by an operator."""

from __future__ import annotations

from typing import Any

from booking_core.service.bookings import Asking, moment
from booking_core.service.commands import Command, record_audit
from booking_core.service.core import Core
from booking_core.settings import load_settings, save_settings


def read(core: Core) -> dict[str, Any]:
    """Business and wall time, the bank's zone and the offset between the two."""
    with core.engine.connect() as connection:
        now = moment(core, connection)
    return {
        "business_now": now.business.astimezone(now.rules.zone).isoformat(),
        "wall_now": now.wall.isoformat(),
        "zone": now.settings.zone,
        "offset_seconds": now.settings.business_offset_seconds,
    }


def move(core: Core, asking: Asking, offset_seconds: int) -> dict[str, Any]:
    """The clock after the move, which is audited.

    Raises ValueError for an offset that is no multiple of 15 minutes or moves business time back.
    """
    with core.transaction() as connection:
        before = load_settings(connection).business_offset_seconds
        save_settings(connection, {"business_offset_seconds": offset_seconds}, core.wall())
        record_audit(
            connection,
            Command(asking.caller, core.wall(), asking.trace_id),
            "clock.put",
            "business_offset_seconds",
            before,
            offset_seconds,
        )
    return read(core)
