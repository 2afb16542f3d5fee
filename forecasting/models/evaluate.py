"""How each model would have done on a panel: rolling origins, the champion chosen anew at each.

The champion is chosen and calibrated at each origin from what was known then, so that its figures are those
of the whole procedure, unlike a selection's own folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from forecasting.frames import CENSORED, SCORED_QUANTILES, TIME, VALUE, Floats
from forecasting.models.bounds import at_least_days, filled_series
from forecasting.models.calendar import check_country
from forecasting.models.components import make_components
from forecasting.models.intraday import PER_DAY, intraday_models, train_intraday
from forecasting.models.losses import coverage, mase, pinball
from forecasting.models.panel import WEEK, panel_of
from forecasting.models.seasonal_naive import seasonal_naive_paths
from forecasting.models.selection import SCORED
from forecasting.models.statistical import STATISTICAL, statistical_quantiles
from forecasting.models.train import PATHS, SEASONAL_NAIVE, regular_series, train_panel

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


def evaluate_panel(
    histories: Mapping[str, pd.DataFrame],
    horizon: int,
    *,
    freq: str,
    country: str,
    seed: int,
    folds: int,
    challengers: bool = False,
) -> list[tuple[str, Score]]:
    """(id, score) of each series, origin and model: the components, seasonal_naive, the champion.

    Origins are the last `folds` horizons' beginnings, one step (a day at finer grains) further apart than the
    horizon; those with less than two weeks before them are left out, so the list may be empty. challengers:
    StatsForecast's models, too. Days marked `censored` are filled in for every model to learn from, and are
    unknown where forecasts are judged.
    """
    country = check_country(country)
    series = {name: regular_series(history, freq) for name, history in histories.items()}
    at_least = at_least_days(histories)
    per_day = PER_DAY.get(freq, 1)
    scores: list[tuple[str, Score]] = []
    for number in range(folds):
        back = horizon + number * (horizon + per_day)
        past = {
            name: y.iloc[:-back]
            for name, y in series.items()
            if len(y) - back >= LEAST_WEEKS * WEEK * per_day and y.iloc[:-back].notna().any()
        }
        if not past:
            break
        made = _answers(past, at_least, horizon, freq=freq, country=country, seed=seed)
        for name, known in past.items():
            y = series[name]
            coming = y.iloc[len(known) : len(known) + horizon]
            if name in at_least:
                coming = coming.mask(pd.DatetimeIndex(coming.index).isin(at_least[name]))
            if not coming.notna().any():
                continue
            learned = filled_series(known, at_least.get(name), country)
            answers = made[name] | _simple(learned, horizon, per_day, seed=seed, challengers=challengers)
            scores += [
                (name, _score(model, coming, quantiles, learned.to_numpy(), season=WEEK * per_day))
                for model, quantiles in answers.items()
            ]
    return scores


def _answers(
    past: Mapping[str, pd.Series],
    at_least: Mapping[str, pd.DatetimeIndex],
    horizon: int,
    *,
    freq: str,
    country: str,
    seed: int,
) -> dict[str, dict[str, Floats]]:
    """By id and model: the quantiles (SCORED_QUANTILES, steps) of the components and the champion."""
    histories = {
        name: pd.DataFrame({TIME: known.index, VALUE: known.to_numpy()}) for name, known in past.items()
    }
    made: dict[str, dict[str, Floats]] = {}
    if freq in PER_DAY:
        step = pd.Timedelta(days=1) / PER_DAY[freq]
        for name, known in past.items():
            coming = pd.date_range(known.index[-1] + step, periods=horizon, freq=freq, unit="us")
            fine = train_intraday(histories[name], horizon, freq=freq, country=country, seed=seed)
            made[name] = {CHAMPION: fine.levels[SCORED]}
            if len(known) >= LEAST_WEEKS * WEEK * PER_DAY[freq] and known.notna().any():
                models = intraday_models(known, coming, freq=freq, country=country, seed=seed)
                made[name] |= {model: values[SCORED] for model, values in models.items()}
        return made
    for name in at_least.keys() & histories.keys():
        histories[name][CENSORED] = histories[name][TIME].isin(at_least[name])
    forecasts = train_panel(histories, horizon, country=country, seed=seed)
    for name, known in past.items():
        made[name] = {CHAMPION: forecasts[name].levels[SCORED]}
        components = make_components(panel_of({name: known}, country, at_least), horizon).quantiles
        made[name] |= {
            model: values[0][SCORED] for model, values in components.items() if np.isfinite(values).all()
        }
    return made


def _simple(
    known: pd.Series, horizon: int, per_day: int, *, seed: int, challengers: bool
) -> dict[str, Floats]:
    """Seasonal naive, and StatsForecast's models where asked for; one that breaks down is left out."""
    paths = seasonal_naive_paths(
        known.to_numpy(),
        horizon,
        season=WEEK * per_day,
        paths=PATHS,
        rng=np.random.default_rng([seed, 0]),
        per_day=per_day,
    )
    made = {SEASONAL_NAIVE: np.quantile(paths, SCORED_QUANTILES, axis=0)}
    for name in STATISTICAL if challengers else ():
        try:
            found = statistical_quantiles(name, known.to_numpy(), horizon, per_day=per_day)
        except Exception:  # noqa: BLE001, S112 - a rival that cannot fit a series has no figure there
            continue
        if np.isfinite(found).all():
            made[name] = found
    return made


def _score(model: str, coming: pd.Series, quantiles: Floats, history: Floats, *, season: int) -> Score:
    """The figures of one model's quantiles."""
    actual = coming.to_numpy()
    losses = [
        float(np.nansum(pinball(actual, forecast, level)))
        for forecast, level in zip(quantiles, SCORED_QUANTILES, strict=True)
    ]
    return Score(
        model=model,
        origin=pd.Timestamp(coming.index[0]),
        loss=2.0 * float(np.mean(losses)),
        newsvendor=losses[SCORED_QUANTILES.index(NEWSVENDOR_LEVEL)],
        size=float(np.nansum(np.abs(actual))),
        mase=mase(actual, quantiles[SCORED_QUANTILES.index(0.5)], history, season=season),
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
