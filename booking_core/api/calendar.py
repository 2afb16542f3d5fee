"""The endpoints that are only looked at: branches, calendars, loans."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from booking_core.api.access import Anyone, TheCore
from booking_core.api.forms import NO_NUL, REF
from booking_core.api.responses import ProblemError, granted, not_found
from booking_core.domain import FieldError
from booking_core.service import calendar as service
from metrics.contract import Channel, Reason

router = APIRouter(prefix="/v1", tags=["calendar"])

RANGE_DAYS: Final = 366

Reference = Annotated[str, Query(pattern=REF, max_length=64)]


@router.get("/branches")
def get_branches(
    core: TheCore,
    asking: Anyone,
    cursor: Annotated[str, Query(max_length=64, pattern=NO_NUL)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, Any]:
    """Active branches by id."""
    return service.branches(core, asking, after=cursor, limit=limit)


@router.get("/slots")
def get_slots(
    core: TheCore,
    asking: Anyone,
    branch: Reference,
    first: Annotated[date, Query(alias="from")],
    last: Annotated[date, Query(alias="to")],
    loan: Reference | None = None,
    channel: Channel = Channel.APP,
) -> JSONResponse:
    """The branch's slots on the days, each with whether it can be booked, and if not why."""
    if not 0 <= (last - first).days < RANGE_DAYS:
        text = f"expected from ≤ to within {RANGE_DAYS} days, got {first} to {last}"
        error = FieldError("query:to", text, f"起止日期须先后有序且不超过 {RANGE_DAYS} 天")
        raise ProblemError(Reason.INVALID_FIELD, context={"fields": "to"}, errors=[error])
    found = service.calendar(core, asking, service.Asked(branch, first, last, loan, channel))
    if found is None:
        raise not_found(
            f"branch {branch}; GET /v1/branches lists them", f"网点 {branch}，可用 GET /v1/branches 查询"
        )
    return JSONResponse(granted(found))


@router.get("/loans/{loan_ref}")
def get_loan(
    core: TheCore, asking: Anyone, loan_ref: Annotated[str, Path(pattern=REF, max_length=64)]
) -> JSONResponse:
    """The loan as imported, with its live booking."""
    return JSONResponse(granted(service.loan(core, asking, loan_ref)))
