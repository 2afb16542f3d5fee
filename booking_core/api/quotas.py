"""The quotas endpoints."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from booking_core.api.access import Operators, Readers, TheCore
from booking_core.api.forms import NO_NUL
from booking_core.api.responses import granted
from booking_core.service import quotas as service
from booking_core.service.commands import carry_out
from booking_core.service.plan_drafts import Units
from metrics.contract import ScopeKind

router = APIRouter(prefix="/v1/quotas", tags=["quotas"])

_SCOPE = ("scope_kind", "scope_id", "channel", "period_kind")


class QuotaForm(BaseModel):
    """The body of PUT /v1/quotas/{quota_id}."""

    model_config = ConfigDict(extra="forbid")

    limit_units: Units


@router.get("")
def list_quotas(
    core: TheCore,
    asking: Readers,
    scope_kind: ScopeKind | None = None,
    scope_id: Annotated[str, Query(max_length=64, pattern=NO_NUL)] | None = None,
    first: Annotated[date | None, Query(alias="from")] = None,
    last: Annotated[date | None, Query(alias="to")] = None,
) -> JSONResponse:
    """Standing limits, and the counted periods that start within from..to with the limit in force."""
    filters = {"scope_kind": scope_kind, "scope_id": scope_id}
    with core.engine.connect() as connection:
        standing, counted = service.list_quotas(connection, filters, (first, last), asking.caller)
    quotas = [
        {name: row._mapping[name] for name in ("quota_id", *_SCOPE, "limit_units")}  # noqa: SLF001
        for row in standing
    ]
    periods = [
        {
            "quota_id": ":".join(row._mapping[name] for name in _SCOPE),  # noqa: SLF001
            "period_start": row.period_start.isoformat(),
            "limit_units": row.in_force,
            "override_units": row.limit_units,
            "used_units": row.used_units,
            "plan_id": row.plan_id,
        }
        for row in counted
    ]
    return JSONResponse({"quotas": quotas, "periods": periods})


@router.put("/{quota_id}")
def put_quota(core: TheCore, asking: Operators, quota_id: str, form: QuotaForm) -> JSONResponse:
    """Set the standing limit. No booking is cancelled, however low the limit."""
    granted(carry_out(core, asking, lambda c, given: service.put_quota(c, quota_id, form.limit_units, given)))
    return JSONResponse({"quota_id": quota_id, "limit_units": form.limit_units})
