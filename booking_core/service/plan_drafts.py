"""A plan as the planner posts it, checked for form: the body of POST /v1/plans."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from booking_core.domain import period_start
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, Channel, PeriodKind, ScopeKind

QUARTER_HOUR = timedelta(minutes=15)
MOST_EXTRA_ID: Final = 58
"""Characters of an extra plan's id: each item's temporary quota is named after it, with a number."""

MOST_HOURS: Final = 24 * 366
NESTED: Final = 16
"""How deep a plan's free JSON may nest."""


def storable(value: Any, depth: int = 0) -> Any:
    """The value, if every database keeps it and every answer can tell it.

    Raises ValueError for NaN and infinities, NUL characters and half surrogates, and too deep nesting.
    """
    match value:
        case str() if "\x00" in value or (
            not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)
        ):
            raise ValueError("text without NUL characters and half surrogates is expected")
        case float() if not math.isfinite(value):
            raise ValueError(f"a finite number is expected, got {value}")
        case dict() | list() if depth >= NESTED:
            raise ValueError(f"nesting of at most {NESTED} levels is expected")
        case dict():
            for name, part in value.items():
                storable(name, depth)
                storable(part, depth + 1)
        case list():
            for part in value:
                storable(part, depth + 1)
    return value


Units = Annotated[StrictInt, Field(ge=0, le=1_000_000)]
Text = Annotated[str, AfterValidator(storable)]
Json = Annotated[dict[str, Any], AfterValidator(storable)]
Day = Annotated[date, Field(ge=date(2000, 1, 1), lt=date(3000, 1, 1))]
Moment = Annotated[
    AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))
]
"""Days and times whose neighbours the calendar still has."""


class PlanItemDraft(BaseModel):
    """One limit the plan asks for: units of a quota's period, or workers of a business quarter-hour."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scope_kind: ScopeKind
    scope_id: Annotated[str, Field(min_length=1, max_length=64)]
    channel: Channel | Literal["*"] = ALL_CHANNELS
    period_kind: Literal["day", "week", "month", "quarter_hour"]
    period_start: Day | None = None
    starts: Moment | None = None
    old_limit: Units | None = None
    proposed: FiniteFloat | None = None
    new_limit: Units | None = None
    """None keeps the limit as it is."""
    quantile: Annotated[float, Field(ge=0, le=1)] | None = None
    guardrail: Annotated[Text, Field(max_length=32)] | None = None
    condition: Text | None = None
    inputs: Json = {}

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.period_kind == "quarter_hour":
            if self.starts is None or self.starts.astimezone(UTC).timestamp() % QUARTER_HOUR.total_seconds():
                raise ValueError("a quarter_hour item needs `starts` at a whole quarter-hour")
            if self.period_start is not None or self.scope_kind is not ScopeKind.BANK:
                raise ValueError("a quarter_hour item is bank-wide and has no period_start")
        else:
            start = self.period_start
            if start is None or self.starts is not None:
                raise ValueError(f"a {self.period_kind} item needs `period_start` and no `starts`")
            first = period_start(PeriodKind(self.period_kind), start)
            if first != start:
                raise ValueError(f"the {self.period_kind} of {start} starts on {first}")
        if self.scope_kind is ScopeKind.BANK and self.scope_id != BANK_SCOPE_ID:
            raise ValueError(f"the scope_id of the bank is {BANK_SCOPE_ID!r}")
        return self

    def limited(self) -> tuple[str, str, str, str, date | datetime | None]:
        """What the item limits; at most one item of a plan may limit it."""
        start = self.period_start or self.starts
        return self.scope_kind, self.scope_id, self.channel, self.period_kind, start

    def columns(self) -> dict[str, Any]:
        """The item as columns of plan_items."""
        values = self.model_dump()
        return {**values, "starts_utc": values.pop("starts")}


class PlanDraft(BaseModel):
    """A plan before it is stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:+-]{1,64}$")]
    kind: Literal["quota", "server", "extra"]
    """quota: overrides, in place of the plan before; extra: on top, until each item's period ends."""
    region: Annotated[str, Field(min_length=1, max_length=32)]
    period: str
    """quota and extra: the ISO day; server: the business time of the quarter-hour, kept in UTC."""
    in_band: bool
    verdict: Annotated[Text, Field(max_length=32)] | None = None
    model: Literal["champion", "weeks8", "keep"]
    forecast_run_id: Annotated[Text, Field(max_length=64)] | None = None
    policy: Json
    inputs: Json
    approval_hours: Annotated[float, Field(gt=0, le=MOST_HOURS)] | None = None
    """Outside the guard band: rejected when undecided for so many wall hours; None = waits on."""
    items: Annotated[list[PlanItemDraft], Field(max_length=20_000)]

    @field_validator("period")
    @classmethod
    def _normal_period(cls, period: str, info: ValidationInfo) -> str:
        if info.data.get("kind") != "server":
            return date.fromisoformat(period).isoformat()
        moment = datetime.fromisoformat(period)
        if moment.tzinfo is None:
            raise ValueError("the period of a server plan needs a UTC offset")
        try:
            return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        except OverflowError as fault:
            raise ValueError(f"{period} is no time that UTC has") from fault

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        server, extra = self.kind == "server", self.kind == "extra"
        if extra and len(self.plan_id) > MOST_EXTRA_ID:
            raise ValueError(f"the id of an extra plan has at most {MOST_EXTRA_ID} characters")
        if server and self.region != BANK_SCOPE_ID:
            raise ValueError(f"a server plan is for the whole bank: region must be {BANK_SCOPE_ID!r}")
        seen = set()
        for n, item in enumerate(self.items):
            if (item.period_kind == "quarter_hour") is not server:
                raise ValueError(f"item {n} has period_kind {item.period_kind!r} in a {self.kind} plan")
            if extra and item.new_limit is None:
                raise ValueError(f"item {n} of an extra plan needs the limit to raise to")
            if item.limited() in seen:
                raise ValueError(f"item {n} limits {item.limited()} a second time")
            seen.add(item.limited())
        return self

    @property
    def keeps(self) -> bool:
        """Whether the plan leaves every limit as it is."""
        return self.model == "keep" or not self.items

    def fingerprint(self) -> str:
        """The sha256 of the canonical body: equal for equal plans, however they were written."""
        body = self.model_dump(mode="json")
        if self.approval_hours is None:
            del body["approval_hours"]  # so that a plan of before this field is still the same plan
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
