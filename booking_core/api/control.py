"""The control endpoints: the pause switch, which regions apply plans by themselves, and the bank's clock."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row

from booking_core.api.access import Anyone, Operators, Planners, Readers, TheCore
from booking_core.api.forms import NO_NUL
from booking_core.api.responses import granted, invalid
from booking_core.domain import FieldError
from booking_core.service import autonomy
from booking_core.service import control as service
from booking_core.service.commands import carry_out
from booking_core.service.core import Asking, Core
from booking_core.store.regions import region_rows
from metrics.contract import RegionMode

router = APIRouter(prefix="/v1")


class ClockForm(BaseModel):
    """The body of PUT /v1/clock."""

    model_config = ConfigDict(extra="forbid")

    offset_seconds: int = Field(ge=-(10**10), le=10**10, description="business time minus wall time")


Why = Annotated[str, Field(min_length=1, max_length=1000, pattern=NO_NUL)]
RegionId = Annotated[str, Path(max_length=32, pattern=NO_NUL)]


class EarnedForm(BaseModel):
    """The body of POST /v1/control/autonomy."""

    model_config = ConfigDict(extra="forbid")

    region: Annotated[str, Field(min_length=1, max_length=32, pattern=NO_NUL)]
    mode: RegionMode
    reason: Why


class ModeForm(BaseModel):
    """The body of PUT /v1/control/autonomy/{region}; "earned" hands the region back to its scores."""

    model_config = ConfigDict(extra="forbid")

    mode: Literal["shadow", "automatic", "earned"]
    reason: Why | None = None


@router.post("/control/pause", tags=["control"])
def pause(core: TheCore, asking: Operators) -> JSONResponse:
    """Apply no plan until resumed."""
    return _set_paused(core, asking, paused=True)


@router.post("/control/resume", tags=["control"])
def resume(core: TheCore, asking: Operators) -> JSONResponse:
    """Let plans be applied again."""
    return _set_paused(core, asking, paused=False)


@router.get("/control/autonomy", tags=["control"])
def list_modes(core: TheCore, asking: Readers) -> dict[str, Any]:
    """Every region's mode: shadow or automatic, whether a person fixed it, why and since when."""
    with core.engine.connect() as connection:
        return {"regions": [_told(row) for row in region_rows(connection, asking.caller.region_id)]}


@router.post("/control/autonomy", tags=["control"])
def earn_mode(core: TheCore, asking: Planners, form: EarnedForm) -> JSONResponse:
    """Put a region into the mode that its scores say; refused where a person has fixed another one."""
    region = carry_out(
        core, asking, lambda c, given: autonomy.earn_mode(c, form.region, form.mode, form.reason, given)
    )
    return JSONResponse(_told(granted(region)))


@router.put("/control/autonomy/{region}", tags=["control"])
def fix_mode(core: TheCore, asking: Operators, region: RegionId, form: ModeForm) -> JSONResponse:
    """Fix a region in shadow or automatic mode whatever its scores say, or hand it back to them."""
    mode = None if form.mode == "earned" else RegionMode(form.mode)
    found = carry_out(core, asking, lambda c, given: autonomy.fix_mode(c, region, mode, form.reason, given))
    return JSONResponse(_told(granted(found)))


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


def _told(region: Row[Any]) -> dict[str, Any]:
    since = region.automatic_since_utc
    return {
        "region": region.region_id,
        "mode": autonomy.mode_of(region),
        "fixed": region.automatic_fixed,
        "reason": region.automatic_reason,
        "since": since and since.isoformat(),
    }


def _set_paused(core: Core, asking: Asking, *, paused: bool) -> JSONResponse:
    answer = carry_out(core, asking, lambda c, command: service.set_paused(c, paused, command))
    return JSONResponse({"paused": granted(answer)})
