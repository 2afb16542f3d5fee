"""Live forecasts held against the promise of the run that made them: what was promised, judged, and vetoed.

A run's promise is kept with its scores when it is finished, for the bank and for each region. `score` judges
the last days and keeps the verdict; where it is a veto, the next retune keeps the quotas and training selects
anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import bank_settings, regions
from booking_core.read.forecasts import latest_run, series_choices, series_details
from booking_core.read.scores import forecast_drift, forecast_scores
from forecasting.decisions.drift import Promise, drift_score, live_days
from forecasting.decisions.guardrails import Verdict, Veto
from forecasting.decisions.policy import Policy
from forecasting.decisions.score import DriftScore, ForecastScore
from forecasting.models.calendar import BREAK_DAYS, HOLIDAY, MAKE_UP, day_types

PROMISE: Final = "promise"
BANK: Final = "bank"
NEAR_DAYS: Final = 1
"""Days beside a holiday that are no ordinary ones either."""


def scope_of(region: str | None) -> str:
    """The scope of forecast_drift: the bank's (None), or a region's."""
    return BANK if region is None else f"group:{region}"


# --- the promise ----------------------------------------------------------------------------------


def promised(engine: Engine, run_id: str) -> dict[str, dict[str, Any]]:
    """What the run's backtests say of the bank and of each region, by scope: see `promise_of`."""
    names = [None, *map(str, regions(engine)["region_id"])]
    return {
        scope_of(name): _promised(series_choices(engine, run_id, name), series_details(engine, run_id, name))
        for name in names
    }


def _promised(choices: pd.DataFrame, details: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """coverage80 and wape (means over the series, None unknown), series, days (backtest days of a series)."""
    judged = [found for found in details.values() if found.get("wape") is not None]
    days = [found["folds"] * found["fold_days"] for found in judged]
    coverage = choices["coverage80"].dropna()
    return {
        "coverage80": None if coverage.empty else round(float(coverage.mean()), 5),
        "wape": round(float(np.mean([found["wape"] for found in judged])), 5) if judged else None,
        "series": len(judged),
        "days": round(float(np.mean(days))) if days else 0,
    }


def promise_of(scores: Mapping[str, Any] | None, scope: str) -> Promise | None:
    """The promise kept with a run's scores; None where the run made none."""
    found = (scores or {}).get(PROMISE, {}).get(scope)
    return Promise(**found) if found and found["series"] else None


# --- the judgement --------------------------------------------------------------------------------


def judge(engine: Engine, period: date, policy: Policy) -> list[DriftScore]:
    """The bank's and each region's judgement of the last `drift_days` days up to the period.

    Days of public holidays and beside them are left out: no week holds enough of them to tell a forecast that
    drifts from a holiday that is unlike the others.
    """
    since = period - timedelta(days=policy.drift_days - 1)
    found = []
    for name in (None, *map(str, regions(engine)["region_id"])):
        rows = forecast_scores(engine, since=since, region=name)
        rows = rows[rows["day"] <= pd.Timestamp(period)]
        rows = rows[_ordinary(pd.DatetimeIndex(rows["day"]), bank_settings(engine).country)]
        if rows.empty:
            continue
        scores = [
            ForecastScore(**{str(k): v for k, v in row.items()} | {"day": row["day"].date()})
            for row in rows.to_dict("records")
        ]
        newest = max(scores, key=lambda score: (score.day, -score.horizon_days))
        made = latest_run(engine, "demand", until_period=newest.day - timedelta(days=newest.horizon_days))
        promise = None if made is None else promise_of(made.scores, scope_of(name))
        judged = drift_score(newest.run_id, scope_of(name), live_days(scores), promise, policy)
        found += [] if judged is None else [judged]
    return found


def _ordinary(days: pd.DatetimeIndex, country: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which days are neither a public holiday or make-up day, nor in a long break, nor beside one."""
    if days.empty:
        return np.zeros(0, dtype=np.bool_)
    beside = pd.Timedelta(days=NEAR_DAYS)
    around = pd.date_range(days.min() - beside, days.max() + beside, freq="D", unit="us")
    types = day_types(around, country)
    odd = types["kind"].isin([HOLIDAY, MAKE_UP]) | (types["break_days"] >= BREAK_DAYS)
    near = odd.astype(float).rolling(2 * NEAR_DAYS + 1, center=True, min_periods=1).max() > 0
    return ~near.loc[days].to_numpy(dtype=np.bool_)


# --- the veto -------------------------------------------------------------------------------------


def drifted(engine: Engine, day: date, policy: Policy, region: str | None = None) -> Verdict:
    """Unfit (`drift`) where the newest judgement of the bank or the region says so.

    Judgements whose last day lies more than `stale_days` before the day tell nothing any more.
    """
    since = day - timedelta(days=policy.stale_days)
    for scope in dict.fromkeys((BANK, scope_of(region))):
        rows = forecast_drift(engine, since=since, scope=scope)
        rows = rows[rows["day"] <= pd.Timestamp(day)]
        if rows.empty:
            continue
        newest = rows.sort_values(["day", "run_id"]).iloc[-1]
        if not pd.isna(newest["verdict"]):
            return Verdict(False, f"{scope}: {newest['condition']}", Veto(newest["verdict"]))
    return Verdict(True, "", None)
