"""Who is let in when more ask than can be served: judged before anything is read. Pure, the clock injected.

Three bounds, each in one worker process: the wait that the queue promises, how often one customer asks,
and how many of a customer's wishes wait at once. docs/decisions/0007-admission.md and 0012 tell why these.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CUSTOMERS: Final = 50_000
"""Customers remembered; one who was forgotten begins with a full bucket."""


@dataclass(frozen=True)
class Limits:
    """What a worker process accepts."""

    deadline_seconds: float = 2.0
    """By when an accepted request is answered: a third of it may be spent waiting for its turn."""
    burst: int = 10
    """Tries of one customer at once."""
    per_second: float = 2.0
    """Further tries of one customer."""
    waiting: int = 2
    """Tries of one customer that wait at the same time."""
    told_per_second: int = 600
    """Refusals told a second; further ones are held back, so that asking again at once costs us little."""
    pause_seconds: float = 1.5
    """The longest that a refusal is held back."""


class Admission:
    """What one worker process lets in."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._told_until = 0.0

    def too_long(self, wait_seconds: float) -> bool:
        """Whether a request that would wait so long is better refused at once."""
        return wait_seconds * 3 >= self.limits.deadline_seconds

    def enter(self, customer: str) -> float:
        """0.0 and the customer's try waits until `leave`; else the seconds until the next is worth it."""
        now, limits = self._clock(), self.limits
        if self._waiting[customer] >= limits.waiting:
            return 1 / limits.per_second
        tokens, since = self._buckets.pop(customer, (float(limits.burst), now))
        tokens = min(float(limits.burst), tokens + (now - since) * limits.per_second)
        short = tokens < 1
        self._buckets[customer] = (tokens if short else tokens - 1, now)
        if len(self._buckets) > CUSTOMERS:
            self._buckets.popitem(last=False)
        if short:
            return (1 - tokens) / limits.per_second
        self._waiting[customer] += 1
        return 0.0

    def leave(self, customer: str) -> None:
        """The customer's try was answered."""
        self._waiting[customer] -= 1
        if not self._waiting[customer]:
            del self._waiting[customer]

    def pause(self) -> float:
        """How many seconds to hold this refusal back: one alone is told at once, a crowd's are spread."""
        now, limits = self._clock(), self.limits
        ahead = max(0.0, self._told_until - now)
        self._told_until = now + min(limits.pause_seconds, ahead + 1 / limits.told_per_second)
        return ahead
