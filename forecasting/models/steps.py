"""Where the steps of a series lie in the bank's local days: the day, the place in it, the kind of day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MINUTES_A_DAY: Final = 1440
_MONDAY_OF_EPOCH: Final = 3
"""1970-01-01 was a Thursday: (day number + 3) % 7 is the weekday, Monday = 0."""
_WEEKEND: Final = (5, 6)
_OFF_ON_A_WORKING_WEEKDAY: Final = 7
_WORKS_ON_A_WEEKEND: Final = 8


@dataclass(frozen=True, slots=True)
class StepGrid:
    """Consecutive steps of equal length; arrays of one entry a step.

    Steps follow each other in true time, so a day of clock change has more or fewer of them: its local slots
    come twice or not at all.
    """

    minutes: int
    """Length of a step; divides the day."""
    day: Integers
    """Days since 1970-01-01, bank-local, ascending."""
    slot: Integers
    """Local minute of the day ÷ minutes: 0 to per_day − 1."""
    kind: Integers
    """Days of one kind share a shape: 0 to 6 the ordinary weekdays, 7 a day off on a weekday that usually
    works, 8 a workday on a weekday that usually does not."""
    works: Bools
    """Whether it is a workday: the wider family that a rare kind borrows from."""

    def __len__(self) -> int:
        return len(self.day)

    @property
    def per_day(self) -> int:
        """Steps of an ordinary day."""
        return MINUTES_A_DAY // self.minutes

    def first_step(self, day: int) -> int:
        """The first step on the day or after it (the number of steps where there is none)."""
        return int(np.searchsorted(self.day, day))


def step_grid(
    local: npt.NDArray[np.datetime64], minutes: int, works: Mapping[date, bool] | None = None
) -> StepGrid:
    """The grid of steps that start at these local times (naive, in true order, one every `minutes`).

    works: workdays of the calendar; None: Monday to Friday. ValueError for a length that divides no day, a
    start off the grid, or a day that `works` does not know.
    """
    if not 1 <= minutes <= MINUTES_A_DAY or MINUTES_A_DAY % minutes:
        raise ValueError(f"steps of {minutes} minutes: expected a divisor of {MINUTES_A_DAY}")
    minute = local.astype("datetime64[m]").astype(np.int64)
    day, of_day = minute // MINUTES_A_DAY, minute % MINUTES_A_DAY
    if (of_day % minutes).any():
        wrong = local[np.flatnonzero(of_day % minutes)[0]]
        raise ValueError(f"a step starts at {wrong}: expected a whole multiple of {minutes} minutes")
    weekday = (day + _MONDAY_OF_EPOCH) % 7
    usually = ~np.isin(weekday, _WEEKEND)
    if works is None:
        return StepGrid(minutes, day, of_day // minutes, weekday, usually)
    days, where = np.unique(day, return_inverse=True)
    names = [day.item() for day in days.astype("datetime64[D]")]
    if unknown := [name for name in names if name not in works]:
        raise ValueError(f"no entry for {unknown[0].isoformat()} among the workdays")
    at_work = np.array([works[name] for name in names])
    usually = _usually(at_work, (days + _MONDAY_OF_EPOCH) % 7)[where]
    working = at_work[where]
    odd = np.where(working, _WORKS_ON_A_WEEKEND, _OFF_ON_A_WORKING_WEEKDAY)
    return StepGrid(minutes, day, of_day // minutes, np.where(working == usually, weekday, odd), working)


def _usually(at_work: Bools, weekday: Integers) -> Bools:
    """Per day, whether most days of its weekday are workdays (some weekends are Friday and Saturday)."""
    share = [at_work[weekday == number].mean() if (weekday == number).any() else 0.0 for number in range(7)]
    return np.array(share)[weekday] >= 0.5  # noqa: PLR2004 - most
