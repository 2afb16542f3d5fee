"""What a fixed total is shared out by: the run's models and the past, each as far as its weeks on paper earn.

For every one of the last weeks the job looks up what the forecast and each of its models said on the week's
eve, shares the usual demand out by each alone, and sees from the demand ledger what that would have served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import bank_settings
from booking_core.read.demand import demand
from booking_core.read.forecasts import ForecastRun, part_levels, runs_of
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import BranchForecast
from forecasting.decisions.trust import (
    FORECAST,
    POOL_PATHS,
    PRIOR,
    WEEK,
    YEAR_DAYS,
    Pool,
    WeekOnPaper,
    closed_alike,
    past_ways,
    pooled,
    trust,
    trust_of_weeks,
)
from forecasting.frames import ID, TIME, VALUE, Floats, SamplePaths
from forecasting.models.calendar import HOLIDAY, day_types
from forecasting.models.components import MODEL_LEVELS
from forecasting.models.reconcile import level_paths

JUDGED_BRANCHES: Final = 200
"""Ways are judged on so many of a total's branches, evenly spread: more change no weight."""


def pool_of(
    engine: Engine,
    paths: Mapping[str, SamplePaths],
    day: date,
    run: ForecastRun,
    policy: Policy,
    *,
    last: date,
    instead: Mapping[str, BranchForecast] | None = None,
) -> Pool | None:
    """The pool of the branches' days from `day` + 1 to `last`; None where the forecast is all that is known.

    paths: the run's, brought up to date. A branch with less than a year of demand, or whose models are not
    kept, goes by what it has; one that is forecast for less days has a pool of these. What stands `instead`
    of a run that drifts is not judged by that run's models: it is the branch's pool.
    """
    if not policy.trust_weeks or not paths:
        return None
    # two weeks more than are asked of it: a branch's first day may be a closed one, of which nothing is known
    past = _Past.read(engine, sorted(paths), day, YEAR_DAYS + WEEK * (policy.trust_weeks + 2))
    country = bank_settings(engine).country
    told = part_levels(engine, [run.run_id], list(paths))
    now = {branch: told.get((run.run_id, branch), {}) for branch in paths}
    models = sorted({part for parts in now.values() for part in parts} - {FORECAST})
    whole = past.whole(day)
    if not models and not whole:
        return None
    weights = trust_of_weeks(_weeks(engine, past, models, day, policy, country))
    if not weights:
        weights = trust(dict.fromkeys([FORECAST, *models, *PRIOR], 0.0))
    first, found = day + timedelta(days=1), {}
    for branch, updated in paths.items():
        steps = (min(last, updated.last_day) - day).days
        if steps < 1:
            continue
        cut = updated.values[:, (first - updated.first_day).days :][:, :steps]
        own = np.sort(cut.T, axis=1)
        ways = {FORECAST: own}
        for model in models:
            levels = _from(now[branch].get(model), first, steps)
            ways[model] = own if levels is None else _as_paths(levels)
        if branch in whole:
            ways |= {way: rows[0] for way, rows in past_ways(past.until(day, [branch]), steps).items()}
        known = {way: weight for way, weight in weights.items() if way in ways}
        share = sum(known.values())
        ways = closed_alike(ways, _holidays(first, steps, country))
        pool = pooled(ways, {way: weight / share for way, weight in known.items()})
        found[branch] = SamplePaths(first, pool.T)
    return Pool(weights, found | {branch: each.paths for branch, each in (instead or {}).items()})


@dataclass(frozen=True, slots=True)
class _Past:
    """Units by day and branch, a day without record 0; `since`: each branch's first day of record."""

    units: pd.DataFrame
    since: dict[str, date]

    @classmethod
    def read(cls, engine: Engine, branches: Sequence[str], day: date, days: int) -> _Past:
        first = day - timedelta(days=days - 1)
        known = demand(engine, since=first, until=day)
        known = known[known[ID].isin(set(branches))]
        table = known.set_index([TIME, ID])[VALUE].unstack(ID)  # noqa: PD010  (a pivot_table would average)
        since = {str(branch): rows.min().date() for branch, rows in known.groupby(ID)[TIME]}
        return cls(table.reindex(pd.date_range(first, day, unit="us"), fill_value=np.nan).fillna(0.0), since)

    def whole(self, day: date) -> list[str]:
        """The branches with a year of demand up to the day."""
        earliest = day - timedelta(days=YEAR_DAYS - 1)
        return sorted(branch for branch, first in self.since.items() if first <= earliest)

    def until(self, day: date, branches: Sequence[str]) -> Floats:
        """(branches, days) units up to the day."""
        return self.units.loc[: pd.Timestamp(day), list(branches)].to_numpy(dtype=np.float64).T


def _weeks(
    engine: Engine, past: _Past, models: Sequence[str], day: date, policy: Policy, country: str
) -> list[WeekOnPaper]:
    """The last weeks, oldest first, of which a run was made on the eve, and the branches that it forecast.

    Where it did not keep one of the models, the forecast stands in for it, as it does on the days to come.
    """
    eves = [day - timedelta(days=WEEK * back) for back in range(policy.trust_weeks, 0, -1)]
    runs = runs_of(engine, "demand", eves)
    judged = past.whole(eves[-1])
    if len(judged) > JUDGED_BRANCHES:
        judged = [judged[n] for n in np.linspace(0, len(judged) - 1, JUDGED_BRANCHES).astype(int)]
    told = part_levels(engine, list(runs.values()), judged)
    weeks = []
    for eve in eves:
        first = eve + timedelta(days=1)
        members, levels = [], []
        for branch in judged:
            parts = told.get((runs.get(eve, ""), branch), {})
            own = _from(parts.get(FORECAST), first, WEEK)
            if own is None or past.since[branch] > eve - timedelta(days=YEAR_DAYS - 1):
                continue
            said = [_from(parts.get(name), first, WEEK) for name in models]
            members.append(branch)
            levels.append([_as_paths(row) for row in [own, *(own if row is None else row for row in said)]])
        if not members:
            continue
        ways = {name: np.stack([row[n] for row in levels]) for n, name in enumerate([FORECAST, *models])}
        known = past.until(eve, members)
        came = past.until(eve + timedelta(days=WEEK), members)[:, -WEEK:]
        usual = float(known[:, -YEAR_DAYS:].mean(axis=1).sum())
        alike = closed_alike(ways | past_ways(known, WEEK), _holidays(first, WEEK, country))
        weeks.append(WeekOnPaper(alike, came, usual))
    return weeks


def _holidays(first: date, days: int, country: str) -> npt.NDArray[np.bool_]:
    """Which of the days are holidays of the country, (days,)."""
    table = day_types(pd.date_range(first, periods=days, freq="D", unit="us"), country)
    return (table["kind"] == HOLIDAY).to_numpy(dtype=np.bool_)


def _from(part: tuple[date, npt.NDArray[np.float32]] | None, first: date, days: int) -> Floats | None:
    """The part's quantiles (MODEL_LEVELS, days) from `first` on; None where it does not reach so far."""
    if part is None:
        return None
    began, levels = part
    start = (first - began).days
    if start < 0 or start + days > levels.shape[1] or len(levels) != len(MODEL_LEVELS):
        return None
    return levels[:, start : start + days].astype(np.float64)


def _as_paths(levels: Floats) -> Floats:
    """Quantiles (MODEL_LEVELS, days) as ascending paths (days, POOL_PATHS)."""
    paths: Floats = level_paths(levels[None], MODEL_LEVELS, POOL_PATHS)[0]
    return paths
