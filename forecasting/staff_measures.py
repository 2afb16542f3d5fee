"""What is known of staff's work: how customers come, call and are served, and who is there."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import branches
from booking_core.read.day_shapes import calls_by_half_hour, visits_by_half_hour
from booking_core.read.demand import demand
from booking_core.read.rosters import rostered
from booking_core.read.service_times import service_times
from forecasting.decisions.half_hours import half_hour
from forecasting.decisions.overbooking import shrunk_ratio
from forecasting.decisions.policy import Policy
from forecasting.decisions.roster import Available
from forecasting.decisions.staffing import HALF_HOURS, blended_shares
from forecasting.frames import ID, VALUE, Floats
from metrics.contract import Skill

There = dict[tuple[str, date, Skill], list[Available]]
"""Who is there by branch, day and skill, where a roster tells."""


@dataclass(frozen=True, slots=True)
class StaffMeasures:
    """How the customers of a branch come, call and are served: its own weeks, leaning on its region's."""

    handling_seconds: float
    """Of one customer at the counter."""
    no_show_ratio: float
    visit_shares: Floats
    """Of a day's customers by open half-hour, summing to 1."""
    call_shares: Floats
    calls_per_unit: float
    call_leads: Floats
    """Share of calls about the service day 0, 1, … days later."""

    def as_record(self) -> dict[str, Any]:
        """What a roster says about it."""
        return {
            "handling_seconds": round(self.handling_seconds, 1),
            "no_show_ratio": round(self.no_show_ratio, 4),
            "calls_per_unit": round(self.calls_per_unit, 4),
        }


def who_is_there(engine: Engine, first: date, last: date, region: str | None) -> There:
    """The heads that standing rosters tell of the days first..last."""
    found: There = {}
    for row in rostered(engine, since=first, until=last, region=region).to_dict("records"):
        key = (row["branch_id"], row["day"].date(), Skill(row["skill"]))
        found.setdefault(key, []).append(
            Available(half_hour(row["starts"]), half_hour(row["ends"]), row["heads"])
        )
    return found


def measure_staff(engine: Engine, day: date, policy: Policy, region: str | None) -> dict[str, StaffMeasures]:
    """What the `staff_weeks` weeks up to the day tell of each branch.

    Few measurements lean on the region's, and those on what is assumed: no no-shows, the policy's times.
    """
    since = day - timedelta(weeks=policy.staff_weeks) + timedelta(days=1)
    known = branches(engine, region)
    region_of: dict[str, str] = dict(zip(known["branch_id"], known["region_id"], strict=True))
    served = service_times(engine, since=since, until=day, region=region)
    served["seconds"] = (served["mean_seconds"] * served["completed"]).fillna(0.0)
    finished = served.groupby("branch_id")[["completed", "no_shows", "seconds"]].sum()
    visits = _by_half_hour(visits_by_half_hour(engine, since=since, until=day, region=region), "units")
    called = calls_by_half_hour(engine, since=since, until=day, region=region)
    calls = _by_half_hour(called, "calls")
    wished = demand(engine, since=since, until=day, region=region).groupby(ID)[VALUE].sum().to_dict()
    leads = called.assign(region_id=called["branch_id"].map(region_of))
    found: dict[str, StaffMeasures] = {}
    for name in sorted(set(region_of.values())):
        members = [branch for branch, its in region_of.items() if its == name]
        own_leads = leads[leads["region_id"] == name].groupby("lead_days")["calls"].sum()
        wider = _Region(
            finished=finished.reindex(members).fillna(0.0).sum(),
            visits=_summed(visits, members),
            calls=_summed(calls, members),
            units=sum(wished.get(branch, 0.0) for branch in members),
            leads=_lead_shares(own_leads),
        )
        for branch in members:
            own = finished.reindex([branch]).fillna(0.0).iloc[0]
            found[branch] = _measured(
                own,
                _summed(visits, [branch]),
                _summed(calls, [branch]),
                wished.get(branch, 0.0),
                wider,
                policy,
            )
    return found


@dataclass(frozen=True, slots=True)
class _Region:
    """What a region's branches show together."""

    finished: pd.Series
    visits: Floats
    calls: Floats
    units: float
    leads: Floats


def _measured(
    own: pd.Series, visits: Floats, calls: Floats, units: float, wider: _Region, policy: Policy
) -> StaffMeasures:
    prior = policy.staff_prior_units
    opening = slice(half_hour(policy.opens), half_hour(policy.closes))

    def leaning(event: str, trials: str | None, assumed: float) -> float:
        """The branch's mean drawn to the region's, and that to what is assumed."""

        def of(row: pd.Series) -> float:
            return float(row["completed"] + row["no_shows"] if trials is None else row[trials])

        region = shrunk_ratio(float(wider.finished[event]), of(wider.finished), assumed, prior)
        return shrunk_ratio(float(own[event]), of(own), region, prior)

    called = policy.phone_calls_per_unit
    if wider.calls.sum() > 0:
        region = shrunk_ratio(float(wider.calls.sum()), wider.units, called, prior)
        called = shrunk_ratio(float(calls.sum()), units, region, prior)
    return StaffMeasures(
        handling_seconds=leaning("seconds", "completed", policy.counter_handling_seconds),
        no_show_ratio=leaning("no_shows", None, 0.0),
        visit_shares=blended_shares(visits, wider.visits, prior, opening),
        call_shares=blended_shares(calls, wider.calls, prior, opening),
        calls_per_unit=called,
        call_leads=wider.leads,
    )


# --- small parts ----------------------------------------------------------------------------------


def _by_half_hour(rows: pd.DataFrame, column: str) -> dict[Hashable, Floats]:
    """The column's sums by branch, each (48,)."""
    found: dict[Hashable, Floats] = {}
    for row in rows.to_dict("records"):
        found.setdefault(row["branch_id"], np.zeros(HALF_HOURS))[row["half_hour"]] += row[column]
    return found


def _summed(by_branch: Mapping[Hashable, Floats], members: list[str]) -> Floats:
    parts = [by_branch[branch] for branch in members if branch in by_branch]
    return np.sum(parts, axis=0) if parts else np.zeros(HALF_HOURS)


def _lead_shares(calls: pd.Series) -> Floats:
    """Share of calls by lead in days from 0 on; all on the day itself where none is known."""
    if calls.empty:
        return np.ones(1)
    shares = np.zeros(int(calls.index.max()) + 1)
    shares[calls.index.to_numpy(dtype=int)] = calls.to_numpy(dtype=float)
    shares /= shares.sum()
    return shares
