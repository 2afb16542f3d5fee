"""Requests made up for tests: days of a shape, on a grid that goes on beyond them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from forecasting.frames import Floats
from forecasting.models.steps import MINUTES_A_DAY, StepGrid, step_grid

FIRST = "2026-03-02"  # a Monday
BEYOND_DAYS = 3


def grid_of(days: int, minutes: int, *, first: str = FIRST) -> StepGrid:
    """Whole days, and three more to forecast."""
    steps = (days + BEYOND_DAYS) * MINUTES_A_DAY // minutes
    return step_grid(pd.date_range(first, periods=steps, freq=f"{minutes}min").to_numpy(), minutes)


def weekly(days: int, minutes: int, *, peak: float = 400.0, seed: int | None = 1) -> Floats:
    """Requests a step: a bell over the day, half as high at weekends; Poisson, or exact without a seed."""
    per_day = MINUTES_A_DAY // minutes
    hour = np.arange(per_day) * minutes / 60.0
    bell = peak * np.exp(-(((hour - 13.0) / 4.0) ** 2)) + 0.02 * peak
    level = np.array([0.5 if day % 7 >= 5 else 1.0 for day in range(days)])
    mean = (level[:, None] * bell).ravel()
    return mean if seed is None else np.random.default_rng(seed).poisson(mean).astype(np.float64)
