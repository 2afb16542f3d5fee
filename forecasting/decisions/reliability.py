"""Whether a live forecast of load may be used now: judged on what it foretold of the last day.

Three signs of a broken forecast, each of which a healthy one shows seldom: the load often lies above the
0.9 quantile (the level is too low, the forecast is dead), often far below the 0.1 quantile (spikes, a
pattern shifted by hours, twice the level), or the median misses by as much as the last value does. A
forecast starts distrusted, earns trust by enough judged steps, and earns it back by clearly better ones
than those it lost it by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReliabilityRule:
    """What is asked of a forecast; every number has a stated default."""

    memory_steps: float = 96.0
    """Judged steps that count: older ones fade."""
    least_steps: int = 24
    """Trusted from so many judged steps on."""
    above_ratio: float = 0.22
    """Distrusted where more than this share of steps lay above the 0.9 quantile, …"""
    far_below_ratio: float = 0.06
    """… or more than this share lay below the 0.1 quantile times …"""
    far_below_factor: float = 0.5
    """… this, …"""
    naive_ratio: float = 0.95
    """… or the median's mean error exceeds that of the last known value times this."""
    regain_ratio: float = 0.7
    """Shares must fall below this part of their limits before a lost trust comes back."""
    least_load: float = 1.0
    """Steps are judged where the load or its 0.9 quantile reaches so many workers: below it nothing is
    decided."""

    def __post_init__(self) -> None:
        if self.memory_steps < self.least_steps or self.least_steps < 1:
            raise ValueError("memory_steps must be least_steps or more, and that 1 or more")
        if not (0 < self.above_ratio < 1 and 0 < self.far_below_ratio < 1 and 0 < self.regain_ratio <= 1):
            raise ValueError("the ratios must lie between 0 and 1")


@dataclass(slots=True)
class Reliability:
    """The running judgement; `observe` takes in one step after the other."""

    rule: ReliabilityRule = field(default_factory=ReliabilityRule)
    trusted: bool = False
    steps: int = 0
    above: float = 0.0
    far_below: float = 0.0
    error: float = 0.0
    naive_error: float = 0.0

    def observe(self, came: float, q10: float, q50: float, q90: float, naive: float) -> bool:
        """Whether the forecast is trusted after the step brought `came`.

        The quantiles are those issued a lead time before, `naive` is what was observed then; all in workers
        kept fully busy. A step with anything unknown (NaN) says nothing.
        """
        rule = self.rule
        unknown = any(math.isnan(value) for value in (came, q10, q50, q90, naive))
        if unknown or max(came, q90) < rule.least_load:
            return self.trusted
        self.steps += 1
        gain = 1.0 / min(float(self.steps), rule.memory_steps)
        self.above += gain * ((came > q90) - self.above)
        self.far_below += gain * ((came < rule.far_below_factor * q10) - self.far_below)
        self.error += gain * (abs(came - q50) - self.error)
        self.naive_error += gain * (abs(came - naive) - self.naive_error)
        part = 1.0 if self.trusted else rule.regain_ratio
        self.trusted = (
            self.steps >= rule.least_steps
            and self.above <= rule.above_ratio * part
            and self.far_below <= rule.far_below_ratio * part
            and self.error <= rule.naive_ratio * self.naive_error
        )
        return self.trusted

    @property
    def condition(self) -> str:
        """The judgement in words and numbers."""
        rule = self.rule
        return (
            f"of {self.steps} steps {self.above:.0%} lay above the 0.9 quantile "
            f"(at most {rule.above_ratio:.0%}), {self.far_below:.0%} far below the 0.1 quantile "
            f"(at most {rule.far_below_ratio:.0%}), the median missed by {self.error:.3g}, "
            f"the last value by {self.naive_error:.3g}"
        )
