"""Corrections within the day: held-back units, emergency units, and channels' shares handed on.

Every correction raises a limit until its day is over, and none lowers one: no booking is touched, what a
raised limit lets in is counted at every level above it, and what was raised once is not raised again. Small
changes are left alone, so that forecasts that waver from one quarter-hour to the next move nothing.

The day limits of branches, regions and the bank follow the same rule, each by the demand beneath it. Limits
of weeks and months are the next retune's: a raise that one of them leaves too little room for says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

import numpy as np

from forecasting.decisions.channels import thinned_units
from forecasting.decisions.guardrails import Guardrail, ceiling_of
from forecasting.decisions.policy import Policy, policy_from
from forecasting.decisions.quotas import critical_units
from forecasting.frames import Floats
from metrics.contract import ALL_CHANNELS, PeriodKind

EMERGENCY = "emergency"
"""Verdict of an extra plan beyond the automatic band."""
ASKS: Final = "+ask"
"""How the ids of plans end that a person is asked about."""
PREFIX: Final = "extra-"
DAY_HOURS: Final = 24


class Why(StrEnum):
    """Why a limit is raised."""

    HELD_BACK = "held_back"
    EMERGENCY = "emergency"
    RELEASED = "channel_released"
    HANDED_ON = "channel_handed_on"


class Foreseen(NamedTuple):
    """What is foreseen of a day's own demand, units."""

    forecast_units: float
    """The planned quantile, as the run forecast it."""
    need_units: float
    """The same with the arrivals so far."""
    likely_units: float
    """The median with the arrivals so far."""


def foreseen(stored: Floats, updated: Floats, policy: Policy) -> Foreseen:
    """What the sample paths of a day, (paths,), foresee: as stored with the run, and updated by arrivals."""
    return Foreseen(
        critical_units(stored, policy), critical_units(updated, policy), float(np.median(updated))
    )


def channel_need(
    coming: Floats, expected: Floats, used_units: int, arrived_units: int, policy: Policy
) -> int:
    """Units that a channel needs: what has arrived, and the quantile of its part of what still comes.

    coming: units that still come through all channels, (paths,). expected: what of each comes through this
    one on average.
    """
    return max(used_units, arrived_units + thinned_units(coming, expected, policy.service_level))


@dataclass(frozen=True, slots=True)
class ChannelState:
    """One channel's limit of a scope's day."""

    limit_units: int
    """In force."""
    used_units: int
    need_units: int
    """See `channel_need`."""
    done_units: int = 0
    """The highest limit that a correction has asked for already, whatever became of it."""


@dataclass(frozen=True, slots=True)
class Above:
    """Another limit, or cap on funds, that counts the day too."""

    limit: str
    """Quota and first day of the period, such as region:north:*:month 2026-03-01."""
    room_units: int
    """What it leaves free; of funds what they still pay out, at the scope's own mean payoff."""


@dataclass(frozen=True, slots=True)
class DayState:
    """One scope's day as it stands at a quarter-hour."""

    scope_kind: str
    """branch | region | bank"""
    scope_id: str
    day: date
    limit_units: int
    """Of all channels, in force with what is extra."""
    extra_units: int
    """Of these temporary."""
    used_units: int
    forecast_units: float
    """See `Foreseen`."""
    need_units: float
    likely_units: float
    added_units: int = 0
    """What is booked there by wishes from elsewhere: on top of the day's own demand."""
    held_back_units: int = 0
    """What the plan kept back."""
    staff_cap_units: int | None = None
    """Units that the staff can serve; None = unknown."""
    funds_cap_units: int | None = None
    """Units that the day's funds pay out, those in use included; None = no limit on funds."""
    unplanned_units: int | None = None
    """The limit that would stand had no plan set it; None = unknown."""
    branches: int = 1
    """How many the scope holds."""
    done_units: int = 0
    """The highest limit that a correction inside the band has asked for already, whatever became of it."""
    asked_units: int = 0
    """The highest limit that a person was asked for already, however it was decided."""
    hours_before: float = 0.0
    """Until the day begins; negative once it has."""
    channels: Mapping[str, ChannelState] = field(default_factory=dict)
    """Those with a limit of their own."""
    above: tuple[Above, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"day": self.day.isoformat()}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """The state as recorded."""
        nested = {
            "day": date.fromisoformat(record["day"]),
            "channels": {name: ChannelState(**told) for name, told in record["channels"].items()},
            "above": tuple(Above(**told) for told in record["above"]),
        }
        return cls(**{**record, **nested})


@dataclass(frozen=True, slots=True)
class Raise:
    """One limit raised."""

    state: DayState
    channel: str
    old_units: int
    new_units: int
    why: Why
    asks: bool
    """Beyond the band: a person decides."""
    need_units: float
    """What the updated forecast asks for."""
    condition: str
    guardrail: Guardrail | None = None
    """What kept it below that."""

    @property
    def used_units(self) -> int:
        """What is used of the limit."""
        whole = self.channel == ALL_CHANNELS
        return self.state.used_units if whole else self.state.channels[self.channel].used_units

    @property
    def opens_units(self) -> int:
        """What is free of the limit once it is raised."""
        return self.new_units - self.used_units

    @property
    def limit(self) -> str:
        """The limit that is raised, as `Above` names it."""
        state = self.state
        return f"{state.scope_kind}:{state.scope_id}:{self.channel}:{PeriodKind.DAY} {state.day}"


def corrections(state: DayState, policy: Policy) -> list[Raise]:
    """What is raised of one scope's day: the whole first, then channels within it.

    On a day that policy freezes nothing is raised unless a person says so; a total that policy calls fixed is
    a person's alone.
    """
    fixed = f"{state.scope_kind}:{state.scope_id}:{PeriodKind.DAY}" in policy.fixed_totals
    found = [] if fixed else _whole(state, policy)
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
    need, likely = state.added_units + state.need_units, state.added_units + state.likely_units
    limit, step = max(state.limit_units, state.used_units), least_step(state.limit_units, policy)
    wanted, cap = _within_caps(math.ceil(need - 1e-9), state)
    if likely <= limit or wanted <= limit:
        return []
    base = state.limit_units - state.extra_units
    kept_back = max(0, state.held_back_units - state.extra_units)
    released = min(kept_back, wanted - limit)
    outrun = state.need_units - state.forecast_units >= step
    given = max(0, state.extra_units - state.held_back_units)
    room = max(0, int(base * policy.correction_auto_ratio) - given)
    own = limit + released + (min(room, wanted - limit - released) if outrun else 0)
    bound = cap if own == wanted else None
    ceiling = ceiling_of(PeriodKind.DAY, state.branches, state.unplanned_units, policy)
    if state.day in policy.frozen:
        own = limit
    elif ceiling is not None and own > ceiling:
        own, bound = max(limit, ceiling), Guardrail.CEILING
    found = []
    told = f"{likely:g} are likely, {need:g} needed, {limit} there"
    if own - max(limit, state.done_units) >= step:
        why = Why.EMERGENCY if own > limit + released else Why.HELD_BACK
        found.append(
            Raise(state, ALL_CHANNELS, state.limit_units, own, why, False, need, told, guardrail=bound)
        )
    if outrun and wanted - max(limit, own, state.asked_units) >= step:
        beyond = f"{told}; by itself at most {own}"
        found.append(
            Raise(
                state, ALL_CHANNELS, state.limit_units, wanted, Why.EMERGENCY, True, need, beyond,
                guardrail=cap,
            )
        )  # fmt: skip
    return found


def _within_caps(wanted: int, state: DayState) -> tuple[int, Guardrail | None]:
    """The units as far as staff and funds reach, and which of them does not reach all."""
    caps = {Guardrail.STAFF_CAP: state.staff_cap_units, Guardrail.FUNDS_CAP: state.funds_cap_units}
    known = [(cap, name) for name, cap in caps.items() if cap is not None]
    return min([(wanted, None), *known], key=lambda found: found[0])


def _channels(state: DayState, whole: int, policy: Policy) -> list[Raise]:
    """Channels' limits raised within that of all: what others leave is theirs.

    From `release_hours_before` on every channel may use all that is free. Before that a channel that runs
    short gets what others are not expected to need.
    """
    if state.hours_before <= policy.release_hours_before:
        told = f"{max(state.hours_before, 0.0):g} hours before the day, {whole} of all channels"
        return [
            Raise(state, name, found.limit_units, whole, Why.RELEASED, False, float(whole), told)
            for name, found in sorted(state.channels.items())
            if whole > max(found.limit_units, found.done_units)
        ]
    needs = {name: found.need_units for name, found in state.channels.items()}
    limits = {name: found.limit_units for name, found in state.channels.items()}
    spare = sum(max(0, limits[name] - need) for name, need in needs.items())
    made = []
    for name in sorted(needs, key=lambda n: (limits[n] - needs[n], n)):
        most = min(needs[name], whole, limits[name] + spare)
        if most - max(limits[name], state.channels[name].done_units) < least_step(limits[name], policy):
            continue
        told = f"{needs[name]} needed, {limits[name]} there, {spare} that other channels do not need"
        made.append(Raise(state, name, limits[name], most, Why.HANDED_ON, False, float(needs[name]), told))
        spare -= most - limits[name]
    return made


# --- plans ----------------------------------------------------------------------------------------


def quarter_key(quarter: datetime) -> str:
    """The business quarter-hour (aware UTC) as corrections' plans and records are named after it."""
    return f"{quarter:%Y%m%dT%H%MZ}"


def correction_plan_id(quarter: datetime, region: str, *, asks: bool = False) -> str:
    """The id of a region's corrections at a business quarter-hour (aware UTC); `asks`: beyond the band."""
    return f"{PREFIX}{quarter_key(quarter)}-{region}{ASKS if asks else ''}"


def quarter_key_of(plan_id: str) -> str | None:
    """The quarter-hour that the corrections of this id are named after; None where it is no such id."""
    found = re.match(rf"{PREFIX}(\d{{8}}T\d{{4}}Z)-", plan_id)
    return None if found is None else found[1]


def correction_record(
    states: Sequence[DayState], *, quarter: datetime, today: date, run_id: str, policy: Policy
) -> dict[str, Any] | None:
    """All that a region's corrections are made from, as plain JSON values; None where nothing is raised."""
    raising = [state.as_record() for state in states if corrections(state, policy)]
    return {
        "quarter": quarter.isoformat(),
        "today": today.isoformat(),
        "run_id": run_id,
        "policy": policy.as_record(),
        "states": raising,
    } if raising else None  # fmt: skip


def correction_plan(region: str, record: Mapping[str, Any], *, asks: bool) -> dict[str, Any] | None:
    """The extra plan of what needs a person, or of what does not, by the record; None where nothing does.

    Pure, so that a replay is the same. A person is asked until the last of the days is over at the latest:
    after it there is nothing to raise. Raises ValueError for a policy that is no longer known.
    """
    policy, quarter = policy_from(record["policy"]), datetime.fromisoformat(record["quarter"])
    states = [DayState.of_record(told) for told in record["states"]]
    # what a person decides comes on top of what was raised without one
    standing = [made for state in states for made in corrections(state, policy) if asks or not made.asks]
    chosen = [made for made in standing if made.asks == asks]
    if not chosen:
        return None
    units: dict[str, int] = {}
    for made in chosen:
        units[made.why] = units.get(made.why, 0) + made.new_units - made.old_units
    highest = {made.limit: made for made in sorted(standing, key=lambda made: made.new_units)}
    body = {
        "plan_id": correction_plan_id(quarter, region, asks=asks),
        "kind": "extra",
        "region": region,
        "period": record["today"],
        "in_band": not asks,
        "verdict": EMERGENCY if asks else None,
        "model": "champion",
        "forecast_run_id": record["run_id"],
        "policy": policy.as_record(),
        "inputs": {"quarter": f"{quarter:%Y-%m-%dT%H:%M:%SZ}", "units": dict(sorted(units.items()))},
        "items": [_item(made, highest, policy) for made in chosen],
    }
    hours = max(made.state.hours_before for made in chosen) + DAY_HOURS
    return body | ({"approval_hours": min(policy.approval_hours, hours)} if asks else {})


def _binding(made: Raise, highest: Mapping[str, Raise]) -> list[dict[str, Any]]:
    """The limits above that leave less room than this raise and its like (same kind of scope) open together.

    highest: how each raised limit then stands. None for a channel's share: it moves within the whole.
    """
    if made.channel != ALL_CHANNELS:
        return []
    alike = [
        (each, {above.limit for above in each.state.above})
        for each in highest.values()
        if each.channel == ALL_CHANNELS and each.state.scope_kind == made.state.scope_kind
    ]
    binds = []
    for above in made.state.above:
        wider = highest.get(above.limit)
        room = above.room_units + (0 if wider is None else wider.new_units - wider.old_units)
        opened = sum(each.opens_units for each, limits in alike if above.limit in limits)
        if opened > room:
            binds.append({"limit": above.limit, "room_units": room, "opened_units": opened})
    return binds


def _item(made: Raise, highest: Mapping[str, Raise], policy: Policy) -> dict[str, Any]:
    """The item of a raise; `binds`: see `_binding`."""
    state, binds = made.state, _binding(made, highest)
    told = "".join(
        f"; {bind['limit']} has room for {bind['room_units']} of {bind['opened_units']} opened"
        for bind in binds
    )
    caps = {"staff_cap_units": state.staff_cap_units, "funds_cap_units": state.funds_cap_units}
    return {
        "scope_kind": state.scope_kind,
        "scope_id": state.scope_id,
        "channel": made.channel,
        "period_kind": str(PeriodKind.DAY),
        "period_start": state.day.isoformat(),
        "old_limit": made.old_units,
        "proposed": made.need_units,
        "new_limit": made.new_units,
        "quantile": policy.service_level,
        "guardrail": None if made.guardrail is None else str(made.guardrail),
        "condition": f"{made.condition}{told}",
        "inputs": {"why": str(made.why), "used_units": made.used_units}
        | {name: cap for name, cap in caps.items() if cap is not None}
        | ({"binds": binds} if binds else {}),
    }
