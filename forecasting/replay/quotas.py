"""Quotas replayed on demand that has come: rolling training, plan, waitlist, score, under several policies.

Twice: at the same total units a week for every policy, so that only the split over days differs; and without
a total, each policy at its own quantile of the service level. There every policy raises its quotas by those
who wait, as no total forbids it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd

from forecasting.frames import Floats
from forecasting.replay.policies import (
    WEEK,
    YEAR_WEEKS,
    policies_at_level,
    policies_with_total,
)
from forecasting.replay.rolling import REFIT_DAYS, Rolling, rolling_forecasts
from forecasting.replay.waiting import Waiting, waiting, with_backlog

SLOTCAST: Final = "slotcast"
STATIC: Final = "static"
FORESIGHT: Final = "foresight"
LEAST_WEEKS: Final = 4
SAME_TOTAL: Final = "same_total"
OWN_QUANTILE: Final = "own_quantile"

Upper = Callable[[Mapping[str, pd.Series], pd.Timestamp, int], dict[str, Floats]]
"""(series, first day, days) → further policies by name, (series, days): weights or quotas."""


@dataclass(frozen=True, slots=True)
class Window:
    """What of some series can be replayed: whole ISO weeks at the end, 52 weeks known before."""

    series: dict[str, pd.Series]
    """From their own first day to the window's last."""
    first: pd.Timestamp
    """A Monday."""
    weeks: int
    left_out: tuple[str, ...]
    """Ids that end before the window or begin less than 52 weeks before it."""

    @property
    def days(self) -> int:
        """Days of the window."""
        return self.weeks * WEEK

    def batches(self, size: int) -> Iterator[Window]:
        """The window of so many series at a time, in the order of their ids."""
        ids = list(self.series)
        for start in range(0, len(ids), size):
            yield replace(self, series={name: self.series[name] for name in ids[start : start + size]})

    def values(self) -> tuple[Floats, int]:
        """All demand (series, days) from 52 weeks before the window on, and where it begins; unknown is 0.

        A day that is not recorded brought nobody, as far as anyone can be served.
        """
        before = YEAR_WEEKS * WEEK
        days = pd.date_range(self.first - pd.Timedelta(days=before), periods=before + self.days, freq="D")
        rows = [np.nan_to_num(y.reindex(days).to_numpy(dtype=np.float64)) for y in self.series.values()]
        return np.array(rows), before


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """One policy over all series and days of a replay, in units."""

    policy: str
    setting: str
    """same_total | own_quantile."""
    demand: float
    unmet: float
    idle: float
    cost: float
    """Newsvendor cost: refused × refused_cost + idle × idle_cost."""
    waiting: Waiting
    """With the quotas raised by those who wait, where no total forbids it."""
    raised: float
    """Units opened for those who wait: `waiting` has them, unmet, idle and cost do not."""
    raised_cost: float
    """cost and every raised unit paid for like an idle one: who it serves was refused on the day wished."""


@dataclass(frozen=True, slots=True)
class QuotaReplay:
    """A replay's results, and what it was made from."""

    window: Window
    rolling: Rolling
    quotas: dict[str, dict[str, Floats]]
    """By setting and policy: (series, days)."""
    results: tuple[PolicyResult, ...]

    def result(self, setting: str, policy: str) -> PolicyResult:
        """The result of one policy."""
        return next(r for r in self.results if (r.setting, r.policy) == (setting, policy))


def gap_closed(results: Sequence[PolicyResult], policy: str) -> float:
    """The share of the gap that the policy closes: unmet demand between static and foresight; NaN without."""
    unmet = {r.policy: r.unmet for r in results if r.setting == SAME_TOTAL}
    gap = unmet[STATIC] - unmet[FORESIGHT]
    return (unmet[STATIC] - unmet[policy]) / gap if gap > 0 else math.nan


def window_of(series: Mapping[str, pd.Series], most_weeks: int) -> Window | None:
    """The window of regular daily series, at most `most_weeks` long; None where none has 56 weeks.

    It ends on the last Sunday that half of the series reach, and holds as many weeks of series as it can.
    """
    known = {
        name: y.loc[y.first_valid_index() : y.last_valid_index()]
        for name, y in series.items()
        if y.notna().any()
    }
    if not known:
        return None
    ends = sorted(_sunday(y.index[-1]) for y in known.values())
    end = ends[(len(ends) - 1) // 2]
    whole = {name: y for name, y in known.items() if y.index[-1] >= end}
    spans = [((end - y.index[0]).days + 1) // WEEK - YEAR_WEEKS for y in whole.values()]
    possible = {
        weeks: weeks * sum(span >= weeks for span in spans) for weeks in range(LEAST_WEEKS, most_weeks + 1)
    }
    weeks = max(possible, key=lambda number: (possible[number], number), default=0)
    if not possible.get(weeks):
        return None
    first = end - pd.Timedelta(days=weeks * WEEK - 1)
    earliest = first - pd.Timedelta(weeks=YEAR_WEEKS)
    kept = {name: y.loc[:end] for name, y in whole.items() if y.index[0] <= earliest}
    return Window(kept, first, weeks, tuple(sorted(set(series) - set(kept))))


def replay_quotas(
    window: Window,
    *,
    country: str,
    service_level: float,
    upper: Upper | None = None,
    refit_days: int = REFIT_DAYS,
    told: Callable[[], object] = lambda: None,
) -> QuotaReplay:
    """The replay of the window. service_level: between 0 and 1; told: called after each night."""
    rolling = rolling_forecasts(
        window.series, window.first, window.days, country=country, refit_days=refit_days, told=told
    )
    more = {} if upper is None else upper(window.series, window.first, window.days)
    return judged(window, rolling, service_level=service_level, upper=more)


def judged(
    window: Window, rolling: Rolling, *, service_level: float, upper: Mapping[str, Floats] | None = None
) -> QuotaReplay:
    """The replay with forecasts that are there already."""
    values, first = window.values()
    came = values[:, first:]
    quotas = {
        SAME_TOTAL: policies_with_total(values, first, rolling.models, upper),
        OWN_QUANTILE: policies_at_level(values, first, rolling.levels, service_level, upper),
    }
    results = tuple(
        _result(policy, setting, came, units, service_level)
        for setting, policies in quotas.items()
        for policy, units in policies.items()
    )
    return QuotaReplay(window, rolling, quotas, results)


def _result(policy: str, setting: str, came: Floats, units: Floats, service_level: float) -> PolicyResult:
    waited = units
    if setting == OWN_QUANTILE:
        waited = np.array([with_backlog(d, q) for d, q in zip(came, units, strict=True)])
    each = [waiting(d, q) for d, q in zip(came, waited, strict=True)]
    unmet = float(np.maximum(came - units, 0.0).sum())
    idle = float(np.maximum(units - came, 0.0).sum())
    cost = unmet * service_level + idle * (1.0 - service_level)
    raised = float((waited - units).sum())
    return PolicyResult(
        policy=policy,
        setting=setting,
        demand=float(came.sum()),
        unmet=unmet,
        idle=idle,
        cost=cost,
        waiting=Waiting(
            sum(w.waitlisted for w in each), sum(w.waited_days for w in each), sum(w.gave_up for w in each)
        ),
        raised=raised,
        raised_cost=cost + raised * (1.0 - service_level),
    )


def _sunday(day: pd.Timestamp) -> pd.Timestamp:
    """The last Sunday up to the day."""
    return day - pd.Timedelta(days=(day.weekday() + 1) % WEEK)
