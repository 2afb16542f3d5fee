"""Whether a live forecast of load may be used now: judged on what it foretold of the last day.

Three signs of a broken forecast, each of which a healthy one shows seldom: the load often lies above the
0.9 quantile (the level is too low, the forecast is dead), often far below the 0.1 quantile (spikes, a
pattern shifted by hours, twice the level), or the median misses by as much as the last value does. A
forecast starts distrusted, earns trust by enough judged steps, and earns it back by clearly better ones
than those it lost it by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple


@dataclass(frozen=True, slots=True)
class ReliabilityRule:
    """What is asked of a forecast; `Policy.reliability_rule` builds it and states the numbers."""

    memory_steps: float
    """Judged steps that count: older ones fade."""
    least_steps: int
    """Trusted, or known to be no good, from so many judged steps on."""
    above_ratio: float
    """Distrusted where more than this share of steps lay above the 0.9 quantile, …"""
    far_below_ratio: float
    """… or more than this share lay below the 0.1 quantile times …"""
    far_below_factor: float
    """… this, …"""
    naive_ratio: float
    """… or the median's mean error exceeds that of the last known value times this."""
    regain_ratio: float
    """Shares must fall below this part of their limits before a lost trust comes back."""
    least_load: float
    """Steps are judged where the load or its 0.9 quantile reaches so many workers: below it nothing is
    decided."""

    def judges(self, came: float, q10: float, q50: float, q90: float, naive: float) -> bool:
        """Whether the step says anything: all is known, and there is something to decide."""
        unknown = any(math.isnan(value) for value in (came, q10, q50, q90, naive))
        return not unknown and max(came, q90) >= self.least_load


class ForetoldStep(NamedTuple):
    """What a step brought and what was foretold of it; `Reliability.observe` says what each is."""

    came: float
    q10: float
    q50: float
    q90: float
    naive: float


@dataclass(slots=True)
class Reliability:
    """The running judgement; `observe` takes in one step after the other."""

    rule: ReliabilityRule
    trusted: bool = False
    trusted_before: bool = False
    """Whether it was trusted before the last judged step: what is lost is harder to earn."""
    steps: int = 0
    above: float = 0.0
    far_below: float = 0.0
    error: float = 0.0
    naive_error: float = 0.0

    @classmethod
    def of_record(cls, record: Mapping[str, Any], rule: ReliabilityRule) -> Reliability:
        """The judgement that the recorded numbers lead to."""
        values = {name: record[name] for name in _RECORDED}
        told = cls(rule, trusted=bool(values["trusted_before"]), **values)
        told._judge()
        return told

    def as_record(self) -> dict[str, Any]:
        """The numbers of the judgement, for a plan's record."""
        return {name: getattr(self, name) for name in _RECORDED} | {"trusted": self.trusted}

    @property
    def distrusted(self) -> bool:
        """Whether enough was judged, and it was bad; a forecast that was hardly judged is neither."""
        return self.steps >= self.rule.least_steps and not self.trusted

    def observe(self, came: float, q10: float, q50: float, q90: float, naive: float) -> bool:
        """Whether the forecast is trusted after the step brought `came`.

        The quantiles are those issued a lead time before, `naive` is what was observed then; all in workers
        kept fully busy. A step with anything unknown (NaN) says nothing.
        """
        rule = self.rule
        if not rule.judges(came, q10, q50, q90, naive):
            return self.trusted
        self.steps += 1
        gain = 1.0 / min(float(self.steps), rule.memory_steps)
        self.above += gain * ((came > q90) - self.above)
        self.far_below += gain * ((came < rule.far_below_factor * q10) - self.far_below)
        self.error += gain * (abs(came - q50) - self.error)
        self.naive_error += gain * (abs(came - naive) - self.naive_error)
        self._judge()
        return self.trusted

    def _judge(self) -> None:
        rule = self.rule
        self.trusted_before = self.trusted
        part = 1.0 if self.trusted else rule.regain_ratio
        self.trusted = (
            self.steps >= rule.least_steps
            and self.above <= rule.above_ratio * part
            and self.far_below <= rule.far_below_ratio * part
            and self.error <= rule.naive_ratio * self.naive_error
        )

    @property
    def condition(self) -> str:
        """The judgement in words and numbers."""
        rule = self.rule
        part = 1.0 if self.trusted_before else rule.regain_ratio
        steps = min(self.steps, round(rule.memory_steps))
        return (
            f"of the last {steps} judged steps {self.above:.1%} lay above the 0.9 quantile "
            f"(at most {rule.above_ratio * part:.1%}), {self.far_below:.1%} far below the 0.1 quantile "
            f"(at most {rule.far_below_ratio * part:.1%}), the median missed by {self.error:.3g} workers, "
            f"the last value by {self.naive_error:.3g} (at most {rule.naive_ratio:g} times as much)"
        )


def judged_lately(rule: ReliabilityRule, steps: Sequence[ForetoldStep]) -> Reliability:
    """The judgement of the last `memory_steps` of those steps that say anything, oldest first.

    For who keeps nothing between two judgements: made anew each time, and what lies further back (where a
    model that is fitted anew had hardly learned) counts no more.
    """
    reliability = Reliability(rule)
    for step in [step for step in steps if rule.judges(*step)][-round(rule.memory_steps) :]:
        reliability.observe(*step)
    return reliability


_RECORDED: Final = ("trusted_before", "steps", "above", "far_below", "error", "naive_error")
