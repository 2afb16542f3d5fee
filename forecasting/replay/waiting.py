"""The waitlist of a replay: who is refused waits for a free unit, first come first served."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from forecasting.frames import Floats

PATIENCE_DAYS: Final = 14
"""A wish without an appointment is closed after so many days (DESIGN: demand)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waiting came to, in units and unit-days."""

    waitlisted: float
    waited_days: float
    """Over all waitlisted units, those that gave up included (with the days they waited)."""
    gave_up: float

    @property
    def average_days(self) -> float:
        """Days that a waitlisted customer waits; 0 where nobody has to."""
        return self.waited_days / self.waitlisted if self.waitlisted > 0 else 0.0


def waiting(demand: Floats, quotas: Floats, *, patience: int = PATIENCE_DAYS) -> Waiting:
    """The waiting of one series, both (days,); those who still wait at the end count as long as they have.

    The waitlist is served before the day's own wishes: it was there first.
    """
    queue: deque[tuple[int, float]] = deque()
    waitlisted = waited = gave_up = 0.0
    for day, (wished, quota) in enumerate(zip(demand.tolist(), quotas.tolist(), strict=True)):
        free = quota
        while queue and day - queue[0][0] > patience:
            _, units = queue.popleft()
            gave_up += units
            waited += units * patience
        while queue and free > 0:
            since, units = queue.popleft()
            served = min(units, free)
            free -= served
            waited += served * (day - since)
            if units > served:
                queue.appendleft((since, units - served))
        if (refused := wished - free) > 0:
            queue.append((day, refused))
            waitlisted += refused
    for since, units in queue:
        waited += units * min(len(demand) - since, patience)
    return Waiting(waitlisted, waited, gave_up)


def with_backlog(demand: Floats, quotas: Floats) -> Floats:
    """The quotas (days,), each raised by those who wait on its eve, as a plan that sees its waitlist does."""
    raised = quotas.copy()
    backlog = 0.0
    for day in range(len(demand)):
        raised[day] += backlog
        backlog = max(0.0, backlog + demand[day] - raised[day])
    return raised
