"""What if: the days ahead played through on every sample path, as things stand and with something changed.

Each path is one equally likely future. Day by day, whoever waits is served before whoever comes new, up to
the tightest of the limits; who finds no place waits on. Branches whose common limit cannot hold what they
want get the same share of it each, in parts of units too, since expectations are asked for.

Plain values in and out: the dashboard may call it. 100 branches × 28 days × 200 paths take under a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Final

import numpy as np

from forecasting.decisions.erlang import QueueTarget, agents_needed
from forecasting.decisions.quotas import sufficient_units
from forecasting.decisions.situations import (
    Changes,
    Counter,
    Layer,
    LimitChange,
    Outcome,
    Range,
    Shock,
    Situation,
    WhatIf,
)
from forecasting.decisions.staffing import HALF_HOUR_SECONDS
from forecasting.frames import Floats
from metrics.contract import PeriodKind, ScopeKind

LOW, HIGH = 0.1, 0.9
"""Quantiles over the paths that bound a range."""
_HANDLING_STEP_SECONDS: Final = 60.0
"""Branches whose handling times round to the same minute share a table of heads."""
_TINY: Final = 1e-12
_NAMED: Final = 12
"""So many limits are named in an error."""


def what_if(situation: Situation, changes: Changes) -> WhatIf:
    """Both outcomes side by side. Raises ValueError naming a change that does not fit the region."""
    changed = changed_situation(situation, changes)
    valued = replace(situation, refused_cost=changed.refused_cost, idle_cost=changed.idle_cost)
    return WhatIf(
        situation.region, situation.first_day, situation.days, play_through(valued), play_through(changed)
    )


def changed_situation(situation: Situation, changes: Changes) -> Situation:
    """The situation with the changes in it. Raises ValueError naming a change that does not fit."""
    _check(changes)
    refused = situation.refused_cost if changes.refused_cost is None else changes.refused_cost
    idle = situation.idle_cost if changes.idle_cost is None else changes.idle_cost
    level = changes.service_level
    if level is None and (changes.refused_cost is not None or changes.idle_cost is not None):
        level = refused / (refused + idle)  # the newsvendor's critical ratio
    layers = list(situation.layers)
    if level is not None:
        wanted = np.ceil(sufficient_units(situation.demand, level, axis=2) - _TINY)
        layers = [_with_day_limits(layer, wanted) for layer in layers]
    if changes.quota_ratio is not None:
        layers = [_scaled(layer, changes.quota_ratio) for layer in layers]
    for limit in changes.limits:
        layers = _with_limit(situation, layers, limit)
    caps = situation.staff_caps.copy()
    if changes.staff_ratio is not None:
        caps = _times(caps, changes.staff_ratio)
    for branch, heads in changes.staff_heads.items():
        caps[_index(situation, branch)] = heads * situation.counter.units_per_head[_index(situation, branch)]
    demand, elsewhere = _shocked(situation, changes.shocks)
    return replace(
        situation, demand=demand, elsewhere=elsewhere, layers=tuple(layers), staff_caps=caps,
        refused_cost=refused, idle_cost=idle,
    )  # fmt: skip


def play_through(situation: Situation) -> Outcome:
    """What the days bring on every path."""
    branches, days, paths = situation.demand.shape
    waiting = np.zeros((branches, paths))
    if situation.waiting is not None:
        waiting += situation.waiting[:, None]
    joined = waiting.sum(axis=0)
    left = [np.zeros((len(layer.scopes), paths)) for layer in situation.layers]
    offered = _offered(situation)
    refused, waited, idle = (np.zeros((days, paths)) for _ in range(3))
    served = np.zeros((branches, days, paths))
    for day in range(days):
        new = situation.demand[:, day]
        wanted = waiting + new
        taken = np.minimum(wanted, situation.staff_caps[:, day, None])
        for layer, units in zip(situation.layers, left, strict=True):
            period = layer.period[day]
            if day == 0 or period != layer.period[day - 1]:
                units[:] = np.maximum(layer.limits[:, period] - layer.used[:, period], 0.0)[:, None]
            taken = _within(taken, units, layer)
        for layer, units in zip(situation.layers, left, strict=True):
            units[:] = np.maximum(
                units - _by_group(taken, layer), 0.0
            )  # shares do not add up to the last bit
        turned_away = new - (taken - np.minimum(waiting, taken))
        waiting = wanted - taken
        served[:, day] = taken
        refused[day], waited[day] = turned_away.sum(axis=0), waiting.sum(axis=0)
        room = offered[:, day, None]
        idle[day] = np.where(np.isfinite(room), np.maximum(room - taken, 0.0), 0.0).sum(axis=0)
    all_refused, all_idle = refused.sum(axis=0), idle.sum(axis=0)
    ever = joined + all_refused
    return Outcome(
        demand_units=_range(situation.demand.sum(axis=(0, 1))),
        refused_units=_range(all_refused),
        waiting_days=_range(np.divide(waited.sum(axis=0), ever, out=np.zeros(paths), where=ever > 0)),
        waiting_units=_range(waiting.sum(axis=0)),
        idle_units=_range(all_idle),
        cost=_range(situation.refused_cost * all_refused + situation.idle_cost * all_idle),
        staff_heads=_range(_heads(served, situation.counter)),
        workers=_range(_workers(situation)),
        refused_by_day=_means(refused),
        waiting_by_day=_means(waited),
        idle_by_day=_means(idle),
    )


# --- limits ---------------------------------------------------------------------------------------


def _within(wanted: Floats, left: Floats, layer: Layer) -> Floats:
    """What the branches may take, (branches, paths): each the same share of what its group has left."""
    if len(layer.scopes) == len(layer.group):
        return np.minimum(wanted, left[layer.group])
    total = _by_group(wanted, layer)
    share = np.divide(left, total, out=np.ones_like(left), where=total > left)
    return wanted * np.minimum(share, 1.0)[layer.group]


def _by_group(units: Floats, layer: Layer) -> Floats:
    """The units summed by group, (G, paths)."""
    total = np.zeros((len(layer.scopes), units.shape[1]))
    np.add.at(total, layer.group, units)
    return total


def _offered(situation: Situation) -> Floats:
    """Units that each branch offers on each day, (branches, days): its quota, as far as staff can serve."""
    offered = np.full(situation.staff_caps.shape, np.inf)
    for layer in situation.layers:
        if _is_branch_day(layer):
            own = (layer.limits - layer.used)[layer.group][:, layer.period]
            offered = np.minimum(offered, np.maximum(own, 0.0))
    return np.where(np.isfinite(offered), np.minimum(offered, situation.staff_caps), np.inf)


def _is_branch_day(layer: Layer) -> bool:
    return layer.scope_kind == ScopeKind.BRANCH and layer.period_kind == PeriodKind.DAY


def _with_day_limits(layer: Layer, wanted: Floats) -> Layer:
    """The branches' day limits as wanted, (branches, days); where none stood, none stands."""
    if not _is_branch_day(layer):
        return layer
    limits = np.full(layer.limits.shape, np.inf)
    limits[layer.group[:, None], layer.period[None, :]] = wanted
    return replace(layer, limits=np.where(np.isfinite(layer.limits), limits, np.inf))


def _scaled(layer: Layer, ratio: float) -> Layer:
    if not _is_branch_day(layer):
        return layer
    return replace(layer, limits=np.rint(_times(layer.limits, ratio)))


def _with_limit(situation: Situation, layers: Sequence[Layer], change: LimitChange) -> list[Layer]:
    """The layers with one scope's limit set."""
    kind, _, scope = change.scope.partition(":")
    found = list(layers)
    for n, layer in enumerate(layers):
        if (layer.scope_kind, layer.period_kind) == (kind, change.period_kind) and scope in layer.scopes:
            limits = layer.limits.copy()
            limits[layer.scopes.index(scope)] = change.units
            found[n] = replace(layer, limits=limits)
            return found
    known = [f"{kind}:{scope}:{each.period_kind}" for each in layers for kind, scope in _scopes(each)]
    raise ValueError(
        f"limit {change.scope}:{change.period_kind}: not of region {situation.region}; expected one of "
        f"{', '.join(known[:_NAMED])}{' …' if len(known) > _NAMED else ''}"
    )


def _scopes(layer: Layer) -> list[tuple[str, str]]:
    return [(layer.scope_kind, scope) for scope in layer.scopes]


# --- demand, staff, servers -----------------------------------------------------------------------


def _shocked(situation: Situation, shocks: Sequence[Shock]) -> tuple[Floats, Floats | None]:
    """The demand here and elsewhere after the shocks, which multiply."""
    here = np.ones(situation.demand.shape[:2])
    there = np.ones(situation.days)
    for shock in shocks:
        first = 0 if shock.first is None else max(0, (shock.first - situation.first_day).days)
        until = situation.days
        if shock.last is not None:
            until = (shock.last - situation.first_day + timedelta(days=1)).days
        kind, _, scope = shock.scope.partition(":")
        match kind:
            case ScopeKind.BANK:
                here[:, first : max(first, until)] *= shock.ratio
                there[first : max(first, until)] *= shock.ratio
            case ScopeKind.REGION if scope == situation.region:
                here[:, first : max(first, until)] *= shock.ratio
            case ScopeKind.BRANCH:
                here[_index(situation, scope), first : max(first, until)] *= shock.ratio
            case _:
                raise ValueError(
                    f"shock at {shock.scope!r}: expected bank:bank, region:{situation.region} or branch:ID"
                )
    elsewhere = None if situation.elsewhere is None else situation.elsewhere * there[:, None]
    return situation.demand * here[:, :, None], elsewhere


def _heads(served: Floats, counter: Counter) -> Floats:
    """Heads in the busiest half-hour, summed over the branches, mean over the days, (paths,)."""
    per_unit = counter.peak_share * counter.come_ratio * counter.handling_seconds / HALF_HOUR_SECONDS
    load = served * per_unit[:, None, None]
    minutes = np.maximum(np.rint(counter.handling_seconds / _HANDLING_STEP_SECONDS), 1.0)
    heads = np.zeros(served.shape)
    for minute in np.unique(minutes):
        target = QueueTarget(counter.service_level, counter.wait_seconds, minute * _HANDLING_STEP_SECONDS)
        alike = minutes == minute
        heads[alike] = agents_needed(load[alike], target)
    total: Floats = heads.sum(axis=0).mean(axis=0)
    return total


def _workers(situation: Situation) -> Floats:
    """Workers of the bank in the busiest quarter-hour of the busiest day, (paths,)."""
    servers = situation.servers
    units = situation.demand.sum(axis=0)
    if situation.elsewhere is not None:
        units = units + situation.elsewhere
    rps = units.max(axis=0) * servers.requests_per_unit * servers.peak_share / servers.quarter_seconds
    need = np.ceil(rps * servers.cost_seconds / servers.target_utilisation - _TINY)
    workers: Floats = np.clip(need, servers.min_workers, servers.max_workers)
    return workers


# --- small parts ----------------------------------------------------------------------------------


def _check(changes: Changes) -> None:
    """Raise ValueError for a number that cannot be."""
    for each in fields(changes):
        value = getattr(changes, each.name)
        if isinstance(value, (int, float)) and not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{each.name} {value}: expected 0 or more")
    level = changes.service_level
    if level is not None and not 0 < level < 1:
        raise ValueError(f"service_level {level}: expected a share between 0 and 1")
    if changes.refused_cost == 0 and changes.idle_cost == 0:
        raise ValueError("refused_cost and idle_cost are both 0: expected one of them above 0")
    numbers = {f"staff_heads of {branch}": heads for branch, heads in changes.staff_heads.items()}
    numbers |= {f"limit {limit.scope}:{limit.period_kind}": limit.units for limit in changes.limits}
    numbers |= {f"shock at {shock.scope}": shock.ratio for shock in changes.shocks}
    if wrong := [f"{name} {value}" for name, value in numbers.items() if not 0 <= value < float("inf")]:
        raise ValueError(f"{', '.join(wrong)}: expected 0 or more")


def _times(limits: Floats, ratio: float) -> Floats:
    """The limits times the ratio; where none stands, or none is known, there is none at any ratio, 0 too."""
    scaled = limits.copy()
    scaled[np.isfinite(limits)] *= ratio
    return scaled


def _index(situation: Situation, branch: str) -> int:
    if branch not in situation.branches:
        raise ValueError(f"branch {branch!r} is none of region {situation.region}")
    return situation.branches.index(branch)


def _range(values: Floats) -> Range:
    low, high = np.quantile(values, [LOW, HIGH])
    return Range(round(float(values.mean()), 3), round(float(low), 3), round(float(high), 3))


def _means(by_day: Floats) -> tuple[float, ...]:
    return tuple(round(float(mean), 3) for mean in by_day.mean(axis=1))
