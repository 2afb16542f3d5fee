"""The words of booking as plain values: no I/O, no clock, no database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from metrics.contract import ALL_CHANNELS, Channel, PeriodKind, Reason, ScopeKind


def period_start(kind: PeriodKind, day: date) -> date:
    """The first day of the day, ISO week (Monday) or calendar month that contains `day`."""
    match kind:
        case PeriodKind.DAY | PeriodKind.FUNDS_DAY:
            return day
        case PeriodKind.WEEK:
            return day - timedelta(days=day.weekday())
        case PeriodKind.MONTH:
            return day.replace(day=1)


def next_period_start(kind: PeriodKind, start: date) -> date:
    """The first day of the period after the one that starts on `start`."""
    match kind:
        case PeriodKind.DAY | PeriodKind.FUNDS_DAY:
            return start + timedelta(days=1)
        case PeriodKind.WEEK:
            return start + timedelta(days=7)
        case PeriodKind.MONTH:
            return (start.replace(day=28) + timedelta(days=4)).replace(day=1)


@dataclass(frozen=True, slots=True)
class QuotaKey:
    """What a quota limits: a scope, narrowed to a channel or not, in one kind of period."""

    scope_kind: ScopeKind
    scope_id: str
    period_kind: PeriodKind
    channel: str = ALL_CHANNELS

    @property
    def quota_id(self) -> str:
        """The id in the API: scope_kind:scope_id:channel:period_kind."""
        return f"{self.scope_kind}:{self.scope_id}:{self.channel}:{self.period_kind}"

    def measured(self, units: int, cny: int) -> int:
        """What of a booking this quota counts: yuan for the day's funds, else units."""
        return cny if self.period_kind is PeriodKind.FUNDS_DAY else units


@dataclass(slots=True)
class QuotaState:
    """One concrete period of a quota, as locked: its limit and what is used of it (CNY for the day's funds).

    Mutable: the batch that holds its lock moves it from wish to wish.
    """

    key: QuotaKey
    start: date
    limit_units: int
    used_units: int

    @property
    def free_units(self) -> int:
        """Units left; never negative, though a lowered limit may lie below what is used."""
        return max(0, self.limit_units - self.used_units)


@dataclass(slots=True)
class SlotState:
    """A slot as locked; mutable like QuotaState."""

    slot_id: str
    branch_id: str
    region_id: str
    service_day: date
    start_utc: datetime
    end_utc: datetime
    capacity_units: int
    used_units: int
    offered_units: int
    closed: bool

    @property
    def place(self) -> tuple[str, str, date]:
        """Branch, region and service day: with the channel they name the levels it counts in."""
        return self.branch_id, self.region_id, self.service_day

    @property
    def free_units(self) -> int:
        """Units neither held, booked nor offered."""
        return max(0, self.capacity_units - self.used_units - self.offered_units)


@dataclass(slots=True)
class LoanState:
    """A loan as imported; mutable like QuotaState."""

    loan_ref: str
    holder: str
    branch_id: str
    status: str
    payoff_cny: Decimal
    min_prepayment_cny: Decimal
    eligible_from: date | None
    live_booking_ref: str | None = None
    """An offered, held, confirmed or checked-in booking of this loan."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the customer asks for, checked for form."""

    loan_ref: str
    slot_id: str
    channel: Channel
    units: int = 1
    amount_cny: Decimal | None = None
    option: str | None = None
    contact: str | None = None


@dataclass(frozen=True, slots=True)
class Booking:
    """A booking as stored, from offer or hold to its end."""

    booking_ref: str
    loan_ref: str
    slot_id: str
    branch_id: str
    region_id: str
    service_day: date
    channel: str
    status: str
    """offered | held | confirmed | checked_in | completed | no_show | cancelled | expired"""
    units: int
    amount_cny: Decimal | None
    option: str | None
    contact: str | None
    created_utc: datetime
    held_until_utc: datetime | None
    """End of the hold or offer, wall time."""
    reserved_cny: int = 0
    """What it takes of the day's funds, whole yuan rounded up."""
    checked_in_utc: datetime | None = None
    service_started_utc: datetime | None = None
    service_ended_utc: datetime | None = None
    version: int = 1
    """Grows by one with every transition."""

    def over(self, now: datetime) -> bool:
        """Whether its hold or offer has run out at the wall time given."""
        until = self.held_until_utc
        return self.status in {"held", "offered"} and until is not None and until <= now


@dataclass(frozen=True, slots=True)
class Violation:
    """One limit that binds."""

    reason: Reason
    quota_id: str
    scope_kind: str
    scope_id: str
    period_kind: str
    period_start: date
    limit_units: int
    used_units: int
    next_period_starts: date | None = None
    next_limit_units: int | None = None
    """Limit of the period after, where known."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that does not fit, by JSON pointer."""

    pointer: str
    message_en: str
    message_zh: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An expected refusal: a value, never an exception."""

    reason: Reason
    violations: tuple[Violation, ...] = ()
    errors: tuple[FieldError, ...] = ()
    retry_after_seconds: int | None = None
    context: dict[str, str] = field(default_factory=dict)
    """Named values that the localized detail mentions (e.g. earliest, slot, limit)."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The wish fits every limit: what to take."""

    slot_id: str
    units: int
    reserved_cny: int
    confirm_at_once: bool
