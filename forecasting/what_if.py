"""A region's what-if from the database: its forecast, limits, staff and servers as they stand.

Reads only. The paths are the run's as stored, not updated with the wishes on hand: the answer is there at
once, and a what-if asks how two futures differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from sqlalchemy import Engine

from booking_core.read import waitlist
from booking_core.read.bank import bank_settings, branches
from booking_core.read.bank import policy as stored_policy
from booking_core.read.forecasts import latest_run, sample_paths
from booking_core.read.quotas import live_bookings, quota_periods
from forecasting import pressure, store
from forecasting.decisions.policy import Policy, policy_from
from forecasting.decisions.roster import Available, ShiftRules, working_half_hours
from forecasting.decisions.situations import Changes, Counter, Layer, Servers, Situation
from forecasting.decisions.staffing import HALF_HOUR_SECONDS
from forecasting.decisions.whatif import what_if
from forecasting.frames import Floats
from forecasting.periods import begun_day
from forecasting.retuning import DEMAND
from forecasting.staff_caps import staff_caps
from forecasting.staff_measures import measure_staff
from metrics.contract import ALL_CHANNELS, UNIT_PERIODS, PeriodKind, ScopeKind

_NONE: Final = float("inf")


def what_if_of(period: str, region: str, changes: Changes, days: int | None = None) -> dict[str, Any]:
    """What the days after the period would bring with the changes, and without (default: plan_days of them).

    The record of decisions.whatif.WhatIf, and {"period", "run_id", "without_forecast" (branches left out),
    "changes"}. Raises LookupError for a region without branches, RuntimeError without a forecast of these
    days, ValueError for a change that does not fit or a period not begun.
    """
    engine = store.open_engine()
    day, policy = begun_day(engine, period), policy_from(stored_policy(engine))
    situation, run_id, left_out = situation_of(
        engine, region, day, policy, policy.plan_days if days is None else days
    )
    last = situation.first_day + timedelta(days=situation.days - 1)
    for shock in changes.shocks:
        if (shock.first or last) > last or (shock.last or last) < situation.first_day:
            raise ValueError(
                f"shock from {shock.first} to {shock.last}: none of the days that are foreseen, "
                f"{situation.first_day} to {last}; expected some of them"
            )
    told = what_if(situation, changes).as_record()
    return told | {
        "period": period,
        "run_id": run_id,
        "without_forecast": left_out,
        "changes": _plain(asdict(changes)),
    }


def situation_of(
    engine: Engine, region: str, day: date, policy: Policy, days: int
) -> tuple[Situation, str, list[str]]:
    """The region as it stands for `days` days after `day`; the run it is foreseen by; who has no forecast."""
    known = branches(engine)
    known = known[known["active"]]
    members = list(known.loc[known["region_id"] == region, "branch_id"])
    if not members:
        raise LookupError(f"region {region!r} has no branches")
    run = latest_run(engine, DEMAND, until_period=day)
    first = day + timedelta(days=1)
    stored = {} if run is None else sample_paths(engine, run.run_id)
    cut = {branch: values[:, (first - start).days :][:, :days] for branch, (start, values) in stored.items()}
    own = tuple(branch for branch in members if branch in cut and cut[branch].shape[1] > 0)
    if run is None or not own:
        raise RuntimeError(f"no forecast of {region} covers the days after {day}: train first")
    count = min(cut[branch].shape[1] for branch in own)
    paths = min(len(cut[branch]) for branch in own)
    demand = np.array([cut[branch][:paths, :count].T for branch in own], dtype=float)
    others = [
        values[:paths, :count].T
        for branch, values in cut.items()
        if branch not in members and values.shape[1] >= count and len(values) >= paths
    ]
    last = first + timedelta(days=count - 1)
    caps = staff_caps(engine, region, first, last, policy)
    the_days = [first + timedelta(days=n) for n in range(count)]
    waiting = waitlist.backlog(engine, since=first, region=region).groupby("branch_id")["entries"].sum()
    situation = Situation(
        region=region,
        branches=own,
        first_day=first,
        demand=demand,
        layers=tuple(_layers(engine, region, own, the_days)),
        staff_caps=np.array([[_units(caps.of(branch, each)) for each in the_days] for branch in own]),
        counter=_counter(engine, region, own, day, policy),
        servers=_servers(engine, day, policy),
        refused_cost=policy.refused_cost,
        waiting=np.array([float(waiting.get(branch, 0.0)) for branch in own]),
        elsewhere=np.sum(others, axis=0, dtype=float) if others else None,
    )
    return situation, run.run_id, sorted(set(members) - set(own))


def _layers(engine: Engine, region: str, own: Sequence[str], days: Sequence[date]) -> list[Layer]:
    """The limits on all channels of the branches and of the region; a scope without one has infinity."""
    starts = {kind: sorted({_start(kind, day) for day in days}) for kind in UNIT_PERIODS}
    before = live_bookings(
        engine,
        since=min(each[0] for each in starts.values()),
        until=days[0] - timedelta(days=1),
        region=region,
    )
    found = []
    for scope_kind, scopes, group in (
        (ScopeKind.BRANCH, tuple(own), np.arange(len(own))),
        (ScopeKind.REGION, (region,), np.zeros(len(own), dtype=np.int64)),
    ):
        for kind in UNIT_PERIODS:
            limits = np.full((len(scopes), len(starts[kind])), _NONE)
            used = np.zeros(limits.shape)
            rows = quota_periods(
                engine, since=days[0], until=days[-1], period_kind=kind, scope_kind=scope_kind, region=region
            )
            rows = rows[(rows["channel"] == ALL_CHANNELS) & rows["limit_units"].notna()]
            for row in rows[rows["scope_id"].isin(scopes)].to_dict("records"):
                place = scopes.index(row["scope_id"]), starts[kind].index(row["period_start"].date())
                limits[place] = row["limit_units"]
            booked = before[before["service_day"].dt.date >= starts[kind][0]]
            for n, scope in enumerate(scopes):
                here = booked if scope_kind is ScopeKind.REGION else booked[booked["branch_id"] == scope]
                used[n, 0] = here["units"].sum()
            found.append(
                Layer(
                    scope_kind=str(scope_kind),
                    period_kind=str(kind),
                    scopes=scopes,
                    group=group,
                    period=np.array([starts[kind].index(_start(kind, day)) for day in days]),
                    limits=limits,
                    used=used,
                )
            )
    return found


def _counter(engine: Engine, region: str, own: Sequence[str], day: date, policy: Policy) -> Counter:
    """The branches' counters as measured; a head works the longest shift."""
    measures = measure_staff(engine, day, policy, region)
    rules = ShiftRules.of(policy)
    until = min(rules.closes, rules.opens + rules.lengths[-1])
    worked = working_half_hours([Available(rules.opens, until, 1)], rules)
    booked = worked * HALF_HOUR_SECONDS * policy.staff_utilisation
    return Counter(
        units_per_head=np.array([booked / measures[branch].handling_seconds for branch in own]),
        peak_share=np.array([measures[branch].visit_shares.max() for branch in own]),
        come_ratio=np.array([1.0 - measures[branch].no_show_ratio for branch in own]),
        handling_seconds=np.array([measures[branch].handling_seconds for branch in own]),
        service_level=policy.counter_level,
        wait_seconds=policy.counter_wait_seconds,
    )


def _servers(engine: Engine, day: date, policy: Policy) -> Servers:
    """Requests and their cost as measured up to the day."""
    settings = bank_settings(engine)
    model = pressure.measure(engine, settings, policy, day)
    shapes: list[Floats] = [model.default_profile, *model.profiles.values()]
    return Servers(
        requests_per_unit=model.requests_per_wish,
        peak_share=float(max(shape.max() for shape in shapes)),
        quarter_seconds=settings.quarter_seconds,
        cost_seconds=model.cost_seconds,
        target_utilisation=policy.target_utilisation,
        min_workers=policy.min_workers,
        max_workers=policy.max_workers,
    )


def _start(kind: PeriodKind, day: date) -> date:
    """The first day of the period that holds the day."""
    if kind is PeriodKind.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if kind is PeriodKind.WEEK else day


def _units(cap: int | None) -> float:
    return _NONE if cap is None else float(cap)


def _plain(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes as JSON values; what is not changed is left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [{name: _text(part) for name, part in each.items()} for each in value]
        return value

    return {name: plain(value) for name, value in changes.items() if value not in (None, (), {})}


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
