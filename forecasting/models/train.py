"""The forecast of one daily series: candidates, gate, champion, calibrated paths."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from forecasting.frames import QUANTILES, TIME, VALUE, Floats, SamplePaths, forecast_frame, history_frame
from forecasting.models.backtest import Judgement, fold_origins, judge
from forecasting.models.calendar import check_country
from forecasting.models.openings import Openings, without_outages
from forecasting.models.paths import blend, spread
from forecasting.models.prophet_model import CannotFitError, fit_prophet, prophet_paths
from forecasting.models.seasonal_naive import seasonal_naive_paths
from forecasting.models.weeks8 import weeks8_paths

PROPHET: Final = "prophet"
WEEKS8: Final = "weeks8"
BLEND: Final = "blend"
SEASONAL_NAIVE: Final = "seasonal_naive"

WEEK: Final = 7
PATHS: Final = 200


@dataclass(frozen=True, slots=True)
class SeriesForecast:
    """The forecast of one daily series and how it came about.

    champion: prophet | weeks8 | blend | seasonal_naive; why: one sentence with numbers. quantiles: `ds`,
    `mean`, `q0.1`…`q0.9`, one row a day. wql_* and coverage80 come from the backtest, None where none was
    possible; coverage80 is the share of backtest days inside the calibrated 80 % band, each fold calibrated
    on the others. observations: known days used. parameters: what a rerun needs to know, JSON-able.
    """

    champion: str
    why: str
    quantiles: pd.DataFrame
    paths: SamplePaths
    wql_champion: float | None
    wql_weeks8: float | None
    coverage80: float | None
    observations: int
    parameters: dict[str, Any] = field(default_factory=dict)


def train_series(
    history: pd.DataFrame, horizon_days: int, *, country: str, seed: int, paths: int = PATHS
) -> SeriesForecast:
    """The forecast of `horizon_days` days after the last day of `history` (columns `ds` naive, `y` ≥ 0).

    Missing days and NaN are unknown, not 0. Rows may be in any order; two rows of one day raise ValueError,
    as do an empty history, a negative `y` and a horizon below 1; an unknown country raises
    UnknownCountryError. The same arguments give the same numbers.
    """
    if horizon_days < 1:
        raise ValueError(f"horizon_days is {horizon_days}; expected at least 1")
    country = check_country(country)
    y = regular_series(history, "D")
    cleaned, outage_days = without_outages(y, country)
    observations = int(cleaned.notna().sum())
    rng = np.random.default_rng(seed)
    days = pd.date_range(y.index[-1] + pd.Timedelta(days=1), periods=horizon_days, freq="D", unit="us")
    choice = choose(cleaned, horizon_days, country=country, seed=seed)
    made, failures = candidates(cleaned, days, country=country, paths=paths, rng=rng, among=choice.needs)
    if choice.champion not in made:
        reason = "; ".join(f"{name}: {text}" for name, text in failures.items())
        choice = replace(
            choice, champion=WEEKS8, why=f"weeks8: the champion's last fit failed ({reason})", factor=1.0
        )
        made, _ = candidates(cleaned, days, country=country, paths=paths, rng=rng, among=(WEEKS8,))
    values = spread(made[choice.champion], choice.factor)
    return SeriesForecast(
        champion=choice.champion,
        why=choice.why,
        quantiles=forecast_frame(days, values, QUANTILES),
        paths=SamplePaths(days[0].date(), values),
        wql_champion=choice.wql.get(choice.champion),
        wql_weeks8=choice.wql.get(WEEKS8),
        coverage80=choice.coverage80,
        observations=observations,
        parameters={
            "country": country,
            "seed": seed,
            "paths": paths,
            "horizon_days": horizon_days,
            "spread_factor": round(choice.factor, 4),
            "outage_days": outage_days,
            "wql": {name: round(score, 5) for name, score in choice.wql.items()},
        },
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """The gate's verdict on a series."""

    champion: str
    why: str
    wql: dict[str, float]
    coverage80: float | None
    factor: float

    @property
    def needs(self) -> tuple[str, ...]:
        """The candidates to make for the champion's forecast."""
        return (PROPHET, WEEKS8, BLEND) if self.champion == BLEND else (self.champion,)


def choose(y: pd.Series, horizon_days: int, *, country: str, seed: int) -> Choice:
    """The champion of a regular, cleaned daily series, judged by rolling origins; the least WQL wins.

    Below two weeks of known days: seasonal naive; too short for two folds with 8 weeks before the first:
    weeks8.
    """
    known = int(y.notna().sum())
    if known < 2 * WEEK:
        why = f"seasonal_naive: {known} known days, weeks8 needs {2 * WEEK}"
        return Choice(SEASONAL_NAIVE, why, {}, None, 1.0)
    folds = fold_origins(len(y), horizon_days)
    if not folds:
        why = f"weeks8: {len(y)} days of history are too short to judge Prophet"
        return Choice(WEEKS8, why, {}, None, 1.0)
    failures: dict[str, str] = {}

    def forecast(past: pd.Series, days: pd.DatetimeIndex, fold: int) -> dict[str, Floats]:
        rng = np.random.default_rng([seed, fold + 1])
        made, failed = candidates(past, days, country=country, paths=PATHS, rng=rng)
        failures.update(failed)
        return made

    judged: Judgement = judge(y, folds, forecast)
    champion = judged.best(steady=BLEND, fallback=WEEKS8)
    return Choice(
        champion=champion,
        why=explain(champion, judged) + "".join(f"; no {name}: {text}" for name, text in failures.items()),
        wql=judged.wql,
        coverage80=judged.coverage80(champion),
        factor=judged.spread_factor(champion),
    )


def explain(champion: str, judged: Judgement, *, unit: str = "days") -> str:
    """The choice in a sentence with its numbers."""
    ranked = sorted(judged.wql.items(), key=lambda scored: scored[1])
    scores = ", ".join(f"{name} {score:.4f}" for name, score in ranked)
    rank = "lowest WQL" if ranked[0][1] == judged.wql[champion] else "steadiest within 5 % of the lowest WQL"
    return f"{champion}: {rank} in {judged.folds} folds of {judged.fold_days} {unit} ({scores})"


def candidates(
    y: pd.Series,
    days: pd.DatetimeIndex,
    *,
    country: str,
    paths: int,
    rng: np.random.Generator,
    among: tuple[str, ...] = (PROPHET, WEEKS8, BLEND),
) -> tuple[dict[str, Floats], dict[str, str]]:
    """The paths (paths, days) of each candidate by name, and why others are missing.

    `days` follow the regular series `y`. Closed days are exactly 0 in every candidate.
    """
    openings = Openings.of(y, country)
    past_open = openings.open_days(pd.DatetimeIndex(y.index), country)
    opened = openings.open_days(days, country)
    seen = y.where(past_open).to_numpy()
    made: dict[str, Floats] = {}
    failures: dict[str, str] = {}
    special = np.zeros(len(days))
    if PROPHET in among:
        try:
            fit = fit_prophet(y, past_open, country=country)
            made[PROPHET], special = prophet_paths(fit, days, paths=paths, rng=rng)
        except CannotFitError as error:
            failures[PROPHET] = str(error)
    if WEEKS8 in among:
        made[WEEKS8] = weeks8_paths(seen, len(days), season=WEEK, paths=paths, rng=rng)
    if SEASONAL_NAIVE in among:
        made[SEASONAL_NAIVE] = seasonal_naive_paths(seen, len(days), season=WEEK, paths=paths, rng=rng)
    if BLEND in among and PROPHET in made and WEEKS8 in made:
        # weeks8 does not know a month end or a holiday: there the blend is Prophet
        made[BLEND] = blend(made[PROPHET], made[WEEKS8], 0.5 + 0.5 * special)
    return {name: np.where(opened, values, 0.0) for name, values in made.items()}, failures


def regular_series(history: pd.DataFrame, freq: str) -> pd.Series:
    """The history (`ds`, `y`) without holes from its first known step to its last row; NaN = unknown.

    ValueError for an empty history, two rows of one time, or a negative `y`.
    """
    frame = history_frame(history)
    if frame.empty:
        raise ValueError("the history is empty; expected at least one row of ds, y")
    if frame[TIME].duplicated().any():
        twice = frame.loc[frame[TIME].duplicated(), TIME].iloc[0]
        raise ValueError(f"the history has two rows for {twice}; expected one for each step of {freq}")
    if (frame[VALUE] < 0).any():
        raise ValueError("the history has a negative y; demand is 0 or more")
    y = frame.set_index(TIME)[VALUE]
    first = y.first_valid_index()
    start = y.index[-1] if first is None else pd.Timestamp(first)  # type: ignore[arg-type]
    return y.reindex(pd.date_range(start, y.index[-1], freq=freq, unit="us"))
