"""Scores: forecasts and plans against what came. Lower is better, except coverage (aim: 0.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from forecasting.decisions.policy import Policy
from forecasting.frames import QUANTILES


@dataclass(frozen=True, slots=True)
class ForecastScore:
    """One branch and day of one run, scored."""

    run_id: str
    branch_id: str
    day: date
    horizon_days: int
    actual: float
    mean: float
    inside80: bool
    pinball: float
    """Mean pinball loss over the stored quantiles, units."""


@dataclass(frozen=True, slots=True)
class PlanScore:
    """One day of one plan, scored on the demand ledger."""

    plan_id: str
    day: date
    demand_units: float
    served_units: float
    refused_units: float
    idle_units: float
    refused_old_units: float
    """Had the old quotas stayed: those that stood without any plan."""
    idle_old_units: float
    regret_units: float
    """Refused above perfect foresight, which may spread the same total over the branches."""


@dataclass(frozen=True, slots=True)
class Whole:
    """The day limit of a region whose branches have limits of their own, without displaced units."""

    new_units: int
    old_units: int
    """Had no plan set it."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Customers who waited for one of a plan's days."""

    waited: int
    days: float | None
    """Mean days from the one first wished to the one they got, or to now; None = nobody waited."""


@dataclass(frozen=True, slots=True)
class PlanTotal:
    """A whole plan once its last day has passed, whether or not other plans took over meanwhile."""

    plan_id: str
    first_day: date
    last_day: date
    demand_units: float
    served_units: float
    refused_units: float
    idle_units: float
    refused_old_units: float
    idle_old_units: float
    regret_units: float
    """Refused above perfect foresight, which may spread the same total over the branches and days."""
    cost: float
    """See `newsvendor_cost`."""
    cost_old: float
    waited: int
    waiting_days: float | None


@dataclass(frozen=True, slots=True)
class ServerQuarter:
    """Workers of one business quarter-hour."""

    planned: int
    running: int
    needed: int


@dataclass(frozen=True, slots=True)
class ServerScore:
    """Worker-hours of one business day, over the quarter-hours of which all three are known."""

    day: date
    quarters: int
    planned_hours: float
    run_hours: float
    needed_hours: float
    short_hours: float
    """Needed and not running."""


@dataclass(frozen=True, slots=True)
class DriftScore:
    """The live forecasts of one run, of the days up to `day`, against what their backtest promised."""

    run_id: str
    day: date
    scope: str
    """bank | group:NAME"""
    days: int
    """Series' days judged."""
    coverage80: float
    coverage80_promised: float | None
    """None where the backtest promised nothing."""
    wape: float | None
    """None where nothing came on these days."""
    wape_promised: float | None
    verdict: str | None = None
    """Veto name; None = fit."""
    condition: str | None = None
    """The veto in words and numbers."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a set of forecast scores says; None where there are none."""

    days: int
    coverage80: float | None
    """Share of actuals inside the 80 % band."""
    wape: float | None
    """Σ|actual − mean| ÷ Σ actual."""
    pinball: float | None


LOW, HIGH = QUANTILES[0], QUANTILES[-1]
QUARTER_HOURS: Final = 0.25
_NONE: Final = Summary(0, None, None, None)


def pinball_loss(actual: float, quantiles: Mapping[float, float]) -> float:
    """Mean over the levels of max(level·(actual − q), (level − 1)·(actual − q)): ≥ 0, lower is better."""
    return sum(
        max(level * (actual - value), (level - 1) * (actual - value)) for level, value in quantiles.items()
    ) / len(quantiles)


def score_forecast(
    *,
    run_id: str,
    branch_id: str,
    day: date,
    period: date,
    actual: float,
    mean: float,
    quantiles: Mapping[float, float],
) -> ForecastScore:
    """The score of one forecast day made on `period`; quantiles by level, at least 0.1 and 0.9."""
    return ForecastScore(
        run_id=run_id,
        branch_id=branch_id,
        day=day,
        horizon_days=(day - period).days,
        actual=actual,
        mean=mean,
        inside80=quantiles[LOW] <= actual <= quantiles[HIGH],
        pinball=pinball_loss(actual, quantiles),
    )


def summarise(scores: Sequence[ForecastScore]) -> Summary:
    """Coverage, WAPE and pinball loss over the scores; WAPE is None when nothing came at all."""
    if not scores:
        return _NONE
    came = sum(s.actual for s in scores)
    return Summary(
        days=len(scores),
        coverage80=sum(s.inside80 for s in scores) / len(scores),
        wape=sum(abs(s.actual - s.mean) for s in scores) / came if came > 0 else None,
        pinball=sum(s.pinball for s in scores) / len(scores),
    )


def score_plan_day(
    *,
    plan_id: str,
    day: date,
    demand: Mapping[str, float],
    new: Mapping[str, int],
    old: Mapping[str, int],
    displaced: Mapping[str, int] | None = None,
    whole: Whole | None = None,
) -> PlanScore:
    """The score of a plan's day quotas on one day, over the scopes that have demand and both limits.

    The scopes are branches, or the one whose own limits are all that the plan has: a region, the bank. Demand
    is the uncensored ledger, so the counterfactual needs no guess. Only day quotas are judged: week and month
    limits bind on what came before. displaced: units that wishes from elsewhere held when the plan was made;
    the day's own demand has only the rest of either limit. whole: the limit above all of the scopes, where
    one stands and the demand of all beneath it is known.
    """
    held = displaced or {}
    new = {branch: max(0, limit - held.get(branch, 0)) for branch, limit in new.items()}
    old = {branch: max(0, limit - held.get(branch, 0)) for branch, limit in old.items()}
    judged = [branch for branch in demand if branch in new and branch in old]
    wished = {branch: demand[branch] for branch in judged}
    total_demand = sum(wished.values())
    refused, idle = _refused_and_idle(wished, new, None if whole is None else whole.new_units)
    refused_old, idle_old = _refused_and_idle(wished, old, None if whole is None else whole.old_units)
    total_limit = total_demand - refused + idle
    return PlanScore(
        plan_id=plan_id,
        day=day,
        demand_units=total_demand,
        served_units=total_demand - refused,
        refused_units=refused,
        idle_units=idle,
        refused_old_units=refused_old,
        idle_old_units=idle_old,
        regret_units=refused - max(0.0, total_demand - total_limit),
    )


def _refused_and_idle(
    demand: Mapping[str, float], limits: Mapping[str, int], whole: int | None
) -> tuple[float, float]:
    """What the limits, and one above them all, refuse of the demand; what is left of them."""
    refused = sum(max(0.0, units - limits[scope]) for scope, units in demand.items())
    idle = sum(max(0.0, limits[scope] - units) for scope, units in demand.items())
    if whole is None:
        return refused, idle
    let_in = sum(demand.values()) - refused
    served, total = min(let_in, whole), min(let_in + idle, whole)
    return refused + let_in - served, total - served


def newsvendor_cost(refused_units: float, idle_units: float, policy: Policy) -> float:
    """What refused and idle units cost together, in idle units: ≥ 0, lower is better.

    Its minimum in expectation is the quota at the policy's service level (Arrow, Harris & Marschak 1951).
    """
    return policy.refused_cost * refused_units + idle_units


def score_plan_total(
    plan_id: str, days: Sequence[PlanScore], waits: Waits, policy: Policy, *, first_day: date | None = None
) -> PlanTotal | None:
    """The score of a whole plan from those of its days; None where no day could be judged.

    first_day: of what the scores sum up, where one spans several days up to its own.
    """
    if not days:
        return None
    demand, refused, idle = (
        sum(getattr(day, name) for day in days) for name in ("demand_units", "refused_units", "idle_units")
    )
    refused_old, idle_old = (
        sum(day.refused_old_units for day in days),
        sum(day.idle_old_units for day in days),
    )
    total_limit = demand - refused + idle
    return PlanTotal(
        plan_id=plan_id,
        first_day=min([day.day for day in days] + ([] if first_day is None else [first_day])),
        last_day=max(day.day for day in days),
        demand_units=demand,
        served_units=demand - refused,
        refused_units=refused,
        idle_units=idle,
        refused_old_units=refused_old,
        idle_old_units=idle_old,
        regret_units=refused - max(0.0, demand - total_limit),
        cost=newsvendor_cost(refused, idle, policy),
        cost_old=newsvendor_cost(refused_old, idle_old, policy),
        waited=waits.waited,
        waiting_days=waits.days,
    )


def score_server_day(day: date, quarters: Sequence[ServerQuarter]) -> ServerScore | None:
    """The worker-hours of the day; None where no quarter-hour is known."""
    if not quarters:
        return None
    return ServerScore(
        day=day,
        quarters=len(quarters),
        planned_hours=QUARTER_HOURS * sum(quarter.planned for quarter in quarters),
        run_hours=QUARTER_HOURS * sum(quarter.running for quarter in quarters),
        needed_hours=QUARTER_HOURS * sum(quarter.needed for quarter in quarters),
        short_hours=QUARTER_HOURS * sum(max(0, quarter.needed - quarter.running) for quarter in quarters),
    )
