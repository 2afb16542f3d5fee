"""What the commands on plans, quotas and controls share: who asks, one transaction, refusals, the audit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, insert

from booking_core.domain import FieldError
from booking_core.service.core import Asking, Caller, Core
from booking_core.tables import audit
from metrics.contract import PlanRefusal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Command:
    """Who gives a command, when (wall time), within which trace."""

    caller: Caller
    now: datetime
    trace_id: str | None = None

    @property
    def actor(self) -> str:
        """The name that is written down."""
        return self.caller.name[:64]


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """An expected refusal of a command: a value, never an exception."""

    reason: PlanRefusal
    context: dict[str, str] = field(default_factory=dict)
    """Named values that the localized detail mentions."""


@dataclass(frozen=True, slots=True)
class OutsideClaim:
    """The caller's region claim does not cover what the command is about."""

    region_id: str


@dataclass(frozen=True, slots=True)
class InvalidCommand:
    """Fields that do not fit what the bank has."""

    errors: tuple[FieldError, ...]


def command_of(core: Core, asking: Asking) -> Command:
    """The command of the authenticated caller, given now."""
    return Command(asking.caller, core.wall(), asking.trace_id)


def carry_out(core: Core, asking: Asking, work: Callable[[Connection, Command], T]) -> T:
    """What the work answers, done in one write transaction."""

    def once() -> T:
        with core.transaction() as connection:
            return work(connection, command_of(core, asking))

    return core.retried(once)


def record_audit(
    connection: Connection, command: Command, action: str, target: str, before: Any, after: Any
) -> None:
    """Write down who changed what, in the transaction that changes it."""
    connection.execute(
        insert(audit).values(
            at_utc=command.now,
            actor=command.actor,
            action=action,
            target=target,
            before=before,
            after=after,
            trace_id=command.trace_id,
        )
    )
