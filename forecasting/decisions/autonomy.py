"""Earned autonomy: whether a region's plans may be applied by themselves, judged by their cost.

A day that has come costs `refused_cost` for each refused unit and 1 for each idle one, under the plan that
governed it (or, in shadow mode, would have) and under the limits that stood without any plan. The daily
differences are tested in pairs: their sum must be large (a margin) and not by chance (the one-sided t-test
of a mean, Student, Biometrika 6, 1908). One great day cannot carry the others: it raises the spread with the
mean.

The same test asks three questions. Over `autonomy_periods` days: are plans better (the region earns automatic
application), or worse (it loses it)? Over the shorter `bad_plan_days`: are they so much worse that the next
plan is kept at once? A region that is vetoed loses its autonomy too. What it was trusted for before such a
bad week counts no more: it is earned anew by the days after it, so that no region flaps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from scipy.special import stdtr

from forecasting.decisions.guardrails import Verdict, Veto
from forecasting.decisions.policy import Policy
from metrics.contract import RegionMode

FIT = Verdict(True, "", None)


class Earned(StrEnum):
    """Why a region's mode is to change."""

    BETTER = "better_than_without"
    WORSE = "worse_than_without"
    BAD_PLANS = "bad_plans"


class ModeVerdict(NamedTuple):
    """The mode a region should be in; reason None = it stays in the one that it is in."""

    mode: RegionMode
    condition: str
    reason: Earned | None


@dataclass(frozen=True, slots=True)
class JudgedDay:
    """One day's newsvendor cost in idle units, with the plan and with the limits that stood without any."""

    day: date
    cost: float
    cost_old: float


def autonomy_verdict(days: Sequence[JudgedDay], mode: RegionMode, policy: Policy) -> ModeVerdict:
    """The mode that the last judged days earn the region; with fewer than `autonomy_periods` it stays.

    Autonomy is earned by days after the last bad week alone, and not while the last `bad_plan_days` cost more
    than without plans. days: in any order. A person's word is above this verdict: the core refuses it for a
    region that an operator has fixed.
    """
    bad = bad_plans(days, policy)
    if not bad.fit:
        if mode is RegionMode.SHADOW:
            return ModeVerdict(mode, bad.condition, None)
        return ModeVerdict(RegionMode.SHADOW, bad.condition, Earned.BAD_PLANS)
    counted = days if mode is RegionMode.AUTOMATIC else _since_bad_week(days, policy)
    last = _last(counted, policy.autonomy_periods)
    if len(last) < policy.autonomy_periods:
        since = "" if len(counted) == len(days) else " since a bad week"
        return ModeVerdict(mode, f"{len(last)} judged days{since}, needs {policy.autonomy_periods}", None)
    told = _told(last)
    if mode is RegionMode.SHADOW:
        week = last[-policy.bad_plan_days :]
        if sum(day.cost for day in week) > sum(day.cost_old for day in week):
            return _stays(mode, _told(week))
        earns = _worse([_turned(day) for day in last], policy.autonomy_margin_ratio, policy.autonomy_chance)
        return ModeVerdict(RegionMode.AUTOMATIC, told, Earned.BETTER) if earns else _stays(mode, told)
    loses = _worse(last, policy.autonomy_margin_ratio, policy.autonomy_chance)
    return ModeVerdict(RegionMode.SHADOW, told, Earned.WORSE) if loses else _stays(mode, told)


def bad_plans(days: Sequence[JudgedDay], policy: Policy) -> Verdict:
    """Unfit (`bad_plans`) where plans of the last `bad_plan_days` cost far more than none would have."""
    last = _last(days, policy.bad_plan_days)
    if len(last) < policy.bad_plan_days:
        return FIT
    if not _worse(last, policy.bad_plan_margin_ratio, policy.bad_plan_chance):
        return FIT
    return Verdict(False, _told(last), Veto.BAD_PLANS)


def _since_bad_week(days: Sequence[JudgedDay], policy: Policy) -> list[JudgedDay]:
    """The days after the last stretch of `bad_plan_days` that was vetoed; all where none was."""
    ordered, span = _last(days, len(days)), policy.bad_plan_days
    for end in range(len(ordered), max(span, len(ordered) - policy.autonomy_periods + 1) - 1, -1):
        if not bad_plans(ordered[end - span : end], policy).fit:
            return ordered[end:]
    return ordered


def _last(days: Sequence[JudgedDay], count: int) -> list[JudgedDay]:
    return sorted(days, key=lambda day: day.day)[-count:]


def _worse(days: Sequence[JudgedDay], margin: float, chance: float) -> bool:
    """Whether the cost exceeds the other one by the margin, and by no chance."""
    cost, cost_old = sum(day.cost for day in days), sum(day.cost_old for day in days)
    if cost <= cost_old * (1.0 + margin):
        return False
    excess = [day.cost - day.cost_old for day in days]
    mean = sum(excess) / len(excess)
    spread = math.sqrt(sum((each - mean) ** 2 for each in excess) / (len(excess) - 1))
    if spread == 0.0:
        return True
    tail = float(stdtr(len(excess) - 1, -mean / spread * math.sqrt(len(excess))))
    return tail < chance


def _turned(day: JudgedDay) -> JudgedDay:
    """The day with both costs exchanged: better is worse the other way round."""
    return JudgedDay(day.day, day.cost_old, day.cost)


def _stays(mode: RegionMode, told: str) -> ModeVerdict:
    return ModeVerdict(mode, told, None)


def _told(days: Sequence[JudgedDay]) -> str:
    cost, cost_old = sum(day.cost for day in days), sum(day.cost_old for day in days)
    return (
        f"{days[0].day} to {days[-1].day}: {len(days)} days cost {cost:.0f} idle units with plans, "
        f"{cost_old:.0f} without"
    )
