"""The folds of a rolling-origin backtest: the same for every model that is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FOLDS: Final = 3
LEAST_FOLDS: Final = 2
FOLD_DAYS: Final = 28
FOLD_STEP_DAYS: Final = 29  # no multiple of 7, so that origins fall on different weekdays
SHORT_FOLD_DAYS: Final = 14
LEAST_TRAINING_DAYS: Final = 56


@dataclass(frozen=True, slots=True)
class Fold:
    """Days `origin` to `origin + days - 1` (positions in the series) forecast from all before."""

    origin: int
    days: int


def fold_origins(length: int, horizon_days: int) -> list[Fold]:
    """The folds for a series of `length` days, latest first; empty when two do not fit after 8 weeks."""
    for days, step in (
        (min(horizon_days, FOLD_DAYS), FOLD_STEP_DAYS),
        (min(horizon_days, SHORT_FOLD_DAYS), SHORT_FOLD_DAYS + 1),
    ):
        origins = [length - days - step * number for number in range(FOLDS)]
        folds = [Fold(origin, days) for origin in origins if origin >= LEAST_TRAINING_DAYS]
        if len(folds) >= LEAST_FOLDS:
            return folds
    return []
