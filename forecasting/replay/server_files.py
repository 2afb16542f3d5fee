"""Traces of requests out of a series file: regular steps, whose length the file tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from forecasting.frames import ID, TIME, VALUE, Floats
from forecasting.models.calendar import day_types
from forecasting.models.steps import MINUTES_A_DAY, StepGrid, step_grid

LONGEST_STEP_MINUTES: Final = 60
"""A coarser trace says nothing about servers that start within minutes."""
AHEAD_DAYS: Final = 2
"""The grid goes on so far beyond the last step: the request model forecasts two days."""


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """Requests of consecutive steps, NaN unknown, and where the steps lie in days."""

    requests: Floats
    grid: StepGrid
    first: pd.Timestamp

    def busy_after(self, days: int) -> bool:
        """Whether there is a whole day after the first `days`, and a request from then on."""
        since = days * self.grid.per_day
        return len(self.requests) >= since + self.grid.per_day and bool(np.nansum(self.requests[since:]) > 0)


def step_minutes(frame: pd.DataFrame) -> int:
    """The length of a step: the commonest distance of two rows of a series, in whole minutes.

    ValueError where there is none, or where it divides no day or exceeds an hour.
    """
    apart = frame.groupby(ID)[TIME].diff().dropna()
    if apart.empty:
        raise ValueError("every series has a single row; expected a row for each step of some weeks")
    minutes = float((apart.dt.total_seconds() / 60.0).mode().iloc[0])
    if minutes < 1 or minutes % 1 or MINUTES_A_DAY % minutes or minutes > LONGEST_STEP_MINUTES:
        raise ValueError(
            f"most rows lie {minutes:g} minutes apart; expected a step of whole minutes that divides the "
            f"day, from 1 to {LONGEST_STEP_MINUTES}"
        )
    return int(minutes)


def request_trace(
    rows: pd.DataFrame, minutes: int, *, country: str, most_days: int, quiet_absent: bool
) -> RequestTrace:
    """The last `most_days` of a series' rows (`ds`, `y`) by steps of so many minutes.

    A row counts for the step that it lies in, several of one step add up. quiet_absent: a step without a row
    had no request; else it is unknown. country: whose workdays count.
    """
    start = rows[TIME].dt.floor(f"{minutes}min")
    summed = rows.groupby(start)[VALUE].sum(min_count=1)  # all unknown stays unknown
    regular = summed.asfreq(f"{minutes}min", fill_value=0.0 if quiet_absent else None)
    per_day = MINUTES_A_DAY // minutes
    kept = regular.iloc[-most_days * per_day :]
    first = pd.Timestamp(kept.index[0])
    local = pd.date_range(
        first, periods=len(kept) + AHEAD_DAYS * per_day + 1, freq=f"{minutes}min", unit="us"
    )
    days = pd.date_range(local[0].normalize(), local[-1].normalize(), freq="D", unit="us")
    works = {
        day.date(): bool(at_work)
        for day, at_work in zip(days, day_types(days, country)["works"], strict=True)
    }
    return RequestTrace(
        np.asarray(kept, dtype=np.float64), step_grid(local.to_numpy(), minutes, works), first
    )
