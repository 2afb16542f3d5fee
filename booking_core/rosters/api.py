"""The rosters endpoints."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from sqlalchemy import Row

from booking_core.api.access import Planners, Readers, TheCore
from booking_core.api.forms import NO_NUL
from booking_core.api.responses import granted, invalid
from booking_core.domain import FieldError
from booking_core.rosters import service
from booking_core.rosters.drafts import RosterDraft
from booking_core.rosters.store import Wanted, roster_page
from booking_core.service.commands import carry_out
from booking_core.service.plan_drafts import storable

router = APIRouter(prefix="/v1/rosters", tags=["rosters"])


@router.post("", status_code=201)
def post_roster(core: TheCore, asking: Planners, draft: RosterDraft) -> JSONResponse:
    """State who is there at a branch; the same id with the same body answers the roster that is there."""
    made = granted(carry_out(core, asking, lambda c, given: service.state(c, draft, given)))
    return JSONResponse(_roster(made.row), 201 if made.created else 200)


@router.get("")
def list_rosters(
    core: TheCore,
    asking: Readers,
    first: Annotated[date | None, Query(alias="from")] = None,
    last: Annotated[date | None, Query(alias="to")] = None,
    branch: Annotated[str | None, Query(max_length=64, pattern=NO_NUL)] = None,
    ended: Annotated[bool, Query(description="also those that were ended")] = False,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JSONResponse:
    """Rosters with a day within from..to, by first day; with a region claim, those of its branches."""
    if first and last and last < first:
        text = f"expected from ≤ to, got {first} to {last}"
        raise invalid(FieldError("query:to", text, "起止日期须先后有序"))
    wanted = Wanted(first, last, branch, asking.caller.region_id, ended)
    after = None if cursor is None else _position(cursor)
    with core.engine.connect() as connection:
        rows = roster_page(connection, wanted, after, limit + 1)
    following = _cursor(rows[limit - 1]) if len(rows) > limit else None
    return JSONResponse({"rosters": [_roster(row) for row in rows[:limit]], "next_cursor": following})


@router.delete("/{roster_id}")
def delete_roster(
    core: TheCore, asking: Planners, roster_id: Annotated[str, Path(max_length=64, pattern=NO_NUL)]
) -> JSONResponse:
    """End a roster: later plans do not see it. It is kept, since earlier ones did."""
    ended = granted(carry_out(core, asking, lambda c, given: service.end(c, roster_id, given)))
    return JSONResponse(_roster(ended.row))


def _roster(row: Row[Any]) -> dict[str, Any]:
    return {
        "roster_id": row.roster_id,
        "branch": row.branch_id,
        "entries": row.entries,
        "created": row.created_utc.isoformat(),
        "created_by": row.created_by,
        "ended": row.ended_utc and row.ended_utc.isoformat(),
    }


def _cursor(row: Row[Any]) -> str:
    return urlsafe_b64encode(f"{row.first_day.isoformat()}|{row.roster_id}".encode()).decode()


def _position(cursor: str) -> tuple[date, str]:
    try:
        first, _, roster_id = urlsafe_b64decode(cursor.encode()).decode().partition("|")
        return date.fromisoformat(first), storable(roster_id)
    except ValueError as fault:
        text = "not a cursor of this list; leave it out to begin"
        raise invalid(FieldError("query:cursor", text, "无效的 cursor")) from fault
