"""Quota proposals: what the forecast asks for, before any guardrail.

A limit is the service-level quantile of its own demand, plus the units that wishes from elsewhere hold
already: whoever was displaced from a full day fills another one, whose own customers must not be refused
for it. A week's or month's limit is what is used on the days up to the period, plus those displaced units,
plus the quantile of the summed sample paths over the days that remain: never a sum of quantiles. Region
limits likewise, summed over its branches too. A level without a limit stays without one: a forecast never
invents a restriction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any, Self

import numpy as np

from forecasting.decisions.policy import Policy
from forecasting.frames import Floats, SamplePaths
from metrics.contract import PeriodKind, ScopeKind


@dataclass(frozen=True, slots=True)
class LimitState:
    """One concrete period of a quota as it stands."""

    scope_kind: str
    """branch | region"""
    scope_id: str
    period_kind: str
    """day | week | month"""
    period_start: date
    limit_units: int
    used_units: int

    @property
    def next_start(self) -> date:
        """The first day after the period."""
        if self.period_kind == PeriodKind.MONTH:
            return (self.period_start.replace(day=28) + timedelta(days=4)).replace(day=1)
        return self.period_start + timedelta(days=7 if self.period_kind == PeriodKind.WEEK else 1)


@dataclass(frozen=True, slots=True)
class BranchForecast:
    """What is forecast for one branch, by which model."""

    model: str
    paths: SamplePaths

    def sums(self, first: date, last: date) -> Floats | None:
        """Each path's units from first to last, both included; None where not all days are forecast."""
        if first < self.paths.first_day or last > self.paths.last_day:
            return None
        return self.paths.sums(first, last)


@dataclass(frozen=True, slots=True)
class DisplacedUnits:
    """Units in use on a day by wishes that were first for another branch or day."""

    day: date
    """The service day they are booked on."""
    wished_branch: str
    wished_day: date
    units: int


@dataclass(frozen=True, slots=True)
class RegionState:
    """What is known of one region when its quotas are planned."""

    period: date
    """The last day whose demand is known; planning starts on the day after."""
    branches: tuple[str, ...]
    limits: Sequence[LimitState]
    forecasts: Mapping[str, BranchForecast]
    """Of the branches that have a usable one."""
    used: Mapping[tuple[str, date], int]
    """Units in use by branch and service day, for the days up to the period."""
    staff_caps: Mapping[str, int | None]
    """Units a day by branch; None = unknown."""
    displaced: Mapping[str, Sequence[DisplacedUnits]] = field(default_factory=dict)
    """By the branch they are booked at, for the days after the period."""
    on_hand: Mapping[tuple[str, date], int] = field(default_factory=dict)
    """Wishes that stand already by branch and first wished day: the forecasts are updated with them."""


@dataclass(frozen=True, slots=True)
class QuotaProposal:
    """What the forecast asks for one limit; `proposed` None = keep it, `keep_reason` says why."""

    scope_kind: str
    scope_id: str
    period_kind: str
    period_start: str
    """ISO day."""
    old_units: int
    used_units: int
    staff_cap_units: int | None
    """Units its staff can serve in the period."""
    proposed: float | None
    quantile: float
    model: str
    keep_reason: str | None = None
    keep_condition: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The proposal as recorded."""
        return cls(**record)


def propose_quotas(state: RegionState, policy: Policy) -> list[QuotaProposal]:
    """A proposal for every limit of the region that the plan covers, in the order of the limits.

    Day limits of the `plan_days` days after the period; week and month limits that hold any of these
    days. Where a day in question is not forecast, the limit is kept.
    """
    first = state.period + timedelta(days=1)
    until = first + timedelta(days=policy.plan_days)
    return [
        _propose(limit, state, first, policy)
        for limit in state.limits
        if limit.next_start > first and limit.period_start < until
    ]


def _propose(limit: LimitState, state: RegionState, first: date, policy: Policy) -> QuotaProposal:
    members = (limit.scope_id,) if limit.scope_kind == ScopeKind.BRANCH else state.branches
    remaining = max(first, limit.period_start)
    days = (limit.next_start - remaining).days
    used_before = sum(
        state.used.get((branch, day), 0)
        for branch in members
        for day in _days(limit.period_start, remaining)
    )  # fmt: skip
    total = summed_paths(
        [state.forecasts.get(branch) for branch in members], remaining, limit.next_start - timedelta(days=1)
    )
    caps = [state.staff_caps.get(branch) for branch in members]
    known = [cap for cap in caps if cap is not None]
    cap = used_before + sum(known) * days if known and len(known) == len(caps) else None
    models = {state.forecasts[branch].model for branch in members if branch in state.forecasts}
    keep_reason = keep_condition = None
    if limit.period_kind == PeriodKind.DAY and limit.period_start in policy.frozen:
        keep_reason, keep_condition = "frozen", f"{limit.period_start} is frozen by policy"
        total = None
    elif total is None:
        keep_reason, keep_condition = "short", "no usable forecast of all its days"
    displaced = _displaced_units(state.displaced, members, remaining, limit.next_start)
    inputs: dict[str, Any] = {
        "used_before_units": used_before,
        "displaced_units": displaced,
        "on_hand_units": sum(
            state.on_hand.get((branch, day), 0)
            for branch in members
            for day in _days(remaining, limit.next_start)
        ),
        "days": days,
        "branches": len(members),
    }
    proposed = None
    if total is not None:
        proposed = used_before + displaced + float(np.quantile(total, policy.service_level))
        inputs |= {"mean_units": round(float(total.mean()), 3), "paths": int(total.shape[0])}
    return QuotaProposal(
        scope_kind=limit.scope_kind,
        scope_id=limit.scope_id,
        period_kind=limit.period_kind,
        period_start=limit.period_start.isoformat(),
        old_units=limit.limit_units,
        used_units=limit.used_units,
        staff_cap_units=cap,
        proposed=None if proposed is None else round(proposed, 6),
        quantile=policy.service_level,
        model=models.pop() if len(models) == 1 else "mixed" if models else "keep",
        keep_reason=keep_reason,
        keep_condition=keep_condition,
        inputs=inputs,
    )


def _displaced_units(
    displaced: Mapping[str, Sequence[DisplacedUnits]], members: Collection[str], first: date, until: date
) -> int:
    """Units in use at the branches on the days first..until-1 by wishes that their demand does not count.

    A wish that only moved among these branches and days is part of the demand that is forecast for them.
    """
    return sum(
        row.units
        for branch in members
        for row in displaced.get(branch, ())
        if first <= row.day < until and not (row.wished_branch in members and first <= row.wished_day < until)
    )


def summed_paths(forecasts: Iterable[BranchForecast | None], first: date, last: date) -> Floats | None:
    """Sample paths of the total over all branches and the days first..last, shape (paths,).

    None where a branch has no forecast or one that does not reach. Path k of one branch is added to
    path k of the others; where counts of paths differ, the fewest are used.
    """
    parts: list[Floats] = []
    for forecast in forecasts:
        part = None if forecast is None else forecast.sums(first, last)
        if part is None:
            return None
        parts.append(part)
    if not parts:
        return None
    fewest = min(len(part) for part in parts)
    total: Floats = np.sum([part[:fewest] for part in parts], axis=0)
    return total


def _days(first: date, until: date) -> Iterable[date]:
    """The days first..until-1."""
    return (first + timedelta(days=n) for n in range((until - first).days))
