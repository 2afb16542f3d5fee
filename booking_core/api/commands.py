"""How the endpoints of plans, quotas and controls give their commands: one transaction each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from booking_core.api.responses import granted
from booking_core.service.bookings import Asking
from booking_core.service.commands import Command, CommandRefused, InvalidCommand, OutsideClaim
from booking_core.service.core import Core

T = TypeVar("T")


def command_of(core: Core, asking: Asking) -> Command:
    """The command of the authenticated caller, given now."""
    return Command(asking.caller, core.wall(), asking.trace_id)


def carried_out(
    core: Core,
    asking: Asking,
    work: Callable[[Connection, Command], T | CommandRefused | OutsideClaim | InvalidCommand],
) -> T:
    """What the work answers, done in one write transaction. Raises ProblemError where it was refused."""

    def once() -> T | CommandRefused | OutsideClaim | InvalidCommand:
        with core.transaction() as connection:
            return work(connection, command_of(core, asking))

    return granted(core.retried(once))
