"""A plan as the planner posts it, checked for form: the body of POST /v1/plans."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictInt, model_validator

from booking_core.domain import period_start
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, Channel, PeriodKind, ScopeKind

QUARTER_HOUR = timedelta(minutes=15)

Units = Annotated[StrictInt, Field(ge=0, le=1_000_000)]


class PlanItemDraft(BaseModel):
    """One limit the plan asks for: units of a quota's period, or workers of a business quarter-hour."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scope_kind: ScopeKind
    scope_id: Annotated[str, Field(min_length=1, max_length=64)]
    channel: Channel | Literal["*"] = ALL_CHANNELS
    period_kind: Literal["day", "week", "month", "quarter_hour"]
    period_start: date | None = None
    starts: AwareDatetime | None = None
    old_limit: Units | None = None
    proposed: float | None = None
    new_limit: Units | None = None
    """None keeps the limit as it is."""
    quantile: Annotated[float, Field(ge=0, le=1)] | None = None
    guardrail: Annotated[str, Field(max_length=32)] | None = None
    condition: str | None = None
    inputs: dict[str, Any] = {}

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
    kind: Literal["quota", "server"]
    region: Annotated[str, Field(min_length=1, max_length=32)]
    period: str
    """quota: the ISO day; server: the business time of the quarter-hour, kept in UTC."""
    in_band: bool
    verdict: Annotated[str, Field(max_length=32)] | None = None
    model: Literal["champion", "weeks8", "keep"]
    forecast_run_id: Annotated[str, Field(max_length=64)] | None = None
    policy: dict[str, Any]
    inputs: dict[str, Any]
    items: Annotated[list[PlanItemDraft], Field(max_length=20_000)]

    @model_validator(mode="before")
    @classmethod
    def _normal_period(cls, body: Any) -> Any:
        if isinstance(body, dict) and isinstance(body.get("period"), str):
            if body.get("kind") == "server":
                moment = datetime.fromisoformat(body["period"])
                if moment.tzinfo is None:
                    raise ValueError("the period of a server plan needs a UTC offset")
                return {**body, "period": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
            return {**body, "period": date.fromisoformat(body["period"]).isoformat()}
        return body

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        server = self.kind == "server"
        if server and self.region != BANK_SCOPE_ID:
            raise ValueError(f"a server plan is for the whole bank: region must be {BANK_SCOPE_ID!r}")
        seen = set()
        for n, item in enumerate(self.items):
            if (item.period_kind == "quarter_hour") is not server:
                raise ValueError(f"item {n} has period_kind {item.period_kind!r} in a {self.kind} plan")
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
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
