"""Booking and arrival curves to judge pick-up on: real where the data folder has them, else made up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from forecasting.frames import Floats

LEADS: Final = 64
"""Columns of a curve; the last one holds all longer leads."""
HOTEL: Final = "hotel_pickup.csv.gz"
CALLS: Final = "bankcalls_il_6min.csv.gz"
_MADE_UP_DAYS: Final = 480
_WEEK: Final = np.array([1.2, 1.1, 1.1, 1.15, 1.35, 0.6, 0.4])


@dataclass(frozen=True, slots=True)
class Curves:
    """Units of each day by lead, or by time of day (minutes after midnight in `columns`): (days, columns)."""

    name: str
    country: str
    days: pd.DatetimeIndex
    units: Floats
    columns: tuple[int, ...]


def booking_curves(folder: Path) -> Curves:
    """The city hotel's bookings by day of arrival and lead, cancelled ones included: they were wished."""
    if not (folder / HOTEL).is_file():
        return _made_up_bookings()
    rows = pd.read_csv(folder / HOTEL, parse_dates=["arrival_ds"])
    days = pd.date_range(rows["arrival_ds"].min(), rows["arrival_ds"].max(), unit="us")
    units = np.zeros((len(days), LEADS))
    place = (rows["arrival_ds"] - days[0]).dt.days.to_numpy()
    np.add.at(units, (place, np.minimum(rows["lead_days"], LEADS - 1)), rows["bookings"])
    return Curves(HOTEL.partition(".")[0], "PT", days, units, tuple(range(LEADS)))


def arrival_curves(folder: Path) -> Curves:
    """A bank's calls of 1999 by day and six minutes."""
    if not (folder / CALLS).is_file():
        return _made_up_calls()
    rows = pd.read_csv(folder / CALLS, parse_dates=["ds"])
    day = rows["ds"].dt.normalize()
    minute = (rows["ds"] - day).dt.total_seconds() // 60
    table = rows.assign(day=day, minute=minute.astype(int)).pivot_table(
        index="day", columns="minute", values="y", aggfunc="sum", fill_value=0.0
    )
    days = pd.DatetimeIndex(table.index).as_unit("us")
    return Curves(
        CALLS.partition(".")[0], "IL", days, table.to_numpy(), tuple(int(each) for each in table.columns)
    )


def _levels(days: pd.DatetimeIndex, rng: np.random.Generator) -> Floats:
    """Customers a day by weekday and month end, and what nobody knows before."""
    usual = 60 * _WEEK[days.weekday] * np.where(days.is_month_end, 1.8, 1.0)
    levels: Floats = usual * rng.gamma(25, 1 / 25, len(days))
    return levels


def _made_up_bookings() -> Curves:
    """Gamma-Poisson days whose leads are geometric, their shares varying from day to day."""
    rng = np.random.default_rng(5)
    days = pd.date_range("2023-01-01", periods=_MADE_UP_DAYS, unit="us")
    curve = 0.9 ** np.arange(LEADS)
    shares = rng.gamma(30 * curve / curve.sum(), size=(len(days), LEADS))
    rates = _levels(days, rng)[:, None] * shares / shares.sum(axis=1, keepdims=True)
    return Curves("synthetic", "none", days, rng.poisson(rates).astype(float), tuple(range(LEADS)))


def _made_up_calls() -> Curves:
    """Gamma-Poisson days with a morning and an afternoon peak, by six minutes."""
    rng = np.random.default_rng(6)
    days = pd.date_range("2023-01-01", periods=_MADE_UP_DAYS, unit="us")
    minutes = np.arange(0, 24 * 60, 6)
    shape = np.exp(-(((minutes - 630) / 90) ** 2)) + 0.8 * np.exp(-(((minutes - 900) / 120) ** 2))
    rates = 10 * _levels(days, rng)[:, None] * shape / shape.sum()
    return Curves("synthetic", "none", days, rng.poisson(rates).astype(float), tuple(int(m) for m in minutes))
