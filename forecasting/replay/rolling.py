"""Forecasts as they would have been made night by night: each from what was known then, no later day seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd

from forecasting.decisions.trust import FORECAST
from forecasting.frames import Floats
from forecasting.models.components import COMPONENTS, MODEL_LEVELS, PROPHET, WEEKS8
from forecasting.models.panel import panel_of
from forecasting.models.selection import forecast_panel, select
from forecasting.models.weeks8 import weeks8_levels

SELECTED_FOR_DAYS: Final = 28
"""Champions are judged on stretches as long as production plans for."""
RESELECT_DAYS: Final = 28
REFIT_DAYS: Final = 7
"""Prophet is fitted so often and what it said of the days ahead stands for the nights between; the other
models follow every night. (Production fits it every night; a replay has a hundred nights to catch up on.)"""
STEPS: Final = 7
"""Days forecast each night: a week is the longest that a replayed total is shared out over."""


@dataclass(frozen=True, slots=True)
class Rolling:
    """The forecasts of each night: levels (days, series, MODEL_LEVELS, STEPS).

    Row k is what the night before day k said of the days k … k + STEPS − 1.
    """

    first: pd.Timestamp
    levels: Floats
    parts: dict[str, Floats]
    """What each component of the combination said, by its name: like `levels`."""
    champions: tuple[str, ...]
    """By selection, oldest first."""

    @property
    def models(self) -> dict[str, Floats]:
        """What a total is shared out by: the forecast and its models; it stands in for a mute one.

        weeks8 is left out: the past eight weeks are a way of their own already (decisions.trust).
        """
        said = {
            name: np.where(np.isfinite(levels).all(axis=(2, 3), keepdims=True), levels, self.levels)
            for name, levels in self.parts.items()
            if name != WEEKS8
        }
        return {FORECAST: self.levels} | said


def rolling_forecasts(
    series: Mapping[str, pd.Series],
    first: pd.Timestamp,
    days: int,
    *,
    country: str,
    refit_days: int = REFIT_DAYS,
    told: Callable[[], object] = lambda: None,
) -> Rolling:
    """The forecasts of the `days` nights before `first` and the days after it.

    series: regular daily ones (NaN = unknown), each with days before `first`. A model that cannot answer
    leaves its place to weeks8. refit_days: a divisor of RESELECT_DAYS; told: called after each night.
    """
    levels = np.empty((days, len(series), len(MODEL_LEVELS), STEPS))
    parts = {name: np.empty_like(levels) for name in COMPONENTS}
    champions: list[str] = []
    for day in range(days):
        until = first + pd.Timedelta(days=day - 1)
        known = {name: y.loc[:until] for name, y in series.items()}
        panel = panel_of(known, country)
        since = day % refit_days
        if day % RESELECT_DAYS == 0:
            selection = select(panel, SELECTED_FOR_DAYS)
            champions.append(selection.champion)
        if since == 0:
            again = day % RESELECT_DAYS != 0
            made = forecast_panel(panel, STEPS + refit_days - 1, selection, chosen_rates=again)
            selection = replace(selection, rates=made.made.rates)  # a refresh keeps the rates chosen now
            fitted = {PROPHET: found} if (found := made.made.quantiles.get(PROPHET)) is not None else {}
        else:
            standing = {name: table[:, :, since : since + STEPS] for name, table in fitted.items()}
            made = forecast_panel(panel, STEPS, selection, chosen_rates=True, standing=standing)
            made = replace(made, made=replace(made.made, quantiles=made.made.quantiles | standing))
        levels[day] = made.quantiles[:, :, :STEPS]
        for name, table in parts.items():
            found = made.made.quantiles.get(name)
            table[day] = np.nan if found is None else found[:, :, :STEPS]
        for place, y in enumerate(known.values()):
            if not np.isfinite(levels[day, place]).all():
                levels[day, place] = weeks8_levels(y.to_numpy(), STEPS, np.array(MODEL_LEVELS), season=7)
        told()
    return Rolling(first, levels, parts, tuple(champions))
