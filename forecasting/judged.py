"""Which plans are judged, by which of their limits, and against what would have stood without any plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Final

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import branches
from booking_core.read.demand import demand
from booking_core.read.plans import plan_items
from forecasting.decisions.guardrails import Veto
from forecasting.decisions.score import PlanScore, Whole, score_plan_day
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, PeriodKind, ScopeKind

Level = tuple[str, str, date]
"""Scope kind, scope id and day."""

JUDGED_STATUSES: Final = frozenset({"applied", "superseded", "shadow"})
"""Plans that governed a day, or would have."""


def judged_plans(plans: pd.DataFrame) -> pd.DataFrame:
    """Of the plans, in their order, those that are judged.

    A plan that was kept because the ones before it were bad is judged by what it would have set: a region
    gets out of that veto by proposals that have become better.
    """
    would_be = (plans["status"] == "kept") & (plans["verdict"] == Veto.BAD_PLANS)
    return plans[plans["status"].isin(JUDGED_STATUSES) | would_be]


def exact_demand(engine: Engine, since: date, until: date) -> dict[Level, float]:
    """Units by scope and day, of branches, regions and the bank; both days included.

    Without days whose demand is known only as "at least", of a branch or of one beneath: of those nothing can
    be said, neither how far a forecast was off nor how many a limit turned away. A branch of which nothing is
    known on a day (closed, say) adds nothing.
    """
    came = demand(engine, since=since, until=until)
    known = branches(engine)
    regions = came["unique_id"].map(dict(zip(known["branch_id"], known["region_id"], strict=True)))
    scopes = (
        (ScopeKind.BRANCH, came["unique_id"]),
        (ScopeKind.REGION, regions),
        (ScopeKind.BANK, pd.Series(BANK_SCOPE_ID, index=came.index)),
    )
    found: dict[Level, float] = {}
    for kind, ids in scopes:
        summed = came.groupby([ids.rename("scope_id"), "ds"])[["y", "censored"]].agg(
            {"y": "sum", "censored": "any"}
        )
        for row in summed[~summed["censored"].astype(bool)].reset_index().to_dict("records"):
            found[str(kind), str(row["scope_id"]), row["ds"].date()] = float(row["y"])
    return found


def day_items(engine: Engine, plan_id: str) -> pd.DataFrame:
    """[scope_kind, scope_id, day, new, old, displaced]: the plan's day quotas of all channels.

    new: what it set, or would have; of a limit it kept, the old one. old: the limit that stood without any
    plan. displaced: the units in use by wishes from elsewhere when the plan was made.
    """
    rows = plan_items(engine, plan_id)
    rows = rows[
        (rows["period_kind"] == PeriodKind.DAY)
        & (rows["channel"] == ALL_CHANNELS)
        & rows["old_limit"].notna()
    ]
    new = rows["applied_limit"].fillna(rows["new_limit"]).fillna(rows["old_limit"])
    told = [inputs or {} for inputs in rows["inputs"]]
    unplanned = pd.array([inputs.get("unplanned_units") for inputs in told], dtype="Int64")
    old = pd.Series(unplanned, index=rows.index).fillna(rows["old_limit"])
    return pd.DataFrame(
        {
            "scope_kind": rows["scope_kind"],
            "scope_id": rows["scope_id"],
            "day": rows["period_start"].dt.date,
            "new": new.astype("int64"),
            "old": old.astype("int64"),
            "displaced": [int(inputs.get("displaced_units", 0)) for inputs in told],
        }
    )


def scored_day(plan_id: str, day: date, items: pd.DataFrame, came: Mapping[Level, float]) -> PlanScore | None:
    """The score of the plan's day items on one day; None where no demand of it is known.

    Of a region's plan: its branches, and its own limit above them; the own limits of a region without any of
    its branches, and of the bank. came: units by scope and day.
    """
    rows = items[items["day"] == day]
    beneath = rows[rows["scope_kind"] == ScopeKind.BRANCH]
    own = rows[rows["scope_kind"] != ScopeKind.BRANCH]
    judged = own if beneath.empty else beneath
    known = {
        scope_id: came[scope_kind, scope_id, day]
        for scope_kind, scope_id in zip(judged["scope_kind"], judged["scope_id"], strict=True)
        if (scope_kind, scope_id, day) in came
    }
    if not known:
        return None
    return score_plan_day(
        plan_id=plan_id,
        day=day,
        demand=known,
        new=dict(zip(judged["scope_id"], judged["new"], strict=True)),
        old=dict(zip(judged["scope_id"], judged["old"], strict=True)),
        displaced=dict(zip(judged["scope_id"], judged["displaced"], strict=True)),
        whole=None if beneath.empty else _whole(own, day, sum(known.values()), came),
    )


def _whole(own: pd.DataFrame, day: date, known: float, came: Mapping[Level, float]) -> Whole | None:
    """The region's own limit of the day; None without one, or where demand outside of known counts in it."""
    for row in own.to_dict("records"):
        if math.isclose(came.get((row["scope_kind"], row["scope_id"], day), math.nan), known, abs_tol=1e-6):
            return Whole(*(max(0, row[name] - row["displaced"]) for name in ("new", "old")))
    return None
