"""The schema of the bank, its quotas, bookings and plans; forecasts are in `tables_forecast`.

One Alembic history migrates all of it. Two conventions: times are aware UTC (`UtcDateTime`), days are
bank-local dates.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.default import DefaultExecutionContext

from metrics.contract import ALL_CHANNELS


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on every database (SQLite would hand back a naive one)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive values, convert aware ones to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r} cannot be stored: give it a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Hand back an aware UTC datetime."""
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=UTC)  # type: ignore[no-any-return]
        return value.astimezone(UTC)  # type: ignore[no-any-return]


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

CNY = Numeric(14, 2)

# --- the bank ---------------------------------------------------------------------------------

settings = Table(
    "settings",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("updated_utc", UtcDateTime, nullable=False),
    comment="Typed by booking_core.settings.BankSettings and forecasting's Policy; absent = default",
)

regions = Table(
    "regions",
    metadata,
    Column("region_id", String(32), primary_key=True),
    Column("name_en", Text, nullable=False),
    Column("name_zh", Text, nullable=False),
    Column("automatic_application", Boolean, nullable=False, default=False),
    Column(
        "automatic_fixed",
        Boolean,
        nullable=False,
        default=False,
        comment="set by a person: no score changes it",
    ),
    Column("automatic_reason", Text, comment="why it stands so, in words"),
    Column("automatic_since_utc", UtcDateTime, comment="wall time; null = since it was imported"),
    comment="automatic_application false = shadow mode: plans are made and scored, never applied",
)

branches = Table(
    "branches",
    metadata,
    Column("branch_id", String(64), primary_key=True),
    Column("region_id", ForeignKey("regions.region_id"), nullable=False, index=True),
    Column("name_en", Text, nullable=False),
    Column("name_zh", Text, nullable=False),
    Column("staff_cap_units", Integer, comment="units a day its staff can serve; null = unknown"),
    Column("active", Boolean, nullable=False, default=True),
)

loans = Table(
    "loans",
    metadata,
    Column("loan_ref", String(64), primary_key=True),
    Column("holder", String(64), nullable=False, index=True, comment="customer id of the bank"),
    Column("branch_id", ForeignKey("branches.branch_id"), nullable=False),
    Column("status", String(16), nullable=False, comment="active | closed | blocked"),
    Column("payoff_cny", CNY, nullable=False),
    Column("min_prepayment_cny", CNY, nullable=False),
    Column("eligible_from", Date, comment="first service day on which prepayment is allowed"),
)

slots = Table(
    "slots",
    metadata,
    Column("slot_id", String(96), primary_key=True),
    Column("branch_id", ForeignKey("branches.branch_id"), nullable=False),
    Column("region_id", String(32), nullable=False),
    Column("service_day", Date, nullable=False, comment="bank-local day of start_utc"),
    Column("start_utc", UtcDateTime, nullable=False),
    Column("end_utc", UtcDateTime, nullable=False),
    Column("capacity_units", Integer, nullable=False),
    Column("used_units", Integer, nullable=False, default=0, comment="held + booked"),
    Column("offered_units", Integer, nullable=False, default=0, comment="offered to the waitlist"),
    Column("closed", Boolean, nullable=False, default=False),
    CheckConstraint("used_units >= 0 AND offered_units >= 0", name="units_not_negative"),
    CheckConstraint("end_utc > start_utc", name="ends_after_start"),
    Index("ix_slots_branch_day", "branch_id", "service_day", "start_utc"),
)

# --- quotas -----------------------------------------------------------------------------------

quotas = Table(
    "quotas",
    metadata,
    Column("quota_id", String(160), primary_key=True, comment="scope_kind:scope_id:channel:period"),
    Column("scope_kind", String(8), nullable=False),
    Column("scope_id", String(64), nullable=False),
    Column("channel", String(16), nullable=False, default=ALL_CHANNELS),
    Column("period_kind", String(16), nullable=False, comment="day | week | month | funds_day"),
    Column("limit_units", BigInteger, nullable=False, comment="units; CNY of a funds_day"),
    Column("updated_utc", UtcDateTime, nullable=False),
    UniqueConstraint("scope_kind", "scope_id", "channel", "period_kind"),
    CheckConstraint("limit_units >= 0", name="limit_not_negative"),
    comment="Standing limits: one per scope and kind of period; no row = no limit at that level",
)


def _period_id(context: DefaultExecutionContext) -> str:
    """The id of the row that is inserted: its other key columns, joined."""
    row = {"channel": ALL_CHANNELS} | context.get_current_parameters()  # type: ignore[no-untyped-call]
    return "{scope_kind}:{scope_id}:{channel}:{period_kind}:{period_start}".format_map(row)


quota_periods = Table(
    "quota_periods",
    metadata,
    Column("scope_kind", String(8), primary_key=True),
    Column("scope_id", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True, default=ALL_CHANNELS),
    Column("period_kind", String(16), primary_key=True),
    Column("period_start", Date, primary_key=True),
    Column(
        "period_id",
        String(176),
        nullable=False,
        unique=True,
        default=_period_id,
        comment="scope_kind:scope_id:channel:period:start; locks are taken by it",
    ),
    Column("used_units", BigInteger, nullable=False, default=0, comment="units; CNY of a funds_day"),
    Column("limit_units", BigInteger, comment="override of one concrete period; null = standing"),
    Column("extra_units", BigInteger, nullable=False, default=0, comment="of temporaries in force"),
    Column("plan_id", String(64), comment="the plan that set the override"),
    CheckConstraint("used_units >= 0", name="used_not_negative"),
    comment="The locked counter of one concrete period; limit in force = (override else standing) + extra",
)

quota_temporaries = Table(
    "quota_temporaries",
    metadata,
    Column("temporary_id", String(64), primary_key=True, comment="chosen by the operator: idempotent"),
    Column("scope_kind", String(8), nullable=False),
    Column("scope_id", String(64), nullable=False),
    Column("channel", String(16), nullable=False, default=ALL_CHANNELS),
    Column("period_kind", String(16), nullable=False),
    Column("period_start", Date, nullable=False),
    Column("extra_units", BigInteger, nullable=False),
    Column("expires_utc", UtcDateTime, nullable=False, comment="wall time"),
    Column("created_utc", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("ended_utc", UtcDateTime, comment="null = in force: counted in quota_periods.extra_units"),
    Index(
        "ix_quota_temporaries_in_force",
        "expires_utc",
        sqlite_where=text("ended_utc IS NULL"),
        postgresql_where=text("ended_utc IS NULL"),
    ),
    comment="Extra units with an expiry, on top of a period's limit",
)

# --- bookings ---------------------------------------------------------------------------------

bookings = Table(
    "bookings",
    metadata,
    Column("booking_ref", String(40), primary_key=True),
    Column("loan_ref", ForeignKey("loans.loan_ref"), nullable=False),
    Column("slot_id", ForeignKey("slots.slot_id"), nullable=False, index=True),
    Column("branch_id", String(64), nullable=False),
    Column("region_id", String(32), nullable=False),
    Column("service_day", Date, nullable=False),
    Column("channel", String(16), nullable=False),
    Column(
        "status",
        String(16),
        nullable=False,
        comment="offered | held | confirmed | checked_in | completed | no_show | cancelled | expired",
    ),
    Column("units", Integer, nullable=False, default=1),
    Column("amount_cny", CNY),
    Column("option", String(24), comment="shorten_term | reduce_instalment | full"),
    Column("contact", Text),
    Column("created_utc", UtcDateTime, nullable=False),
    Column("held_until_utc", UtcDateTime, comment="wall time, of an offer or a hold; null once confirmed"),
    Column("version", Integer, nullable=False, default=1, comment="compare-and-swap counter"),
    Column("reserved_cny", BigInteger, comment="yuan that count against funds caps, rounded up"),
    Column("checked_in_utc", UtcDateTime, comment="wall time"),
    Column("service_started_utc", UtcDateTime, comment="wall time"),
    Column("service_ended_utc", UtcDateTime, comment="wall time"),
    Index("ix_bookings_service_day_branch", "service_day", "branch_id"),
    Index(
        "ix_bookings_held_until",
        "held_until_utc",
        sqlite_where=text("status IN ('held', 'offered')"),
        postgresql_where=text("status IN ('held', 'offered')"),
    ),
    Index(
        "uq_bookings_live_loan",
        "loan_ref",
        unique=True,
        sqlite_where=text("status IN ('offered', 'held', 'confirmed', 'checked_in')"),
        postgresql_where=text("status IN ('offered', 'held', 'confirmed', 'checked_in')"),
    ),
)

booking_events = Table(
    "booking_events",
    metadata,
    Column("event_id", Integer, primary_key=True, autoincrement=True),
    Column("booking_ref", ForeignKey("bookings.booking_ref"), nullable=False, index=True),
    Column("at_utc", UtcDateTime, nullable=False),
    Column("from_status", String(16)),
    Column("to_status", String(16), nullable=False),
    Column("slot_id", String(96), comment="the slot from then on; null before issue 3"),
    Column("actor", String(64), nullable=False),
    comment="Append-only history of every transition",
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String(128), primary_key=True, comment="first in the index: a batch looks many up"),
    Column("token_id", String(40), primary_key=True),
    Column("fingerprint", String(64), nullable=False, comment="sha256 of the canonical body"),
    Column("status_code", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    Column("created_utc", UtcDateTime, nullable=False, index=True),
)

attempts = Table(
    "attempts",
    metadata,
    Column("attempt_id", Integer, primary_key=True, autoincrement=True),
    Column("at_utc", UtcDateTime, nullable=False, index=True, comment="wall time"),
    Column("business_utc", UtcDateTime, nullable=False, index=True),
    Column("trace_id", String(32), nullable=False, index=True),
    Column("loan_hash", String(16), index=True, comment="first 16 hex of sha256(loan_ref)"),
    Column("branch_id", String(64)),
    Column("region_id", String(32)),
    Column("slot_id", String(96)),
    Column("service_day", Date),
    Column("channel", String(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("reason", String(32), comment="null when held"),
    Column("cause", String(16), comment="null when held"),
    Column("booking_ref", String(40)),
    Column("violations", JSON, comment="every limit that bound"),
    Column("duration_seconds", Float),
    Index("ix_attempts_service_day_branch", "service_day", "branch_id"),
)

wish_episodes = Table(
    "wish_episodes",
    metadata,
    Column("episode_id", Integer, primary_key=True, autoincrement=True),
    Column("loan_ref", String(64), nullable=False, index=True),
    Column("branch_id", String(64), nullable=False, comment="first wished"),
    Column("region_id", String(32), nullable=False),
    Column("wished_day", Date, nullable=False, comment="first wished service day"),
    Column("channel", String(16), nullable=False),
    Column("tries", Integer, nullable=False, default=1),
    Column("first_reason", String(32), comment="reason of the first refusal, if any"),
    Column("opened_business_utc", UtcDateTime, nullable=False),
    Column("last_try_business_utc", UtcDateTime, nullable=False),
    Column("closed_business_utc", UtcDateTime),
    Column("outcome", String(16), nullable=False, comment="open | booked | displaced | unmet"),
    Column("booking_ref", String(40)),
    Index("ix_wish_episodes_day_branch", "wished_day", "branch_id"),
    Index(
        "uq_wish_episodes_open_loan",
        "loan_ref",
        unique=True,
        sqlite_where=text("outcome = 'open'"),
        postgresql_where=text("outcome = 'open'"),
    ),
    comment="Demand: one row per wish, first wished branch and day kept, later tries folded in",
)

demand_history = Table(
    "demand_history",
    metadata,
    Column("branch_id", String(64), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("units", Float, nullable=False),
    Column("synthetic", Boolean, nullable=False, default=False),
    Column(
        "censored",
        Boolean,
        nullable=False,
        default=False,
        comment="demand was at least so many units: the refused left no record",
    ),
    comment="Imported demand from before Slotcast; rows of one branch and day add up",
)

waitlist = Table(
    "waitlist",
    metadata,
    Column("entry_ref", String(40), primary_key=True),
    Column("loan_ref", ForeignKey("loans.loan_ref"), nullable=False),
    Column("branch_id", ForeignKey("branches.branch_id"), nullable=False),
    Column("region_id", String(32), nullable=False),
    Column("wished_day", Date, nullable=False, comment="first day that suits"),
    Column("latest_day", Date, nullable=False, comment="last day that suits"),
    Column("channel", String(16), nullable=False),
    Column("priority", Integer, nullable=False, default=0),
    Column("status", String(16), nullable=False, comment="waiting | offered | booked | left | expired"),
    Column("joined_utc", UtcDateTime, nullable=False),
    Column("promise", JSON, comment="date and chance promised at joining"),
    Column("due_day", Date, comment="by when the promise is to be kept; null = nothing was promised"),
    Column("booking_ref", String(40), comment="the offer, then the booking it became"),
    Column("actor", String(64), nullable=False, comment="who put it on the list"),
    Column("closed_reason", String(32), comment="why it left or expired, told to the customer"),
    Column("skipped_reason", String(32), comment="why it cannot take what is free now; null = in turn"),
    Index(
        "ix_waitlist_waiting",
        "branch_id",
        "skipped_reason",
        "channel",
        "wished_day",
        "latest_day",
        sqlite_where=text("status = 'waiting'"),
        postgresql_where=text("status = 'waiting'"),
    ),
    Index("ix_waitlist_queue", "branch_id", "status", "priority", "joined_utc"),
    Index("ix_waitlist_due", "due_day", "entry_ref"),
    Index(
        "uq_waitlist_live_loan",
        "loan_ref",
        unique=True,
        sqlite_where=text("status IN ('waiting', 'offered')"),
        postgresql_where=text("status IN ('waiting', 'offered')"),
    ),
    comment="Who waits at a branch for a place on one of the days wished_day..latest_day",
)

waitlist_events = Table(
    "waitlist_events",
    metadata,
    Column("event_id", Integer, primary_key=True, autoincrement=True),
    Column("entry_ref", ForeignKey("waitlist.entry_ref"), nullable=False, index=True),
    Column("at_utc", UtcDateTime, nullable=False),
    Column(
        "kind",
        String(16),
        nullable=False,
        comment="joined | offered | skipped | accepted | expired | left | booked",
    ),
    Column("reason", String(32), comment="why it was skipped, expired or left"),
    Column("slot_id", String(96), comment="the slot that was offered, or would have been"),
    Column("actor", String(64), nullable=False),
    comment="Append-only history of every entry",
)

# --- plans ------------------------------------------------------------------------------------

plans = Table(
    "plans",
    metadata,
    Column("plan_id", String(64), primary_key=True, comment="chosen by the planner: idempotent"),
    Column("kind", String(8), nullable=False, comment="quota | server | extra"),
    Column("region_id", String(32), nullable=False, comment="'bank' for server plans"),
    Column("period", String(32), nullable=False, comment="ISO day, or ISO time of a quarter-hour"),
    Column(
        "status",
        String(16),
        nullable=False,
        comment="proposed | pending | shadow | kept | approved | applied | superseded | rolled_back "
        "| rejected",
    ),
    Column("in_band", Boolean, nullable=False, comment="false: waits for an operator's approval"),
    Column("verdict", String(32), comment="why it was kept or waits: guardrail or veto name"),
    Column("model", String(32), comment="champion | weeks8 | keep"),
    Column("forecast_run_id", String(64)),
    Column("policy", JSON, nullable=False, comment="the typed settings it was made under"),
    Column("inputs", JSON, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("created_utc", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("decided_utc", UtcDateTime),
    Column("decided_by", String(64)),
    Column("applied_utc", UtcDateTime),
    Column("note", Text),
    Column("decide_by_utc", UtcDateTime, comment="wall time; a plan still pending then is rejected"),
    Index("ix_plans_kind_region_period", "kind", "region_id", "period"),
    Index("ix_plans_status", "status", "kind", "region_id"),
    Index(
        "ix_plans_pending",
        "decide_by_utc",
        sqlite_where=text("status = 'pending'"),
        postgresql_where=text("status = 'pending'"),
    ),
)

plan_items = Table(
    "plan_items",
    metadata,
    Column("plan_id", ForeignKey("plans.plan_id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("scope_kind", String(8), nullable=False),
    Column("scope_id", String(64), nullable=False),
    Column("channel", String(16), nullable=False, default="*"),
    Column("period_kind", String(16), nullable=False, comment="day | week | month | quarter_hour"),
    Column("period_start", Date, comment="quota items"),
    Column("starts_utc", UtcDateTime, comment="server items: business time of the quarter-hour"),
    Column("old_limit", Integer, comment="units, or workers; null = no limit before"),
    Column("proposed", Float, comment="what the forecast asked for"),
    Column("new_limit", Integer, comment="units, or workers; null = keep"),
    Column("quantile", Float),
    Column("guardrail", String(32), comment="the guardrail that bound, null = none"),
    Column("condition", Text, comment="that guardrail in words and numbers"),
    Column("inputs", JSON),
    Column("before_override", Integer, comment="override replaced at application, for rollback"),
    Column("applied_limit", Integer, comment="what was really set (never below used)"),
)

# --- access and audit ---------------------------------------------------------------------------

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(40), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True, comment="sha256 of the secret"),
    Column("name", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("region_id", String(32), comment="region claim; null = whole bank"),
    Column("holder", String(64), comment="customer tokens: whose loans"),
    Column("created_utc", UtcDateTime, nullable=False),
    Column("expires_utc", UtcDateTime),
    Column("revoked_utc", UtcDateTime),
)

audit = Table(
    "audit",
    metadata,
    Column("audit_id", Integer, primary_key=True, autoincrement=True),
    Column("at_utc", UtcDateTime, nullable=False, index=True),
    Column("actor", String(64), nullable=False, comment="token name or command"),
    Column("action", String(48), nullable=False),
    Column("target", String(160), nullable=False),
    Column("before", JSON),
    Column("after", JSON),
    Column("trace_id", String(32)),
)
