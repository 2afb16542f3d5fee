"""What a what-if takes and gives: a region as it stands, changes to it, and what its days would bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from forecasting.decisions.erlang import Ints
from forecasting.frames import Floats


@dataclass(frozen=True, slots=True)
class Layer:
    """The limits of one kind of scope and period. G groups of branches, N periods; inf = no limit."""

    scope_kind: str
    """branch | region"""
    period_kind: str
    """day | week | month"""
    scopes: tuple[str, ...]
    """The ids of the groups, (G,)."""
    group: Ints
    """The group of each branch, (branches,)."""
    period: Ints
    """The period of each day, (days,), from 0 on."""
    limits: Floats
    """Units, (G, N)."""
    used: Floats
    """Of these, taken by the days before the first one, (G, N)."""


@dataclass(frozen=True, slots=True)
class Counter:
    """The staff of each branch; every array is (branches,)."""

    units_per_head: Floats
    """Units a day that a head serves."""
    peak_share: Floats
    """Share of a day's customers in its busiest half-hour."""
    come_ratio: Floats
    """Share of customers who come: 1 − no-shows."""
    handling_seconds: Floats
    service_level: float = 0.8
    wait_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Servers:
    """How demand becomes workers."""

    requests_per_unit: float
    peak_share: float
    """Share of a day's requests in its busiest quarter-hour."""
    quarter_seconds: float
    """Wall seconds that a business quarter-hour lasts."""
    cost_seconds: float
    """Busy seconds a request."""
    target_utilisation: float
    min_workers: int
    max_workers: int


@dataclass(frozen=True, slots=True)
class Situation:
    """A region as it stands; arrays in the order of its branches and days."""

    region: str
    branches: tuple[str, ...]
    first_day: date
    demand: Floats
    """Sample paths of units wished, (branches, days, paths)."""
    layers: tuple[Layer, ...]
    staff_caps: Floats
    """Units that the staff can serve, (branches, days); inf = unknown."""
    counter: Counter
    servers: Servers
    refused_cost: float
    idle_cost: float = 1.0
    waiting: Floats | None = None
    """Units on the waitlist when the first day begins, (branches,); None = nobody."""
    elsewhere: Floats | None = None
    """Units wished in all other regions, (days, paths): the servers are the bank's. None = none."""

    @property
    def days(self) -> int:
        """How many days are played through."""
        return int(self.demand.shape[1])


@dataclass(frozen=True, slots=True)
class Shock:
    """Demand times so much, at a scope, on the days first..last (None: from the first, to the last one)."""

    ratio: float
    scope: str = "bank:bank"
    """bank:bank | region:ID | branch:ID"""
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True, slots=True)
class LimitChange:
    """The units of every period of one scope's limit; where none stood, one stands now."""

    scope: str
    """region:ID | branch:ID"""
    period_kind: str
    """day | week | month"""
    units: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What is changed; None and empty = as it is.

    A service level, or costs (their ratio is a level), set the branches' day limits anew.
    """

    refused_cost: float | None = None
    idle_cost: float | None = None
    service_level: float | None = None
    quota_ratio: float | None = None
    """The branches' day limits times so much."""
    limits: tuple[LimitChange, ...] = ()
    staff_heads: Mapping[str, float] = field(default_factory=dict)
    """Heads at the counter of a branch, each day."""
    staff_ratio: float | None = None
    """What the staff can serve, times so much. Where that is unknown it stays so, also at 0: nobody at a
    branch is `staff_heads` 0."""
    shocks: tuple[Shock, ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """A figure over the paths."""

    mean: float
    low: float
    """The 0.1 quantile."""
    high: float
    """The 0.9 quantile."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the days bring."""

    demand_units: Range
    refused_units: Range
    """Units not served on the day first wished, for whatever limit."""
    waiting_days: Range
    """Mean days of those who wait; the wait beyond the last day is not counted."""
    waiting_units: Range
    """Units still waiting after the last day."""
    idle_units: Range
    """Units of day quotas that the staff could have served and nobody took."""
    cost: Range
    """Refused and idle units at their costs."""
    staff_heads: Range
    """Heads at the counter in the busiest half-hour, all branches, mean over the days."""
    workers: Range
    """Of the bank's servers in the busiest quarter-hour of the busiest day."""
    refused_by_day: tuple[float, ...]
    """Means over the paths, as are the next."""
    waiting_by_day: tuple[float, ...]
    idle_by_day: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The same futures twice, valued at the same (the changed) costs."""

    region: str
    first_day: date
    days: int
    present: Outcome
    changed: Outcome

    def as_record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"first_day": self.first_day.isoformat()}
