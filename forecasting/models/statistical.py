"""StatsForecast's models as challengers: AutoETS, AutoTheta, MSTL, as they come.

They do not take part in the champion: on 19 real sets they scored 1.19 (MSTL) to 1.55 (AutoETS) of weeks8's
WQL (ANCHORS of the project's issue 4), and know neither holidays nor month ends. `backtest --challengers`
judges them beside the others, so that a bank whose demand suits them finds out.
"""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np

from forecasting.frames import SCORED_QUANTILES, Floats

STATISTICAL: Final = ("auto_ets", "auto_theta", "mstl")
BANDS: Final = (20, 40, 60, 80)
"""The central intervals whose ends are SCORED_QUANTILES."""
MOST_STEPS: Final = {1: 4 * 365, 24: 24 * 7 * 12, 48: 48 * 7 * 8}
"""Steps that they see, by steps a day."""
ETS_SEASON: Final = 24
"""AutoETS takes no longer season: below the day, its season is the day."""


def statistical_quantiles(name: str, history: Floats, steps: int, *, per_day: int) -> Floats:
    """The quantiles (SCORED_QUANTILES, steps) ≥ 0 of one of STATISTICAL; unknown steps are filled before.

    Raises what StatsForecast raises for series it cannot fit.
    """
    # heavy to import (numba), and only wanted here
    from statsforecast.models import MSTL, AutoETS, AutoTheta  # noqa: PLC0415

    week, day = 7 * per_day, 7 if per_day == 1 else per_day
    model: Any = {
        "auto_ets": lambda: AutoETS(season_length=min(day, ETS_SEASON)),
        "auto_theta": lambda: AutoTheta(season_length=day),
        "mstl": lambda: MSTL(season_length=sorted({day, week})),
    }[name]()
    values = filled_up(history, week)[-MOST_STEPS[per_day] :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = model.forecast(y=values, h=steps, level=list(BANDS))
    lower = [answer[f"lo-{band}"] for band in reversed(BANDS)]
    upper = [answer[f"hi-{band}"] for band in BANDS]
    table = np.array([*lower, answer["mean"], *upper], dtype=np.float64)
    assert len(table) == len(SCORED_QUANTILES)  # noqa: S101 - BANDS and levels belong together
    return np.maximum(table, 0.0)


def filled_up(history: Floats, season: int) -> Floats:
    """The series without unknown steps: a season earlier's, else a season later's, else the median."""
    values = history.copy()
    for step in range(season, len(values)):
        if np.isnan(values[step]):
            values[step] = values[step - season]
    for step in range(len(values) - season - 1, -1, -1):
        if np.isnan(values[step]):
            values[step] = values[step + season]
    known = values[~np.isnan(values)]
    return np.where(np.isnan(values), np.median(known) if len(known) else 0.0, values)
