"""The control endpoints: the pause switch."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from booking_core.api.access import Operators, TheCore
from booking_core.api.commands import carried_out
from booking_core.service.control import set_paused

router = APIRouter(prefix="/v1/control", tags=["control"])


@router.post("/pause")
def pause(core: TheCore, asking: Operators) -> JSONResponse:
    """Apply no plan until resumed."""
    return JSONResponse(
        {"paused": carried_out(core, asking, lambda c, command: set_paused(c, True, command))}
    )


@router.post("/resume")
def resume(core: TheCore, asking: Operators) -> JSONResponse:
    """Let plans be applied again."""
    return JSONResponse(
        {"paused": carried_out(core, asking, lambda c, command: set_paused(c, False, command))}
    )
