"""The control endpoints: the pause switch, and the bank's clock."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from booking_core.api.access import Anyone, Operators, TheCore
from booking_core.api.responses import granted, invalid
from booking_core.domain import FieldError
from booking_core.service import control as service
from booking_core.service.commands import carry_out
from booking_core.service.core import Asking, Core

router = APIRouter(prefix="/v1")


class ClockForm(BaseModel):
    """The body of PUT /v1/clock."""

    model_config = ConfigDict(extra="forbid")

    offset_seconds: int = Field(ge=-(10**10), le=10**10, description="business time minus wall time")


@router.post("/control/pause", tags=["control"])
def pause(core: TheCore, asking: Operators) -> JSONResponse:
    """Apply no plan until resumed."""
    return _set_paused(core, asking, paused=True)


@router.post("/control/resume", tags=["control"])
def resume(core: TheCore, asking: Operators) -> JSONResponse:
    """Let plans be applied again."""
    return _set_paused(core, asking, paused=False)


@router.get("/clock", tags=["calendar"])
def get_clock(core: TheCore, asking: Anyone) -> dict[str, Any]:  # noqa: ARG001 – any token may look
    """Business and wall time now."""
    return service.read_clock(core)


@router.put("/clock", tags=["calendar"])
def put_clock(core: TheCore, asking: Operators, form: ClockForm) -> JSONResponse:
    """Move business time forward (a demo does; production stays at 0)."""
    try:
        moved = carry_out(
            core, asking, lambda c, command: service.move_clock(c, form.offset_seconds, command)
        )
    except ValueError as fault:
        text = "须为 900 的倍数，且业务时间只能前移"
        raise invalid(FieldError("/offset_seconds", str(fault), text)) from fault
    granted(moved)
    return JSONResponse(service.read_clock(core))


def _set_paused(core: Core, asking: Asking, *, paused: bool) -> JSONResponse:
    answer = carry_out(core, asking, lambda c, command: service.set_paused(c, paused, command))
    return JSONResponse({"paused": granted(answer)})
