"""The plans endpoints."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy import Connection, Row

from booking_core.api.access import Operators, Planners, TheCore
from booking_core.api.commands import Readers, carried_out, command_of, refused
from booking_core.domain import FieldError
from booking_core.service import plans as service
from booking_core.service.bookings import Asking
from booking_core.service.commands import Command, InvalidCommand, OutsideClaim
from booking_core.service.core import Core
from booking_core.service.plan_drafts import PlanDraft
from booking_core.service.plans import PlanAnswer, StoredPlan

router = APIRouter(prefix="/v1/plans", tags=["plans"])

_PLAN: Final = (
    "plan_id",
    "kind",
    "period",
    "status",
    "in_band",
    "verdict",
    "model",
    "forecast_run_id",
    "policy",
    "inputs",
    "created_by",
    "decided_by",
    "note",
)
_TIMES: Final = ("created", "decided", "applied")
_ITEM: Final = (
    "scope_kind",
    "scope_id",
    "channel",
    "period_kind",
    "old_limit",
    "proposed",
    "new_limit",
    "quantile",
    "guardrail",
    "condition",
    "inputs",
    "before_override",
    "applied_limit",
)


@router.post("", status_code=201)
def post_plan(request: Request, core: TheCore, asking: Planners, draft: PlanDraft) -> JSONResponse:
    """Hand in a plan; the same id with the same body answers the plan that is there."""
    answer = carried_out(core, asking, lambda c, command: service.create_plan(c, draft, command))
    if not isinstance(answer, StoredPlan):
        return refused(request, answer)
    return JSONResponse(plan_body(answer), 201 if answer.created else 200)


@router.get("")
def list_plans(
    request: Request,
    core: TheCore,
    asking: Readers,
    kind: Literal["quota", "server"] | None = None,
    region: str | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JSONResponse:
    """Plans without their items, newest first."""
    claim = asking.caller.region_id
    if claim is not None and region not in (None, claim):
        return refused(request, OutsideClaim(region or ""))
    wanted = {"kind": kind, "region_id": region or claim, "status": status}
    try:
        after = None if cursor is None else _position(cursor)
    except ValueError:
        error = FieldError(
            "query:cursor", "not a cursor of this list; leave it out to begin", "无效的 cursor"
        )
        return refused(request, InvalidCommand((error,)))
    with core.engine.connect() as connection:
        filters = {name: value for name, value in wanted.items() if value is not None}
        rows = service.list_plans(connection, filters, after, limit + 1)
    page = rows[:limit]
    following = _cursor(page[-1]) if len(rows) > limit else None
    return JSONResponse({"plans": [_plan(row) for row in page], "next_cursor": following})


@router.get("/{plan_id}")
def get_plan(request: Request, core: TheCore, asking: Readers, plan_id: str) -> JSONResponse:
    """The plan with its items."""
    with core.engine.connect() as connection:
        return _answer(request, service.get_plan(connection, plan_id, command_of(core, asking)))


@router.post("/{plan_id}/approve")
def approve_plan(request: Request, core: TheCore, asking: Operators, plan_id: str) -> JSONResponse:
    """Let a pending plan be applied."""
    return _carry_out(request, core, asking, service.approve_plan, plan_id)


@router.post("/{plan_id}/reject")
def reject_plan(request: Request, core: TheCore, asking: Operators, plan_id: str) -> JSONResponse:
    """Never apply this plan."""
    return _carry_out(request, core, asking, service.reject_plan, plan_id)


@router.post("/{plan_id}/apply")
def apply_plan(request: Request, core: TheCore, asking: Planners, plan_id: str) -> JSONResponse:
    """Put the plan in force; a repetition changes nothing."""
    return _carry_out(request, core, asking, service.apply_plan, plan_id)


@router.post("/{plan_id}/rollback")
def rollback_plan(request: Request, core: TheCore, asking: Planners, plan_id: str) -> JSONResponse:
    """Take the plan back: the limits that it replaced stand again."""
    return _carry_out(request, core, asking, service.rollback_plan, plan_id)


def plan_body(plan: StoredPlan) -> dict[str, Any]:
    """The plan as JSON, with its items."""
    return {**_plan(plan.row), "items": [_item(row) for row in plan.items]}


def _carry_out(
    request: Request,
    core: Core,
    asking: Asking,
    command: Callable[[Connection, str, Command], PlanAnswer],
    plan_id: str,
) -> JSONResponse:
    return _answer(request, carried_out(core, asking, lambda c, given: command(c, plan_id, given)))


def _answer(request: Request, answer: PlanAnswer) -> JSONResponse:
    return JSONResponse(plan_body(answer)) if isinstance(answer, StoredPlan) else refused(request, answer)


def _plan(row: Row[Any]) -> dict[str, Any]:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    times = {f"{name}_at": values[f"{name}_utc"] for name in _TIMES}
    return {
        **{name: values[name] for name in _PLAN},
        "region": values["region_id"],
        **{name: at and at.isoformat() for name, at in times.items()},
    }


def _item(row: Row[Any]) -> dict[str, Any]:
    body = {name: row._mapping[name] for name in _ITEM}  # noqa: SLF001
    if row.starts_utc is not None:
        return {**body, "starts": row.starts_utc.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {**body, "period_start": row.period_start.isoformat()}


def _cursor(row: Row[Any]) -> str:
    return urlsafe_b64encode(f"{row.created_utc.isoformat()}|{row.plan_id}".encode()).decode()


def _position(cursor: str) -> tuple[datetime, str]:
    created, _, plan_id = urlsafe_b64decode(cursor.encode()).decode().partition("|")
    moment = datetime.fromisoformat(created)
    if moment.tzinfo is None:
        raise ValueError(f"{created} has no zone")
    return moment, plan_id
