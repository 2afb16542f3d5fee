"""The server rule as a pure function: how many workers, which rule decided, and why.

Workers = clamp(max(reactive need, forecast need at the lead time), min, max), moved by limited steps.
Shaped like Kubernetes' convertDesiredReplicasWithRules: plain values in, (target, condition, reason) out.
Standard library only: the actuator obeys it, forecasting plans with the same arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class ScalingReason(StrEnum):
    """The rule that set the target."""

    STEADY = "steady"
    OBSERVED_LOAD = "observed_load"
    FORECAST = "forecast"
    SCALE_IN = "scale_in"
    STABILISING = "stabilising"
    ERROR_STORM = "error_storm"
    STEP_UP_LIMIT = "step_up_limit"
    STEP_DOWN_LIMIT = "step_down_limit"
    MIN_WORKERS = "min_workers"
    MAX_WORKERS = "max_workers"
    FORECAST_ONLY = "forecast_only"
    """Decided and written down, not carried out."""


@dataclass(frozen=True, slots=True)
class ScalingRule:
    """The policy of scaling; every number has a stated default."""

    min_workers: int = 1
    max_workers: int = 2
    max_condition: str = ""
    """What sets max_workers, in words: see `worker_cap`."""
    forecast_only: bool = False
    """Decisions are written down and shown, never carried out: how a bank begins."""
    target_utilisation: float = 0.6
    """Share of a worker's time that may be spent serving; the rest absorbs bursts."""
    trusted_utilisation: float | None = None
    """The same while a forecast is in force, whose upper quantile then holds the headroom; None: no
    other one. A plan by quarter-hour knows no bursts within one, so that only forecasts by the minute
    should have it."""
    trend_gain: float = 0.5
    """How far a rise is drawn on: the load counts as what is observed + gain × its rise. Workers of one
    machine start within seconds: there half of a rise is enough; 0.8 where they need minutes (the replay)."""
    trend_seconds: float = 300.0
    """The rise is that over so many wall seconds: about a start-up and the time to see the load."""
    step_up_workers: int = 4
    """Most workers added by one decision."""
    step_down_workers: int = 1
    """Most workers taken away by one decision."""
    stabilisation_seconds: float = 120.0
    """Wall seconds for which the load must have stayed low before a worker is taken away."""
    error_storm_ratio: float = 0.2
    """Share of requests answered 5xx from which on nothing is scaled in: an outage's dip precedes the
    storm of retries."""
    default_cost_seconds: float = 0.02
    """Worker time a request costs until some have been measured."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_workers <= self.max_workers:
            raise ValueError(
                f"workers must satisfy 1 <= min <= max, not min {self.min_workers}, max {self.max_workers}"
            )
        if not 0 < self.target_utilisation <= 1:
            raise ValueError(f"target_utilisation must lie in (0, 1], not {self.target_utilisation}")
        if self.trusted_utilisation is not None and not 0 < self.trusted_utilisation <= 1:
            raise ValueError(f"trusted_utilisation must lie in (0, 1], not {self.trusted_utilisation}")
        if self.trend_gain < 0 or self.trend_seconds <= 0:
            raise ValueError("trend_gain must be 0 or more and trend_seconds above 0")
        if self.step_up_workers < 1 or self.step_down_workers < 1:
            raise ValueError("a step limit below 1 worker would never reach any target")


@dataclass(frozen=True, slots=True)
class ScalingInputs:
    """What was observed and forecast at one moment."""

    running: int
    """Workers the server keeps now."""
    observed_rps: float
    """Requests a second, refused ones included, over the last few wall seconds."""
    peak_rps: float
    """The highest such rate within the stabilisation time, with its trend."""
    cost_seconds: float | None
    """Worker time a request costs, measured; None until measured."""
    failed_ratio: float
    """The highest share of 5xx answers within the stabilisation time."""
    forecast_workers: int | None
    """Most workers the applied server plan asks for until the lead time; None: vetoed or absent."""
    rising_rps: float | None = None
    """The rate with its trend drawn on; None: as observed."""


@dataclass(frozen=True, slots=True)
class WorkerDecision:
    """The target, the rule that set it (reason) and that rule in words and numbers (condition)."""

    target: int
    condition: str
    reason: ScalingReason
    reactive_need: int


def drawn_on(rule: ScalingRule, rps: float, earlier_rps: float | None) -> float:
    """The rate with its rise since `trend_seconds` ago drawn on; as it is where it fell or nothing is known.

    A worker ordered now serves a start-up later, by when a load that rises has risen further.
    """
    if earlier_rps is None or rps <= earlier_rps:
        return rps
    return rps + rule.trend_gain * (rps - earlier_rps)


def workers_needed(rps: float, cost_seconds: float, target_utilisation: float) -> int:
    """The workers that serve the rate at the target utilisation; 0 when there is no load.

    Offered load (workers kept busy, Little's law) = requests per second x worker seconds per request.
    """
    # the epsilon keeps 0.6 / 0.6 from becoming two workers by a rounding error
    return max(0, math.ceil(rps * cost_seconds / target_utilisation - 1e-9))


def decide_workers(rule: ScalingRule, inputs: ScalingInputs) -> WorkerDecision:
    """The worker count to run now under the rule.

    A forecast only ever raises the target; without one the observed load alone decides. Scaling in needs
    low observed load during the whole stabilisation time and no error storm; the bounds hold always.
    """
    cost = rule.default_cost_seconds if inputs.cost_seconds is None else inputs.cost_seconds
    utilisation = _utilisation(rule, inputs)
    rps = max(inputs.observed_rps, inputs.rising_rps or 0.0)
    reactive = workers_needed(rps, cost, utilisation)
    held = workers_needed(max(inputs.peak_rps, rps), cost, utilisation)
    forecast = inputs.forecast_workers or 0
    wanted, reason = (
        (forecast, ScalingReason.FORECAST) if forecast > reactive else (reactive, ScalingReason.OBSERVED_LOAD)
    )
    rising = "" if rps <= inputs.observed_rps else f", rising to {rps:.2f},"
    condition = (
        f"{inputs.observed_rps:.2f} requests/s{rising} x {cost:.4f} s at utilisation {utilisation:g} "
        f"need {reactive}, forecast {'absent' if inputs.forecast_workers is None else forecast}"
    )
    running = inputs.running

    if wanted > running + rule.step_up_workers:
        wanted, reason = running + rule.step_up_workers, ScalingReason.STEP_UP_LIMIT
        condition += f"; at most {rule.step_up_workers} more at once"
    elif wanted < running:
        if inputs.failed_ratio >= rule.error_storm_ratio:
            wanted, reason = running, ScalingReason.ERROR_STORM
            condition += f"; {inputs.failed_ratio:.0%} of requests failed: nothing is scaled in"
        elif held > max(wanted, rule.min_workers):
            wanted, reason = min(held, running), ScalingReason.STABILISING
            condition += f"; needed {held} within the last {rule.stabilisation_seconds:g} s"
        else:
            reason = ScalingReason.SCALE_IN
        if wanted < running - rule.step_down_workers:
            wanted, reason = running - rule.step_down_workers, ScalingReason.STEP_DOWN_LIMIT
            condition += f"; at most {rule.step_down_workers} fewer at once"
    elif wanted == running:
        reason = ScalingReason.STEADY

    if wanted > rule.max_workers:
        return WorkerDecision(
            rule.max_workers,
            f"{condition}; at most {rule.max_workers}{rule.max_condition and f' ({rule.max_condition})'}",
            ScalingReason.MAX_WORKERS,
            reactive,
        )
    if wanted < rule.min_workers:
        if running == rule.min_workers:
            return WorkerDecision(running, condition, ScalingReason.STEADY, reactive)
        return WorkerDecision(
            rule.min_workers, f"{condition}; at least {rule.min_workers}", ScalingReason.MIN_WORKERS, reactive
        )
    return WorkerDecision(wanted, condition, reason, reactive)


def worker_cap(
    cores: int, *, max_connections: int | None, spare_connections: int, connections_a_worker: int
) -> tuple[int, str]:
    """The most workers that a machine and its database carry, 1 at least, and which of the two says so.

    One worker a core; each keeps a pool of connections, and what the database allows beyond the spare ones is
    shared by all. max_connections None: the database counts none (SQLite).
    """
    by_cores = f"{cores} cores"
    if max_connections is None:
        return max(1, cores), by_cores
    carried = (max_connections - spare_connections) // connections_a_worker
    if carried >= cores:
        return max(1, cores), by_cores
    return max(1, carried), (
        f"({max_connections} database connections - {spare_connections} spared) / {connections_a_worker} "
        f"a worker, on {by_cores}"
    )


def _utilisation(rule: ScalingRule, inputs: ScalingInputs) -> float:
    """The share of a worker's time that is planned for, now."""
    if inputs.forecast_workers is None or rule.trusted_utilisation is None:
        return rule.target_utilisation
    return max(rule.target_utilisation, rule.trusted_utilisation)
