"""The waitlist endpoints."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from booking_core.api.access import Customers, TheCore
from booking_core.api.forms import REF, Body, LoanRef, OneChannel, body_schema, parse
from booking_core.api.responses import answer_of, not_found, problem_of
from booking_core.api.take import paced
from booking_core.domain import Refused
from booking_core.messages import language_of, promise_text
from booking_core.queueing import PRIORITIES, Entry
from booking_core.service import plan_drafts
from booking_core.service import waitlist as service
from booking_core.service.bookings import Refusal, Taken, refuse
from booking_core.service.waitlist import Joining

router = APIRouter(prefix="/v1/waitlist", tags=["waitlist"])

EntryRef = Annotated[str, Path(pattern=REF, max_length=40)]
Languages = Annotated[str | None, Header(alias="Accept-Language", description="en | zh")]


ISO_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")


def _as_iso(value: Any) -> Any:
    """The value, if it is written as a day (pydantic would also take numbers for one)."""
    if isinstance(value, str) and ISO_DAY.fullmatch(value):
        return value
    raise PydanticCustomError("date_parsing", "a day is expected, as YYYY-MM-DD")


Day = Annotated[plan_drafts.Day, BeforeValidator(_as_iso)]


class JoinForm(BaseModel):
    """The body of POST /v1/waitlist."""

    model_config = ConfigDict(extra="forbid")

    loan: LoanRef
    branch: LoanRef
    wished_day: Day = Field(description="first day that suits")
    channel: OneChannel
    latest_day: Day | None = Field(None, description="last day that suits; else `waitlist_days` later")
    priority: Annotated[int, Field(strict=True, ge=min(PRIORITIES), le=max(PRIORITIES))] | None = Field(
        None, description="operators only: 1 goes before everyone else's 0"
    )
    priority_reason: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[^\x00-\x1f]*$")] | None = (
        Field(None, description="with a priority only: why, e.g. hardship")
    )

    def joining(self) -> Joining:
        """What is asked for."""
        return Joining(
            loan_ref=self.loan,
            branch_id=self.branch,
            wished_day=self.wished_day,
            channel=self.channel,
            latest_day=self.latest_day,
            priority=self.priority,
            priority_reason=self.priority_reason,
        )


@router.post("", status_code=201, openapi_extra=body_schema(JoinForm), dependencies=[Depends(paced)])
def join_waitlist(core: TheCore, asking: Customers, raw: Body, languages: Languages = None) -> JSONResponse:
    """Join: the entry with its position and promise, or with its offer where a place is free at once."""
    form, told = parse(JoinForm, raw)
    if isinstance(form, Refused):
        raise problem_of(refuse(core, asking, form, told))
    return _told(
        (f"branch {form.branch}", f"网点 {form.branch}"),
        service.join(core, asking, form.joining()),
        languages,
        201,
    )


@router.get("/{entry_ref}")
def get_entry(
    core: TheCore, asking: Customers, entry_ref: EntryRef, languages: Languages = None
) -> JSONResponse:
    """The entry with its position now, its promise, and its offer while that stands."""
    return _told(_named(entry_ref), service.find(core, asking, entry_ref), languages)


@router.delete("/{entry_ref}")
def leave_waitlist(core: TheCore, asking: Customers, entry_ref: EntryRef) -> JSONResponse:
    """Leave: an offer goes to the next in line; a repetition changes nothing."""
    return answer_of(_named(entry_ref), service.leave(core, asking, entry_ref))


@router.post("/{entry_ref}/accept")
def accept_offer(core: TheCore, asking: Customers, entry_ref: EntryRef) -> JSONResponse:
    """Take the place that is offered: a hold, to be confirmed like any; a repetition changes nothing."""
    outcome = service.accept(core, asking, entry_ref)
    if isinstance(outcome, Entry):
        raise not_found(f"offer for waitlist entry {entry_ref} yet", f"候补 {entry_ref} 的可接受名额")
    return answer_of(_named(entry_ref), outcome)


def _named(entry_ref: str) -> tuple[str, str]:
    return f"waitlist entry {entry_ref}", f"候补 {entry_ref}"


def _told(
    what: tuple[str, str], outcome: Taken | Refusal | None, languages: str | None, status: int = 200
) -> JSONResponse:
    """The entry, and while it waits what is promised to it in a sentence of the caller's language."""
    if isinstance(outcome, Taken) and (promise := outcome.body["promise"]):
        entry = outcome.body["entry"]
        if entry["status"] == "waiting":
            text = promise_text(promise["by"], promise["chance"], entry["latest_day"], language_of(languages))
            outcome = replace(outcome, body=outcome.body | {"promise": promise | {"text": text}})
    return answer_of(what, outcome, status)
