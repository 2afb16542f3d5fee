"""Cached reads: keyed by database and region, kept for seconds, bounded in number.

Caches are shared by all users, so whatever narrows what a user may see is part of the key. Spans
end with the day, so that a page refreshed every few seconds asks the same questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import pandas as pd
import streamlit as st
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from booking_core.database import make_engine
from booking_core.read import bank, demand, failures, forecasts, plans, pressure, quotas, scores, servers
from booking_core.read.failures import Grain, Totals
from booking_core.read.forecasts import ForecastRun
from booking_core.settings import BankSettings
from dashboard import core
from metrics.contract import ALL_CHANNELS

AHEAD_DAYS: Final = 28
"""How far ahead the demand chart looks: as far as day quotas are planned."""
LONG_SPAN: Final = timedelta(days=8)
_SECONDS: Final = 4
_ENTRIES: Final = 64


@dataclass(frozen=True, slots=True)
class Failures:
    """What the page "Why bookings fail" draws."""

    totals: Totals
    grain: Grain
    reasons: pd.DataFrame
    course: pd.DataFrame
    branches: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Intraday:
    """What the intraday chart draws."""

    observed: pd.DataFrame
    expected: pd.DataFrame
    workers: pd.DataFrame
    planned: pd.DataFrame
    decisions: pd.DataFrame
    """The actuator's of the last hour."""


@st.cache_resource(max_entries=4, show_spinner=False)
def engine(url: str) -> Engine:
    """A read-only engine on the database."""
    return make_engine(url, pool_size=5, read_only=True)


@st.cache_data(ttl=2, max_entries=4, show_spinner=False)
def is_migrated(url: str) -> bool:
    """Whether the database is there and holds Slotcast's tables.

    A missing SQLite file counts as not migrated: connecting to it would make an empty one.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        return False
    return bank.is_migrated(engine(url))


@st.cache_data(ttl=2, max_entries=4, show_spinner=False)
def settings(url: str) -> BankSettings:
    """The bank's settings."""
    return bank.bank_settings(engine(url))


@st.cache_data(ttl=60, max_entries=4, show_spinner=False)
def has_synthetic(url: str) -> bool:
    """Whether the bank holds synthetic demand or pressure."""
    return bank.has_synthetic(engine(url))


@st.cache_data(ttl=30, max_entries=_ENTRIES, show_spinner=False)
def regions(url: str, claim: str | None) -> pd.DataFrame:
    """The regions that the claim allows."""
    return bank.regions(engine(url), claim)


@st.cache_data(ttl=30, max_entries=_ENTRIES, show_spinner=False)
def branches(url: str, region: str | None) -> pd.DataFrame:
    """The branches of the region."""
    return bank.branches(engine(url), region)


def failure_reads(url: str, region: str | None, since: datetime, until: datetime) -> Failures:
    """Attempts of the span of business time: counted, by reason, over time and by branch.

    A long span is kept for a minute: counting millions of attempts every few seconds would load the
    database more than the page is worth (500,000 over 90 days take 3 s on SQLite).
    """
    read = _long_failures if until - since > LONG_SPAN else _recent_failures
    return read(url, region, since, until)


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def _recent_failures(url: str, region: str | None, since: datetime, until: datetime) -> Failures:
    return _failures(engine(url), region, since, until)


@st.cache_data(ttl=60, max_entries=_ENTRIES, show_spinner=False)
def _long_failures(url: str, region: str | None, since: datetime, until: datetime) -> Failures:
    return _failures(engine(url), region, since, until)


def _failures(source: Engine, region: str | None, since: datetime, until: datetime) -> Failures:
    totals = failures.totals(source, since=since, until=until, region=region)
    grain = _grain(totals)
    return Failures(
        totals=totals,
        grain=grain,
        reasons=failures.by_reason(source, since=since, until=until, region=region),
        course=failures.over_time(source, since=since, until=until, grain=grain, region=region),
        branches=failures.by_branch(source, since=since, until=until, region=region),
    )


def _grain(totals: Totals) -> Grain:
    """The grain that draws the attempts in bars wide enough to read."""
    if totals.first_at is None or totals.last_at is None:
        return "day"
    lasted = totals.last_at - totals.first_at
    return (
        "quarter_hour" if lasted <= timedelta(hours=15) else "hour" if lasted <= timedelta(days=2) else "day"
    )


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def demand_run(url: str) -> ForecastRun | None:
    """The newest ready demand forecast."""
    return forecasts.latest_run(engine(url), "demand")


@st.cache_data(ttl=600, max_entries=_ENTRIES, show_spinner=False)
def run_quantiles(
    url: str,
    run_id: str,
    trained: datetime,  # noqa: ARG001  (part of the key: a run made anew under its id)
    region: str | None,
) -> pd.DataFrame:
    """The run's quantiles summed over the region's branches."""
    return forecasts.total_quantiles(engine(url), run_id, region=region)


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def demand_days(url: str, region: str | None, today: date, back_days: int) -> pd.DataFrame:
    """The days around today as figures.demand_by_day takes them; empty where nothing is known."""
    source = engine(url)
    since, until = today - timedelta(days=back_days), today + timedelta(days=AHEAD_DAYS)
    actual = demand.daily_total(source, since=since, until=until, region=region).rename(
        columns={"y": "actual"}
    )
    actual["synthetic"] = actual["actual"] * actual["synthetic_ratio"]
    run = demand_run(url)
    quantiles = (
        run_quantiles(url, run.run_id, run.trained_utc, region)
        if run
        else pd.DataFrame({"day": actual["ds"][:0], "q10": [], "q50": [], "q90": []})
    )
    limits = quotas.quota_periods(source, since=since, until=until, region=region)
    limits = limits[limits["channel"] == ALL_CHANNELS]
    # One branch without a limit leaves the sum unlimited, so that day has none.
    by_day = limits.groupby("period_start")
    total = by_day["limit_units"].sum()[by_day["limit_units"].count() == len(branches(url, region))]
    slots = quotas.slot_capacity(source, since=since, until=until, region=region)
    days = pd.DataFrame({"day": pd.Series(pd.date_range(since, until)).astype("datetime64[us]")})
    known = (
        days.merge(actual[["ds", "actual", "synthetic"]], how="left", left_on="day", right_on="ds")
        .merge(quantiles, how="left", on="day")
        .merge(total.rename("limit_units"), how="left", left_on="day", right_index=True)
        .merge(slots, how="left", left_on="day", right_on="service_day")
    )
    known = known.drop(columns=["ds", "service_day"])
    return known.iloc[:0] if known.drop(columns="day").isna().to_numpy().all() else known


@st.cache_data(ttl=_SECONDS, max_entries=_ENTRIES, show_spinner=False)
def intraday(url: str, since: datetime, until: datetime) -> Intraday:
    """Pressure and workers by business quarter-hour; bank-wide, since the servers are."""
    source = engine(url)
    return Intraday(
        observed=pressure.pressure_quarters(source, since=since, until=until),
        expected=forecasts.pressure_forecast(source, since=since, until=until),
        workers=servers.workers_by_quarter(source, since=since, until=until),
        planned=servers.server_targets(source, since=since, until=until),
        decisions=servers.scaling_decisions(source, since_wall=datetime.now(UTC) - timedelta(hours=1)),
    )


@st.cache_data(ttl=2, max_entries=_ENTRIES, show_spinner=False)
def latest_plans(url: str, region: str | None, limit: int) -> pd.DataFrame:
    """The latest quota plans, those of extra units and, for the whole bank, the latest server plan.

    And every plan that waits, however many are newer. Newest period first.
    """
    source = engine(url)
    found = [plans.plans(source, kind=kind, region=region, limit=limit) for kind in ("quota", "extra")]
    found += [plans.plans(source, region=region, status=plans.WAITING, limit=None)]
    found += [] if region is not None else [plans.plans(source, kind="server", limit=1)]
    made = pd.concat([some for some in found if len(some)] or found[:1], ignore_index=True)
    made = made.drop_duplicates("plan_id")
    return made.sort_values(["period", "created_utc"], ascending=False, kind="stable", ignore_index=True)


@st.cache_data(ttl=2, max_entries=_ENTRIES, show_spinner=False)
def plan_totals(
    url: str,
    region: str | None,  # noqa: ARG001  (part of the key)
    plan_ids: tuple[str, ...],
) -> pd.DataFrame:
    """Counts and sums over the items of plans that were read under the region claim."""
    return plans.plan_totals(engine(url), plan_ids)


@st.cache_data(ttl=2, max_entries=_ENTRIES, show_spinner=False)
def plan_items(
    url: str,
    region: str | None,  # noqa: ARG001  (part of the key)
    plan_id: str,
) -> pd.DataFrame:
    """The items of a plan that was read under the region claim."""
    return plans.plan_items(engine(url), plan_id)


@st.cache_data(ttl=30, max_entries=_ENTRIES, show_spinner=False)
def plan_scores(url: str, region: str | None, since: date) -> pd.DataFrame:
    """Scored plans since the day."""
    return scores.plan_scores(engine(url), since=since, region=region)


@st.cache_data(ttl=10, max_entries=4, show_spinner=False)
def alerts(url: str | None) -> core.Alerts:
    """What Alertmanager says."""
    return core.alerts(url)


def forget_plans() -> None:
    """Make the next look at plans and settings a fresh one, after a command."""
    latest_plans.clear()
    plan_items.clear()
    plan_totals.clear()
    settings.clear()
