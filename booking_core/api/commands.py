"""What the endpoints of plans, quotas and controls share: one transaction a command, refusals told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from booking_core.api.access import AccessDeniedError, allow
from booking_core.api.responses import problem_response
from booking_core.service.bookings import Asking
from booking_core.service.commands import Command, CommandRefused, InvalidCommand, OutsideClaim, Refusal
from booking_core.service.core import Core
from metrics.contract import Reason, TokenScope

T = TypeVar("T")

Readers = Annotated[Asking, Depends(allow(TokenScope.READER, TokenScope.PLANNER, TokenScope.OPERATOR))]
"""Who may look at plans and quotas."""


def command_of(core: Core, asking: Asking) -> Command:
    """The command of the authenticated caller, given now."""
    return Command(asking.caller, core.wall(), asking.trace_id)


def carried_out(core: Core, asking: Asking, work: Callable[[Connection, Command], T]) -> T:
    """What the work answers, done in one write transaction."""

    def once() -> T:
        with core.transaction() as connection:
            return work(connection, command_of(core, asking))

    return core.retried(once)


def refused(request: Request, refusal: Refusal) -> JSONResponse:
    """The problem that tells the refusal. Raises AccessDeniedError for what lies outside the claim."""
    match refusal:
        case OutsideClaim(region_id):
            raise AccessDeniedError(Reason.FORBIDDEN, f"a token for region {region_id}")
        case InvalidCommand(errors):
            context = {"fields": ", ".join(e.pointer for e in errors)}
            return problem_response(request, Reason.INVALID_FIELD, context=context, errors=errors)
        case CommandRefused(reason, context):
            return problem_response(request, reason, context=context)
