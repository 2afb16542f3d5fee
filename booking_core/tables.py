"""The schema: every table of Slotcast, declared once, migrated by one Alembic history.

Two conventions: times are aware UTC (`UtcDateTime`), days are bank-local dates. Tables named
forecast_* and score_* are written only by forecasting/store.py; all others only by the core.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
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
    Column("channel", String(16), nullable=False, default="*"),
    Column("period_kind", String(8), nullable=False),
    Column("limit_units", Integer, nullable=False),
    Column("updated_utc", UtcDateTime, nullable=False),
    UniqueConstraint("scope_kind", "scope_id", "channel", "period_kind"),
    CheckConstraint("limit_units >= 0", name="limit_not_negative"),
    comment="Standing limits: one per scope and kind of period; no row = no limit at that level",
)

quota_periods = Table(
    "quota_periods",
    metadata,
    Column("scope_kind", String(8), primary_key=True),
    Column("scope_id", String(64), primary_key=True),
    Column("channel", String(16), primary_key=True, default="*"),
    Column("period_kind", String(8), primary_key=True),
    Column("period_start", Date, primary_key=True),
    Column("used_units", Integer, nullable=False, default=0),
    Column("limit_units", Integer, comment="override of one concrete period; null = standing"),
    Column("plan_id", String(64), comment="the plan that set the override"),
    CheckConstraint("used_units >= 0", name="used_not_negative"),
    comment="The locked counter of one concrete period, with its override where a plan set one",
)

quota_temporaries = Table(
    "quota_temporaries",
    metadata,
    Column("temporary_id", String(64), primary_key=True),
    Column("scope_kind", String(8), nullable=False),
    Column("scope_id", String(64), nullable=False),
    Column("channel", String(16), nullable=False, default="*"),
    Column("period_kind", String(8), nullable=False),
    Column("period_start", Date, nullable=False),
    Column("extra_units", Integer, nullable=False),
    Column("expires_utc", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    comment="Extra units with an expiry, on top of the limit (schema only until issue 3)",
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
        comment="held | confirmed | checked_in | completed | no_show | cancelled | expired",
    ),
    Column("units", Integer, nullable=False, default=1),
    Column("amount_cny", CNY),
    Column("option", String(24), comment="shorten_term | reduce_instalment | full"),
    Column("contact", Text),
    Column("created_utc", UtcDateTime, nullable=False),
    Column("held_until_utc", UtcDateTime, comment="wall time; null once confirmed"),
    Column("version", Integer, nullable=False, default=1, comment="compare-and-swap counter"),
    Index("ix_bookings_service_day_branch", "service_day", "branch_id"),
    Index(
        "ix_bookings_held_until",
        "held_until_utc",
        sqlite_where=text("status = 'held'"),
        postgresql_where=text("status = 'held'"),
    ),
    Index(
        "uq_bookings_live_loan",
        "loan_ref",
        unique=True,
        sqlite_where=text("status IN ('held', 'confirmed', 'checked_in')"),
        postgresql_where=text("status IN ('held', 'confirmed', 'checked_in')"),
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
    Column("actor", String(64), nullable=False),
    comment="Append-only history of every transition",
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("token_id", String(40), primary_key=True),
    Column("key", String(128), primary_key=True),
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
    Column("first_remedy", String(32), comment="action of the best remedy offered"),
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
    comment="Imported demand from before Slotcast; rows of one branch and day add up",
)

waitlist = Table(
    "waitlist",
    metadata,
    Column("entry_ref", String(40), primary_key=True),
    Column("loan_ref", ForeignKey("loans.loan_ref"), nullable=False),
    Column("branch_id", ForeignKey("branches.branch_id"), nullable=False),
    Column("wished_day", Date, nullable=False),
    Column("channel", String(16), nullable=False),
    Column("priority", Integer, nullable=False, default=0),
    Column("status", String(16), nullable=False, comment="waiting | offered | booked | left | expired"),
    Column("joined_utc", UtcDateTime, nullable=False),
    Column("offered_slot_id", String(96)),
    Column("offer_expires_utc", UtcDateTime),
    Column("promise", JSON, comment="date and chance promised at joining"),
    Index("ix_waitlist_queue", "branch_id", "wished_day", "status", "priority", "joined_utc"),
    comment="Schema only until issue 3",
)

# --- plans ------------------------------------------------------------------------------------

plans = Table(
    "plans",
    metadata,
    Column("plan_id", String(64), primary_key=True, comment="chosen by the planner: idempotent"),
    Column("kind", String(8), nullable=False, comment="quota | server"),
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
    Index("ix_plans_kind_region_period", "kind", "region_id", "period"),
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

# --- forecasts and scores (written by forecasting/store.py) -------------------------------------

forecast_runs = Table(
    "forecast_runs",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False, comment="demand | pressure"),
    Column("period", Date, nullable=False, index=True, comment="business day it was made on"),
    Column("status", String(16), nullable=False, comment="training | ready | vetoed"),
    Column("verdict", String(32), comment="veto name"),
    Column("trained_utc", UtcDateTime, nullable=False, comment="wall time"),
    Column("span_from", Date),
    Column("span_to", Date),
    Column("parameters", JSON, nullable=False),
    Column("scores", JSON, comment="backtest figures of champion and weeks8"),
    Column("libraries", JSON),
)

forecast_values = Table(
    "forecast_values",
    metadata,
    Column("run_id", ForeignKey("forecast_runs.run_id"), primary_key=True),
    Column("branch_id", String(64), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("model", String(32), nullable=False, comment="what was used for this branch"),
    Column("mean", Float, nullable=False),
    Column("q10", Float, nullable=False),
    Column("q25", Float, nullable=False),
    Column("q50", Float, nullable=False),
    Column("q75", Float, nullable=False),
    Column("q90", Float, nullable=False),
)

forecast_paths = Table(
    "forecast_paths",
    metadata,
    Column("run_id", ForeignKey("forecast_runs.run_id"), primary_key=True),
    Column("branch_id", String(64), primary_key=True),
    Column("first_day", Date, nullable=False),
    Column("days", Integer, nullable=False),
    Column("paths", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False, comment="zlib(float32[paths, days], C order)"),
    comment="Joint sample paths, so that weeks, months and regions aggregate rightly",
)

forecast_series = Table(
    "forecast_series",
    metadata,
    Column("run_id", ForeignKey("forecast_runs.run_id"), primary_key=True),
    Column("branch_id", String(64), primary_key=True),
    Column("champion", String(32), nullable=False),
    Column("why", Text, nullable=False),
    Column("wql_champion", Float),
    Column("wql_weeks8", Float),
    Column("coverage80", Float),
    Column("observations", Integer, nullable=False),
)

forecast_pressure = Table(
    "forecast_pressure",
    metadata,
    Column("run_id", ForeignKey("forecast_runs.run_id"), primary_key=True),
    Column("starts_utc", UtcDateTime, primary_key=True, comment="business time, quarter-hours"),
    Column("mean_rps", Float, nullable=False),
    Column("q50_rps", Float, nullable=False),
    Column("q90_rps", Float, nullable=False),
)

forecast_proposals = Table(
    "forecast_proposals",
    metadata,
    Column("period", String(32), primary_key=True),
    Column("kind", String(8), primary_key=True),
    Column("region_id", String(32), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("created_utc", UtcDateTime, nullable=False),
    Column("body", JSON, nullable=False, comment="proposals before guardrails, with their inputs"),
)

score_forecasts = Table(
    "score_forecasts",
    metadata,
    Column("run_id", ForeignKey("forecast_runs.run_id"), primary_key=True),
    Column("branch_id", String(64), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("horizon_days", Integer, nullable=False),
    Column("actual", Float, nullable=False),
    Column("mean", Float, nullable=False),
    Column("inside80", Boolean, nullable=False),
    Column("pinball", Float, nullable=False, comment="mean pinball loss over the quantiles, units"),
)

score_plans = Table(
    "score_plans",
    metadata,
    Column("plan_id", ForeignKey("plans.plan_id"), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("demand_units", Float, nullable=False),
    Column("served_units", Float, nullable=False),
    Column("refused_units", Float, nullable=False, comment="unmet + displaced for want of quota"),
    Column("idle_units", Float, nullable=False),
    Column("refused_old_units", Float, comment="had the old quotas stayed"),
    Column("idle_old_units", Float),
    Column("regret_units", Float, comment="refused above perfect foresight at the same total"),
)

# --- pressure and servers -----------------------------------------------------------------------

pressure_minutes = Table(
    "pressure_minutes",
    metadata,
    Column("minute_utc", UtcDateTime, primary_key=True, comment="wall time, start of the minute"),
    Column(
        "business_utc",
        UtcDateTime,
        primary_key=True,
        comment="business quarter-hour it fell in (one wall minute may hold several in the demo)",
    ),
    Column("source", String(64), primary_key=True, comment="worker that counted, or 'import:NAME'"),
    Column("requests", Integer, nullable=False),
    Column("refused", Integer, nullable=False, comment="of these, answered 4xx or 5xx"),
    Column("failed", Integer, nullable=False, default=0, comment="of these, answered 5xx"),
    Column("busy_seconds", Float, nullable=False, comment="time spent serving, summed"),
    Column("synthetic", Boolean, nullable=False, default=False),
    Index("ix_pressure_minutes_business", "business_utc"),
)

scaling_decisions = Table(
    "scaling_decisions",
    metadata,
    Column("decision_id", Integer, primary_key=True, autoincrement=True),
    Column("at_utc", UtcDateTime, nullable=False, index=True),
    Column("business_utc", UtcDateTime, nullable=False),
    Column("running", Integer, nullable=False),
    Column("target", Integer, nullable=False),
    Column("reactive_need", Integer, nullable=False),
    Column("forecast_need", Integer, comment="null: no applied server plan covers now"),
    Column("observed_rps", Float, nullable=False),
    Column("reason", String(32), nullable=False, comment="the rule that set the target"),
    Column("plan_id", String(64)),
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
