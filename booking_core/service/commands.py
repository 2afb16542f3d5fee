"""What the commands on plans, quotas and controls share: who asks, how they are refused, the audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from booking_core.domain import FieldError
from booking_core.service.core import Caller
from booking_core.tables import audit
from metrics.contract import PlanRefusal


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
