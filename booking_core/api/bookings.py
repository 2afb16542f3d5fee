"""The bookings endpoints."""

from __future__ import annotations

import re
import time
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.responses import JSONResponse

from booking_core.api.access import Customers, TheCore
from booking_core.api.forms import REF, BookingForm, ConfirmForm, body_schema, parse, raw_body
from booking_core.api.responses import granted, not_found, problem_of
from booking_core.domain import FieldError, Refused
from booking_core.remedies import change_fields
from booking_core.service import bookings as service
from booking_core.service import changes
from booking_core.service.bookings import Refusal, Taken, refuse
from metrics.contract import Reason
from metrics.logs import trace_id_var

router = APIRouter(prefix="/v1/bookings", tags=["bookings"])

KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")

Body = Annotated[bytes, Depends(raw_body)]
BookingRef = Annotated[str, Path(pattern=REF, max_length=40)]


@router.post("", status_code=201, openapi_extra=body_schema(BookingForm))
def post_booking(
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
        raise problem_of(Refusal(form, change_fields(form)) if dry_run else refuse(core, asking, form, told))
    if dry_run:
        slot_id = granted(service.dry_run(core, asking, form.wish())).slot_id
        body = {"dry_run": True, "bookable": True, "slot": slot_id, "trace_id": asking.trace_id}
        return JSONResponse(body)
    if idempotency_key is None or not KEY.fullmatch(idempotency_key):
        raise problem_of(refuse(core, asking, _key_fault(idempotency_key), told))
    taken = granted(service.book(core, asking, form.wish(), idempotency_key))
    headers = {"Idempotent-Replay": "true"} if taken.replayed else {}
    return JSONResponse(taken.body, 201, headers)


@router.post("/{booking_ref}/confirm", openapi_extra=body_schema(ConfirmForm))
def confirm_booking(core: TheCore, asking: Customers, booking_ref: BookingRef, raw: Body) -> JSONResponse:
    """Make the hold a booking."""
    form, _ = parse(ConfirmForm, raw)
    if isinstance(form, Refused):
        found = changes.find(core, asking, booking_ref)
        if isinstance(found, Taken):
            found = refuse(core, asking, form, changes.told_by(found), opens=False)
        return _answer(booking_ref, found)
    return _answer(booking_ref, changes.confirm(core, asking, booking_ref, form.settlement()))


@router.get("/{booking_ref}")
def get_booking(core: TheCore, asking: Customers, booking_ref: BookingRef) -> JSONResponse:
    """The booking as it stands."""
    return _answer(booking_ref, changes.find(core, asking, booking_ref))


@router.delete("/{booking_ref}")
def cancel_booking(core: TheCore, asking: Customers, booking_ref: BookingRef) -> JSONResponse:
    """Cancel: the units are free again; a repetition changes nothing."""
    return _answer(booking_ref, changes.cancel(core, asking, booking_ref))


def _answer(booking_ref: str, outcome: Taken | Refusal | None) -> JSONResponse:
    if outcome is None:
        raise not_found(f"booking {booking_ref}")
    return JSONResponse({"trace_id": trace_id_var.get(), **granted(outcome).body})


def _key_fault(key: str | None) -> Refused:
    error = FieldError(
        "header:Idempotency-Key",
        "send 1 to 128 visible ASCII characters, new for each booking and the same for its repetitions",
        "请提供 1 至 128 个可见 ASCII 字符；每次新预约使用新值，重试时保持不变",
    )
    reason = Reason.MISSING_FIELD if not key else Reason.INVALID_FIELD
    return Refused(reason, errors=(error,), context={"fields": "header Idempotency-Key"})
