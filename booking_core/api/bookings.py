"""The bookings endpoints."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from booking_core.actions import change_fields
from booking_core.api.access import Customers, Staff, TheCore
from booking_core.api.forms import (
    REF,
    Body,
    BookingForm,
    CompleteForm,
    ConfirmForm,
    RescheduleForm,
    body_schema,
    parse,
    raw_body,
)
from booking_core.api.responses import answer_of, granted, problem_of
from booking_core.api.take import Intake, paced
from booking_core.domain import Refused
from booking_core.service import bookings as service
from booking_core.service import changes
from booking_core.service.bookings import Refusal, Taken, refuse
from booking_core.service.core import Asking, Core

router = APIRouter(prefix="/v1/bookings", tags=["bookings"])

KEY_TEXT: Final = "1 to 128 visible ASCII characters"

BookingRef = Annotated[str, Path(pattern=REF, max_length=40)]


@router.post("", status_code=201, openapi_extra=body_schema(BookingForm))
async def post_booking(
    request: Request,
    core: TheCore,
    asking: Customers,
    _key: Annotated[str | None, Header(alias="Idempotency-Key", description=KEY_TEXT)] = None,
    dry_run: Annotated[bool, Query(description="judge only: nothing is recorded, nothing taken")] = False,
) -> Response:
    """Take a slot: a hold, or a booking where amount and option are given."""
    if not dry_run:
        intake: Intake = request.app.state.intake
        return await intake.answer(request.scope, request.receive)
    return await run_in_threadpool(_dry_run, core, asking, await raw_body(request))


@router.post("/{booking_ref}/confirm", openapi_extra=body_schema(ConfirmForm))
def confirm_booking(core: TheCore, asking: Customers, booking_ref: BookingRef, raw: Body) -> JSONResponse:
    """Make the hold a booking."""
    form, _ = parse(ConfirmForm, raw)
    if isinstance(form, Refused):
        return _unfit(core, asking, booking_ref, form)
    return _answer(booking_ref, changes.confirm(core, asking, booking_ref, form.settlement()))


@router.post(
    "/{booking_ref}/reschedule", openapi_extra=body_schema(RescheduleForm), dependencies=[Depends(paced)]
)
def reschedule_booking(core: TheCore, asking: Customers, booking_ref: BookingRef, raw: Body) -> JSONResponse:
    """Move the booking to another slot, or leave it where it is; a repetition changes nothing."""
    form, _ = parse(RescheduleForm, raw)
    if isinstance(form, Refused):
        return _unfit(core, asking, booking_ref, form)
    return _answer(booking_ref, changes.reschedule(core, asking, booking_ref, form.slot, form.channel))


@router.post("/{booking_ref}/check-in")
def check_in_booking(core: TheCore, asking: Staff, booking_ref: BookingRef) -> JSONResponse:
    """Note that the customer has come, on the service day."""
    return _answer(booking_ref, changes.check_in(core, asking, booking_ref))


@router.post("/{booking_ref}/complete", openapi_extra=body_schema(CompleteForm, required=False))
def complete_booking(core: TheCore, asking: Staff, booking_ref: BookingRef, raw: Body) -> JSONResponse:
    """Note that the customer was served, and from when to when."""
    form, _ = parse(CompleteForm, raw or b"{}")
    if isinstance(form, Refused):
        raise problem_of(Refusal(form, change_fields(form)))
    times = (form.service_started, form.service_ended)
    return _answer(booking_ref, changes.complete(core, asking, booking_ref, *times))


@router.post("/{booking_ref}/no-show")
def note_no_show(core: TheCore, asking: Staff, booking_ref: BookingRef) -> JSONResponse:
    """Note that the customer did not come, once the slot has begun."""
    return _answer(booking_ref, changes.no_show(core, asking, booking_ref))


@router.get("/{booking_ref}")
def get_booking(core: TheCore, asking: Customers, booking_ref: BookingRef) -> JSONResponse:
    """The booking as it stands, with its history."""
    return _answer(booking_ref, changes.find(core, asking, booking_ref))


@router.delete("/{booking_ref}")
def cancel_booking(core: TheCore, asking: Customers, booking_ref: BookingRef) -> JSONResponse:
    """Cancel: the units are free again; a repetition changes nothing."""
    return _answer(booking_ref, changes.cancel(core, asking, booking_ref))


def _unfit(core: Core, asking: Asking, booking_ref: str, form: Refused) -> JSONResponse:
    """The refusal of a body that does not fit, on record as a try of the booking's loan."""
    found = changes.find(core, asking, booking_ref)
    if isinstance(found, Taken):
        found = refuse(core, asking, form, changes.told_by(found), opens=False)
    return _answer(booking_ref, found)


def _dry_run(core: Core, asking: Asking, raw: bytes) -> JSONResponse:
    form, _ = parse(BookingForm, raw)
    if isinstance(form, Refused):
        raise problem_of(Refusal(form, change_fields(form)))
    slot_id = granted(service.dry_run(core, asking, form.wish())).slot_id
    return JSONResponse({"dry_run": True, "bookable": True, "slot": slot_id, "trace_id": asking.trace_id})


def _answer(booking_ref: str, outcome: Taken | Refusal | None) -> JSONResponse:
    return answer_of((f"booking {booking_ref}", f"预约 {booking_ref}"), outcome)
