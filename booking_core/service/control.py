"""The pause switch: while it is on, no plan is applied."""

from __future__ import annotations

from sqlalchemy import Connection

from booking_core.service.commands import Command, OutsideClaim, record_audit
from booking_core.settings import load_settings, save_settings
from metrics.contract import BANK_SCOPE_ID


def set_paused(connection: Connection, paused: bool, command: Command) -> bool | OutsideClaim:
    """The switch as it now stands; setting it twice changes nothing."""
    if not command.caller.may_see(BANK_SCOPE_ID):
        return OutsideClaim(BANK_SCOPE_ID)
    before = load_settings(connection).paused
    if before != paused:
        save_settings(connection, {"paused": paused}, command.now)
        record_audit(
            connection,
            command,
            "control.pause" if paused else "control.resume",
            "plans",
            {"paused": before},
            {"paused": paused},
        )
    return paused
