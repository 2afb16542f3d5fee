"""The sample bank as values: its branches, the demand of a real day as single wishes, its guessed quotas."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from demo import overlay
from demo.wishes import Wish
from metrics.contract import ALL_CHANNELS, PeriodKind, ScopeKind

ROOT: Final = Path(__file__).resolve().parent.parent
DATA: Final = ROOT / "data"
REAL_FILE: Final = "chicago_l_station_entries_daily.csv.gz"

FIRST_EVE: Final = date(2016, 7, 28)
"""The day of the first live customers; history is imported up to it."""
LAST_DAY: Final = date(2016, 8, 14)
"""The last real day of the sample."""

WEEK_DAYS_GUESSED: Final = 6
MONTH_DAYS_GUESSED: Final = 26
REGION_SHARE_GUESSED: Final = 0.95
"""How the bank guessed: a week is six ordinary days, a month 26, a region 95 % of its branches' sum."""

ON_REFUSAL: Final = {"follow": 0.55, "retry": 0.25, "leave": 0.20}
"""What refused customers do: take the first remedy, try the same once more, give up."""
FORMS: Final = {"complete": 0.60, "later": 0.37, "wrong": 0.03}
"""How customers fill in the form: at once, after holding, with an amount above what they owe."""
PAYOFF_MEDIAN_CNY: Final = 350_000
PAYOFF_RANGE_CNY: Final = (20_000, 3_000_000)


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch of the sample."""

    branch_id: str
    region_id: str
    name_en: str
    name_zh: str
    staff_cap_units: int


@dataclass(frozen=True, slots=True)
class StandingLimit:
    """A guessed standing limit."""

    quota_id: str
    limit_units: int


@lru_cache(maxsize=1)
def branches() -> tuple[Branch, ...]:
    """The 20 branches of data/branches.csv."""
    with (DATA / "branches.csv").open(newline="", encoding="utf-8") as file:
        return tuple(
            Branch(r["branch_id"], r["region_id"], r["name_en"], r["name_zh"], int(r["staff_cap_units"]))
            for r in csv.DictReader(file)
        )


@lru_cache(maxsize=1)
def real() -> pd.DataFrame:
    """Real demand in units: unique_id, ds, y."""
    return overlay.real_units(DATA / REAL_FILE)


@lru_cache(maxsize=1)
def surge() -> pd.DataFrame:
    """The synthetic month-end surge in units: unique_id, ds, y."""
    return pd.read_csv(DATA / "overlay_month_end.csv.gz", parse_dates=["ds"])


def demand() -> pd.DataFrame:
    """Real plus synthetic demand: unique_id, ds, y; one row per branch and day."""
    both = pd.concat([real(), surge()])
    return both.groupby(["unique_id", "ds"])["y"].sum().reset_index()


def wishes_of(day: date, *, only: Sequence[str] | None = None, scale: float = 1.0) -> list[Wish]:
    """The wishes for the day in order of arrival, seeded by day and branch.

    only: these branches; scale: that share of each branch's demand (rounded). Raises ValueError when
    the sample has no such day.
    """
    everything = demand()
    of_day = everything[everything["ds"] == pd.Timestamp(day)].set_index("unique_id")["y"]
    if of_day.empty:
        raise ValueError(f"the sample has no demand for {day}; it ends on {LAST_DAY}")
    shape = pd.read_csv(DATA / "overlay_day_shape.csv")
    channels = pd.read_csv(DATA / "overlay_channels.csv")
    share = shape["share"].to_numpy() / shape["share"].sum()
    of_halves = share.reshape(-1, 2).sum(axis=1)
    starts = shape["quarter"].to_numpy()[::2]
    wishes: list[Wish] = []
    for branch in branches():
        if only is not None and branch.branch_id not in only:
            continue
        rng = np.random.default_rng([overlay.SEED, day.toordinal(), zlib.crc32(branch.branch_id.encode())])
        units = round(float(of_day[branch.branch_id]) * scale)
        arrive = rng.choice(len(share), units, p=share) + rng.random(units)
        slot = rng.choice(starts, units, p=of_halves)
        channel = rng.choice(channels["channel"], units, p=channels["share"] / channels["share"].sum())
        then = rng.choice(list(ON_REFUSAL), units, p=list(ON_REFUSAL.values()))
        form = rng.choice(list(FORMS), units, p=list(FORMS.values()))
        payoff = np.clip(rng.lognormal(np.log(PAYOFF_MEDIAN_CNY), 0.6, units), *PAYOFF_RANGE_CNY)
        wishes += [
            Wish(
                loan_ref=f"L-{day:%Y%m%d}-{branch.branch_id}-{n + 1:04d}",
                branch_id=branch.branch_id,
                day=day,
                start=str(slot[n]),
                channel=str(channel[n]),
                at_quarters=round(float(arrive[n]), 4),
                on_refusal=str(then[n]),
                form=str(form[n]),
                payoff_cny=Decimal(f"{payoff[n]:.2f}"),
            )
            for n in range(units)
        ]
    return sorted(wishes, key=lambda wish: (wish.at_quarters, wish.loan_ref))


def next_workday(day: date) -> date:
    """The first workday after the day."""
    following = day + timedelta(days=1)
    while not overlay.is_workday(following):
        following += timedelta(days=1)
    return following


def standing_limits(
    until: date, *, only: Sequence[str] | None = None, scale: float = 1.0
) -> list[StandingLimit]:
    """The static quotas as the bank guessed them: from the mean ordinary day of the year up to `until`.

    Ordinary days are those that no month-end surge touches, so every level is too low when one comes.
    """
    history = real()
    year = history[
        (history["ds"] > pd.Timestamp(until - timedelta(days=365))) & (history["ds"] <= pd.Timestamp(until))
    ]
    share = overlay.surge_share(pd.DatetimeIndex(sorted(year["ds"].unique())))
    ordinary = year[year["ds"].map(share) == 0]
    of_branch = ordinary.groupby("unique_id")["y"].mean()
    limits: list[StandingLimit] = []
    of_region: dict[str, float] = {}
    for branch in branches():
        if only is None or branch.branch_id in only:
            mean = float(of_branch[branch.branch_id]) * scale
            of_region[branch.region_id] = of_region.get(branch.region_id, 0.0) + mean
            limits += _of_scope(ScopeKind.BRANCH, branch.branch_id, mean)
    for region_id, mean in of_region.items():
        limits += _of_scope(ScopeKind.REGION, region_id, mean * REGION_SHARE_GUESSED)
    return limits


def _of_scope(kind: ScopeKind, scope_id: str, day_units: float) -> list[StandingLimit]:
    days = {PeriodKind.DAY: 1, PeriodKind.WEEK: WEEK_DAYS_GUESSED, PeriodKind.MONTH: MONTH_DAYS_GUESSED}
    return [
        StandingLimit(f"{kind}:{scope_id}:{ALL_CHANNELS}:{period}", max(1, round(day_units * factor)))
        for period, factor in days.items()
    ]
