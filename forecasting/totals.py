"""Whole plans and days of servers, scored once their time has passed: reads, and the pure scores."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import bank_settings
from booking_core.read.plans import has_day_limits, plans
from booking_core.read.pressure import pressure_quarters
from booking_core.read.scores import plan_total_scores, server_scores
from booking_core.read.servers import planned_workers, workers_by_quarter
from booking_core.read.waits import waiting_days
from booking_core.scaling import workers_needed
from forecasting.decisions.policy import Policy
from forecasting.decisions.score import (
    PlanTotal,
    ServerQuarter,
    ServerScore,
    Waits,
    score_plan_total,
    score_server_day,
)
from forecasting.judged import Level, exact_demand, judged_items, judged_plans, scored_day
from forecasting.periods import parse_day
from forecasting.retuning import within_of

MONTH_DAYS: Final = 31
"""A plan without day quotas is judged by its first week or month, whose last day lies no further ahead."""
LATE_DAYS: Final = 7
"""How far a job that stood still catches up: plans whose last day passed earlier are not scored any more."""


def plan_totals(engine: Engine, names: Sequence[str], period: date, policy: Policy) -> list[PlanTotal]:
    """The scores of the plans whose last day passed lately and that have none yet, of regions and "bank"."""
    oldest = period - timedelta(days=max(policy.plan_days, MONTH_DAYS) + LATE_DAYS)
    done = set(plan_total_scores(engine, since=period - timedelta(days=LATE_DAYS))["plan_id"])
    came: dict[Level, float] | None = None
    found = []
    for region in names:
        known = judged_plans(plans(engine, kind="quota", region=region, limit=4 * (period - oldest).days))
        known = known[(known["period"] >= oldest.isoformat()) & ~known["plan_id"].isin(done)]
        for plan_id, planned_on, of_plan in known[["plan_id", "period", "policy"]].itertuples(
            index=False, name=None
        ):
            planned = parse_day(planned_on) + timedelta(days=of_plan.get("plan_days", policy.plan_days))
            due = period - timedelta(days=LATE_DAYS) <= planned <= period
            if not due and has_day_limits(
                engine, plan_id
            ):  # its items are many: not read before they are due
                continue
            items = judged_items(engine, plan_id)
            if items.empty or not period - timedelta(days=LATE_DAYS) <= items["day"].max() <= period:
                continue
            if came is None:
                came = exact_demand(engine, oldest, period)
            days = [
                score
                for day in sorted(set(items["day"]))
                if (score := scored_day(plan_id, day, items, came)) is not None
            ]
            first = items["first"].min()
            waits = _waits(engine, region, first, items["day"].max(), period)
            total = score_plan_total(plan_id, days, waits, policy, first_day=first)
            found += [] if total is None else [total]
    return found


def _waits(engine: Engine, region: str, first: date, last: date, period: date) -> Waits:
    rows = waiting_days(engine, since=first, until=last, as_of=period, region=within_of(region))
    waited = int(rows["waited"].sum())
    return Waits(waited, float(rows["days"].sum()) / waited if waited else None)


def server_days(engine: Engine, since: date, period: date, policy: Policy) -> list[ServerScore]:
    """The worker-hours of the days since..period that were not scored before."""
    done = set(server_scores(engine, since=since)["day"].dt.date)
    days = [since + timedelta(days=n) for n in range((period - since).days + 1)]
    found = (server_day(engine, day, policy) for day in days if day not in done)
    return [score for score in found if score is not None]


def server_day(engine: Engine, day: date, policy: Policy) -> ServerScore | None:
    """The worker-hours of one bank-local business day; None where nothing ran, or nothing was planned."""
    zone = bank_settings(engine).tzinfo()
    starts, ends = (
        datetime.combine(each, time(), zone).astimezone(UTC) for each in (day, day + timedelta(days=1))
    )
    running = workers_by_quarter(engine, since=starts, until=ends)
    if running.empty:
        return None
    planned = planned_workers(engine, since=starts, until=ends)
    load = pressure_quarters(engine, since=starts, until=ends)
    requests = float(load["requests"].sum())
    cost = float(load["busy_seconds"].sum()) / requests if requests else policy.cost_seconds
    rows = running.merge(planned, on="starts_utc").merge(
        load[["starts_utc", "rps"]], on="starts_utc", how="left"
    )
    return score_server_day(day, [_quarter(row, cost, policy) for row in rows.to_dict("records")])


def _quarter(row: Mapping[Hashable, Any], cost_seconds: float, policy: Policy) -> ServerQuarter:
    """A quarter-hour without any request needed the workers that are always kept."""
    rps = 0.0 if pd.isna(row["rps"]) else float(row["rps"])
    needed = workers_needed(rps, cost_seconds, policy.target_utilisation)
    return ServerQuarter(int(row["workers"]), int(row["running"]), max(policy.min_workers, needed))
