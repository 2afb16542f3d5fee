"""The control endpoints: the pause switch."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from booking_core.api.access import Operators, TheCore
from booking_core.api.commands import carried_out, refused
from booking_core.service.bookings import Asking
from booking_core.service.control import set_paused
from booking_core.service.core import Core

router = APIRouter(prefix="/v1/control", tags=["control"])


@router.post("/pause")
def pause(request: Request, core: TheCore, asking: Operators) -> JSONResponse:
    """Apply no plan until resumed."""
    return _set_paused(request, core, asking, paused=True)


@router.post("/resume")
def resume(request: Request, core: TheCore, asking: Operators) -> JSONResponse:
    """Let plans be applied again."""
    return _set_paused(request, core, asking, paused=False)


def _set_paused(request: Request, core: Core, asking: Asking, *, paused: bool) -> JSONResponse:
    answer = carried_out(core, asking, lambda c, command: set_paused(c, paused, command))
    return JSONResponse({"paused": answer}) if isinstance(answer, bool) else refused(request, answer)
