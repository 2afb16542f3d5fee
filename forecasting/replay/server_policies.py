"""Policies of worker counts on a replayed trace: Kubernetes' autoscaler, the forecast alone, and Slotcast's.

Each is a callable for `forecasting.replay.servers.replay` and holds only what it saw before.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from booking_core.scaling import ScalingInputs, ScalingRule, decide_workers, drawn_on
from forecasting.decisions.policy import Policy
from forecasting.decisions.reliability import Reliability
from forecasting.decisions.thrift import LEVELS, Balance, ThriftRule, price_at, rule_at
from forecasting.decisions.worth import workers_worth
from forecasting.frames import LOAD_QUANTILES, Floats
from forecasting.models.requests import begin, predict, update
from forecasting.models.steps import Integers, StepGrid
from forecasting.replay.servers import STEP_SECONDS, STEPS_A_MINUTE, STEPS_AN_HOUR, Bools

LEAD_SECONDS: Final = 180
"""The longest start-up: what is ordered now serves by then."""
MOST_WORKERS: Final = 60
"""Far above what any trace needs, so that no policy is held by it."""
REPLAYED_RULE: Final = ScalingRule(
    max_workers=MOST_WORKERS,
    target_utilisation=0.75,
    trusted_utilisation=0.9,
    step_up_workers=20,
    step_down_workers=20,
    stabilisation_seconds=60.0,
    trend_gain=0.8,
)
"""One setting for all traces. Utilisation here is of what a worker carries at most; in production it is
of its time, of which it can spend about 0.8 before answers get slow: 0.75 × 0.8 = the default of 0.6."""
_GATE_LEVELS: Final = tuple(LOAD_QUANTILES.index(level) for level in (0.1, 0.5, 0.9))


class Autoscaler:
    """Kubernetes' HorizontalPodAutoscaler with its documented defaults, one sync a step.

    desired = ceil(ready × utilisation ÷ target), within 10 % nothing is done; pods not yet ready count as
    idle when scaling up, and an average that changes its mind by that does nothing; down to the highest
    desire of the last 300 s; up by at most 4 pods or 100 % a sync. It is given the whole load, as a rate of
    requests would show it, where CPU cannot show more than all of it: to its advantage.
    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ (algorithm details, behavior)
    """

    def __init__(self, target: float = 0.7, tolerance: float = 0.1, stabilisation_seconds: int = 300) -> None:
        self._target, self._tolerance = target, tolerance
        self._desires: deque[int] = deque(maxlen=stabilisation_seconds // STEP_SECONDS)

    def __call__(self, _step: int, observed: float, serving: int, starting: int) -> int:
        """The pods there shall be."""
        present = serving + starting
        desired = self._desired(observed, serving, starting)
        self._desires.append(desired)
        if desired < present:
            desired = min(present, max(self._desires))
        return max(1, min(desired, max(present + 4, 2 * present), MOST_WORKERS))

    def _desired(self, observed: float, serving: int, starting: int) -> int:
        ratio, present = observed / self._target / serving, serving + starting
        if starting and ratio > 1.0:
            with_idle = observed / self._target / present
            if with_idle <= 1.0 + self._tolerance:
                return present
            return max(present, math.ceil(with_idle * present - 1e-9))
        if abs(ratio - 1.0) <= self._tolerance:
            return present
        return math.ceil(ratio * serving - 1e-9)


@dataclass(frozen=True, slots=True)
class Foretold:
    """Quantiles of the load as issued at the end of each step of the trace: (levels, leads, steps)."""

    minutes: int
    load: Floats
    """The load of each step itself, in workers kept fully busy; NaN unknown."""
    quantiles: Floats

    def reliable(self, policy: Policy) -> Bools:
        """For each step, whether what was issued at its end may be used, judged by what came until then."""
        lead = min(self.quantiles.shape[1], math.ceil(LEAD_SECONDS / 60 / self.minutes))
        reliability = Reliability(policy.reliability_rule(self.minutes))
        trusted = np.zeros(len(self.load), dtype=bool)
        issued = self.quantiles[list(_GATE_LEVELS), lead - 1]
        for step, came in enumerate(self.load.tolist()):
            if step >= lead:
                q10, q50, q90 = (float(value) for value in issued[:, step - lead])
                reliability.observe(came, q10, q50, q90, float(self.load[step - lead]))
            trusted[step] = reliability.trusted
        return trusted


def foretell(grid: StepGrid, requests: Floats, scale: float) -> Foretold:
    """What the request model issues after each step of the trace, nothing seen before its time.

    scale: workers kept fully busy by one request a step.
    """
    steps = grid.minutes * STEPS_A_MINUTE
    leads = range(1, (steps - 1 + _ahead()) // steps + 2)
    told = np.full((len(LOAD_QUANTILES), len(leads), len(requests)), np.nan)
    state = begin(grid)
    for step, count in enumerate(requests):
        update(state, float(count))
        told[:, :, step] = predict(state, leads, LOAD_QUANTILES)
    return Foretold(grid.minutes, requests * scale, told * 60.0 * grid.minutes * scale)


def _ahead() -> int:
    """15-second steps that a decision looks ahead: the start-up, and one until the next decision."""
    return LEAD_SECONDS // STEP_SECONDS + 1


def needs_ahead(foretold: Foretold, price: float, allowed: Bools | None, *, present_too: bool) -> Integers:
    """The workers that the forecast is worth at each 15 s: the most of all steps begun within the lead.

    allowed: forecasts (by the step at whose end they were issued) that count. present_too: the trace's step
    under way counts to its end, as for one who does not look at the load; else only until it was observed.
    """
    _, leads, count = foretold.quantiles.shape
    worth = np.stack(
        [workers_worth(LOAD_QUANTILES, foretold.quantiles[:, n], price, MOST_WORKERS) for n in range(leads)]
    )
    if allowed is not None:
        worth = np.where(allowed, worth, 0)
    each = foretold.minutes * STEPS_A_MINUTE
    step = np.arange(count * each)
    issued, phase = step // each - 1, step % each
    need = np.zeros(len(step), dtype=np.int64)
    for ahead in range(_ahead() + 1):
        lead = (phase + ahead) // each
        counts = issued >= 0
        if not present_too:
            counts &= (lead > 0) | (phase == 0)
        need = np.maximum(need, np.where(counts, worth[lead, np.maximum(issued, 0)], 0))
    return need


def forecast_only(foretold: Foretold, policy: Policy) -> Sequence[int]:
    """The workers of one who follows the forecast and never looks at the load."""
    needs: list[int] = np.maximum(
        1, needs_ahead(foretold, policy.worker_price, None, present_too=True)
    ).tolist()
    return needs


@dataclass(slots=True)
class Slotcast:
    """The server rule with the forecast's worth at the lead time, its reliability and the budget."""

    needs: Sequence[Sequence[int]]
    """By level of thrift: the workers that the forecast is worth at each step; empty: no forecast at all."""
    trusted: Sequence[bool]
    """For each step, whether the forecast may be used."""
    rule: ScalingRule = REPLAYED_RULE
    thrift: ThriftRule = field(default_factory=ThriftRule)
    _balance: Balance = field(init=False)
    _rules: list[ScalingRule] = field(init=False)
    _plain: Autoscaler = field(init=False)
    _plain_workers: int = 1
    _rates: deque[float] = field(init=False)
    _rising: deque[float] = field(init=False)
    _asked: tuple[float, ...] = ()
    _answer: int = 1

    def __post_init__(self) -> None:
        self._balance, self._plain = Balance(self.thrift), Autoscaler()
        self._rules = [rule_at(self.rule, self.thrift, level) for level in range(LEVELS + 1)]
        self._rates = deque(maxlen=int(self.rule.trend_seconds) // STEP_SECONDS + 1)
        self._rising = deque(maxlen=int(self.rule.stabilisation_seconds) // STEP_SECONDS + 1)

    def __call__(self, step: int, observed: float, serving: int, starting: int) -> int:
        """The workers there shall be."""
        present = serving + starting
        self._plain_workers = self._plain(step, observed, self._plain_workers, 0)
        overdrawn = self._balance.book(
            needed=max(1, math.ceil(observed - 1e-9)),
            plain=self._plain_workers,
            taken=present,
            hours=1.0 / STEPS_AN_HOUR,
        )
        level = min(LEVELS, overdrawn)
        forecast = -1
        if self.needs and self.trusted[step]:
            forecast = self.needs[level][step] if level < LEVELS else 0
        self._rates.append(observed)
        earlier = self._rates[0]
        rising = drawn_on(self._rules[level], observed, earlier)
        self._rising.append(rising)
        peak = max(self._rising)
        asked = (present, observed, peak, rising, forecast, level)
        if asked != self._asked:
            self._asked = asked
            inputs = ScalingInputs(
                running=present,
                observed_rps=observed,
                peak_rps=peak,
                cost_seconds=1.0,
                failed_ratio=0.0,
                forecast_workers=None if forecast < 0 else forecast,
                rising_rps=rising,
            )
            self._answer = decide_workers(self._rules[level], inputs).target
        return self._answer


def slotcast(foretold: Foretold | None, steps: int, policy: Policy) -> Slotcast:
    """Slotcast's policy on a trace of so many 15-second steps; foretold None: without any forecast."""
    if foretold is None:
        return Slotcast((), [False] * steps)
    reliable = foretold.reliable(policy)
    each = foretold.minutes * STEPS_A_MINUTE
    trusted = np.concatenate([np.zeros(each, dtype=bool), np.repeat(reliable, each)])[:steps]
    needs = [
        needs_ahead(foretold, price_at(policy.worker_price, level), reliable, present_too=False).tolist()
        for level in range(LEVELS)
    ]
    return Slotcast(needs, trusted.tolist())
