"""The forecasts to beat: simple rules, StatsForecast's models and Prophet as they come, as quantiles."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.frames import SCORED_QUANTILES
from forecasting.models.statistical import MOST_STEPS, filled_up, statistical_quantiles
from forecasting.models.weeks8 import weeks8_levels

Floats = npt.NDArray[np.float64]
Anchor = Callable[[pd.Series, int, int, str], Floats]
"""(known series, steps, steps a day, country) → (levels, steps)."""

LEVELS: Final = np.array(SCORED_QUANTILES)
_YEAR: Final = 365


def static(y: pd.Series, steps: int, per_day: int, country: str) -> Floats:  # noqa: ARG001
    """The quantiles of all of the last year's steps: a quota that never moves."""
    known = y.iloc[-_YEAR * per_day :].dropna().to_numpy()
    return np.repeat(np.quantile(known, LEVELS)[:, None], steps, axis=1)


def seasonal_naive(y: pd.Series, steps: int, per_day: int, country: str) -> Floats:  # noqa: ARG001
    """Last week again, with the quantiles of a year's week-to-week differences."""
    season = 7 * per_day
    filled = filled_up(y.to_numpy(), season)
    recent = filled[-_YEAR * per_day :]
    errors = recent[season:] - recent[:-season]
    offsets = np.quantile(errors, LEVELS) if len(errors) else np.zeros(len(LEVELS))
    return np.maximum(filled[-season:][np.arange(steps) % season] + offsets[:, None], 0.0)


def weeks8(y: pd.Series, steps: int, per_day: int, country: str) -> Floats:  # noqa: ARG001
    """The quantiles of the same place in the week over the last 8 weeks."""
    return weeks8_levels(y.to_numpy(), steps, LEVELS, season=7 * per_day)


def auto_ets(y: pd.Series, steps: int, per_day: int, country: str) -> Floats:  # noqa: ARG001
    """StatsForecast's AutoETS."""
    return statistical_quantiles("auto_ets", y.to_numpy(), steps, per_day=per_day)


def auto_theta(y: pd.Series, steps: int, per_day: int, country: str) -> Floats:  # noqa: ARG001
    """StatsForecast's AutoTheta."""
    return statistical_quantiles("auto_theta", y.to_numpy(), steps, per_day=per_day)


def mstl(y: pd.Series, steps: int, per_day: int, country: str) -> Floats:  # noqa: ARG001
    """StatsForecast's MSTL with the week (and, below the day, the day) as seasons."""
    return statistical_quantiles("mstl", y.to_numpy(), steps, per_day=per_day)


def prophet(y: pd.Series, steps: int, per_day: int, country: str) -> Floats:  # noqa: ARG001
    """Prophet as it comes, its 1,000 samples."""
    return _prophet(y, steps, per_day, "none")


def prophet_holidays(y: pd.Series, steps: int, per_day: int, country: str) -> Floats:
    """Prophet with the country's holidays."""
    return _prophet(y, steps, per_day, country)


ANCHORS: Final[dict[str, Anchor]] = {
    "static": static,
    "seasonal_naive": seasonal_naive,
    "weeks8": weeks8,
    "auto_ets": auto_ets,
    "auto_theta": auto_theta,
    "mstl": mstl,
    "prophet": prophet,
    "prophet_holidays": prophet_holidays,
}
AVERAGE: Final = "average"
"""The plain quantile average of Prophet with holidays and weeks8; made from the two."""


def anchor_quantiles(
    y: pd.Series, steps: int, per_day: int, country: str, names: tuple[str, ...] = tuple(ANCHORS)
) -> dict[str, Floats]:
    """Each anchor's quantiles (levels, steps), and the average; one that breaks down is weeks8's."""
    plain = weeks8(y, steps, per_day, country)
    made: dict[str, Floats] = {}
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made[name] = ANCHORS[name](y, steps, per_day, country)
        except Exception:  # noqa: BLE001 - a rival that cannot answer is lent the simplest one's answer
            made[name] = plain
        if not np.isfinite(made[name]).all():
            made[name] = plain
    if "prophet_holidays" in made:
        made[AVERAGE] = (made["prophet_holidays"] + plain) / 2.0
    return made


def _prophet(y: pd.Series, steps: int, per_day: int, country: str) -> Floats:
    from prophet import Prophet  # noqa: PLC0415

    for name in ("cmdstanpy", "prophet"):
        logging.getLogger(name).disabled = True
    known = y.iloc[-MOST_STEPS[per_day] :].dropna()
    model = Prophet()
    if country != "none":
        model.add_country_holidays(country)
    np.random.seed(1)  # noqa: NPY002 - Prophet draws from the global generator
    model.fit(pd.DataFrame({"ds": known.index, "y": known.to_numpy()}), seed=1)
    step = pd.Timedelta(days=1) / per_day
    coming = pd.date_range(y.index[-1] + step, periods=steps, freq=step)
    samples = model.predictive_samples(pd.DataFrame({"ds": coming}))["yhat"]
    return np.maximum(np.quantile(samples, LEVELS, axis=1), 0.0)
