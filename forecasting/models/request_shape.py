"""The weekly shape of requests and its level: what each step of today and the next two days should bring.

The shape of a day is a weighted mean of past days, each divided by the level known the day before: days of
the same kind count most, others of the same family less, so that few known weeks borrow from all days. The
level moves once a day, by a part of how far the day missed its expectation.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from forecasting.frames import Floats
from forecasting.models.steps import StepGrid

DAYS_AHEAD: Final = 3
"""Today and two more: 48 hours from any step."""
_DAYS_KEPT: Final = 57
_HALF_LIFE_DAYS: Final = 21.0
_SAME_FAMILY: Final = 0.25
_OTHER_FAMILY: Final = 0.02
_FLAT: Final = 0.02
"""Weight of a flat day: what stands in for the shape until days are known."""
_LEVEL_GAIN: Final = 0.15
_LARGEST_MOVE: Final = 1.0
_ODD_DAY: Final = 0.7
"""A day that missed its total by so much (in logs) counts half in the shape: a feast, a flash crowd."""
_POWER: Final = 0.5
"""Days are averaged as square roots: a burst of one day lifts next week's shape less."""
_SMOOTH_MINUTES: Final = 7.5
_SMOOTH_BELOW_MINUTES: Final = 10
_FIRST_DAY_MEMORY_MINUTES: Final = 60.0
# Half or double the half-life, the gain or the weights of the families moves the loss on the tuning traces of
# benchmarks/pressure_forecast.py by less than 1 %.


class DayShapes:
    """Past days of one series and the steps that are expected of the coming ones, in requests a step."""

    def __init__(self, grid: StepGrid) -> None:
        self._grid = grid
        self._shapes = np.full((_DAYS_KEPT, grid.per_day), np.nan)
        self._kinds = np.full(_DAYS_KEPT, -1)
        self._works = np.zeros(_DAYS_KEPT, dtype=bool)
        self._trust = np.zeros(_DAYS_KEPT)
        self._days = 0
        self._seen = np.full(grid.per_day, np.nan)
        self._expected = np.zeros(grid.per_day)
        self._coming = np.zeros((DAYS_AHEAD, grid.per_day))
        self._recent, self._recent_steps = 0.0, 0.0
        self._today = int(grid.day[0])
        self.level = 0.0
        """Requests a step that the shape stands on; 0 until a first day is over."""

    def of(self, step: int) -> float:
        """The requests expected of one step of today."""
        return float(self._coming[0, self._grid.slot[step]])

    def at(self, steps: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
        """The requests expected of steps of today or the two days after (later ones: as of the third day)."""
        ahead = np.minimum(self._grid.day[steps] - self._today, DAYS_AHEAD - 1)
        expected: Floats = self._coming[ahead, self._grid.slot[steps]]
        return expected

    def record(self, step: int, requests: float) -> None:
        """Note what a step of today brought; NaN: unknown."""
        slot = self._grid.slot[step]
        self._seen[slot], self._expected[slot] = requests, self._coming[0, slot]
        if self.level == 0.0 and not np.isnan(requests):
            keep = np.exp(-self._grid.minutes / _FIRST_DAY_MEMORY_MINUTES)
            self._recent = keep * self._recent + requests
            self._recent_steps = keep * self._recent_steps + 1.0
            self._coming[:] = self._recent / self._recent_steps

    def begin_day(self, step: int) -> float:
        """Close the day before the step's; the change of the level in logs (0 on the first days)."""
        moved = self._close()
        self._today = int(self._grid.day[step])
        self._seen[:], self._expected[:] = np.nan, 0.0
        if self.level > 0.0:
            for ahead in range(DAYS_AHEAD):
                self._coming[ahead] = self.level * self._shape(self._today + ahead)
        return moved

    def _close(self) -> float:
        """Take the day that is over into shape and level; the level's change in logs."""
        known = ~np.isnan(self._seen)
        if not known.any():
            return 0.0
        seen, expected = float(self._seen[known].sum()), float(self._expected[known].sum())
        missed = moved = 0.0
        if self.level == 0.0:
            if seen <= 0.0:
                return 0.0
            self.level = level = seen / float(known.sum())
        else:
            floor = 0.02 * expected + 1.0  # a quiet day's few requests say little
            missed = float(np.log((seen + floor) / (expected + floor)))
            level = self.level
            moved = _LEVEL_GAIN * float(known.mean()) * float(np.clip(missed, -_LARGEST_MOVE, _LARGEST_MOVE))
            self.level *= float(np.exp(moved))
        place = self._days % _DAYS_KEPT
        self._shapes[place] = (smoothed(self._seen, self._grid.minutes) / level) ** _POWER
        self._kinds[place], self._works[place] = self._kind(self._today)
        self._trust[place] = 1.0 / (1.0 + (missed / _ODD_DAY) ** 2)
        self._days += 1
        return moved

    def _shape(self, day: int) -> Floats:
        """The shape of one day relative to the level."""
        kept = min(self._days, _DAYS_KEPT)
        newest_first = (self._days - 1 - np.arange(kept)) % _DAYS_KEPT
        kind, works = self._kind(day)
        alike = np.where(self._works[newest_first] == works, _SAME_FAMILY, _OTHER_FAMILY)
        alike = np.where(self._kinds[newest_first] == kind, 1.0, alike)
        weight = alike * self._trust[newest_first] * 0.5 ** (np.arange(1, kept + 1) / _HALF_LIFE_DAYS)
        past = self._shapes[newest_first]
        known = ~np.isnan(past)
        total = weight @ np.where(known, past, 0.0) + _FLAT
        shape: Floats = (total / (weight @ known + _FLAT)) ** (1.0 / _POWER)
        return shape

    def _kind(self, day: int) -> tuple[int, bool]:
        step = min(self._grid.first_step(day), len(self._grid) - 1)
        return int(self._grid.kind[step]), bool(self._grid.works[step])


def smoothed(values: Floats, minutes: int) -> Floats:
    """Values averaged in a triangle of ± 7.5 minutes, NaN left out; from 10 minutes a step on as they are."""
    half = round(_SMOOTH_MINUTES / minutes) if minutes < _SMOOTH_BELOW_MINUTES else 0
    if half == 0:
        return values.copy()
    kernel = np.concatenate([np.arange(1, half + 2), np.arange(half, 0, -1)]).astype(np.float64)
    known = ~np.isnan(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, "same")
    weight = np.convolve(known.astype(np.float64), kernel, "same")
    return np.where(weight > 0, total / np.maximum(weight, 1.0), np.nan)
