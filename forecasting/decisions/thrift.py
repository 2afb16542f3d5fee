"""A budget for servers: what a plain autoscaler would run is never exceeded for long.

The balance gathers the worker time that the plain rule would have taken, minus the time taken. Overdrawn,
each further `step_worker_hours` make a worker dearer and the headroom without a forecast smaller, until
only the observed load counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from booking_core.scaling import ScalingRule


@dataclass(frozen=True, slots=True)
class ThriftRule:
    """What may be spent; every number has a stated default."""

    idle_ratio: float = 0.95
    """Share of the plain autoscaler's idle worker time that may be taken beyond what the load needs, …"""
    total_ratio: float = 0.993
    """… and share of all its worker time, which binds where it is hardly ever idle: so much for start-ups."""
    step_worker_hours: float = 4.0
    """Overdrawn by so much more, the next level begins."""
    saved_worker_hours: float = 20.0
    """No more than this is saved up, or owed."""
    less_headroom: float = 0.05
    """By so much the utilisation without a forecast rises with each level."""

    def __post_init__(self) -> None:
        if not (self.idle_ratio > 0 and self.total_ratio > 0 and self.step_worker_hours > 0):
            raise ValueError("the ratios and step_worker_hours must be above 0")


LEVELS: Final = 3
"""Levels at which the forecast still counts, each at twice the price of the one before; from here on it
does not."""


@dataclass(slots=True)
class Balance:
    """The running balance in worker-hours."""

    rule: ThriftRule = field(default_factory=ThriftRule)
    worker_hours: float = 0.0

    def book(self, *, needed: int, plain: int, taken: int, hours: float) -> int:
        """The level after so many hours: 0 inside the budget.

        needed: workers that the load keeps fully busy; plain: workers a plain autoscaler would run; taken:
        ours.
        """
        rule = self.rule
        allowed = min(needed + rule.idle_ratio * (plain - needed), rule.total_ratio * plain)
        changed = self.worker_hours + (allowed - taken) * hours
        self.worker_hours = min(max(changed, -rule.saved_worker_hours), rule.saved_worker_hours)
        return 0 if self.worker_hours >= 0 else 1 + int(-self.worker_hours / rule.step_worker_hours)


def price_at(price: float, level: int) -> float:
    """The price of a worker at the level: doubled with each."""
    return min(price * 2.0**level, 0.99)


def rule_at(scaling: ScalingRule, thrift: ThriftRule, level: int) -> ScalingRule:
    """The server rule at the level: less headroom with each, and from LEVELS on no trend is drawn on."""
    most = max(scaling.target_utilisation, scaling.trusted_utilisation or 0.0)
    target = min(most, scaling.target_utilisation + thrift.less_headroom * level)
    return replace(
        scaling, target_utilisation=target, trend_gain=0.0 if level >= LEVELS else scaling.trend_gain
    )
