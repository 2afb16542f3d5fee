"""A plan as the planner posts it, checked for form: the body of POST /v1/plans."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from booking_core.domain import period_start
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, Channel, PeriodKind, ScopeKind

QUARTER_HOUR = timedelta(minutes=15)
D = TypeVar("D", bound=date)

MOST_EXTRA_ID: Final = 58
"""Characters of an extra plan's id: each item's temporary quota is named after it, with a number."""

MOST_HOURS: Final = 24 * 366
NESTED: Final = 16
"""How deep a plan's free JSON may nest."""


def unfit(en: str, zh: str) -> PydanticCustomError:
    """The fault of a field in both languages, to be raised within a model; the API tells the caller's."""
    return PydanticCustomError("unfit", "{en}", {"en": en, "zh": zh})


def storable(value: Any, depth: int = 0) -> Any:
    """The value, if every database keeps it and every answer can tell it.

    Raises a ValueError for NaN and infinities, NUL characters and half surrogates, and too deep nesting.
    """
    match value:
        case str() if "\x00" in value or (
            not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)
        ):
            raise unfit(
                "text without NUL characters and half surrogates is expected",
                "文本不得含 NUL 字符或不成对的代理项",
            )
        case float() if not math.isfinite(value):
            raise unfit(f"a finite number is expected, got {value}", f"须为有限的数值，实为 {value}")
        case dict() | list() if depth >= NESTED:
            raise unfit(f"nesting of at most {NESTED} levels is expected", f"嵌套最多 {NESTED} 层")
        case dict():
            for name, part in value.items():
                storable(name, depth)
                storable(part, depth + 1)
        case list():
            for part in value:
                storable(part, depth + 1)
    return value


def _parsed(kind: type[D], period: str, like: str) -> D:
    try:
        return kind.fromisoformat(period)
    except ValueError as fault:
        told = f"{period!r} is no period of this kind of plan, e.g. {like}"
        raise unfit(told, f"{period!r} 不是此类计划的 period，例如 {like}") from fault


def _channel(text: str) -> str:
    if text not in CHANNELS:
        expected = " or ".join(repr(str(channel)) for channel in CHANNELS)
        raise PydanticCustomError("enum", "Input should be {expected}", {"expected": expected})
    return text


CHANNELS: Final = (ALL_CHANNELS, *Channel)
AnyChannel = Annotated[
    str, AfterValidator(_channel), WithJsonSchema({"type": "string", "enum": [str(c) for c in CHANNELS]})
]
"""One channel or all: a union would tell its faults with pointers to no field."""

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
    channel: AnyChannel = ALL_CHANNELS
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
                raise unfit(
                    "a quarter_hour item needs `starts` at a whole quarter-hour",
                    "quarter_hour 条目须有整刻钟的 starts",
                )
            if self.period_start is not None or self.scope_kind is not ScopeKind.BANK:
                raise unfit(
                    "a quarter_hour item is bank-wide and has no period_start",
                    "quarter_hour 条目适用于全行，不得有 period_start",
                )
        else:
            start = self.period_start
            if start is None or self.starts is not None:
                raise unfit(
                    f"a {self.period_kind} item needs `period_start` and no `starts`",
                    f"{self.period_kind} 条目须有 period_start，不得有 starts",
                )
            first = period_start(PeriodKind(self.period_kind), start)
            if first != start:
                raise unfit(
                    f"the {self.period_kind} of {start} starts on {first}",
                    f"{start} 所在的 {self.period_kind} 周期始于 {first}",
                )
        if self.scope_kind is ScopeKind.BANK and self.scope_id != BANK_SCOPE_ID:
            raise unfit(
                f"the scope_id of the bank is {BANK_SCOPE_ID!r}", f"全行的 scope_id 为 {BANK_SCOPE_ID}"
            )
        return self

    def limited(self) -> str:
        """What the item limits, by name; at most one item of a plan may limit it."""
        start = self.period_start or (self.starts and self.starts.astimezone(UTC))
        named = (self.scope_kind, self.scope_id, self.channel, self.period_kind)
        return ":".join([*named, start.isoformat() if start else ""])

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
            return _parsed(date, period, "2026-03-02").isoformat()
        moment = _parsed(datetime, period, "2026-03-02T09:15:00+08:00")
        if moment.tzinfo is None:
            raise unfit("the period of a server plan needs a UTC offset", "server 计划的 period 须带时区偏移")
        try:
            return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        except OverflowError as fault:
            raise unfit(f"{period} is no time that UTC has", f"{period} 超出 UTC 可表示的时间") from fault

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        server, extra = self.kind == "server", self.kind == "extra"
        if extra and len(self.plan_id) > MOST_EXTRA_ID:
            raise unfit(
                f"the id of an extra plan has at most {MOST_EXTRA_ID} characters",
                f"extra 计划的编号最多 {MOST_EXTRA_ID} 个字符",
            )
        if server and self.region != BANK_SCOPE_ID:
            raise unfit(
                f"a server plan is for the whole bank: region must be {BANK_SCOPE_ID!r}",
                f"server 计划适用于全行，region 须为 {BANK_SCOPE_ID}",
            )
        seen = set()
        for n, item in enumerate(self.items):
            if (item.period_kind == "quarter_hour") is not server:
                raise unfit(
                    f"item {n} has period_kind {item.period_kind!r} in a {self.kind} plan",
                    f"条目 {n} 的 period_kind {item.period_kind} 不适用于 {self.kind} 计划",
                )
            if extra and item.new_limit is None:
                raise unfit(
                    f"item {n} of an extra plan needs the limit to raise to, new_limit",
                    f"extra 计划的条目 {n} 须有要提高到的限额 new_limit",
                )
            if item.limited() in seen:
                raise unfit(
                    f"item {n} limits {item.limited()} a second time", f"条目 {n} 重复限定 {item.limited()}"
                )
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
