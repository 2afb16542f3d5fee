"""Corrections within the day: held-back units, emergency units, and channels' shares handed on.

Every correction raises a limit until its day is over, and none lowers one: no booking is touched, what a
raised limit lets in is counted at every level above it, and what was raised once is not raised again. Small
changes are left alone, so that forecasts that waver from one quarter-hour to the next move nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import numpy as np

from forecasting.decisions.channels import thinned_units
from forecasting.decisions.guardrails import ceiling_of
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import critical_units
from forecasting.frames import Floats
from metrics.contract import ALL_CHANNELS, PeriodKind, ScopeKind

EMERGENCY = "emergency"
"""Verdict of an extra plan beyond the automatic band."""


class Why(StrEnum):
    """Why a limit is raised."""

    HELD_BACK = "held_back"
    EMERGENCY = "emergency"
    RELEASED = "channel_released"
    HANDED_ON = "channel_handed_on"


@dataclass(frozen=True, slots=True)
class ChannelState:
    """One channel's limit of a branch's day."""

    limit_units: int
    """In force."""
    used_units: int
    arrived_units: int
    """Wishes for the day made through the channel so far."""
    share: float
    """Of the branch's demand."""
    done_units: int = 0
    """The highest limit that a correction has asked for already, whatever became of it."""


@dataclass(frozen=True, slots=True)
class DayState:
    """One branch's day as it stands at a quarter-hour."""

    branch_id: str
    day: date
    limit_units: int
    """Of all channels, in force with what is extra."""
    extra_units: int
    """Of these temporary."""
    used_units: int
    stored: Floats
    """The day's demand as the run forecast it, (paths,)."""
    updated: Floats
    """The same with the arrivals so far."""
    arrived_units: int = 0
    """Wishes for the day so far."""
    added_units: int = 0
    """What is booked there by wishes from elsewhere: on top of the day's own demand."""
    held_back_units: int = 0
    """What the plan kept back."""
    staff_cap_units: int | None = None
    unplanned_units: int | None = None
    """The limit that would stand had no plan set it; None = unknown."""
    done_units: int = 0
    """The highest limit that a correction inside the band has asked for already, whatever became of it."""
    asked_units: int = 0
    """The highest limit that a person was asked for already, however it was decided."""
    hours_before: float = 0.0
    """Until the day begins; negative once it has."""
    channels: Mapping[str, ChannelState] = field(default_factory=dict)
    """Those with a limit of their own."""


@dataclass(frozen=True, slots=True)
class Raise:
    """One limit raised."""

    branch_id: str
    day: date
    channel: str
    old_units: int
    new_units: int
    why: Why
    asks: bool
    """Beyond the band: a person decides."""
    need_units: float
    """What the updated forecast asks for."""
    used_units: int
    condition: str


def corrections(state: DayState, policy: Policy) -> list[Raise]:
    """What is raised of one branch's day: the whole first, then channels within it.

    On a day that policy freezes nothing is raised unless a person says so.
    """
    found = [*_whole(state, policy)]
    if state.day in policy.frozen:
        return found
    whole = max([state.limit_units, *(made.new_units for made in found if not made.asks)])
    return found + _channels(state, whole, policy)


def least_step(limit_units: int, policy: Policy) -> int:
    """The fewest units that a limit is moved by."""
    return max(policy.correction_least_units, math.ceil(limit_units * policy.correction_least_ratio))


def _whole(state: DayState, policy: Policy) -> list[Raise]:
    """The day's limit raised where it more likely than not refuses somebody.

    First what the plan had kept back. Beyond that only where arrivals outrun the forecast, so that a limit
    which guardrails hold below it is no emergency: inside the band and below the ceiling by itself, all else
    by a person.
    """
    need = state.added_units + critical_units(state.updated, policy)
    likely = state.added_units + float(np.median(state.updated))
    limit, step = max(state.limit_units, state.used_units), least_step(state.limit_units, policy)
    most = math.inf if state.staff_cap_units is None else state.staff_cap_units
    wanted = int(min(math.ceil(need - 1e-9), most))
    if likely <= limit or wanted <= limit:
        return []
    base = state.limit_units - state.extra_units
    kept_back = max(0, state.held_back_units - state.extra_units)
    released = min(kept_back, wanted - limit)
    outrun = critical_units(state.updated, policy) - critical_units(state.stored, policy) >= step
    given = max(0, state.extra_units - state.held_back_units)
    room = max(0, int(base * policy.correction_auto_ratio) - given)
    own = limit + released + (min(room, wanted - limit - released) if outrun else 0)
    if state.day in policy.frozen:
        own = limit
    elif (ceiling := ceiling_of(PeriodKind.DAY, 1, state.unplanned_units, policy)) is not None:
        own = max(limit, min(own, ceiling))
    found = []
    told = f"{likely:g} are likely, {need:g} needed, {limit} there"
    if own - max(limit, state.done_units) >= step:
        why = Why.EMERGENCY if own > limit + released else Why.HELD_BACK
        found.append(_raise(state, ALL_CHANNELS, state.limit_units, own, why, need, told))
    if outrun and wanted - max(limit, own, state.asked_units) >= step:
        beyond = f"{told}; by itself at most {own}"
        found.append(
            _raise(state, ALL_CHANNELS, state.limit_units, wanted, Why.EMERGENCY, need, beyond, asks=True)
        )
    return found


def _channels(state: DayState, whole: int, policy: Policy) -> list[Raise]:
    """Channels' limits raised within that of all: what others leave is theirs.

    From `release_hours_before` on every channel may use all that is free. Before that a channel that runs
    short gets what others are not expected to need.
    """
    if state.hours_before <= policy.release_hours_before:
        told = f"{max(state.hours_before, 0.0):g} hours before the day, {whole} of all channels"
        return [
            _raise(state, name, found.limit_units, whole, Why.RELEASED, float(whole), told)
            for name, found in sorted(state.channels.items())
            if whole > max(found.limit_units, found.done_units)
        ]
    needs = {name: _channel_need(state, found, policy) for name, found in state.channels.items()}
    limits = {name: found.limit_units for name, found in state.channels.items()}
    spare = sum(max(0, limits[name] - need) for name, need in needs.items())
    made = []
    for name in sorted(needs, key=lambda n: (limits[n] - needs[n], n)):
        most = min(needs[name], whole, limits[name] + spare)
        if most - max(limits[name], state.channels[name].done_units) < least_step(limits[name], policy):
            continue
        told = f"{needs[name]} needed, {limits[name]} there, {spare} that other channels do not need"
        needed = float(needs[name])
        made.append(_raise(state, name, limits[name], most, Why.HANDED_ON, needed, told))
        spare -= most - limits[name]
    return made


def _channel_need(state: DayState, channel: ChannelState, policy: Policy) -> int:
    """Units that the channel needs: what has arrived, and the quantile of its part of what still comes."""
    rest = np.maximum(state.updated - state.arrived_units, 0.0)
    coming = thinned_units(rest, rest * channel.share, policy.service_level)
    return max(channel.used_units, channel.arrived_units + coming)


def _raise(
    state: DayState,
    channel: str,
    old: int,
    new: int,
    why: Why,
    need: float,
    condition: str,
    *,
    asks: bool = False,
) -> Raise:
    used = state.used_units if channel == ALL_CHANNELS else state.channels[channel].used_units
    return Raise(state.branch_id, state.day, channel, old, new, why, asks, need, used, condition)


# --- plans ----------------------------------------------------------------------------------------


def correction_plan_id(quarter: datetime, region: str, *, asks: bool = False) -> str:
    """The id of a region's corrections at a business quarter-hour (aware UTC); `asks`: beyond the band."""
    return f"extra-{quarter:%Y%m%dT%H%MZ}-{region}{'+ask' if asks else ''}"


def correction_plan(
    raises: Sequence[Raise],
    *,
    quarter: datetime,
    today: date,
    region: str,
    run_id: str,
    asks: bool,
    policy: Policy,
) -> dict[str, Any] | None:
    """The extra plan of the raises that need a person, or of those that do not; None where there are none."""
    chosen = [made for made in raises if made.asks == asks]
    if not chosen:
        return None
    units: dict[str, int] = {}
    for made in chosen:
        units[made.why] = units.get(made.why, 0) + made.new_units - made.old_units
    body = {
        "plan_id": correction_plan_id(quarter, region, asks=asks),
        "kind": "extra",
        "region": region,
        "period": today.isoformat(),
        "in_band": not asks,
        "verdict": EMERGENCY if asks else None,
        "model": "champion",
        "forecast_run_id": run_id,
        "policy": policy.as_record(),
        "inputs": {"quarter": f"{quarter:%Y-%m-%dT%H:%M:%SZ}", "units": dict(sorted(units.items()))},
        "items": [_item(made, policy) for made in chosen],
    }
    return body | ({"approval_hours": policy.approval_hours} if asks else {})


def _item(made: Raise, policy: Policy) -> dict[str, Any]:
    return {
        "scope_kind": str(ScopeKind.BRANCH),
        "scope_id": made.branch_id,
        "channel": made.channel,
        "period_kind": str(PeriodKind.DAY),
        "period_start": made.day.isoformat(),
        "old_limit": made.old_units,
        "proposed": made.need_units,
        "new_limit": made.new_units,
        "quantile": policy.service_level,
        "condition": made.condition,
        "inputs": {"why": str(made.why), "used_units": made.used_units},
    }
