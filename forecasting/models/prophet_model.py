"""Prophet on open days with day-type regressors, as the course of a group. Only this file has prophet.

Chosen against Prophet's known traps: no 30.5-day terms (they drift off the month end: month edges are
counted in workdays), no weekly Fourier (the effective weekday is a regressor), counts on a square-root or
log scale (never negative), no samples (what a series missed of its course gives the spread), no Newton
fallback (it may take minutes on flat series), a time limit, an output folder of its own.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from prophet import Prophet

from forecasting.frames import Floats
from forecasting.models.calendar import Bools, regressors

SECONDS_LIMIT: Final = 8.0
MOST_DAYS: Final = 4 * 365  # older days cost time and tell about another time
LEAST_OPEN_DAYS: Final = 56
YEARLY_LEAST_DAYS: Final = 730
YEARLY_ORDER: Final = 8
LEAST_SEEN: Final = 3  # a day type seen less often is not learned
REGRESSOR_PRIOR: Final = 1.0
NAMED_PRIOR: Final = 0.1  # a single holiday leans on what all holidays have in common
LOG_LEAST_MEDIAN: Final = 20.0  # below, log1p bends counts too much; the square root levels Poisson noise
MOST_OVER_SEEN: Final = 4.0  # no course above this multiple of the largest day seen

# cmdstanpy tells of every start and stop, and sets its level when first used, so a level set here would not
# last; what matters comes as an exception
for _name in ("cmdstanpy", "prophet"):
    logging.getLogger(_name).disabled = True


class CannotFitError(Exception):
    """Prophet cannot or should not be fitted to this series; the text says why."""


@dataclass(frozen=True, slots=True)
class ProphetFit:
    """A fitted model: what its course needs."""

    model: Any
    columns: tuple[str, ...]
    country: str
    logarithmic: bool
    largest: float


def fit_prophet(y: pd.Series, open_days: Bools, *, country: str) -> ProphetFit:
    """Prophet fitted to the open, known days of a regular daily series (NaN = unknown).

    Raises CannotFitError for too short or constant series, and when the optimiser fails or exceeds its time.
    """
    known = y[open_days & y.notna().to_numpy()].iloc[-MOST_DAYS:]
    if len(known) < LEAST_OPEN_DAYS:
        raise CannotFitError(f"{len(known)} open days are known, Prophet needs {LEAST_OPEN_DAYS}")
    if known.min() == known.max():
        raise CannotFitError("the series is constant")
    logarithmic = bool(known.median() >= LOG_LEAST_MEDIAN and (known > 0).all())
    days = pd.DatetimeIndex(known.index)
    features = regressors(days, country)
    counts = (features != 0).sum()
    kept = features.loc[:, (counts >= LEAST_SEEN) & (counts < len(features))]
    span = (days[-1] - days[0]).days + 1
    yearly = YEARLY_ORDER if span >= YEARLY_LEAST_DAYS else False
    model = Prophet(
        growth="linear",
        yearly_seasonality=yearly,
        weekly_seasonality=False,
        daily_seasonality=False,
        uncertainty_samples=0,
    )
    for name in kept.columns:
        prior = NAMED_PRIOR if name.startswith("named_") else REGRESSOR_PRIOR
        model.add_regressor(name, prior_scale=prior, standardize=False)
    scaled = _scaled(known.to_numpy(), logarithmic=logarithmic)
    table = kept.assign(ds=days, y=scaled).reset_index(drop=True)
    backend: Any = model.stan_backend
    backend.set_options(newton_fallback=False)
    try:
        # parallel fits would fill the shared temporary folder
        with tempfile.TemporaryDirectory(prefix="slotcast-fit-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(table, algorithm="LBFGS", timeout=SECONDS_LIMIT, output_dir=folder, seed=1)
    except TimeoutError as error:
        raise CannotFitError(f"the optimiser took more than {SECONDS_LIMIT:g} s") from error
    except RuntimeError as error:
        raise CannotFitError(f"the optimiser gave up: {str(error).splitlines()[0]}") from error
    return ProphetFit(
        model=model,
        columns=tuple(kept.columns),
        country=country,
        logarithmic=logarithmic,
        largest=float(known.max()),
    )


def prophet_course(fit: ProphetFit, days: pd.DatetimeIndex) -> Floats:
    """What Prophet says of the days (days,), past or coming, in units ≥ 0: trend and calendar, no noise."""
    table = regressors(days, fit.country).reindex(columns=list(fit.columns), fill_value=0.0)
    predicted = fit.model.predict(table.assign(ds=days).reset_index(drop=True))["yhat"].to_numpy()
    ceiling = _scaled(np.array(MOST_OVER_SEEN * fit.largest), logarithmic=fit.logarithmic)
    scaled = np.clip(predicted, 0.0, ceiling)
    course: Floats = np.expm1(scaled) if fit.logarithmic else np.square(scaled)
    return course


def _scaled(y: Floats, *, logarithmic: bool) -> Floats:
    """Counts on the scale that the model is fitted on."""
    return np.log1p(y) if logarithmic else np.sqrt(y)
