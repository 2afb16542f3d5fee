"""One branch trained and judged: the champion's forecast, or the next safe thing (weeks8, then keep)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import pandas as pd

from forecasting.decisions.guardrails import Verdict, Veto, series_verdict, stale
from forecasting.decisions.plan import KEEP
from forecasting.decisions.policy import Policy
from forecasting.frames import QUANTILES, TIME, VALUE, SamplePaths, forecast_frame
from forecasting.models.train import WEEKS8, SeriesForecast, candidates, train_series

WEEKS8_LEAST_DAYS: Final = 14
"""weeks8 needs every weekday twice."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What is kept of one branch: `quantiles` and `paths` are None when its quotas are to be kept."""

    choice: dict[str, Any]
    """champion (model used, or "keep"), why, wql_champion, wql_weeks8, coverage80, observations."""
    quantiles: pd.DataFrame | None
    paths: SamplePaths | None
    veto: Veto | None
    """Why the champion was not used."""


def train_branch(
    history: pd.DataFrame, *, period: date, until: date, country: str, seed: int, paths: int, policy: Policy
) -> Trained:
    """The forecast of one branch from its last known day through `until`.

    history: `ds`, `y` of days up to the period. The champion is used where no veto meets it; else weeks8
    where the history is fresh and two weeks long; else the branch keeps its quotas.
    """
    known = history.dropna(subset=[VALUE])
    if known.empty:
        return _keep("no demand is known", Veto.SHORT, observations=0)
    newest = pd.Timestamp(known[TIME].max()).date()
    horizon = (until - newest).days
    fresh = stale((period - newest).days, policy)
    if not fresh.fit:
        return _keep(fresh.condition, Veto.STALE, observations=len(known))
    try:
        made = train_series(known, horizon, country=country, seed=seed, paths=paths)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        # one broken series must not stop the bank's retune; the failure stands in its record
        return _fallback(
            known,
            Verdict(False, f"training failed: {error}", Veto.FAILED),
            None,
            horizon=horizon,
            country=country,
            seed=seed,
            paths=paths,
        )
    verdict = series_verdict(
        age_days=(period - newest).days,
        observations=made.observations,
        wql_champion=made.wql_champion,
        wql_weeks8=made.wql_weeks8,
        coverage80=made.coverage80,
        policy=policy,
    )
    if verdict.fit:
        return Trained(_choice(made, made.champion, made.why), made.quantiles, made.paths, None)
    return _fallback(known, verdict, made, horizon=horizon, country=country, seed=seed, paths=paths)


def _fallback(
    known: pd.DataFrame,
    verdict: Verdict,
    made: SeriesForecast | None,
    *,
    horizon: int,
    country: str,
    seed: int,
    paths: int,
) -> Trained:
    """The weeks8 forecast, with why the champion was not used; keep where weeks8 has too little to go on."""
    veto = verdict.reason if isinstance(verdict.reason, Veto) else None
    if len(known) < WEEKS8_LEAST_DAYS:
        why = f"{verdict.condition}; weeks8 needs {WEEKS8_LEAST_DAYS} known days"
        return _keep(why, veto, observations=len(known))
    y = known.set_index(TIME)[VALUE].sort_index()
    y = y.reindex(pd.date_range(y.index[0], y.index[-1], freq="D", unit="us"))
    days = pd.date_range(y.index[-1] + pd.Timedelta(days=1), periods=horizon, freq="D", unit="us")
    rng = np.random.default_rng(seed)
    values = candidates(y, days, country=country, paths=paths, rng=rng, among=(WEEKS8,))[0][WEEKS8]
    why = f"weeks8: {'' if made is None else made.champion + ' '}vetoed ({veto}), {verdict.condition}"
    choice = _choice(made, WEEKS8, why) if made else _nothing(WEEKS8, why, observations=len(known))
    return Trained(choice, forecast_frame(days, values, QUANTILES), SamplePaths(days[0].date(), values), veto)


def _keep(why: str, veto: Veto | None, *, observations: int) -> Trained:
    return Trained(_nothing(KEEP, f"keep ({veto}): {why}", observations=observations), None, None, veto)


def _choice(made: SeriesForecast, model: str, why: str) -> dict[str, Any]:
    """What forecast_series keeps of a backtested series."""
    return {
        "champion": model,
        "why": why,
        "wql_champion": made.wql_champion,
        "wql_weeks8": made.wql_weeks8,
        "coverage80": made.coverage80,
        "observations": made.observations,
    }


def _nothing(model: str, why: str, *, observations: int) -> dict[str, Any]:
    """What forecast_series keeps of a series that was not backtested."""
    return {
        "champion": model,
        "why": why,
        "wql_champion": None,
        "wql_weeks8": None,
        "coverage80": None,
        "observations": observations,
    }
