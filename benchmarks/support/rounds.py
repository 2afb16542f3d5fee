"""Interleaved rounds and what they say: the machine drifts, so each ratio is taken within a round. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table: a median with its range, and what it is to reach."""

    name: str
    value: float
    low: float
    high: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    @property
    def target(self) -> str:
        """The target in words."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}"


def interleave(measures: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each measure gave in each round; every other round goes backwards, so that drift cancels out."""
    seen: dict[str, list[T]] = {name: [] for name in measures}
    for n in range(rounds):
        for name in list(measures) if n % 2 == 0 else reversed(list(measures)):
            seen[name].append(measures[name]())
    return seen


def figure(name: str, values: Sequence[float], **target: Any) -> Figure:
    """The median of the rounds with its range; NaN is no round's value, so one spoils the median visibly."""
    value = math.nan if any(math.isnan(v) for v in values) else median(values)
    return Figure(name, value, min(values), max(values), **target)


def ratio(name: str, above: Sequence[float], below: Sequence[float], **target: Any) -> Figure:
    """The median over rounds of above ÷ below, each taken within its round."""
    pairs = zip(above, below, strict=True)
    return figure(name, [a / b if b else math.nan for a, b in pairs], **target)
