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
from booking_core.service import bookings as service
from booking_core.service.bookings import Asking, Refusal, Taken
from booking_core.service.core import Core
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
    refused = form if isinstance(form, Refused) else None if dry_run else _key_fault(idempotency_key)
    if refused is not None:
        if dry_run:
            return refusal_response(request, Refusal(refused))
        return refusal_response(request, service.refuse(core, asking, refused, told))
    wish = form.wish() if isinstance(form, BookingForm) else None
    if wish is None or (idempotency_key is None and not dry_run):
        raise AssertionError("a form without a refusal has its wish and key")
    if dry_run:
        verdict = service.dry_run(core, asking, wish)
        if isinstance(verdict, Refusal):
            return refusal_response(request, verdict)
        body = {"dry_run": True, "bookable": True, "slot": verdict.slot_id, "trace_id": asking.trace_id}
        return JSONResponse(body)
    return _answer(request, service.book(core, asking, wish, idempotency_key or ""), created=True)


@router.post("/{booking_ref}/confirm", openapi_extra=body_schema(ConfirmForm))
def confirm_booking(
    request: Request, core: TheCore, asking: Customers, booking_ref: BookingRef, raw: Body
) -> JSONResponse:
    """Make the hold a booking."""
    form, _ = parse(ConfirmForm, raw)
    if isinstance(form, Refused):
        return _unfit_confirmation(request, core, asking, booking_ref, form)
    return _answer(request, service.confirm(core, asking, booking_ref, form.settlement()))


@router.get("/{booking_ref}")
def get_booking(request: Request, core: TheCore, asking: Customers, booking_ref: BookingRef) -> JSONResponse:
    """The booking as it stands."""
    return _answer(request, service.find(core, asking, booking_ref))


@router.delete("/{booking_ref}")
def cancel_booking(
    request: Request, core: TheCore, asking: Customers, booking_ref: BookingRef
) -> JSONResponse:
    """Cancel: the units are free again; a repetition changes nothing."""
    return _answer(request, service.cancel(core, asking, booking_ref))


def _unfit_confirmation(
    request: Request, core: Core, asking: Asking, booking_ref: str, refused: Refused
) -> JSONResponse:
    """The answer to an unfit body, recorded with the loan and slot that the hold tells."""
    found = service.find(core, asking, booking_ref)
    if not isinstance(found, Taken):
        return _answer(request, found)
    return refusal_response(request, service.refuse(core, asking, refused, service.told_by(found), opens=False))


def _answer(request: Request, outcome: Taken | Refusal | None, *, created: bool = False) -> JSONResponse:
    if outcome is None:
        what = f"booking {request.path_params['booking_ref']}"
        return problem_response(request, PlanRefusal.RESOURCE_NOT_FOUND, context={"what": what})
    if isinstance(outcome, Refusal):
        return refusal_response(request, outcome)
    body: dict[str, Any] = {"trace_id": trace_id_var.get(), **outcome.body}
    headers = {"Idempotent-Replay": "true"} if outcome.replayed else {}
    return JSONResponse(body, 201 if created else 200, headers)


def _key_fault(key: str | None) -> Refused | None:
    if key is not None and KEY.fullmatch(key):
        return None
    error = FieldError(
        "header:Idempotency-Key",
        "send 1 to 128 visible ASCII characters, new for each booking and the same for its repetitions",
        "请提供 1 至 128 个可见 ASCII 字符；每次新预约使用新值，重试时保持不变",
    )
    reason = Reason.MISSING_FIELD if not key else Reason.INVALID_FIELD
    return Refused(reason, errors=(error,), context={"fields": "header Idempotency-Key"})
