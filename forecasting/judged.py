"""Which plans are judged, by which of their limits, and against what would have stood without any plan."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from datetime import date, timedelta
from typing import Any, Final

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import branches
from booking_core.read.demand import demand
from booking_core.read.plans import plan_items
from forecasting.decisions.guardrails import Veto
from forecasting.decisions.quotas import LimitState
from forecasting.decisions.score import PlanScore, Whole, score_plan_day
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, UNIT_PERIODS, PeriodKind, ScopeKind

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

    NaN where demand is known only as "at least", of the branch or of one beneath: of such days nothing can be
    said, neither how far a forecast was off nor how many a limit turned away. A branch of which nothing is
    known on a day (closed, say) adds nothing.
    """
    came = demand(engine, since=since, until=until)
    came["y"] = came["y"].where(~came["censored"])
    known = branches(engine)
    regions = came["unique_id"].map(dict(zip(known["branch_id"], known["region_id"], strict=True)))
    scopes = (
        (ScopeKind.BRANCH, came["unique_id"]),
        (ScopeKind.REGION, regions),
        (ScopeKind.BANK, pd.Series(BANK_SCOPE_ID, index=came.index)),
    )
    found: dict[Level, float] = {}
    for kind, ids in scopes:
        summed = came.groupby([ids.rename("scope_id"), "ds"])["y"].sum(skipna=False).reset_index()
        for row in summed.to_dict("records"):
            found[str(kind), str(row["scope_id"]), row["ds"].date()] = float(row["y"])
    return found


def judged_items(engine: Engine, plan_id: str) -> pd.DataFrame:
    """[scope_kind, scope_id, period_kind, first, day, new, old, held]: the limits that judge a plan.

    Its day quotas of all channels; where it has none, those of its first week, else of its first month, over
    the days first..day that were still to come. new: what it set, or would have; of a limit it kept, the old
    one. old: the limit that stood without any plan. held: what was used before these days, and by wishes from
    elsewhere on them.
    """
    rows = plan_items(engine, plan_id)
    rows = rows[(rows["channel"] == ALL_CHANNELS) & rows["old_limit"].notna() & rows["period_start"].notna()]
    kinds = [kind for kind in UNIT_PERIODS if (rows["period_kind"] == kind).any()]
    rows = rows[rows["period_kind"] == kinds[0]] if kinds else rows
    new = rows["applied_limit"].fillna(rows["new_limit"]).fillna(rows["old_limit"])
    told = [inputs or {} for inputs in rows["inputs"]]
    unplanned = pd.array([inputs.get("unplanned_units") for inputs in told], dtype="Int64")
    old = pd.Series(unplanned, index=rows.index).fillna(rows["old_limit"])
    starts = rows["period_start"].dt.date
    last = [_last(kind, start) for kind, start in zip(rows["period_kind"], starts, strict=True)]
    items = pd.DataFrame(
        {
            "scope_kind": rows["scope_kind"],
            "scope_id": rows["scope_id"],
            "period_kind": rows["period_kind"],
            "first": [
                day - timedelta(days=int(inputs.get("days", 1)) - 1)
                for day, inputs in zip(last, told, strict=True)
            ],
            "day": last,
            "new": new.astype("int64"),
            "old": old.astype("int64"),
            "held": [
                int(inputs.get("displaced_units", 0)) + int(inputs.get("used_before_units", 0))
                for inputs in told
            ],
        }
    )
    return items if not kinds or kinds[0] is PeriodKind.DAY else items[items["day"] == items["day"].min()]


def scored_day(plan_id: str, day: date, items: pd.DataFrame, came: Mapping[Level, float]) -> PlanScore | None:
    """The score of the plan's items that end with the day; None where no demand of them is known.

    Of a region's plan: its branches, and its own limit above them; the own limits of a region without any of
    its branches, and of the bank. came: units by scope and day, of the items' first days too.
    """
    rows = items[items["day"] == day]
    beneath = rows[rows["scope_kind"] == ScopeKind.BRANCH]
    own = rows[rows["scope_kind"] != ScopeKind.BRANCH]
    judged = own if beneath.empty else beneath
    known = {
        row["scope_id"]: units for row in judged.to_dict("records") if (units := _came(row, came)) is not None
    }
    if not known:
        return None
    return score_plan_day(
        plan_id=plan_id,
        day=day,
        demand=known,
        new=dict(zip(judged["scope_id"], judged["new"], strict=True)),
        old=dict(zip(judged["scope_id"], judged["old"], strict=True)),
        displaced=dict(zip(judged["scope_id"], judged["held"], strict=True)),
        whole=None if beneath.empty else _whole(own, sum(known.values()), came),
    )


def _came(item: Mapping[Hashable, Any], came: Mapping[Level, float]) -> float | None:
    """The units that came on the item's days; None where nothing is known, or one only as "at least"."""
    days = ((item["first"] + timedelta(days=n)) for n in range((item["day"] - item["first"]).days + 1))
    levels = ((item["scope_kind"], item["scope_id"], day) for day in days)
    units = [came[level] for level in levels if level in came]
    return sum(units) if units and not any(map(math.isnan, units)) else None


def _last(period_kind: str, start: date) -> date:
    """The last day of the period."""
    limit = LimitState("", "", period_kind, start, limit_units=0, used_units=0)
    return limit.next_start - timedelta(days=1)


def _whole(own: pd.DataFrame, known: float, came: Mapping[Level, float]) -> Whole | None:
    """The region's own limit above its branches; None without one, or where other demand counts in it."""
    for row in own.to_dict("records"):
        units = _came(row, came)
        if units is not None and math.isclose(units, known, abs_tol=1e-6):
            return Whole(*(max(0, row[name] - row["held"]) for name in ("new", "old")))
    return None
