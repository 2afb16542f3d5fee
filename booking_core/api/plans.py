"""The plans endpoints."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row

from booking_core.api.access import Operators, Planners, Readers, TheCore
from booking_core.api.forms import NO_NUL
from booking_core.api.responses import granted, invalid
from booking_core.domain import FieldError
from booking_core.service import plans as service
from booking_core.service.commands import Command, OutsideClaim, carry_out, command_of
from booking_core.service.core import Asking, Core
from booking_core.service.plan_drafts import PlanDraft, storable
from booking_core.service.plans import Decision, PlanAnswer, StoredPlan
from booking_core.store.plans import plan_page

router = APIRouter(prefix="/v1/plans", tags=["plans"])

Named = Annotated[str, Query(max_length=64, pattern=NO_NUL)]
PlanId = Annotated[str, Path(max_length=64, pattern=NO_NUL)]

_TIMES: Final = {
    "created_utc": "created_at",
    "decided_utc": "decided_at",
    "applied_utc": "applied_at",
    "decide_by_utc": "decide_by",
}
_PLAN_HIDDEN: Final = {"fingerprint", "region_id", *_TIMES}
_ITEM_HIDDEN: Final = {"plan_id", "seq", "starts_utc", "period_start"}
"""Columns that are not told, or told under another name or in another form."""


class DecisionForm(BaseModel):
    """The optional body of an approval or rejection: who decided elsewhere, in Airflow for instance."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL)] | None = None
    note: Annotated[str, Field(max_length=1000, pattern=NO_NUL)] | None = None


@router.post("", status_code=201)
def post_plan(core: TheCore, asking: Planners, draft: PlanDraft) -> JSONResponse:
    """Hand in a plan; the same id with the same body answers the plan that is there."""
    plan = granted(carry_out(core, asking, lambda c, command: service.create_plan(c, draft, command)))
    return _answer(plan, 201 if plan.created else 200)


@router.get("")
def list_plans(
    core: TheCore,
    asking: Readers,
    kind: Literal["quota", "server", "extra"] | None = None,
    region: Named | None = None,
    status: Named | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JSONResponse:
    """Plans without their items, newest first."""
    claim = asking.caller.region_id
    if claim is not None and region not in (None, claim):
        granted(OutsideClaim(region or ""))
    after = None if cursor is None else _position(cursor)
    filters = {"kind": kind, "region_id": region or claim, "status": status}
    with core.engine.connect() as connection:
        rows = plan_page(connection, filters, after, limit + 1)
    following = _cursor(rows[limit - 1]) if len(rows) > limit else None
    return JSONResponse({"plans": [_plan(row) for row in rows[:limit]], "next_cursor": following})


@router.get("/{plan_id}")
def get_plan(core: TheCore, asking: Readers, plan_id: PlanId) -> JSONResponse:
    """The plan with its items."""
    with core.engine.connect() as connection:
        return _answer(granted(service.get_plan(connection, plan_id, command_of(core, asking))))


@router.post("/{plan_id}/approve")
def approve_plan(
    core: TheCore, asking: Operators, plan_id: PlanId, form: DecisionForm | None = None
) -> JSONResponse:
    """Let a pending plan be applied, before its deadline."""
    return _carry_out(core, asking, partial(service.approve_plan, decision=_decision(form)), plan_id)


@router.post("/{plan_id}/reject")
def reject_plan(
    core: TheCore, asking: Operators, plan_id: PlanId, form: DecisionForm | None = None
) -> JSONResponse:
    """Never apply this plan."""
    return _carry_out(core, asking, partial(service.reject_plan, decision=_decision(form)), plan_id)


@router.post("/{plan_id}/apply")
def apply_plan(core: TheCore, asking: Planners, plan_id: PlanId) -> JSONResponse:
    """Put the plan in force; a repetition changes nothing."""
    return _carry_out(core, asking, service.apply_plan, plan_id)


@router.post("/{plan_id}/rollback")
def rollback_plan(core: TheCore, asking: Planners, plan_id: PlanId) -> JSONResponse:
    """Take the plan back: the limits that it replaced stand again."""
    return _carry_out(core, asking, service.rollback_plan, plan_id)


def _carry_out(
    core: Core, asking: Asking, command: Callable[[Connection, str, Command], PlanAnswer], plan_id: str
) -> JSONResponse:
    return _answer(granted(carry_out(core, asking, lambda c, given: command(c, plan_id, given))))


def _decision(form: DecisionForm | None) -> Decision | None:
    return None if form is None else Decision(form.by, form.note)


def _answer(plan: StoredPlan, status: int = 200) -> JSONResponse:
    return JSONResponse({**_plan(plan.row), "items": [_item(row) for row in plan.items]}, status)


def _plan(row: Row[Any]) -> dict[str, Any]:
    times = {told: row._mapping[name] for name, told in _TIMES.items()}  # noqa: SLF001 - SQLAlchemy's public name
    told_times = {told: at and at.isoformat() for told, at in times.items()}
    return {**_as_stored(row, _PLAN_HIDDEN), "region": row.region_id, **told_times}


def _item(row: Row[Any]) -> dict[str, Any]:
    if row.starts_utc is not None:
        return {**_as_stored(row, _ITEM_HIDDEN), "starts": row.starts_utc.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {**_as_stored(row, _ITEM_HIDDEN), "period_start": row.period_start.isoformat()}


def _as_stored(row: Row[Any], hidden: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name not in hidden}  # noqa: SLF001


def _cursor(row: Row[Any]) -> str:
    return urlsafe_b64encode(
        f"{row.created_utc.replace(tzinfo=None).isoformat()}|{row.plan_id}".encode()
    ).decode()


def _position(cursor: str) -> tuple[datetime, str]:
    try:
        created, _, plan_id = urlsafe_b64decode(cursor.encode()).decode().partition("|")
        return datetime.fromisoformat(f"{created}+00:00"), storable(plan_id)
    except ValueError as fault:
        text = "not a cursor of this list; leave it out to begin"
        raise invalid(FieldError("query:cursor", text, "无效的 cursor")) from fault
