"""What an operator switches for the whole bank: the pause of plans, and the business clock."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from booking_core.past_clock import MOVED
from booking_core.service.commands import Command, OutsideClaim, record_audit
from booking_core.service.core import Core, moment
from booking_core.settings import load_settings, save_settings
from metrics.contract import BANK_SCOPE_ID


def set_paused(connection: Connection, paused: bool, command: Command) -> bool | OutsideClaim:
    """The pause switch as it now stands (while on, no plan is applied); setting it twice changes nothing."""
    if not command.caller.may_see(BANK_SCOPE_ID):
        return OutsideClaim(BANK_SCOPE_ID)
    before = load_settings(connection).paused
    if before != paused:
        save_settings(connection, {"paused": paused}, command.now)
        action = "control.pause" if paused else "control.resume"
        record_audit(connection, command, action, "plans", {"paused": before}, {"paused": paused})
    return paused


def read_clock(core: Core) -> dict[str, Any]:
    """Business and wall time, the bank's zone and the offset between the two."""
    with core.engine.connect() as connection:
        now = moment(core, connection)
    return {
        "business_now": now.business.astimezone(now.rules.zone).isoformat(),
        "wall_now": now.wall.isoformat(),
        "zone": now.settings.zone,
        "offset_seconds": now.settings.business_offset_seconds,
    }


def move_clock(connection: Connection, offset_seconds: int, command: Command) -> int | OutsideClaim:
    """The offset of business time from wall time as it now stands.

    Raises ValueError for an offset that is no multiple of 15 minutes or moves business time back.
    """
    if not command.caller.may_see(BANK_SCOPE_ID):
        return OutsideClaim(BANK_SCOPE_ID)
    key = "business_offset_seconds"
    before = load_settings(connection).business_offset_seconds
    save_settings(connection, {key: offset_seconds}, command.now)
    record_audit(connection, command, MOVED, key, before, offset_seconds)
    return offset_seconds
