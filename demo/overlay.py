"""The synthetic overlay on the sample: what the real data lacks, generated from a seed and labelled.

The real sample (entries at 20 stations, see data/README.md) has weekdays, holidays and trends, but no
month-end rush, no hours, no channels and no servers. `generate` writes those to data/ as files of their
own; every row of them is stored with `synthetic = true`. `python -m demo overlay` writes them again, the
same byte for byte.
"""

from __future__ import annotations

import gzip
import io
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import holidays
import numpy as np
import pandas as pd

SEED: Final = 20160729
ZONE: Final = "America/Chicago"
COUNTRY: Final = "US"
ENTRIES_PER_UNIT: Final = 50
"""That many station entries stand for one wish to repay early."""

SOURCE_REAL: Final = "chicago_l_entries"
SOURCE_MONTH_END: Final = "overlay:month_end"
SOURCE_PRESSURE: Final = "overlay:pressure"

SURGE_OF_LAST_WORKDAYS: Final = (0.40, 0.70, 1.10)
"""Extra demand on the third last, second last and last workday of a month, as a share of the real."""
QUARTER_END_FACTOR: Final = 1.25
"""At a quarter's end the extra is that many times as large."""
SURGE_NOISE: Final = 0.08
"""Standard deviation of the surge's size: one draw per month, one per branch and day."""

SATURDAY: Final = 5
OPENS: Final = time(8, 0)
QUARTERS: Final = 40
"""Business quarter-hours a day: 08:00 to 18:00."""
PEAKS: Final = ((time(10, 0), 45.0, 1.7), (time(12, 30), 30.0, 1.3))
"""Morning and lunch: middle, standard deviation in minutes, height over the base of 1."""

CHANNEL_SHARES: Final = {"app": 0.46, "mini_program": 0.22, "web": 0.14, "phone": 0.10, "counter": 0.08}

BRANCHES: Final = (
    ("Clark_Lake", "loop", "Clark/Lake", "克拉克湖街支行"),
    ("Clinton", "loop", "Clinton", "克林顿支行"),
    ("Merchandise_Mart", "loop", "Merchandise Mart", "商品市场支行"),
    ("Monroe", "loop", "Monroe", "门罗街支行"),
    ("Quincy_Wells", "loop", "Quincy/Wells", "昆西街支行"),
    ("Washington_Wells", "loop", "Washington/Wells", "华盛顿街支行"),
    ("Addison", "north", "Addison", "艾迪生支行"),
    ("Belmont", "north", "Belmont", "贝尔蒙特支行"),
    ("Irving_Park", "north", "Irving Park", "欧文公园支行"),
    ("Jefferson_Park", "north", "Jefferson Park", "杰斐逊公园支行"),
    ("Montrose", "north", "Montrose", "蒙特罗斯支行"),
    ("Austin", "west", "Austin", "奥斯汀支行"),
    ("California", "west", "California", "加利福尼亚街支行"),
    ("Harlem", "west", "Harlem", "哈勒姆支行"),
    ("Oak_Park", "west", "Oak Park", "橡树园支行"),
    ("Archer_35th", "south", "35th/Archer", "阿彻街支行"),
    ("Ashland", "south", "Ashland", "阿什兰支行"),
    ("Kedzie", "south", "Kedzie", "凯兹支行"),
    ("Polk", "south", "Polk", "波尔克街支行"),
    ("Western", "south", "Western", "西大道支行"),
)
"""Station, region (our assignment), and the names of the branch that it stands for."""
REGIONS: Final = {
    "loop": ("The Loop", "卢普区"),
    "north": ("North", "北区"),
    "west": ("West", "西区"),
    "south": ("South", "南区"),
}
SLOTS_A_DAY: Final = 20
STAFF_HEADROOM: Final = 1.25
"""Staff can serve that many times the busiest day of the last two years."""

PRESSURE_FROM: Final = date(2016, 6, 2)
PRESSURE_TO: Final = date(2016, 7, 27)
REQUESTS_PER_WISH: Final = 2.2
"""Looking at the calendar, booking, confirming, trying again: what the demo's customers need."""
BUSY_SECONDS_PER_REQUEST: Final = 0.02


def real_units(history: Path) -> pd.DataFrame:
    """The real sample in units: columns unique_id, ds (datetime64), y (float, whole, not negative)."""
    frame = pd.read_csv(history, parse_dates=["ds"])
    frame["y"] = (frame["y"] / ENTRIES_PER_UNIT).round().clip(lower=0)
    return frame


def surge_share(days: pd.DatetimeIndex) -> pd.Series:
    """Expected extra demand of each day as a share of the real demand (0 on ordinary days)."""
    first, last = days.min(), days.max()
    span = pd.date_range(first.replace(day=1), last + pd.offsets.MonthEnd(1), freq="D")
    workdays = [day for day in span if is_workday(day.date())]
    extra: dict[pd.Timestamp, float] = {}
    for _, group in groupby(workdays, key=lambda day: (day.year, day.month)):
        month = list(group)
        factor = QUARTER_END_FACTOR if month[0].month % 3 == 0 else 1.0
        extra |= {day: share * factor for share, day in zip(SURGE_OF_LAST_WORKDAYS, month[-3:], strict=True)}
    return pd.Series([extra.get(day, 0.0) for day in days], index=days)


@lru_cache(maxsize=1)
def public_holidays() -> holidays.HolidayBase:
    """The public holidays of the sample's country."""
    return holidays.country_holidays(COUNTRY)


def is_workday(day: date) -> bool:
    """Whether the day is neither a weekend nor a public holiday."""
    return day.weekday() < SATURDAY and day not in public_holidays()


def month_end_surge(real: pd.DataFrame, seed: int = SEED) -> pd.DataFrame:
    """The units that the month's end adds, per branch and day (whole, above 0).

    It only ever adds: no real count is lowered.
    """
    rng = np.random.default_rng(seed)
    days = pd.DatetimeIndex(sorted(real["ds"].unique()))
    share = surge_share(days)
    of_month = {month: rng.normal(1.0, SURGE_NOISE) for month in sorted(set(days.to_period("M")))}
    rows = real.sort_values(["unique_id", "ds"]).reset_index(drop=True)
    expected = rows["ds"].map(share) * rows["ds"].dt.to_period("M").map(of_month).astype(float)
    own = np.clip(rng.normal(1.0, SURGE_NOISE, len(rows)), 0.5, 1.5)
    rows["y"] = (rows["y"] * expected * own).round()
    return rows.loc[rows["y"] > 0, ["unique_id", "ds", "y"]].reset_index(drop=True)


def branch_rows(demand: pd.DataFrame) -> pd.DataFrame:
    """The branches as `import-branches` reads them, each with what its staff can serve in a day.

    The cap is synthetic: the busiest day of the last two years and a quarter more, in whole units a slot.
    """
    recent = demand[demand["ds"] > demand["ds"].max() - pd.Timedelta(days=730)]
    busiest = recent.groupby("unique_id")["y"].max()
    rows = []
    for branch_id, region_id, name_en, name_zh in BRANCHES:
        per_slot = int(np.ceil(float(busiest[branch_id]) * STAFF_HEADROOM / SLOTS_A_DAY))
        rows.append(
            (branch_id, region_id, *REGIONS[region_id], name_en, name_zh, per_slot * SLOTS_A_DAY, "true")
        )
    names = ["branch_id", "region_id", "region_name_en", "region_name_zh", "name_en", "name_zh"]
    return pd.DataFrame(rows, columns=[*names, "staff_cap_units", "automatic_application"])


def day_shape() -> pd.DataFrame:
    """The share of a day's wishes in each business quarter-hour: columns quarter ("HH:MM"), share (sum 1)."""
    minutes = np.array([quarter_minutes(index) + 7.5 for index in range(QUARTERS)])
    weight = np.ones(QUARTERS)
    for middle, deviation, height in PEAKS:
        weight += height * np.exp(-(((minutes - _minutes(middle)) / deviation) ** 2) / 2)
    labels = [
        f"{quarter_minutes(index) // 60:02d}:{quarter_minutes(index) % 60:02d}" for index in range(QUARTERS)
    ]
    return pd.DataFrame({"quarter": labels, "share": weight / weight.sum()})


def quarter_minutes(index: int) -> int:
    """Minutes after midnight at which the business quarter-hour begins."""
    return _minutes(OPENS) + 15 * index


def pressure_history(demand: pd.DataFrame, seed: int = SEED) -> pd.DataFrame:
    """Requests and busy seconds of each business quarter-hour, the wishes of a day arriving on its eve.

    demand: real plus surge (unique_id, ds, y). Columns starts_utc (ISO 8601), requests, busy_seconds.
    """
    rng = np.random.default_rng(seed + 1)
    by_day = demand.groupby("ds")["y"].sum()
    shares = day_shape()["share"].to_numpy()
    rows: list[tuple[str, int, float]] = []
    day = PRESSURE_FROM
    while day <= PRESSURE_TO:
        wishes = float(by_day.get(pd.Timestamp(day + timedelta(days=1)), 0.0))
        counts = rng.poisson(wishes * REQUESTS_PER_WISH * shares)
        seconds = counts * BUSY_SECONDS_PER_REQUEST * rng.lognormal(0.0, 0.1, QUARTERS)
        opens = datetime.combine(day, OPENS, ZoneInfo(ZONE)).astimezone(ZoneInfo("UTC"))
        for index in range(QUARTERS):
            starts = opens + timedelta(minutes=15 * index)
            rows.append(
                (starts.strftime("%Y-%m-%dT%H:%M:%SZ"), int(counts[index]), round(float(seconds[index]), 3))
            )
        day += timedelta(days=1)
    return pd.DataFrame(rows, columns=["starts_utc", "requests", "busy_seconds"])


def generate(folder: Path) -> list[Path]:
    """The overlay files, written beside the real sample in `folder`."""
    real = real_units(folder / "chicago_l_station_entries_daily.csv.gz")
    surge = month_end_surge(real)
    demand = pd.concat([real, surge]).groupby(["unique_id", "ds"])["y"].sum().reset_index()
    surge_out = surge.assign(ds=surge["ds"].dt.strftime("%Y-%m-%d"), y=surge["y"].astype(int))
    channels = pd.DataFrame({"channel": list(CHANNEL_SHARES), "share": list(CHANNEL_SHARES.values())})
    return [
        _write(branch_rows(demand), folder / "branches.csv"),
        _write(surge_out, folder / "overlay_month_end.csv.gz"),
        _write(pressure_history(demand), folder / "overlay_pressure.csv.gz"),
        _write(day_shape().round(6), folder / "overlay_day_shape.csv"),
        _write(channels, folder / "overlay_channels.csv"),
    ]


def _write(frame: pd.DataFrame, path: Path) -> Path:
    """The path, written so that the same frame gives the same bytes (no name or time in the gzip header)."""
    text = frame.to_csv(index=False, lineterminator="\n").encode()
    if path.suffix == ".gz":
        packed = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
            file.write(text)
        text = packed.getvalue()
    path.write_bytes(text)
    return path


def _minutes(moment: time) -> int:
    return moment.hour * 60 + moment.minute
