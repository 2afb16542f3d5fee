"""Answers: problems in the caller's language, and what every kind of fault is told as."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from booking_core.api.access import AccessDeniedError
from booking_core.api.forms import field_errors
from booking_core.domain import FieldError, Refused
from booking_core.messages import language_of
from booking_core.problems import MEDIA_TYPE, problem, problem_of
from booking_core.service.bookings import Refusal
from metrics.contract import PlanRefusal, Reason
from metrics.instruments import UNKNOWN_CHANNEL
from metrics.logs import trace_id_var

log = logging.getLogger(__name__)

ATTEMPT_PATH: Final = "/v1/bookings"
"""POST here, or below, is a try to take a slot."""
TIMEOUT_STATES: Final = frozenset({"57014", "55P03"})
"""PostgreSQL's statement and lock time-outs."""
RETRY_SECONDS: Final = (1, 3)
"""Retry-After of system refusals, drawn at random so that they do not all come back at once."""


def problem_response(
    request: Request,
    reason: Reason | PlanRefusal,
    *,
    context: Mapping[str, str] | None = None,
    errors: Sequence[FieldError] = (),
) -> JSONResponse:
    """A problem answer for a reason without violations or remedies."""
    language = language_of(request.headers.get("accept-language"))
    body = problem(reason, language=language, trace_id=trace_id_var.get(), context=context, errors=errors)
    return as_response(body, language)


def refusal_response(request: Request, refusal: Refusal) -> JSONResponse:
    """A problem answer for a refused booking."""
    language = language_of(request.headers.get("accept-language"))
    body = problem_of(
        refusal.refused, language=language, trace_id=trace_id_var.get(), remedies=refusal.remedies
    )
    return as_response(body, language)


def fault_response(fault: Exception | None, accept_language: str | None) -> tuple[Reason, JSONResponse]:
    """What an exception is told as, in the one place where faults become reasons; None = shed."""
    reason = Reason.SYSTEM_BUSY if fault is None else reason_of(fault)
    if reason is Reason.INTERNAL_ERROR:
        log.error("fault", exc_info=fault)
    elif fault is not None:
        log.warning("%s: %s", reason.value, str(fault).splitlines()[0])
    language = language_of(accept_language)
    wait = random.randint(*RETRY_SECONDS)  # noqa: S311 – spreading retries, no secret
    body = problem(reason, language=language, trace_id=trace_id_var.get(), retry_after_seconds=wait)
    return reason, as_response(body, language)


def reason_of(fault: Exception) -> Reason:
    """The reason that a fault is counted and told under."""
    if isinstance(fault, PoolTimeoutError):
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


def as_response(body: dict[str, Any], language: str) -> JSONResponse:
    """The problem with its headers."""
    headers = {"Content-Language": language}
    if body["retry_after"] is not None:
        headers["Retry-After"] = str(body["retry_after"])
    if body["status"] == 401:  # noqa: PLR2004
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, body["status"], headers, MEDIA_TYPE)


async def denied(request: Request, fault: Exception) -> JSONResponse:
    """The answer to a caller without the right; a denied attempt is counted, never stored."""
    if not isinstance(fault, AccessDeniedError):
        raise fault
    if request.method == "POST" and request.url.path.startswith(ATTEMPT_PATH):
        request.app.state.core.instruments.refused(UNKNOWN_CHANNEL, fault.reason)
    return problem_response(request, fault.reason, context=fault.context)


async def unfit(request: Request, fault: Exception) -> JSONResponse:
    """The answer to parameters or a body that FastAPI found unfit."""
    if not isinstance(fault, RequestValidationError):
        raise fault
    refused = field_errors(fault.errors())
    return refusal_response(request, Refusal(refused))


async def http_fault(request: Request, fault: Exception) -> JSONResponse:
    """The answer to an unknown path or method."""
    if not isinstance(fault, HTTPException):
        raise fault
    what = f"{request.method} {request.url.path}; see /openapi.json"
    response = problem_response(request, PlanRefusal.RESOURCE_NOT_FOUND, context={"what": what})
    if fault.status_code != response.status_code:
        error = FieldError("", f"HTTP {fault.status_code}: {fault.detail}", f"HTTP {fault.status_code}")
        refused = Refused(Reason.INVALID_FIELD, errors=(error,), context={"fields": "the request"})
        response = refusal_response(request, Refusal(refused))
        response.status_code = fault.status_code
    return response
