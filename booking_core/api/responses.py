"""Answers: problems in the caller's language, and what every kind of fault is told as."""

from __future__ import annotations

import logging
import random
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from booking_core.api.forms import field_errors, fields_told
from booking_core.domain import FieldError
from booking_core.messages import language_of
from booking_core.problems import MEDIA_TYPE, problem
from booking_core.service.batching import TooLate
from booking_core.service.bookings import Refusal, Taken, forbidden
from booking_core.service.commands import CommandRefused, InvalidCommand, OutsideClaim
from metrics.contract import PlanRefusal, Reason
from metrics.logs import trace_id_var

log = logging.getLogger(__name__)
T = TypeVar("T")

TIMEOUT_STATES: Final = frozenset({"57014", "55P03"})
"""PostgreSQL's statement and lock time-outs."""
RETRY_SECONDS: Final = (1, 3)
"""Retry-After of system refusals, drawn at random so that they do not all come back at once."""


class ProblemError(Exception):
    """Ends a request: answered as a problem, told with the words that `problems.problem` takes."""

    def __init__(self, reason: Reason | PlanRefusal, status: int | None = None, **told: Any) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.status = status
        self.told = told


def granted(outcome: T | Refusal | CommandRefused | OutsideClaim | InvalidCommand) -> T:
    """What was granted. Raises ProblemError for what was refused."""
    match outcome:
        case Refusal():
            raise problem_of(outcome)
        case CommandRefused(reason, context):
            raise ProblemError(reason, context=context)
        case OutsideClaim(region_id):
            raise problem_of(Refusal(forbidden(region_id)))
        case InvalidCommand(errors):
            raise invalid(*errors)
    return outcome


def problem_of(refusal: Refusal) -> ProblemError:
    """The problem that tells a refused booking."""
    refused = refusal.refused
    return ProblemError(
        refused.reason,
        context=refused.context,
        violations=refused.violations,
        errors=refused.errors,
        remedies=refusal.remedies,
        retry_after_seconds=refused.retry_after_seconds,
    )


def invalid(*errors: FieldError) -> ProblemError:
    """The problem of fields that do not fit."""
    pointers = ", ".join(error.pointer for error in errors)
    return ProblemError(Reason.INVALID_FIELD, context={"fields": pointers}, errors=errors)


def not_found(what: str, what_zh: str) -> ProblemError:
    """The problem of what does not exist."""
    return ProblemError(PlanRefusal.RESOURCE_NOT_FOUND, context={"what": what, "what_zh": what_zh})


def answer_of(what: tuple[str, str], outcome: Taken | Refusal | None, status: int = 200) -> JSONResponse:
    """What was granted, with its trace id. Raises ProblemError for a refusal, and for what does not exist.

    what: the thing's name in English and Chinese.
    """
    if outcome is None:
        raise not_found(*what)
    return JSONResponse({"trace_id": trace_id_var.get(), **granted(outcome).body}, status)


def fault_problem(fault: Exception) -> ProblemError:
    """What an exception is told as, in the one place where faults become reasons."""
    if isinstance(fault, ProblemError):
        return fault
    reason = _reason_of(fault)
    if reason is Reason.INTERNAL_ERROR:
        log.error("fault", exc_info=fault)
    else:
        log.warning("%s: %s", reason.value, str(fault).partition("\n")[0])
    return ProblemError(reason, retry_after_seconds=retry_seconds())


def retry_seconds() -> int:
    """When to come back after a system refusal."""
    return random.randint(*RETRY_SECONDS)  # noqa: S311 – spreading retries, no secret


def response_of(
    found: ProblemError, accept_language: str | None, *, trace_id: str | None = None
) -> JSONResponse:
    """The problem as it is sent, in the caller's language."""
    language = language_of(accept_language)
    body = problem(found.reason, language=language, trace_id=trace_id or trace_id_var.get(), **found.told)
    body["status"] = status = found.status or body["status"]
    headers = {"Content-Language": language}
    if body["retry_after"] is not None:
        headers["Retry-After"] = str(body["retry_after"])
    if found.reason is Reason.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers, MEDIA_TYPE)


async def told(request: Request, fault: Exception) -> JSONResponse:
    """The answer to a problem, a body or parameter that FastAPI found unfit, an unknown path or method."""
    match fault:
        case ProblemError():
            problem_found = fault
        case RequestValidationError():
            problem_found = problem_of(Refusal(field_errors(fault.errors())))
        case HTTPException(status_code=404):
            path = f"{request.method} {request.url.path}"
            problem_found = not_found(f"{path}; see /openapi.json", f"{path}，接口说明见 /openapi.json")
        case HTTPException(status_code=status, detail=detail):
            error = FieldError("", f"HTTP {status}: {detail}", f"HTTP {status}：不接受该请求")
            told_as = fields_told([error], ("the request", "请求"))
            problem_found = ProblemError(Reason.INVALID_FIELD, status, context=told_as, errors=[error])
        case _:
            raise fault
    answer = response_of(problem_found, request.headers.get("accept-language"))
    answer.headers.update(getattr(fault, "headers", None) or {})  # a 405 names the methods in Allow
    return answer


def _reason_of(fault: Exception) -> Reason:
    """The reason that a fault is counted and told under."""
    if isinstance(fault, PoolTimeoutError | TooLate):
        return Reason.SYSTEM_BUSY
    if isinstance(fault, TimeoutError):
        return Reason.TIMEOUT
    if isinstance(fault, DBAPIError):
        if getattr(fault.orig, "sqlstate", None) in TIMEOUT_STATES:
            return Reason.TIMEOUT
        if "database is locked" in str(fault.orig):
            return Reason.SYSTEM_BUSY
        if isinstance(fault, OperationalError) or fault.connection_invalidated:
            return Reason.DEPENDENCY_DOWN
    return Reason.INTERNAL_ERROR
