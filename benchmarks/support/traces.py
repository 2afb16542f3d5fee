"""Traces of requests or calls by a few minutes: what servers meet. Each regular, unknown steps NaN."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.support.demand_sets import COUNTRIES
from forecasting.frames import Floats
from forecasting.models.calendar import day_types
from forecasting.models.steps import StepGrid, step_grid

NAME: Final = re.compile(r"(?P<stem>.+)_(?P<minutes>\d+)min\.csv(\.gz)?")
HOURLY: Final = re.compile(r"(?P<stem>.+)_hourly\.csv(\.gz)?")
QUIET_MINUTES_ABSENT: Final = ("wc98",)
"""Files that leave out the minutes without requests: there a missing step is 0, elsewhere unknown."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests of consecutive steps of `minutes`, from the local time `first` on."""

    name: str
    minutes: int
    first: pd.Timestamp
    requests: Floats
    country: str

    def grid(self, beyond: int) -> StepGrid:
        """Where the steps lie in days, and so many after the last."""
        steps = len(self.requests) + beyond
        local = pd.date_range(self.first, periods=steps, freq=f"{self.minutes}min", unit="us")
        days = pd.date_range(local[0].normalize(), local[-1].normalize(), freq="D", unit="us")
        works = {day.date(): bool(w) for day, w in day_types(days, self.country)["works"].items()}
        return step_grid(local.to_numpy(), self.minutes, works)


def traces(folder: Path, *, hourly: bool = False) -> Iterator[Trace]:
    """Every series of every file named …_Nmin.csv(.gz) in the folder, in order; hourly: …_hourly too."""
    for path in sorted(folder.glob("*.csv*")):
        if matched := NAME.fullmatch(path.name):
            minutes = int(matched["minutes"])
        elif hourly and HOURLY.fullmatch(path.name):
            minutes = 60
        else:
            continue
        rows = pd.read_csv(path, usecols=["unique_id", "ds", "y"], parse_dates=["ds"])
        country = next((code for start, code in COUNTRIES.items() if path.name.startswith(start)), "none")
        for name, group in rows.groupby("unique_id", sort=True):
            start = group["ds"].dt.floor(f"{minutes}min")
            regular = group.groupby(start)["y"].sum().asfreq(f"{minutes}min").astype("float64")
            if path.name.startswith(QUIET_MINUTES_ABSENT):
                regular = regular.fillna(0.0)
            requests = np.asarray(regular, dtype=np.float64)
            yield Trace(str(name), minutes, pd.Timestamp(regular.index[0]), requests, country)
