"""A roster as an operator states it, checked for form: the body of POST /v1/rosters."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, WithJsonSchema

from booking_core.api.forms import Ref
from booking_core.api.waitlist import Day
from booking_core.service.plan_drafts import unfit
from metrics.contract import Skill

ROSTER_ID: Final = r"^[A-Za-z0-9._:+-]{1,64}$"
HALF_HOUR: Final = r"^(([01]\d|2[0-3]):(00|30)|24:00)$"
MOST_ENTRIES: Final = 1000
MOST_HEADS: Final = 1000


def _half_hour(text: str) -> str:
    if re.fullmatch(HALF_HOUR, text) is None:
        said = "expected a time on a whole half-hour, e.g. 09:00 or 13:30"
        raise unfit(said, "须为整点或半点，例如 09:00 或 13:30")
    return text


HalfHour = Annotated[
    str, AfterValidator(_half_hour), WithJsonSchema({"type": "string", "pattern": HALF_HOUR})
]
OneSkill = Annotated[Skill, WithJsonSchema({"type": "string", "enum": [*Skill]})]


class EntryDraft(BaseModel):
    """So many heads of one skill on one day, from one time to another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: Day = Field(description="bank-local day")
    first: HalfHour = Field(alias="from", description="bank-local time")
    until: HalfHour = Field(alias="to", description="bank-local time, exclusive")
    heads: Annotated[StrictInt, Field(ge=0, le=MOST_HEADS, description="0: nobody is there")]
    skill: OneSkill


class RosterDraft(BaseModel):
    """The body of POST /v1/rosters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roster_id: Annotated[
        str, Field(pattern=ROSTER_ID, description="chosen by you: a repetition changes nothing")
    ]
    branch: Annotated[Ref, Field(max_length=64)]
    entries: Annotated[list[EntryDraft], Field(min_length=1, max_length=MOST_ENTRIES)]

    def stored_entries(self) -> list[dict[str, object]]:
        """The entries as they are kept and told."""
        return [entry.model_dump(mode="json", by_alias=True) for entry in self.entries]
