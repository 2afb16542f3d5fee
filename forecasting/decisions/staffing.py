"""Heads by half-hour, for counter and phone, from sample paths of daily demand.

The load of a half-hour on a path = the day's units on that path × the half-hour's share of the day × mean
handling time ÷ 30 minutes. Two kinds of uncertainty ask for heads beyond it: customers come at random within
the half-hour, and the day itself is forecast. The forecast's coefficient of variation tells which one rules
(A. Bassamboo, R. Randhawa, A. Zeevi, "Capacity sizing under parameter uncertainty: safety staffing principles
revisited", Management Science 56, 2010):

- CV > 1 ÷ √load: the forecast's error dominates, so a newsvendor: the quantile of the load at the cost of
  a missing head over that of a missing and an idle one;
- otherwise: Erlang at the mean load.

The CV is that of the arrival *rate*: paths vary as counts do even where the rate is known, so the variance of
a Poisson count is taken off theirs first. Units wished are the counts: where w customers come of each, their
mean times w² is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forecasting.decisions.erlang import NEVER, Ints, QueueTarget, agents_needed
from forecasting.decisions.half_hours import HALF_HOUR_MINUTES
from forecasting.decisions.policy import Policy
from forecasting.frames import Floats
from metrics.contract import Skill

HALF_HOUR_SECONDS: Final = HALF_HOUR_MINUTES * 60
HALF_HOURS: Final = 48
_ROUNDING: Final = 1e-9
"""A load that is a whole number but for the last bits needs no further head."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class StaffNeed:
    """What one branch and skill need by day and half-hour; each array is (days, half-hours)."""

    heads: Ints
    load: Floats
    """Mean load, erlang."""
    newsvendor: Bools
    """Where the forecast's error dominated."""


def queue_target(skill: Skill, policy: Policy, handling_seconds: float | None = None) -> QueueTarget:
    """The target of the skill's queue; handling_seconds: as measured, else the policy's assumption."""
    if skill is Skill.COUNTER:
        handling = handling_seconds or policy.counter_handling_seconds
        return QueueTarget(policy.counter_level, policy.counter_wait_seconds, handling)
    return QueueTarget(
        policy.phone_level,
        policy.phone_wait_seconds,
        handling_seconds or policy.phone_handling_seconds,
        policy.phone_patience_seconds or NEVER,
    )


def staff_need(
    units: Floats,
    shares: Floats,
    target: QueueTarget,
    staff_quantile: float,
    *,
    per_unit: Floats | None = None,
) -> StaffNeed:
    """The heads that the half-hours of each day need.

    units: sample paths of the units wished for each known day, (paths, known days). shares: of the day's
    customers by half-hour, (days, half-hours) or (half-hours,) for all days alike. per_unit: customers on
    each day for a unit wished for each known day, (known days, days), as `comes_of` and `calls_of` tell;
    None = each unit is one on its day.
    """
    weights = np.eye(units.shape[1]) if per_unit is None else per_unit
    come = units @ weights
    mean, counted = come.mean(axis=0), units.mean(axis=0) @ weights**2
    with np.errstate(divide="ignore", invalid="ignore"):
        variation = np.sqrt(np.maximum(come.var(axis=0) - counted, 0.0)) / mean
    variation = np.where(mean > 0, variation, 0.0)
    by_half_hour = np.broadcast_to(shares, (len(mean), shares.shape[-1]))
    erlangs = by_half_hour * target.handling_seconds / HALF_HOUR_SECONDS
    load = mean[:, None] * erlangs
    dominated = variation[:, None] > 1.0 / np.sqrt(np.where(load > 0, load, np.finfo(float).tiny))
    cut = np.quantile(come, staff_quantile, axis=0)[:, None] * erlangs
    newsvendor = np.ceil(cut - _ROUNDING).astype(np.int64)
    heads = np.where(dominated, newsvendor, agents_needed(load, target))
    return StaffNeed(heads, load, dominated)


def comes_of(no_show_ratio: float, known: int, days: int) -> Floats:
    """Customers at the counter on each day for a unit wished for each known day, (known, days)."""
    return np.eye(known, days) * (1.0 - no_show_ratio)


def calls_of(leads: Floats, calls_per_unit: float, known: int, days: int) -> Floats:
    """Calls on each day for a unit wished for each known day, (known, days).

    leads: share of calls about the service day 0, 1, … days later. Calls come before the day they are about,
    so what is known reaches beyond the days asked for; where it ends, nearer leads stand for all.
    """
    calls = np.zeros((known, days))
    for day in range(days):
        reach = leads[: known - day]
        seen = reach.sum()
        if seen > 0:
            calls[day : day + len(reach), day] = reach / seen
    return calls * calls_per_unit


def units_served(head_half_hours: float, handling_seconds: float, utilisation: float) -> int:
    """Units that heads × half-hours of work can serve; utilisation: the share of that time to book."""
    return int(head_half_hours * HALF_HOUR_SECONDS * utilisation / handling_seconds + _ROUNDING)


def blended_shares(own: Floats, wider: Floats, prior_units: float, open_half_hours: slice) -> Floats:
    """The shape of the day: a branch's units by half-hour drawn to the wider group's, in the opening hours.

    own, wider: units by half-hour, (48,). prior_units: the wider group weighs as so many of the branch's own;
    with 0 it still stands in for a branch that knows none. The result sums to 1 over the open half-hours;
    flat where neither is known there.
    """
    ours, theirs = own[open_half_hours], wider[open_half_hours]
    prior = theirs / theirs.sum() if theirs.sum() > 0 else np.zeros_like(theirs)
    blended = ours + prior * prior_units
    if blended.sum() == 0:
        blended = prior
    total = blended.sum()
    return blended / total if total > 0 else np.full(len(ours), 1.0 / len(ours))
