"""The quotas endpoints."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from sqlalchemy import Row

from booking_core.api.access import Operators, Readers, TheCore
from booking_core.api.forms import NO_NUL
from booking_core.api.responses import granted
from booking_core.service import quotas as service
from booking_core.service.commands import carry_out
from metrics.contract import ScopeKind

router = APIRouter(prefix="/v1/quotas", tags=["quotas"])

_SCOPE = ("scope_kind", "scope_id", "channel", "period_kind")


class QuotaForm(BaseModel):
    """The body of PUT /v1/quotas/{quota_id}."""

    model_config = ConfigDict(extra="forbid")

    limit_units: Annotated[StrictInt, Field(ge=0, le=service.MOST_CNY)]
    """Units; CNY for a funds_day."""


@router.get("")
def list_quotas(
    core: TheCore,
    asking: Readers,
    scope_kind: ScopeKind | None = None,
    scope_id: Annotated[str, Query(max_length=64, pattern=NO_NUL)] | None = None,
    first: Annotated[date | None, Query(alias="from")] = None,
    last: Annotated[date | None, Query(alias="to")] = None,
) -> JSONResponse:
    """Standing limits, and of periods that start within from..to the limit and temporary quotas in force."""
    filters = {"scope_kind": scope_kind, "scope_id": scope_id}
    with core.engine.connect() as connection:
        standing, counted, temporary = service.list_quotas(connection, filters, (first, last), asking.caller)
    quotas = [
        {name: row._mapping[name] for name in ("quota_id", *_SCOPE, "limit_units")}  # noqa: SLF001
        for row in standing
    ]
    periods = [
        {
            "quota_id": _quota_id(row),
            "period_start": row.period_start.isoformat(),
            "limit_units": row.in_force,
            "override_units": row.limit_units,
            "extra_units": row.extra_units,
            "used_units": row.used_units,
            "plan_id": row.plan_id,
        }
        for row in counted
    ]
    told = [_temporary(row) for row in temporary]
    return JSONResponse({"quotas": quotas, "periods": periods, "temporaries": told})


@router.post("/temporary", status_code=201)
def post_temporary(core: TheCore, asking: Operators, draft: service.TemporaryDraft) -> JSONResponse:
    """Extra units of one period until they expire; the same id with the same body answers what is there."""
    made = granted(carry_out(core, asking, lambda c, given: service.put_temporary(c, draft, given)))
    return JSONResponse(_temporary(made.row), 201 if made.created else 200)


@router.delete("/temporary/{temporary_id}")
def delete_temporary(
    core: TheCore, asking: Operators, temporary_id: Annotated[str, Path(max_length=64, pattern=NO_NUL)]
) -> JSONResponse:
    """End extra units before they expire. No booking is cancelled."""
    granted(carry_out(core, asking, lambda c, given: service.end_temporary(c, temporary_id, given)))
    return JSONResponse({"temporary_id": temporary_id})


@router.put("/{quota_id}")
def put_quota(core: TheCore, asking: Operators, quota_id: str, form: QuotaForm) -> JSONResponse:
    """Set the standing limit. No booking is cancelled, however low the limit."""
    granted(carry_out(core, asking, lambda c, given: service.put_quota(c, quota_id, form.limit_units, given)))
    return JSONResponse({"quota_id": quota_id, "limit_units": form.limit_units})


def _quota_id(row: Row[Any]) -> str:
    return ":".join(row._mapping[name] for name in _SCOPE)  # noqa: SLF001 – SQLAlchemy's public name


def _temporary(row: Row[Any]) -> dict[str, Any]:
    return {
        "temporary_id": row.temporary_id,
        "quota_id": _quota_id(row),
        "period_start": row.period_start.isoformat(),
        "extra_units": row.extra_units,
        "expires": row.expires_utc.isoformat(),
        "ended": row.ended_utc and row.ended_utc.isoformat(),
        "created_by": row.created_by,
    }
