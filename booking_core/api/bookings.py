"""The bookings endpoints."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import JSONResponse

from booking_core.api.access import Customers, TheCore
from booking_core.api.forms import REF, BookingForm, ConfirmForm, body_schema, parse, raw_body
from booking_core.api.responses import problem_response, refusal_response
from booking_core.domain import FieldError, Refused
from booking_core.remedies import change_fields
from booking_core.service import bookings as service
from booking_core.service import changes
from booking_core.service.bookings import Refusal, Taken, refuse
from metrics.contract import PlanRefusal, Reason
from metrics.logs import trace_id_var

router = APIRouter(prefix="/v1/bookings", tags=["bookings"])

KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")

Body = Annotated[bytes, Depends(raw_body)]
BookingRef = Annotated[str, Path(pattern=REF, max_length=40)]


@router.post("", status_code=201, openapi_extra=body_schema(BookingForm))
def post_booking(
    request: Request,
    core: TheCore,
    asking: Customers,
    raw: Body,
    idempotency_key: Annotated[str | None, Header(description="1 to 128 visible ASCII characters")] = None,
    dry_run: Annotated[bool, Query(description="judge only: nothing is recorded, nothing taken")] = False,
) -> JSONResponse:
    """Take a slot: a hold, or a booking where amount and option are given."""
    core.instruments.queue_wait_seconds.observe(time.perf_counter() - asking.started)
    form, told = parse(BookingForm, raw)
    if isinstance(form, Refused):
        refusal = Refusal(form, change_fields(form)) if dry_run else refuse(core, asking, form, told)
        return refusal_response(request, refusal)
    if dry_run:
        verdict = service.dry_run(core, asking, form.wish())
        if isinstance(verdict, Refusal):
            return refusal_response(request, verdict)
        body = {"dry_run": True, "bookable": True, "slot": verdict.slot_id, "trace_id": asking.trace_id}
        return JSONResponse(body)
    if idempotency_key is None or not KEY.fullmatch(idempotency_key):
        return refusal_response(request, refuse(core, asking, _key_fault(idempotency_key), told))
    return _answer(request, service.book(core, asking, form.wish(), idempotency_key), status=201)


@router.post("/{booking_ref}/confirm", openapi_extra=body_schema(ConfirmForm))
def confirm_booking(
    request: Request, core: TheCore, asking: Customers, booking_ref: BookingRef, raw: Body
) -> JSONResponse:
    """Make the hold a booking."""
    form, _ = parse(ConfirmForm, raw)
    if isinstance(form, Refused):
        found = changes.find(core, asking, booking_ref)
        if isinstance(found, Taken):
            found = refuse(core, asking, form, changes.told_by(found), opens=False)
        return _answer(request, found)
    return _answer(request, changes.confirm(core, asking, booking_ref, form.settlement()))


@router.get("/{booking_ref}")
def get_booking(request: Request, core: TheCore, asking: Customers, booking_ref: BookingRef) -> JSONResponse:
    """The booking as it stands."""
    return _answer(request, changes.find(core, asking, booking_ref))


@router.delete("/{booking_ref}")
def cancel_booking(
    request: Request, core: TheCore, asking: Customers, booking_ref: BookingRef
) -> JSONResponse:
    """Cancel: the units are free again; a repetition changes nothing."""
    return _answer(request, changes.cancel(core, asking, booking_ref))


def _answer(request: Request, outcome: Taken | Refusal | None, *, status: int = 200) -> JSONResponse:
    if outcome is None:
        what = f"booking {request.path_params['booking_ref']}"
        return problem_response(request, PlanRefusal.RESOURCE_NOT_FOUND, context={"what": what})
    if isinstance(outcome, Refusal):
        return refusal_response(request, outcome)
    body: dict[str, Any] = {"trace_id": trace_id_var.get(), **outcome.body}
    headers = {"Idempotent-Replay": "true"} if outcome.replayed else {}
    return JSONResponse(body, status, headers)


def _key_fault(key: str | None) -> Refused:
    error = FieldError(
        "header:Idempotency-Key",
        "send 1 to 128 visible ASCII characters, new for each booking and the same for its repetitions",
        "请提供 1 至 128 个可见 ASCII 字符；每次新预约使用新值，重试时保持不变",
    )
    reason = Reason.MISSING_FIELD if not key else Reason.INVALID_FIELD
    return Refused(reason, errors=(error,), context={"fields": "header Idempotency-Key"})
