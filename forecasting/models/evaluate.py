"""How each model would have done on a series: rolling origins, the champion chosen anew at each.

Here the champion is chosen and calibrated again at each origin from what was known then, so that its
figures are those of the whole procedure, unlike the gate's own folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from forecasting.frames import SCORED_QUANTILES, TIME, VALUE, Floats
from forecasting.models.calendar import check_country
from forecasting.models.intraday import PER_DAY, intraday_candidates, train_intraday
from forecasting.models.losses import coverage, mase, pinball
from forecasting.models.openings import without_outages
from forecasting.models.train import PATHS, SEASONAL_NAIVE, WEEK, candidates, regular_series, train_series

CHAMPION: Final = "champion"
NEWSVENDOR_LEVEL: Final = 0.9  # too small a quota costs nine times too large a one
LEAST_WEEKS: Final = 2


@dataclass(frozen=True, slots=True)
class Score:
    """One model at one origin: sums over its steps, so that figures of many series can be pooled.

    loss and newsvendor are in units of the series: loss ÷ size is the WQL, newsvendor ÷ size the relative
    cost at 9:1. mase is NaN where undefined; coverage80 is the share of the `steps` known steps in the 80 %
    band.
    """

    model: str
    origin: pd.Timestamp
    loss: float
    newsvendor: float
    size: float
    mase: float
    coverage80: float
    steps: int


def evaluate_series(
    history: pd.DataFrame, horizon: int, *, freq: str, country: str, seed: int, folds: int
) -> list[Score]:
    """The scores at each origin: prophet or daily_profile, weeks8, blend, seasonal_naive, the champion.

    Origins are the last `folds` horizons' beginnings, one step (a day at finer grains) further apart than the
    horizon; those with less than two weeks before them are left out, so the list may be empty.
    """
    country = check_country(country)
    y = regular_series(history, freq)
    per_day = PER_DAY.get(freq, 1)
    scores: list[Score] = []
    for number in range(folds):
        origin = len(y) - horizon - number * (horizon + per_day)
        if origin < LEAST_WEEKS * WEEK * per_day:
            break
        past, coming = y.iloc[:origin], y.iloc[origin : origin + horizon]
        if not past.notna().any() or not coming.notna().any():
            continue
        made = _all_models(past, pd.DatetimeIndex(coming.index), freq=freq, country=country, seed=seed)
        actual, known = coming.to_numpy(), past.to_numpy()
        scores += [
            _score(name, coming.index[0], actual, paths, known, season=WEEK * per_day)
            for name, paths in made.items()
        ]
    return scores


def _all_models(
    past: pd.Series, coming: pd.DatetimeIndex, *, freq: str, country: str, seed: int
) -> dict[str, Floats]:
    """The paths of each model and of the champion."""
    history = pd.DataFrame({TIME: past.index, VALUE: past.to_numpy()})
    rng = np.random.default_rng([seed, 0])
    if freq in PER_DAY:
        champion = train_intraday(history, len(coming), freq=freq, country=country, seed=seed)
        made = intraday_candidates(past, coming, freq=freq, country=country, seed=seed)
        return made | {CHAMPION: champion.values}
    forecast = train_series(history, len(coming), country=country, seed=seed)
    cleaned, _ = without_outages(past, country)
    names = ("prophet", "weeks8", "blend", SEASONAL_NAIVE)
    made, _ = candidates(cleaned, coming, country=country, paths=PATHS, rng=rng, among=names)
    return made | {CHAMPION: forecast.paths.values}


def _score(
    model: str, origin: pd.Timestamp, actual: Floats, paths: Floats, history: Floats, *, season: int
) -> Score:
    """The figures of one model's paths."""
    quantiles = np.quantile(paths, SCORED_QUANTILES, axis=0)
    size = float(np.nansum(np.abs(actual)))
    losses = [
        float(np.nansum(pinball(actual, forecast, level)))
        for forecast, level in zip(quantiles, SCORED_QUANTILES, strict=True)
    ]
    middle = quantiles[SCORED_QUANTILES.index(0.5)]
    return Score(
        model=model,
        origin=origin,
        loss=2.0 * float(np.mean(losses)),
        newsvendor=losses[SCORED_QUANTILES.index(NEWSVENDOR_LEVEL)],
        size=size,
        mase=mase(actual, middle, history, season=season),
        coverage80=coverage(actual, quantiles[0], quantiles[-1]),
        steps=int((~np.isnan(actual)).sum()),
    )


def pooled(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a model: series, wql, mase (median), coverage80, newsvendor; best WQL first.

    `scores` is a table of Score fields and `unique_id`. Only origins that every model answered count.
    """
    models = scores["model"].nunique()
    answered = scores.groupby(["unique_id", "origin"])["model"].transform("nunique")
    fair = scores[answered == models]
    rows = [
        {
            "model": model,
            "series": group["unique_id"].nunique(),
            "wql": group["loss"].sum() / group["size"].sum() if group["size"].sum() > 0 else np.nan,
            "mase": group["mase"].median(),
            "coverage80": np.average(group["coverage80"], weights=group["steps"]),
            "newsvendor": group["newsvendor"].sum() / group["size"].sum()
            if group["size"].sum() > 0
            else np.nan,
        }
        for model, group in fair.groupby("model")
    ]
    columns = ["model", "series", "wql", "mase", "coverage80", "newsvendor"]
    return pd.DataFrame(rows, columns=columns).sort_values("wql", ignore_index=True)
