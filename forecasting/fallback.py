"""The next safe thing when live forecasts drift from their promise: weeks8, if it would have done better."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import bank_settings
from booking_core.read.demand import demand
from booking_core.read.forecasts import ForecastRun, sample_paths
from booking_core.read.scores import scored_medians
from forecasting.decisions.guardrails import Verdict, Veto, fallback_no_better, stale
from forecasting.decisions.plan import WEEKS8
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import BranchForecast
from forecasting.frames import ID, TIME, VALUE, SamplePaths
from forecasting.models.bounds import at_least_days, filled_series
from forecasting.models.paths import arrange, ranks_of
from forecasting.models.weeks8 import weeks8_levels, weeks8_paths
from forecasting.periods import horizon_end
from forecasting.reforecast import reforecast_paths

WEEK: Final = 7
HISTORY_DAYS: Final = 26 * WEEK
"""weeks8 looks at 8 weeks; the errors that its paths are drawn from, at half a year."""
LEAST_DAYS: Final = 2 * WEEK
PATHS: Final = 200


def weeks8_instead(
    engine: Engine, region: str | None, day: date, run: ForecastRun, policy: Policy
) -> tuple[dict[str, BranchForecast], Verdict]:
    """weeks8's forecasts by branch from the day after `day` on, and whether they may be planned with.

    Unfit where no branch has enough demand, or where weeks8 would have erred as much on the days that showed
    the drift. A branch whose demand is stale or short has none, and keeps its quotas.
    """
    country = bank_settings(engine).country
    known = demand(engine, since=day - timedelta(days=HISTORY_DAYS - 1), until=day, region=region)
    histories = {
        str(branch): daily
        for branch, rows in known.groupby(ID)
        if len(daily := _daily(rows, country)) >= LEAST_DAYS
        and stale((day - daily.index[-1].date()).days, policy).fit
    }
    if not histories:
        return {}, Verdict(False, f"weeks8 needs {LEAST_DAYS} known days", Veto.DRIFT)
    verdict = _better(engine, histories, day, region, policy)
    if not verdict.fit:
        return {}, verdict
    until = horizon_end(day, policy.plan_days)
    seed = int(day.strftime("%Y%m%d"))
    told = sample_paths(engine, run.run_id, region)
    made = {
        branch: _paths(daily, until, seed + number, told.get(branch))
        for number, (branch, daily) in enumerate(sorted(histories.items()))
    }
    updated = reforecast_paths(engine, made, until=day + timedelta(days=1), region=region)
    return {branch: BranchForecast(WEEKS8, paths) for branch, paths in updated.items()}, verdict


def _daily(rows: pd.DataFrame, country: str) -> pd.Series:
    """The branch's units by day, NaN where nothing is known between two known days, bounds filled in."""
    y = rows.set_index(TIME)[VALUE].sort_index()
    y = y.reindex(pd.date_range(y.index[0], y.index[-1], freq="D", unit="us"))
    return filled_series(y, at_least_days({"": rows}).get(""), country)


def _paths(
    daily: pd.Series,
    until: date,
    seed: int,
    told: tuple[date, np.ndarray[tuple[int, int], np.dtype[np.float32]]] | None,
) -> SamplePaths:
    """weeks8's paths to the day `until`; the drifting run's still say which days and branches go together."""
    first = daily.index[-1].date() + timedelta(days=1)
    steps, paths = (until - first).days + 1, PATHS if told is None else told[1].shape[0]
    rng = np.random.default_rng(seed)
    values = weeks8_paths(daily.to_numpy(), steps, season=WEEK, paths=paths, rng=rng)
    if told is not None:
        skipped = (first - told[0]).days
        both = range(max(0, -skipped), min(steps, told[1].shape[1] - skipped))
        if both:
            theirs = told[1][:, both.start + skipped : both.stop + skipped]
            mine = slice(both.start, both.stop)
            values[:, mine] = arrange(np.sort(values[:, mine], axis=0), ranks_of(theirs.astype(np.float64)))
    return SamplePaths(first, values)


def _better(
    engine: Engine, histories: Mapping[str, pd.Series], day: date, region: str | None, policy: Policy
) -> Verdict:
    """Whether weeks8 would have erred less than what was live, on the last `drift_days` days.

    Median against median, which absolute error asks for (Gneiting 2011, "Making and evaluating point
    forecasts"): a mean would lose to it at small counts though it is right. Each at the live one's horizon.
    """
    since = day - timedelta(days=policy.drift_days - 1)
    error_live = error_weeks8 = 0.0
    for branch, rows in scored_medians(engine, since=since, until=day, region=region).groupby("branch_id"):
        if (daily := histories.get(str(branch))) is None:
            continue
        values, first = daily.to_numpy(), daily.index[0]
        for scored_on, horizon, actual, median in rows[["day", "horizon_days", "actual", "q50"]].itertuples(
            index=False, name=None
        ):
            past = values[
                : max(0, (scored_on - first).days + 1 - horizon)
            ]  # known when the live one was made
            if len(past) < LEAST_DAYS:
                continue
            steps = (scored_on - first).days + 1 - len(past)
            theirs = weeks8_levels(past, steps, np.array([0.5]), season=WEEK)[0, -1]
            error_live += abs(actual - median)
            error_weeks8 += abs(actual - float(theirs))
    return fallback_no_better(error_weeks8, error_live, policy)
