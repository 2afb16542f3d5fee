"""Quota proposals: what the forecast asks for, before any guardrail.

Each is a newsvendor's problem: the fewest units whose chance to suffice reaches the critical ratio refused ÷
(refused + idle) of what a refused customer and an idle unit cost, which is the policy's service level (Arrow,
Harris & Marschak 1951). On top come the units that wishes from elsewhere hold already, since whoever was
displaced from a full day fills another one, whose own customers must not be refused for it; and the
waitlist's backlog, which no coming day's demand counts. A week's or month's limit is what is used on the days
up to the period, plus these, plus the quantile of the summed sample paths over the days that remain: never a
sum of quantiles. Limits of a region or the bank likewise, summed over its branches too; those of a channel by
its share (`channels`). A level without a limit stays without one: a forecast never invents a restriction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any, Self

import numpy as np

from forecasting.decisions.backlog import Place
from forecasting.decisions.channels import thinned_units
from forecasting.decisions.policy import Policy
from forecasting.frames import Floats, SamplePaths
from metrics.contract import ALL_CHANNELS, PeriodKind, ScopeKind


@dataclass(frozen=True, slots=True)
class LimitState:
    """One concrete period of a quota as it stands."""

    scope_kind: str
    """branch | region | bank"""
    scope_id: str
    period_kind: str
    """day | week | month"""
    period_start: date
    limit_units: int
    used_units: int
    channel: str = ALL_CHANNELS
    unplanned_units: int | None = None
    """The limit that would stand had no plan set it; None = unknown."""

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
    channel: str = ALL_CHANNELS
    """What they were booked through."""


@dataclass(frozen=True, slots=True)
class RegionState:
    """What is known of one region, or of the bank, when its quotas are planned."""

    period: date
    """The last day whose demand is known; planning starts on the day after."""
    branches: tuple[str, ...]
    limits: Sequence[LimitState]
    forecasts: Mapping[str, BranchForecast]
    """Of the branches that have a usable one."""
    used: Mapping[tuple[str, date], int]
    """Units in use by branch and service day, for the days up to the period."""
    staff_caps: Mapping[str, int | None]
    """Units a day by branch where no roster stands; None = unknown."""
    displaced: Mapping[str, Sequence[DisplacedUnits]] = field(default_factory=dict)
    """By the branch they are booked at, for the days after the period."""
    on_hand: Mapping[tuple[str, date], int] = field(default_factory=dict)
    """Wishes that stand already by branch and first wished day: the forecasts are updated with them."""
    used_by_channel: Mapping[Place, int] = field(default_factory=dict)
    """`used`, by channel as well."""
    backlog: Mapping[Place, int] = field(default_factory=dict)
    """Units of the waitlist that no day's demand counts, by the place they are planned for."""
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of each branch the share of its demand by channel; none known: channels' limits are kept."""
    rostered_caps: Mapping[tuple[str, date], int] = field(default_factory=dict)
    """Units that the staff of a concrete branch and day can serve, where a roster stands for it."""
    distrusted_no_shows: Mapping[str, float] = field(default_factory=dict)
    """By branch, the measured share of no-shows where the caps are overbooked by a smaller one."""

    def staff_cap(self, branch: str, day: date) -> int | None:
        """Units that the branch's staff can serve on the day; None = unknown."""
        return self.rostered_caps.get((branch, day), self.staff_caps.get(branch))


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
    channel: str = ALL_CHANNELS
    unplanned_units: int | None = None
    """The limit that would stand had no plan set it; None = unknown."""
    funds_cap_units: int | None = None
    """Units that the funds of its days pay out; None = no limit on funds."""

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
    backlog = _backlog_by_place(state.backlog)
    return [
        _propose(limit, state, backlog, first, policy)
        for limit in state.limits
        if limit.next_start > first and limit.period_start < until
    ]


def _propose(
    limit: LimitState,
    state: RegionState,
    backlog_at: Mapping[tuple[str, date], Mapping[str, int]],
    first: date,
    policy: Policy,
) -> QuotaProposal:
    members = (limit.scope_id,) if limit.scope_kind == ScopeKind.BRANCH else state.branches
    remaining = max(first, limit.period_start)
    days = (limit.next_start - remaining).days
    coming = [(branch, day) for branch in members for day in _days(remaining, limit.next_start)]
    before = [(branch, day) for branch in members for day in _days(limit.period_start, remaining)]
    whole = limit.channel == ALL_CHANNELS
    if whole:
        used_before = sum(state.used.get(place, 0) for place in before)
    else:
        used_before = sum(state.used_by_channel.get((*place, limit.channel), 0) for place in before)
    forecasts = [state.forecasts.get(branch) for branch in members]
    last = limit.next_start - timedelta(days=1)
    total = summed_paths(forecasts, remaining, last)
    expected = total if whole else _expected(forecasts, members, state.shares, limit.channel, remaining, last)
    caps = [state.staff_cap(branch, day) for branch, day in coming]
    known = [cap for cap in caps if cap is not None]
    cap = used_before + sum(known) if known and len(known) == len(caps) else None
    models = {state.forecasts[branch].model for branch in members if branch in state.forecasts}
    displaced = _displaced_units(state.displaced, members, remaining, limit.next_start, limit.channel)
    waiting = (backlog_at[place] for place in coming if place in backlog_at)
    backlog = sum(sum(units.values()) if whole else units.get(limit.channel, 0) for units in waiting)
    inputs: dict[str, Any] = {
        "used_before_units": used_before,
        "displaced_units": displaced,
        "backlog_units": backlog,
        "on_hand_units": sum(state.on_hand.get(place, 0) for place in coming),
        "days": days,
        "branches": len(members),
    }
    if rostered := sum(place in state.rostered_caps for place in coming):
        inputs["rostered_days"] = rostered  # the staff cap comes from a roster there
    if distrusted := [state.distrusted_no_shows[at] for at in members if at in state.distrusted_no_shows]:
        inputs["distrusted_no_show_ratio"] = round(max(distrusted), 4)
    proposed = keep_reason = keep_condition = None
    if total is None:
        keep_reason, keep_condition = "short", "no usable forecast of all its days"
    elif expected is None:
        keep_reason, keep_condition = "short", f"no wish is known that shows the share of {limit.channel}"
    else:
        own = critical_units(total, policy) if whole else thinned_units(total, expected, policy.service_level)
        proposed = used_before + displaced + backlog + float(own)
        inputs |= {"mean_units": round(float(expected.mean()), 3), "paths": int(total.shape[0])}
        if limit.scope_kind == ScopeKind.BRANCH and limit.period_kind == PeriodKind.DAY and whole:
            held_back = int(own * policy.hold_back_ratio)
            proposed -= held_back
            inputs |= {"held_back_units": held_back} if held_back else {}
    if limit.period_kind == PeriodKind.DAY and limit.period_start in policy.frozen:
        keep_reason, keep_condition = "frozen", f"{limit.period_start} is frozen by policy"
        inputs |= {} if proposed is None else {"asked_units": proposed}  # what a special period may still add
        proposed = None
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
        channel=limit.channel,
        unplanned_units=limit.unplanned_units,
    )


def critical_units(total: Floats, policy: Policy) -> float:
    """The fewest units of the sample paths, (paths,), that suffice as often as the policy's costs warrant."""
    return float(sufficient_units(total, policy.service_level))


def sufficient_units(units: Floats, level: float, axis: int = -1) -> Floats:
    """The fewest units whose share of paths at or below reaches the level; paths lie along the axis.

    No interpolation: between two counts lies no count, and the costs are least at the first that suffices.
    """
    fewest: Floats = np.quantile(units, level, axis=axis, method="inverted_cdf")
    return fewest


def _expected(
    forecasts: Sequence[BranchForecast | None],
    members: Sequence[str],
    shares: Mapping[str, Mapping[str, float]],
    channel: str,
    first: date,
    last: date,
) -> Floats | None:
    """What of each sample path of the total comes through the channel; None where that is not known."""
    parts: list[Floats] = []
    for branch, forecast in zip(members, forecasts, strict=True):
        part = None if forecast is None else forecast.sums(first, last)
        if part is None or branch not in shares:
            return None
        parts.append(part * shares[branch].get(channel, 0.0))
    return _summed(parts)


def _backlog_by_place(backlog: Mapping[Place, int]) -> dict[tuple[str, date], dict[str, int]]:
    """Units of the backlog by channel, by branch and day: of 5,000 branches no limit looks at all."""
    found: dict[tuple[str, date], dict[str, int]] = {}
    for (branch, day, channel), units in backlog.items():
        found.setdefault((branch, day), {})[channel] = units
    return found


def _displaced_units(
    displaced: Mapping[str, Sequence[DisplacedUnits]],
    members: Sequence[str],
    first: date,
    until: date,
    channel: str,
) -> int:
    """Units in use at the branches on the days first..until-1 by wishes that their demand does not count.

    A wish that only moved among these branches and days is part of the demand that is forecast for them.
    """
    among = frozenset(members)
    return sum(
        row.units
        for branch in members
        for row in displaced.get(branch, ())
        if first <= row.day < until
        and channel in {ALL_CHANNELS, row.channel}
        and not (row.wished_branch in among and first <= row.wished_day < until)
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
    return _summed(parts)


def _summed(parts: Sequence[Floats]) -> Floats | None:
    """The sum path by path over as many paths as all have; None of nothing."""
    if not parts:
        return None
    fewest = min(len(part) for part in parts)
    total: Floats = np.sum([part[:fewest] for part in parts], axis=0)
    return total


def _days(first: date, until: date) -> Iterable[date]:
    """The days first..until-1."""
    return (first + timedelta(days=n) for n in range((until - first).days))
