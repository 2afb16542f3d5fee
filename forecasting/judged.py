"""Which plans are judged, by which of their limits, and against what would have stood without any plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.demand import demand
from booking_core.read.plans import plan_items
from forecasting.decisions.guardrails import Veto
from forecasting.decisions.score import PlanScore, score_plan_day
from metrics.contract import ALL_CHANNELS, PeriodKind, ScopeKind

JUDGED_STATUSES: Final = frozenset({"applied", "superseded", "shadow"})
"""Plans that governed a day, or would have."""


def judged_plans(plans: pd.DataFrame) -> pd.DataFrame:
    """Of the plans, in their order, those that are judged.

    A plan that was kept because the ones before it were bad is judged by what it would have set: a region
    gets out of that veto by proposals that have become better.
    """
    would_be = (plans["status"] == "kept") & (plans["verdict"] == Veto.BAD_PLANS)
    return plans[plans["status"].isin(JUDGED_STATUSES) | would_be]


def exact_demand(engine: Engine, since: date, until: date) -> dict[tuple[str, date], float]:
    """Units by branch and day, both days included; without days whose demand is known only as "at least".

    Of those nothing can be said: neither how far a forecast was off nor how many a limit turned away.
    """
    came = demand(engine, since=since, until=until)
    exact = came[~came["censored"]].to_dict("records")
    return {(row["unique_id"], row["ds"].date()): row["y"] for row in exact}


def day_items(engine: Engine, plan_id: str) -> pd.DataFrame:
    """[scope_id, day, new, old, displaced]: the day quotas of the plan's branches.

    new: what it set, or would have; of a limit it kept, the old one. old: the limit that stood without any
    plan. displaced: the units in use by wishes from elsewhere when the plan was made.
    """
    rows = plan_items(engine, plan_id)
    rows = rows[
        (rows["scope_kind"] == ScopeKind.BRANCH)
        & (rows["period_kind"] == PeriodKind.DAY)
        & (rows["channel"] == ALL_CHANNELS)
        & rows["old_limit"].notna()
    ]
    new = rows["applied_limit"].fillna(rows["new_limit"]).fillna(rows["old_limit"])
    told = [inputs or {} for inputs in rows["inputs"]]
    unplanned = pd.array([inputs.get("unplanned_units") for inputs in told], dtype="Int64")
    old = pd.Series(unplanned, index=rows.index).fillna(rows["old_limit"])
    return pd.DataFrame(
        {
            "scope_id": rows["scope_id"],
            "day": rows["period_start"].dt.date,
            "new": new.astype("int64"),
            "old": old.astype("int64"),
            "displaced": [int(inputs.get("displaced_units", 0)) for inputs in told],
        }
    )


def scored_day(
    plan_id: str, day: date, items: pd.DataFrame, came: Mapping[tuple[str, date], float]
) -> PlanScore | None:
    """The score of the plan's day items on one day; None where no demand of it is known.

    came: units by branch and day.
    """
    rows = items[items["day"] == day]
    known = {branch: came[branch, day] for branch in rows["scope_id"] if (branch, day) in came}
    if not known:
        return None
    return score_plan_day(
        plan_id=plan_id,
        day=day,
        demand=known,
        new=dict(zip(rows["scope_id"], rows["new"], strict=True)),
        old=dict(zip(rows["scope_id"], rows["old"], strict=True)),
        displaced=dict(zip(rows["scope_id"], rows["displaced"], strict=True)),
    )
