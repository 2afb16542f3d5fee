"""Forecasts and plans of the last weeks scored against what came: reads, the pure scores, one write."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import regions
from booking_core.read.forecasts import latest_run, unscored_days
from booking_core.read.plans import plans
from booking_core.read.scores import forecast_scores, plan_scores
from booking_core.read.sql import DAY
from booking_core.read.waitlist import promises
from forecasting import drift_watch, store, totals
from forecasting.decisions.policy import Policy
from forecasting.decisions.score import (
    ForecastScore,
    PlanScore,
    score_forecast,
    summarise,
)
from forecasting.frames import QUANTILES
from forecasting.judged import Level, exact_demand, judged_items, judged_plans, scored_day
from metrics.contract import BANK_SCOPE_ID, PeriodKind, ScopeKind


def score_until(engine: Engine, period: date, policy: Policy) -> dict[str, Any]:
    """What the scores of the `score_days` days up to the period say, once all of them are scored."""
    since = period - timedelta(days=policy.score_days - 1)
    came = exact_demand(engine, since, period)
    actual = {
        (scope_id, day): units
        for (kind, scope_id, day), units in came.items()
        if kind == ScopeKind.BRANCH and not math.isnan(units)
    }
    forecasts = _forecasts(engine, since, period, actual)
    names = [*map(str, regions(engine)["region_id"]), BANK_SCOPE_ID]
    planned = _plans(engine, names, since, period, came, policy)
    store.save_scores(engine, forecasts, planned)
    store.save_totals(
        engine,
        totals.plan_totals(engine, names, period, policy),
        totals.server_days(engine, max(since, period - timedelta(days=totals.LATE_DAYS)), period, policy),
    )
    store.save_drift(engine, drift_watch.judge(engine, period, policy))

    kept = forecast_scores(engine, since=since)
    kept = kept[kept["day"] <= pd.Timestamp(period)]
    summary = summarise([_as_score(row) for row in kept.to_dict("records")])
    plan_days = plan_scores(engine, since=since)
    plan_days = plan_days[plan_days["day"] <= pd.Timestamp(period)]
    banks = plan_days["region_id"] == BANK_SCOPE_ID
    of_bank, plan_days = plan_days[banks], plan_days[~banks]
    return {
        "scored_days": len(forecasts),
        "coverage80": summary.coverage80,
        "wape": summary.wape,
        "pinball": summary.pinball,
        "plan_days": len(plan_days),
        "refused_units": float(plan_days["refused_units"].sum()),
        "refused_old_units": float(plan_days["refused_old_units"].sum()),
        "bank_plan_days": len(of_bank),
        "bank_refused_units": float(of_bank["refused_units"].sum()),
        "bank_refused_old_units": float(of_bank["refused_old_units"].sum()),
        **_promises(engine, since, period),
    }


def _promises(engine: Engine, since: date, period: date) -> dict[str, Any]:
    """How the waitlist's promises of a day that fell due were kept: number, chance told, share kept."""
    judged = promises(engine, since=since, until=period)
    judged = judged[judged["dated"]]
    known = not judged.empty
    return {
        "promises": len(judged),
        "promise_chance": float(judged["chance"].mean()) if known else None,
        "promise_kept_ratio": float(judged["kept"].mean()) if known else None,
    }


def _forecasts(
    engine: Engine, since: date, period: date, actual: Mapping[tuple[str, date], float]
) -> list[ForecastScore]:
    """Scores of the ready runs made within the window, for days not scored before."""
    known = pd.DataFrame(
        [(*branch_day, units) for branch_day, units in actual.items()], columns=["branch_id", "day", "actual"]
    ).astype({"branch_id": "str", "day": DAY, "actual": "float64"})
    found = []
    run = latest_run(engine, "demand", until_period=period - timedelta(days=1))
    while run is not None and run.period >= since - timedelta(days=1):
        due = unscored_days(engine, run.run_id, until=period).merge(known, on=["branch_id", "day"])
        found += [
            score_forecast(
                run_id=run.run_id,
                branch_id=row["branch_id"],
                day=row["day"].date(),
                period=run.period,
                actual=row["actual"],
                mean=row["mean"],
                quantiles={level: row[f"q{round(level * 100)}"] for level in QUANTILES},
            )
            for row in due.to_dict("records")
        ]
        run = latest_run(engine, "demand", until_period=run.period - timedelta(days=1))
    return found


def _plans(
    engine: Engine,
    names: Sequence[str],
    since: date,
    period: date,
    came: Mapping[Level, float],
    policy: Policy,
) -> list[PlanScore]:
    """Scores of the plan that governed (or, in shadow, would have governed) each day of regions and bank."""
    scored = plan_scores(engine, since=since)
    done = set(zip(scored["plan_id"], scored["day"].dt.date, strict=True))
    found = []
    for region in names:
        judged = judged_plans(plans(engine, kind="quota", region=region, limit=4 * policy.score_days))
        items: dict[str, pd.DataFrame] = {}
        for offset in range((period - since).days + 1):
            day = since + timedelta(days=offset)
            earlier = judged[judged["period"] < day.isoformat()]  # newest period first
            if earlier.empty or (plan_id := str(earlier["plan_id"].iloc[0]), day) in done:
                continue
            if plan_id not in items:
                found_items = judged_items(engine, plan_id)
                items[plan_id] = found_items[found_items["period_kind"] == PeriodKind.DAY]
            score = scored_day(plan_id, day, items[plan_id], came)
            found += [] if score is None else [score]
    return found


def _as_score(row: Mapping[Hashable, Any]) -> ForecastScore:
    """The score that a row of `forecast_scores` holds."""
    return ForecastScore(**{str(name): value for name, value in row.items()} | {"day": row["day"].date()})
