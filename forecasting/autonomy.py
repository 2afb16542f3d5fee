"""Regions earn automatic application, and lose it, by their plans' scores; the core has the last word."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import regions
from booking_core.read.scores import plan_scores
from forecasting.core_client import CoreClient, CoreError
from forecasting.decisions.autonomy import JudgedDay, autonomy_verdict
from forecasting.decisions.policy import Policy
from forecasting.decisions.score import newsvendor_cost
from metrics.contract import BANK_SCOPE_ID, PlanRefusal, RegionMode


def judged_days(engine: Engine, region: str, period: date, policy: Policy) -> list[JudgedDay]:
    """What the region's judged days up to the period cost, with the plan that governed each and without any.

    Days longer ago than twice `autonomy_periods` tell nothing any more.
    """
    scores = plan_scores(engine, since=period - timedelta(days=2 * policy.autonomy_periods), region=region)
    scores = scores[scores["day"].dt.date <= period].sort_values(["day", "plan_id"])
    return [
        JudgedDay(
            day=row["day"].date(),
            cost=newsvendor_cost(row["refused_units"], row["idle_units"], policy),
            cost_old=newsvendor_cost(row["refused_old_units"], row["idle_old_units"], policy),
        )
        for row in scores.drop_duplicates("day", keep="last").to_dict("records")
    ]


def region_modes(engine: Engine) -> dict[str, RegionMode]:
    """The mode of each region, by id."""
    rows = regions(engine)
    return {
        str(region): RegionMode.AUTOMATIC if automatic else RegionMode.SHADOW
        for region, automatic in zip(rows["region_id"], rows["automatic_application"], strict=True)
    }


def applies_by_itself(engine: Engine, region: str) -> bool:
    """Whether plans of the region are applied by themselves; the bank's where those of all regions are."""
    modes = region_modes(engine)
    asked = [*modes.values()] if region == BANK_SCOPE_ID else [modes.get(region)]
    return all(mode is RegionMode.AUTOMATIC for mode in asked)


def settle(engine: Engine, period: date, policy: Policy) -> dict[str, dict[str, Any]]:
    """By region what its newest scores say, of the period or later, after the core was asked to follow.

    A period scored again when later days have scores already must not take back what these say.
    {"mode" (now in force), "reason" (of a change; None = it stays), "condition", "refused" (why the core did
    not follow: an operator has fixed the region) or None}. Asking again changes nothing. Raises CoreError
    where a change is due and the core cannot be asked.
    """
    newest = plan_scores(engine, since=period)["day"].max()
    until = period if pd.isna(newest) else max(period, newest.date())
    settled = {}
    for region, mode in region_modes(engine).items():
        verdict = autonomy_verdict(judged_days(engine, region, until, policy), mode, policy)
        refused = None if verdict.reason is None else _asked(region, verdict.mode, verdict.condition)
        settled[region] = {
            "mode": str(mode if refused else verdict.mode),
            "reason": None if verdict.reason is None else str(verdict.reason),
            "condition": verdict.condition,
            "refused": refused,
        }
    return settled


def _asked(region: str, mode: RegionMode, condition: str) -> str | None:
    """Why the core did not put the region into the mode; None = it did."""
    with CoreClient.from_environment() as core:
        try:
            core.earn_mode(region, mode, condition)
        except CoreError as error:
            if error.reason != PlanRefusal.REGION_FIXED:
                raise
            return error.reason
    return None
