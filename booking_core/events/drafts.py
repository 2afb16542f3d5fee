"""An event as an operator announces it, checked for form: the body of POST /v1/events."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, WithJsonSchema

from booking_core.api.waitlist import Day
from booking_core.service.plan_drafts import storable
from metrics.contract import EventKind

EVENT_ID: Final = r"^[A-Za-z0-9._:+-]{1,64}$"
GREATEST_EFFECT: Final = 100

OneKind = Annotated[EventKind, WithJsonSchema({"type": "string", "enum": [*EventKind]})]
Effect = Annotated[float, Field(strict=True, gt=0, le=GREATEST_EFFECT, allow_inf_nan=False)]

Name = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$"), AfterValidator(storable)
]
Note = Annotated[str, Field(max_length=2000), AfterValidator(storable)]


class EventDraft(BaseModel):
    """The body of POST /v1/events."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_id: Annotated[
        str, Field(pattern=EVENT_ID, description="chosen by you: a repetition changes nothing")
    ]
    kind: OneKind
    name: Name
    first_day: Day = Field(description="bank-local day")
    last_day: Day = Field(description="bank-local day, inclusive")
    scope: Annotated[str, Field(max_length=72)] = Field(description="bank:bank, region:ID or branch:ID")
    confirmed: StrictBool = Field(True, description="false: only expected")
    expected_effect_ratio: Effect | None = Field(
        None, description="demand ÷ usual, used until history knows this kind of event"
    )
    note: Note | None = None
