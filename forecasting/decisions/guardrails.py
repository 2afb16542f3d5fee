"""Guardrails: named pure functions between a proposal and a limit, and the vetoes of a forecast.

Each rule takes plain values and returns (value, condition, reason), like Kubernetes'
convertDesiredReplicasWithRules: reason None means that the rule did not bind. `guard_limit` runs them
in an order in which the later one wins: steps tame the forecast, the floor keeps a branch open, the ceiling
keeps steps from piling up, staff and funds that cannot be had cap it, and what is already booked is never
undercut. docs/guardrails.md lists them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from forecasting.decisions.policy import Policy
from forecasting.decisions.reliability import Reliability
from metrics.contract import PeriodKind


class Guardrail(StrEnum):
    """The named limits of an item."""

    MAX_STEP_UP = "max_step_up"
    MAX_STEP_DOWN = "max_step_down"
    FLOOR = "floor"
    CEILING = "ceiling"
    STAFF_CAP = "staff_cap"
    FUNDS_CAP = "funds_cap"
    NEVER_BELOW_USED = "never_below_used"
    FROZEN = "frozen"
    CHANNEL_SHARE = "channel_share"
    MIN_WORKERS = "min_workers"
    MAX_WORKERS = "max_workers"


class Veto(StrEnum):
    """Why a forecast is judged unfit, or a plan must wait."""

    STALE = "stale"
    SHORT = "short"
    WORSE_THAN_WEEKS8 = "worse_than_weeks8"
    COVERAGE_OFF = "coverage_off"
    FAILED = "training_failed"
    MOSTLY_UNFIT = "mostly_unfit"
    DRIFT = "drift"
    NO_FORECAST = "no_forecast"
    BAD_PLANS = "bad_plans"
    DISTRUSTED = "distrusted"


class Band(StrEnum):
    """Why a plan lies outside the guard band."""

    TOTAL_UP = "total_up"
    TOTAL_DOWN = "total_down"
    CLIPPED = "mostly_clipped"


class Guarded(NamedTuple):
    """A value after one rule: reason None = the rule did not bind."""

    value: int
    condition: str
    reason: Guardrail | None


class Verdict(NamedTuple):
    """Whether something is fit, and why not: reason None = fit."""

    fit: bool
    condition: str
    reason: Veto | Band | None


@dataclass(frozen=True, slots=True)
class LimitInputs:
    """What the guardrails of one quota item look at."""

    old_units: int | None
    """The limit in force; None = there was none."""
    used_units: int
    staff_cap_units: int | None
    """Units its staff can serve in the period; None = unknown."""
    ceiling_units: int | None = None
    """See `ceiling_of`; None = no ceiling."""
    funds_cap_units: int | None = None
    """Units that the funds of its days pay out; None = no limit on funds."""
    shares_total: bool = False
    """Cut to its share of a total that a person fixed: no step downward is too large then."""


def max_step_up(value: int, inputs: LimitInputs, policy: Policy) -> Guarded:
    """The value, at most `max_step_up_ratio` times the old limit (a small step is always allowed)."""
    if inputs.old_units is None:
        return Guarded(value, "", None)
    most = max(
        math.floor(inputs.old_units * policy.max_step_up_ratio), inputs.old_units + policy.min_step_units
    )
    if value <= most:
        return Guarded(value, "", None)
    condition = f"{value} is more than {policy.max_step_up_ratio:g} × {inputs.old_units}: at most {most}"
    return Guarded(most, condition, Guardrail.MAX_STEP_UP)


def max_step_down(value: int, inputs: LimitInputs, policy: Policy) -> Guarded:
    """The value, at least `max_step_down_ratio` times the old limit (a small step is always allowed)."""
    if inputs.old_units is None or inputs.shares_total:
        return Guarded(value, "", None)
    least = min(
        math.ceil(inputs.old_units * policy.max_step_down_ratio), inputs.old_units - policy.min_step_units
    )
    if value >= least:
        return Guarded(value, "", None)
    condition = f"{value} is less than {policy.max_step_down_ratio:g} × {inputs.old_units}: at least {least}"
    return Guarded(least, condition, Guardrail.MAX_STEP_DOWN)


def floor(value: int, _inputs: LimitInputs, policy: Policy) -> Guarded:
    """The value, at least `floor_units`."""
    if value >= policy.floor_units:
        return Guarded(value, "", None)
    condition = f"{value} is below the floor of {policy.floor_units}"
    return Guarded(policy.floor_units, condition, Guardrail.FLOOR)


def staff_cap(value: int, inputs: LimitInputs, _policy: Policy) -> Guarded:
    """The value, at most what the staff can serve."""
    cap = inputs.staff_cap_units
    if cap is None or value <= cap:
        return Guarded(value, "", None)
    return Guarded(cap, f"{value} is more than the staff can serve: {cap}", Guardrail.STAFF_CAP)


def ceiling(value: int, inputs: LimitInputs, _policy: Policy) -> Guarded:
    """The value, at most its ceiling."""
    most = inputs.ceiling_units
    if most is None or value <= most:
        return Guarded(value, "", None)
    return Guarded(most, f"{value} is above the ceiling of {most}", Guardrail.CEILING)


def funds_cap(value: int, inputs: LimitInputs, _policy: Policy) -> Guarded:
    """The value, at most what the day's funds pay out."""
    cap = inputs.funds_cap_units
    if cap is None or value <= cap:
        return Guarded(value, "", None)
    return Guarded(cap, f"{value} is more than the funds pay out: {cap}", Guardrail.FUNDS_CAP)


def never_below_used(value: int, inputs: LimitInputs, _policy: Policy) -> Guarded:
    """The value, at least what is already used."""
    if value >= inputs.used_units:
        return Guarded(value, "", None)
    condition = f"{value} is below the {inputs.used_units} already used"
    return Guarded(inputs.used_units, condition, Guardrail.NEVER_BELOW_USED)


RULES: Sequence[Callable[[int, LimitInputs, Policy], Guarded]] = (
    max_step_up,
    max_step_down,
    floor,
    ceiling,
    staff_cap,
    funds_cap,
    never_below_used,
)


def ceiling_of(period_kind: str, branches: int, unplanned_units: int | None, policy: Policy) -> int | None:
    """The most units that a limit is planned at; None = no ceiling.

    branches: how many the limit spans. unplanned_units: the limit that stands without any plan, so that
    steps from plan to plan cannot pile up; None = unknown.
    """
    absolute = {
        PeriodKind.DAY: policy.ceiling_day_units,
        PeriodKind.WEEK: policy.ceiling_week_units,
        PeriodKind.MONTH: policy.ceiling_month_units,
    }[PeriodKind(period_kind)]
    found = [absolute * branches] if absolute else []
    if unplanned_units is not None:
        step = unplanned_units + policy.min_step_units  # a limit of 0 is no prohibition for ever
        found.append(max(math.floor(unplanned_units * policy.ceiling_ratio), step))
    return min(found, default=None)


def guard_limit(proposed: float, inputs: LimitInputs, policy: Policy) -> tuple[Guarded, list[Guardrail]]:
    """The limit that passes every guardrail (with the last one that bound), and all that bound."""
    result = Guarded(max(0, math.ceil(proposed - 1e-9)), "", None)
    bound: list[Guardrail] = []
    for rule in RULES:
        step = rule(result.value, inputs, policy)
        if step.reason is not None:
            bound.append(step.reason)
            result = step
    return result, bound


def guard_workers(needed: int, policy: Policy) -> Guarded:
    """The workers within `min_workers` and `max_workers`."""
    if needed > policy.max_workers:
        condition = f"{needed} is more than the {policy.max_workers} allowed"
        return Guarded(policy.max_workers, condition, Guardrail.MAX_WORKERS)
    if needed < policy.min_workers:
        condition = f"{needed} is fewer than the {policy.min_workers} always kept"
        return Guarded(policy.min_workers, condition, Guardrail.MIN_WORKERS)
    return Guarded(needed, "", None)


# --- vetoes of a series and of a run --------------------------------------------------------------


def stale(age_days: int, policy: Policy) -> Verdict:
    """Unfit when the newest known day lies more than `stale_days` before the period."""
    if age_days <= policy.stale_days:
        return Verdict(True, "", None)
    return Verdict(False, f"newest known day is {age_days} days old, allowed {policy.stale_days}", Veto.STALE)


def distrusted(reliability: Reliability) -> Verdict:
    """Unfit where the live forecast of pressure was judged and found bad; one hardly judged is fit."""
    if not reliability.distrusted:
        return Verdict(True, "", None)
    return Verdict(False, reliability.condition, Veto.DISTRUSTED)


def short(observations: int, policy: Policy) -> Verdict:
    """Unfit when fewer than `min_observations` days are known."""
    if observations >= policy.min_observations:
        return Verdict(True, "", None)
    return Verdict(False, f"{observations} known days, needs {policy.min_observations}", Veto.SHORT)


def worse_than_weeks8(wql_champion: float | None, wql_weeks8: float | None, policy: Policy) -> Verdict:
    """Unfit when the champion's backtested loss exceeds weeks8's; not judged where either is unknown."""
    if wql_champion is None or wql_weeks8 is None or math.isnan(wql_champion) or math.isnan(wql_weeks8):
        return Verdict(True, "", None)
    if wql_champion <= wql_weeks8 * policy.worse_ratio + 1e-12:
        return Verdict(True, "", None)
    condition = f"loss {wql_champion:.4f} against {wql_weeks8:.4f} of weeks8"
    return Verdict(False, condition, Veto.WORSE_THAN_WEEKS8)


def coverage_off(
    coverage80: float | None, wql_champion: float | None, wql_weeks8: float | None, policy: Policy
) -> Verdict:
    """Unfit when the 80 % band held too few days, unless the champion's loss is clearly below weeks8's.

    A fallback that loses more would be no safer: after a level shift both bands are off, and the champion
    adapts. Too many days inside the band cost idle units only, and are scored.
    """
    if coverage80 is None or math.isnan(coverage80) or coverage80 >= policy.coverage_low_ratio:
        return Verdict(True, "", None)
    if (
        wql_champion is not None
        and wql_weeks8 is not None
        and wql_champion <= wql_weeks8 * policy.clearly_better_ratio
    ):
        return Verdict(True, "", None)
    condition = f"80 % band held {coverage80:.0%} of days, needs {policy.coverage_low_ratio:.0%}"
    return Verdict(False, condition, Veto.COVERAGE_OFF)


def series_verdict(
    *,
    age_days: int,
    observations: int,
    wql_champion: float | None,
    wql_weeks8: float | None,
    coverage80: float | None,
    policy: Policy,
) -> Verdict:
    """The first veto that a champion's forecast meets; fit where it meets none."""
    for verdict in (
        stale(age_days, policy),
        short(observations, policy),
        worse_than_weeks8(wql_champion, wql_weeks8, policy),
        coverage_off(coverage80, wql_champion, wql_weeks8, policy),
    ):
        if not verdict.fit:
            return verdict
    return Verdict(True, "", None)


def fallback_no_better(error_fallback: float, error_live: float, policy: Policy) -> Verdict:
    """Unfit where weeks8 would not have erred clearly less than the forecasts that drift.

    Both in units, summed over the same branch days. After a true shift of demand neither knows the new level:
    then quotas are kept.
    """
    told = f"weeks8 would have erred by {error_fallback:.0f} units where they did by {error_live:.0f}"
    if error_fallback < error_live * policy.clearly_better_ratio:
        return Verdict(True, told, None)
    return Verdict(False, told, Veto.DRIFT)


def run_verdict(
    unfit: int, series: int, newest_age_days: int | None, policy: Policy, commonest: str = ""
) -> Verdict:
    """Whether the run as a whole may be planned with.

    unfit: series for which neither champion nor weeks8 is usable. newest_age_days: of the newest day
    known of any branch; None = nothing is known. commonest: why most of the unfit series are unfit.
    """
    if series == 0 or newest_age_days is None:
        return Verdict(False, "no demand is known of any branch", Veto.SHORT)
    if not (fresh := stale(newest_age_days, policy)).fit:
        return fresh
    if unfit > series * policy.max_unfit_ratio:
        why = f" ({commonest})" if commonest else ""
        condition = f"{unfit} of {series} series have no usable forecast{why}"
        return Verdict(False, condition, Veto.MOSTLY_UNFIT)
    return Verdict(True, "", None)


# --- the guard band -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BandTotals:
    """What the guard band looks at: sums over the limits that it judges."""

    items: int
    old_units: int
    """In force."""
    new_units: int
    """Guarded."""
    unplanned_units: int = 0
    """What stands without any plan."""
    clipped: int = 0
    """Limits that the step upward held back."""
    clipped_down: int = 0
    """Limits that the step downward held up."""
    named: str = "day quotas"
    """The limits, in a condition."""


def band_verdict(totals: BandTotals, policy: Policy) -> Verdict:
    """Whether the plan may apply by itself: see policy for the band."""
    items, named = totals.items, totals.named
    if items and totals.clipped > items * policy.auto_band_clipped_ratio:
        condition = f"{totals.clipped} of {items} {named} ran into the step limit"
        return Verdict(False, condition, Band.CLIPPED)
    if items and totals.clipped_down > items * policy.auto_band_clipped_down_ratio:
        condition = f"{totals.clipped_down} of {items} {named} ran into the step limit downward"
        return Verdict(False, condition, Band.CLIPPED)
    old, new, unplanned = totals.old_units, totals.new_units, totals.unplanned_units
    if new > old * policy.auto_band_high_ratio:
        condition = f"{named} rise from {old} to {new}, more than {policy.auto_band_high_ratio:g} ×"
        return Verdict(False, condition, Band.TOTAL_UP)
    fall = f"{named} fall from {old} to {new}, below"
    if new < old * policy.auto_band_low_ratio:
        return Verdict(False, f"{fall} {policy.auto_band_low_ratio:g} ×", Band.TOTAL_DOWN)
    if new < old and new < unplanned * policy.auto_band_least_ratio:
        condition = f"{fall} {policy.auto_band_least_ratio:g} × the {unplanned} that stand without any plan"
        return Verdict(False, condition, Band.TOTAL_DOWN)
    return Verdict(True, "", None)
