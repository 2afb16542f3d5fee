"""The words other programs rely on: failure reasons, label values and metric names.

Standard library only, so that every package (and a reader with no environment) can import it.
Adding a reason here is the only step needed: the booking core initialises a counter child for it,
its tests demand a zh and an en text, and the dashboard charts it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """Why attempts fail, coarsely: whose move it is to mend it."""

    CAPACITY = "capacity"
    INPUT = "input"
    RULE = "rule"
    SYSTEM = "system"
    ACCESS = "access"


class Reason(StrEnum):
    """The single list of failure reasons of an attempt."""

    QUOTA_DAY_FULL = "quota_day_full"
    QUOTA_WEEK_FULL = "quota_week_full"
    QUOTA_MONTH_FULL = "quota_month_full"
    SLOT_FULL = "slot_full"
    FUNDS_CAP_REACHED = "funds_cap_reached"

    INVALID_FIELD = "invalid_field"
    MISSING_FIELD = "missing_field"
    AMOUNT_OUT_OF_RANGE = "amount_out_of_range"

    LOAN_NOT_FOUND = "loan_not_found"
    LOAN_NOT_ELIGIBLE = "loan_not_eligible"
    NOTICE_TOO_SHORT = "notice_too_short"
    OUTSIDE_BOOKING_WINDOW = "outside_booking_window"
    SLOT_CLOSED = "slot_closed"
    DUPLICATE_BOOKING = "duplicate_booking"
    HOLD_EXPIRED = "hold_expired"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"

    SYSTEM_BUSY = "system_busy"
    TIMEOUT = "timeout"
    DEPENDENCY_DOWN = "dependency_down"
    INTERNAL_ERROR = "internal_error"

    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"

    @property
    def cause(self) -> Cause:
        """The cause this reason belongs to."""
        return CAUSE_OF[self]


CAUSE_OF: Final[dict[Reason, Cause]] = {
    Reason.QUOTA_DAY_FULL: Cause.CAPACITY,
    Reason.QUOTA_WEEK_FULL: Cause.CAPACITY,
    Reason.QUOTA_MONTH_FULL: Cause.CAPACITY,
    Reason.SLOT_FULL: Cause.CAPACITY,
    Reason.FUNDS_CAP_REACHED: Cause.CAPACITY,
    Reason.INVALID_FIELD: Cause.INPUT,
    Reason.MISSING_FIELD: Cause.INPUT,
    Reason.AMOUNT_OUT_OF_RANGE: Cause.INPUT,
    Reason.LOAN_NOT_FOUND: Cause.RULE,
    Reason.LOAN_NOT_ELIGIBLE: Cause.RULE,
    Reason.NOTICE_TOO_SHORT: Cause.RULE,
    Reason.OUTSIDE_BOOKING_WINDOW: Cause.RULE,
    Reason.SLOT_CLOSED: Cause.RULE,
    Reason.DUPLICATE_BOOKING: Cause.RULE,
    Reason.HOLD_EXPIRED: Cause.RULE,
    Reason.IDEMPOTENCY_CONFLICT: Cause.RULE,
    Reason.SYSTEM_BUSY: Cause.SYSTEM,
    Reason.TIMEOUT: Cause.SYSTEM,
    Reason.DEPENDENCY_DOWN: Cause.SYSTEM,
    Reason.INTERNAL_ERROR: Cause.SYSTEM,
    Reason.UNAUTHENTICATED: Cause.ACCESS,
    Reason.FORBIDDEN: Cause.ACCESS,
    Reason.RATE_LIMITED: Cause.ACCESS,
}

OPENS_EPISODE: Final[frozenset[Cause]] = frozenset({Cause.CAPACITY, Cause.INPUT, Cause.SYSTEM})
"""Refusals of these causes open or continue a wish episode; rule and access refusals do not."""


class PlanRefusal(StrEnum):
    """Why a command on plans, quotas or controls was refused (these are no attempts)."""

    PLAN_NOT_FOUND = "plan_not_found"
    PLAN_OLDER_PERIOD = "plan_older_period"
    PLAN_WRONG_STATUS = "plan_wrong_status"
    PLAN_NEEDS_APPROVAL = "plan_needs_approval"
    PLAN_ID_CONFLICT = "plan_id_conflict"
    PLAN_OVER = "plan_over"
    NOTHING_TO_RAISE = "nothing_to_raise"
    REGION_IN_SHADOW = "region_in_shadow"
    REGION_FIXED = "region_fixed"
    PAUSED = "paused"
    QUOTA_NOT_FOUND = "quota_not_found"
    RESOURCE_NOT_FOUND = "resource_not_found"


NOBODY_DECIDED: Final = "timeout"
"""Who is noted to have rejected a plan that nobody decided in time."""


class Channel(StrEnum):
    """How a customer reaches the bank."""

    APP = "app"
    WEB = "web"
    MINI_PROGRAM = "mini_program"
    PHONE = "phone"
    COUNTER = "counter"


class Outcome(StrEnum):
    """What became of an attempt; "accepted" in figures means held."""

    HELD = "held"
    REFUSED = "refused"


class Shown(StrEnum):
    """What became of a try for a slot that was shown as free."""

    HELD = "held"
    TAKEN = "taken"
    CHANGED = "changed"


class OfferOutcome(StrEnum):
    """What became of an offer to the waitlist."""

    ACCEPTED = "accepted"
    EXPIRED = "expired"
    LEFT = "left"
    SKIPPED = "skipped"


class PeriodKind(StrEnum):
    """The periods a quota counts in: bank-local day, ISO week, calendar month; a day's funds in CNY."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    FUNDS_DAY = "funds_day"


UNIT_PERIODS: Final = (PeriodKind.DAY, PeriodKind.WEEK, PeriodKind.MONTH)
"""The periods that count units; the other kind counts whole yuan."""


class ScopeKind(StrEnum):
    """What a quota limits, widest first."""

    BANK = "bank"
    REGION = "region"
    BRANCH = "branch"


ALL_CHANNELS: Final = "*"
"""Channel of a quota that is not narrowed to one channel."""

BANK_SCOPE_ID: Final = "bank"
"""Scope id of the one bank-wide scope."""

QUOTA_FULL: Final[dict[PeriodKind, Reason]] = {
    PeriodKind.DAY: Reason.QUOTA_DAY_FULL,
    PeriodKind.WEEK: Reason.QUOTA_WEEK_FULL,
    PeriodKind.MONTH: Reason.QUOTA_MONTH_FULL,
    PeriodKind.FUNDS_DAY: Reason.FUNDS_CAP_REACHED,
}


class EventKind(StrEnum):
    """What is announced that may move demand."""

    RATE_CUT = "rate_cut"
    CAMPAIGN = "campaign"
    PAY_DAY = "pay_day"
    SCHOOL_HOLIDAY = "school_holiday"
    CLOSURE = "closure"
    OTHER = "other"


class Skill(StrEnum):
    """What staff are rostered for."""

    COUNTER = "counter"
    PHONE = "phone"


class TokenScope(StrEnum):
    """What a bearer token may do; each is its own right, none includes another."""

    CUSTOMER = "customer"
    CHANNEL = "channel"
    OPERATOR = "operator"
    PLANNER = "planner"
    READER = "reader"


class RegionMode(StrEnum):
    """Whether a region's quota plans are only made and scored, or applied too."""

    SHADOW = "shadow"
    AUTOMATIC = "automatic"


# --- metric names -----------------------------------------------------------------------------

ATTEMPTS: Final = "booking_attempts_total"
ATTEMPTS_UNRECORDED: Final = "booking_attempts_unrecorded_total"
REQUEST_SECONDS: Final = "booking_request_duration_seconds"
IN_FLIGHT: Final = "booking_requests_in_flight"
BATCH_SIZE: Final = "booking_batch_size"
COMMIT_SECONDS: Final = "booking_commit_duration_seconds"
QUEUE_WAIT_SECONDS: Final = "booking_queue_wait_seconds"
QUOTA_LIMIT: Final = "booking_quota_limit"
QUOTA_USED: Final = "booking_quota_used"
BRANCHES_EXHAUSTED: Final = "booking_branches_exhausted"
WAITLIST_ENTRIES: Final = "booking_waitlist_entries"
WAITLIST_OLDEST: Final = "booking_waitlist_oldest_timestamp_seconds"
WAITLIST_OFFERS: Final = "booking_waitlist_offers_total"
SHOWN_FREE: Final = "booking_shown_free_total"
UNMET_DEMAND: Final = "booking_unmet_demand_total"
INVARIANT_VIOLATIONS: Final = "booking_invariant_violations"
WORKERS_RUNNING: Final = "booking_workers_running"
WORKERS_TARGET: Final = "booking_workers_target"
DB_POOL_IN_USE: Final = "booking_db_pool_in_use"
DB_POOL_SIZE: Final = "booking_db_pool_size"
OUTBOX_PENDING: Final = "booking_outbox_pending"
OUTBOX_OLDEST: Final = "booking_outbox_oldest_timestamp_seconds"
FORECAST_TIMESTAMP: Final = "forecast_timestamp_seconds"
FORECAST_COVERAGE: Final = "forecast_coverage_ratio"
FORECAST_WAPE: Final = "forecast_wape_ratio"
PLAN_TIMESTAMP: Final = "plan_timestamp_seconds"
PLAN_KEPT: Final = "plan_kept"
PLAN_AUTOMATIC: Final = "plan_region_automatic"
PLAN_EXHAUSTION: Final = "plan_expected_exhaustion_timestamp_seconds"

REQUEST_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Edges in seconds; 0.5 and 2.5 are the latency objectives that the alert rules divide at."""
