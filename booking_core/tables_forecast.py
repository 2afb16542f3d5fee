"""The schema of forecasts, scores, events, rosters, pressure and servers, on the metadata of `tables`.

forecast_* and score_* are written only by forecasting/store.py, the others only by the core.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from booking_core.tables import UtcDateTime, metadata

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

forecast_parts = Table(
    "forecast_parts",
    metadata,
    Column("run_id", ForeignKey("forecast_runs.run_id"), primary_key=True),
    Column("branch_id", String(64), primary_key=True),
    Column("part", String(32), primary_key=True, comment="forecast | one of the models it is combined from"),
    Column("first_day", Date, nullable=False),
    Column("days", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False, comment="zlib(float32[levels, days], C order)"),
    comment="What each model said: where a total is shared out, each is trusted by what it would have served",
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
    Column(
        "details",
        JSON(none_as_null=True),
        comment="weights, scores of each candidate, group, calibration, explanation",
    ),
)

_SINCE_0010: Final = "null in runs before migration 0010"

forecast_pressure = Table(
    "forecast_pressure",
    metadata,
    Column("run_id", ForeignKey("forecast_runs.run_id"), primary_key=True),
    Column("starts_utc", UtcDateTime, primary_key=True, comment="business time, quarter-hours"),
    Column("mean_rps", Float, nullable=False),
    Column("q10_rps", Float, comment=_SINCE_0010),
    Column("q25_rps", Float, comment=_SINCE_0010),
    Column("q50_rps", Float, nullable=False),
    Column("q75_rps", Float, comment=_SINCE_0010),
    Column("q90_rps", Float, nullable=False),
    Column("q95_rps", Float, comment=_SINCE_0010),
    Column("q975_rps", Float, comment=_SINCE_0010),
    Column("q99_rps", Float, comment=_SINCE_0010),
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

forecast_artifacts = Table(
    "forecast_artifacts",
    metadata,
    Column("artifact_id", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("period", Date, nullable=False, index=True, comment="business day it was made on"),
    Column("created_utc", UtcDateTime, nullable=False, comment="wall time"),
    Column("span_from", Date, comment="first day of what it learned from"),
    Column("span_to", Date),
    Column("parameters", JSON, nullable=False),
    Column("libraries", JSON, nullable=False),
    Column("scores", JSON(none_as_null=True)),
    Column("format", Integer, nullable=False, comment="version of the payload"),
    Column("sha256", String(64), nullable=False, comment="of data"),
    Column("data", LargeBinary, nullable=False),
    comment="What was learned once and is used until the next selection; checked when it is read",
)

forecast_drift = Table(
    "forecast_drift",
    metadata,
    Column("run_id", ForeignKey("forecast_runs.run_id"), primary_key=True),
    Column("day", Date, primary_key=True, comment="last day judged"),
    Column("scope", String(96), primary_key=True, comment="bank | group:NAME"),
    Column("days", Integer, nullable=False, comment="series' days judged"),
    Column("coverage80", Float, nullable=False),
    Column("coverage80_promised", Float, comment="of the backtest; null = it promised nothing"),
    Column("wape", Float, comment="null = nothing came on these days"),
    Column("wape_promised", Float),
    Column("verdict", String(32), comment="veto name; null = fit"),
    Column("condition", Text, comment="the veto in words and numbers"),
    comment="Live forecasts against what their backtest promised",
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

score_plan_totals = Table(
    "score_plan_totals",
    metadata,
    Column("plan_id", ForeignKey("plans.plan_id"), primary_key=True),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),
    Column("demand_units", Float, nullable=False),
    Column("served_units", Float, nullable=False),
    Column("refused_units", Float, nullable=False),
    Column("idle_units", Float, nullable=False),
    Column("refused_old_units", Float, nullable=False, comment="without any plan"),
    Column("idle_old_units", Float, nullable=False),
    Column("regret_units", Float, nullable=False, comment="the same total over its branches and days"),
    Column("cost", Float, nullable=False, comment="newsvendor cost in idle units"),
    Column("cost_old", Float, nullable=False),
    Column("waited", Integer, nullable=False, comment="who waited for one of its days"),
    Column("waiting_days", Float, comment="mean days they waited; null = nobody did"),
    comment="A quota plan once its last day has passed, whether or not others took over meanwhile",
)

score_servers = Table(
    "score_servers",
    metadata,
    Column("day", Date, primary_key=True, comment="bank-local business day"),
    Column("quarters", Integer, nullable=False, comment="quarter-hours of which all three are known"),
    Column("planned_hours", Float, nullable=False, comment="worker-hours that the server plans asked for"),
    Column("run_hours", Float, nullable=False, comment="worker-hours that ran"),
    Column("needed_hours", Float, nullable=False, comment="worker-hours that the load needed"),
    Column("short_hours", Float, nullable=False, comment="of these, those that did not run"),
    comment="Worker-hours of a business day: planned, run and needed",
)

# --- announced events (written by booking_core.events) -------------------------------------------

events = Table(
    "events",
    metadata,
    Column("event_id", String(64), primary_key=True, comment="chosen by who announces it: idempotent"),
    Column("kind", String(16), nullable=False, comment="metrics.contract.EventKind"),
    Column("name", Text, nullable=False),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False, comment="inclusive"),
    Column("scope", String(72), nullable=False, comment="bank:bank | region:ID | branch:ID"),
    Column("confirmed", Boolean, nullable=False, comment="false: only expected"),
    Column(
        "expected_effect_ratio",
        Float,
        comment="a person's estimate of demand / usual; used where history knows no such event",
    ),
    Column("note", Text),
    Column("created_by", String(64), nullable=False),
    Column("created_utc", UtcDateTime, nullable=False, comment="wall time"),
    Column("ended_utc", UtcDateTime, comment="wall time; null = stands. Kept: past forecasts used it"),
    CheckConstraint("last_day >= first_day", name="days_in_order"),
    CheckConstraint("expected_effect_ratio > 0", name="effect_positive"),
    comment="What is announced that may move demand, and when that became known",
)

# --- rosters (written by booking_core.rosters) ---------------------------------------------------

rosters = Table(
    "rosters",
    metadata,
    Column("roster_id", String(64), primary_key=True, comment="chosen by who states it: idempotent"),
    Column("branch_id", ForeignKey("branches.branch_id"), nullable=False),
    Column("first_day", Date, nullable=False, comment="of its entries"),
    Column("last_day", Date, nullable=False, comment="inclusive"),
    Column("entries", JSON, nullable=False, comment="[{day, from, to, heads, skill}], times bank-local"),
    Column("created_by", String(64), nullable=False),
    Column("created_utc", UtcDateTime, nullable=False, comment="wall time"),
    Column("ended_utc", UtcDateTime, comment="wall time; null = stands. Kept: past plans used it"),
    CheckConstraint("last_day >= first_day", name="days_in_order"),
    Index("ix_rosters_branch_day", "branch_id", "last_day"),
    comment="Who is there: heads by branch, day, hours and skill; one standing roster tells each",
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
