"""The forecast of daily series: a panel's champion, calibrated, as quantiles and joint sample paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from forecasting.frames import (
    MEAN,
    QUANTILES,
    TIME,
    TIME_DTYPE,
    VALUE,
    Floats,
    SamplePaths,
    history_frame,
    quantile_column,
)
from forecasting.models.bounds import at_least_days, told
from forecasting.models.calendar import check_country
from forecasting.models.components import COMPONENTS, DAYTYPE, MODEL_LEVELS, WEEKS8
from forecasting.models.explain import DayEffects, day_effects, explanation
from forecasting.models.level_regression import Bools
from forecasting.models.panel import WEEK, Panel, panel_of
from forecasting.models.paths import stratified_levels
from forecasting.models.reconcile import joint_paths, past_days, quantile_functions
from forecasting.models.seasonal_naive import seasonal_naive_paths
from forecasting.models.selection import (
    MIDDLE,
    RESIDUAL_DAYS,
    PanelForecast,
    Selection,
    forecast_panel,
    select,
    special_days,
)

SEASONAL_NAIVE: Final = "seasonal_naive"
BORROWED: Final = "borrowed"
PATHS: Final = 200
LEAST_WEEKS: Final = 2
MEAN_LEVELS: Final = 199
"""Even steps of the quantile function that its mean is taken over."""
SMALL_COUNT: Final = 5.0
"""Whole counts with a usual value below are forecast in whole units: half a customer does not come."""
USUAL_DAYS: Final = 364
"""What an explanation calls usual: the mean of the open days of so many last ones."""
MOST_SKETCHED: Final = 400
"""A history's steps that seasonal naive looks at."""


@dataclass(frozen=True, slots=True)
class SeriesForecast:
    """The forecast of one daily series and how it came about.

    champion: combination | daytype | prophet | weeks8 | borrowed | seasonal_naive; why: one sentence with
    numbers. levels: quantiles (MODEL_LEVELS, steps). quantiles: `ds`, `mean`, `q0.1`…`q0.9`, one row a day.
    wql_* and coverage80 come from the backtest, None where none was possible; coverage80 is the share of
    backtest days inside the calibrated 80 % band, each fold calibrated on the others. observations: known
    days used. parameters: what a rerun needs to know, JSON-able. explanation: explain.explanation's
    table, where it was asked for.
    """

    champion: str
    why: str
    days: pd.DatetimeIndex
    levels: Floats
    paths: SamplePaths
    wql_champion: float | None
    wql_weeks8: float | None
    coverage80: float | None
    observations: int
    parameters: dict[str, Any] = field(default_factory=dict)
    explanation: pd.DataFrame | None = None
    parts: dict[str, Floats] = field(default_factory=dict)
    """What each model says that the combination is made from, like `levels`; weeks8 is left out."""

    @property
    def quantiles(self) -> pd.DataFrame:
        """The stored levels by day."""
        return self.table(QUANTILES)

    def table(self, levels: Sequence[float]) -> pd.DataFrame:
        """`ds`, `mean` and a column for each level, ascending; quantiles never cross."""
        return quantile_table(self.days, self.levels, levels)


def train_series(
    history: pd.DataFrame, horizon_days: int, *, country: str, seed: int, paths: int = PATHS
) -> SeriesForecast:
    """The forecast of `horizon_days` days after the last day of `history`: a panel of one series."""
    return train_panel({"": history}, horizon_days, country=country, seed=seed, paths=paths)[""]


def train_panel(
    histories: Mapping[str, pd.DataFrame],
    horizon_days: int,
    *,
    country: str,
    seed: int,
    paths: int = PATHS,
    extras: Mapping[str, pd.DataFrame] | None = None,
    selection: Selection | None = None,
    explain: bool = False,
) -> dict[str, SeriesForecast]:
    """The forecast of each series for `horizon_days` days after its own last day, by id.

    histories: columns `ds` naive, `y` ≥ 0 and, optionally, `censored`: true on days whose demand is known
    only as at least `y`; they are filled in before models learn, and no model is judged by them. Missing days
    and NaN are unknown, not 0. Rows may be in any order; two rows of one day raise ValueError, as do an empty
    history, a negative `y` and a horizon below 1; an unknown country raises UnknownCountryError. extras:
    further day features by id (index days, past and coming). selection: a champion chosen before, for a
    refresh. explain: tell what made each day's forecast. The same arguments give the same numbers.

    Series that end together are judged together; path k of each draws the same past days, so that sums over
    branches keep what they have in common.
    """
    if horizon_days < 1:
        raise ValueError(f"horizon_days is {horizon_days}; expected at least 1")
    country = check_country(country)
    series = {name: regular_series(history, "D") for name, history in histories.items()}
    by_end: dict[pd.Timestamp, dict[str, pd.Series]] = {}
    for name, y in series.items():
        by_end.setdefault(y.index[-1], {})[name] = y
    made: dict[str, SeriesForecast] = {}
    for members in by_end.values():
        made |= _train_together(
            members,
            horizon_days,
            at_least=at_least_days({name: histories[name] for name in members}),
            country=country,
            seed=seed,
            paths=paths,
            extras=extras,
            selection=selection,
            explain=explain,
        )
    return {name: made[name] for name in histories}


def _train_together(
    series: Mapping[str, pd.Series],
    steps: int,
    *,
    at_least: Mapping[str, pd.DatetimeIndex],
    country: str,
    seed: int,
    paths: int,
    extras: Mapping[str, pd.DataFrame] | None,
    selection: Selection | None,
    explain: bool,
) -> dict[str, SeriesForecast]:
    """The forecasts of series that end on the same day."""
    panel = panel_of(series, country, at_least)
    chosen = selection or select(panel, steps, extras=extras)
    forecast = forecast_panel(panel, steps, chosen, extras=extras, chosen_rates=selection is not None)
    known = (~np.isnan(panel.values)).sum(axis=1)
    levels = forecast.quantiles.copy()
    names: list[str | None] = [None] * len(panel.ids)
    for place, days in enumerate(known):
        if not np.isfinite(levels[place]).all():
            levels[place], names[place] = _naive(panel, place, steps, seed), SEASONAL_NAIVE
        elif days < LEAST_WEEKS * WEEK:
            names[place] = BORROWED if len(panel.ids) > 1 else SEASONAL_NAIVE
        levels[place] = _whole(panel.recorded[place], levels[place])
    rng = np.random.default_rng(seed)
    drawn = past_days(RESIDUAL_DAYS, paths=paths, steps=steps, rng=rng)
    joined = joint_paths(levels, MODEL_LEVELS, forecast.residuals, drawn, np.random.default_rng([seed, 1]))
    made = {
        name: _answer(panel, place, levels[place], joined[place], forecast, chosen, names[place], seed)
        for place, name in enumerate(panel.ids)
    }
    if not explain:
        return made
    closed = ~panel.opened(steps)
    return {
        name: replace(
            made[name], explanation=_explained(panel, place, made[name], forecast, chosen, closed[place])
        )
        for place, name in enumerate(panel.ids)
    }


def _answer(
    panel: Panel,
    place: int,
    levels: Floats,
    paths: Floats,
    forecast: PanelForecast,
    chosen: Selection,
    instead: str | None,
    seed: int,
) -> SeriesForecast:
    """One series' forecast; `instead` names what stood in for the champion."""
    name = panel.ids[place]
    known = int((~np.isnan(panel.values[place])).sum())
    why = chosen.why
    if instead is not None:
        why = f"{instead}: {known} known days, weeks8 needs {LEAST_WEEKS * WEEK}"
    bounded = panel.bounded[place]
    scored = instead is None
    rates = forecast.made.rates[place]
    parts = {
        part: table[place]
        for part, table in forecast.made.quantiles.items()
        if part != WEEKS8 and instead is None and np.isfinite(table[place]).all()
    }
    return SeriesForecast(
        champion=instead or chosen.champion,
        why=why + told(int(bounded.sum()), known),
        days=forecast.days,
        levels=levels,
        paths=SamplePaths(forecast.days[0].date(), paths),
        wql_champion=_known(chosen.series_wql[place]) if scored else None,
        wql_weeks8=_known(chosen.weeks8_wql[place]) if scored else None,
        coverage80=_known(chosen.coverage80[place]) if scored else None,
        observations=known,
        parameters={
            **chosen.as_record(),
            "country": panel.country,
            "seed": seed,
            "paths": len(paths),
            "horizon_days": levels.shape[1],
            "spread_factor": round(float(chosen.spread.series[place]), 4),
            "rates": {"daytype": rates.daytype, "prophet": rates.prophet},
            "gaps": [
                {"day": gap.day.isoformat(), "kind": str(gap.kind), "units": gap.units, "why": gap.why}
                for gap in panel.gaps.get(name, ())
            ],
            "filled_in": {
                "days": int(bounded.sum()),
                "recorded_units": round(float(panel.recorded[place, bounded].sum()), 2),
                "units": round(float(panel.values[place, bounded].sum()), 2),
            },
        },
        parts=parts,
    )


def _explained(
    panel: Panel, place: int, made: SeriesForecast, forecast: PanelForecast, chosen: Selection, closed: Bools
) -> pd.DataFrame:
    """The explanation of one series' forecast; closed: (past and coming days,)."""
    steps = len(made.days)
    medians = {
        name: found[place, MIDDLE]
        for name, found in forecast.made.quantiles.items()
        if np.isfinite(found[place]).all()
    }
    special = special_days(made.days, panel.country)
    weights = {
        name: np.where(special, chosen.weights.special[number], chosen.weights.ordinary[number])
        for number, name in enumerate(COMPONENTS)
        if name in medians
    }
    total = np.sum(list(weights.values()), axis=0)
    return explanation(
        made.days,
        forecast=made.levels[MIDDLE],
        closed=closed[-steps:],
        models=medians,
        # what a model that does not answer leaves goes to the others
        weights={
            name: np.where(total > 0, weight / np.where(total > 0, total, 1.0), 1.0 / len(weights))
            for name, weight in weights.items()
        },
        wql=chosen.wql,
        spread=chosen.spread.series[place] * np.where(special, chosen.spread.special, 1.0),
        champion=made.champion,
        champion_wql=made.wql_champion,
        day_type=_day_effects(place, forecast, closed),
        day_type_median=medians.get(DAYTYPE),
    )


def _day_effects(place: int, forecast: PanelForecast, closed: Bools) -> DayEffects | None:
    """What daytype's features do to the coming days; None without a fit."""
    fit, features = forecast.made.fits[place], forecast.made.features[place]
    if fit is None or features is None:
        return None
    steps = len(forecast.days)
    past, coming = features.values[:-steps], features.values[-steps:]
    shut = closed[:-steps][-len(past) :]
    recent = past[-USUAL_DAYS:][~shut[-USUAL_DAYS:]]
    usual = (recent if len(recent) else past).mean(axis=0)
    return day_effects(fit.level, fit.effects, coming, usual, features.names)


def quantile_table(days: pd.DatetimeIndex, known: Floats, levels: Sequence[float]) -> pd.DataFrame:
    """`ds`, `mean` and one column a level of quantiles known at MODEL_LEVELS (levels, steps)."""
    ascending = sorted(set(levels))
    asked = np.array([*ascending, *stratified_levels(MEAN_LEVELS)])
    values = quantile_functions(known[None], MODEL_LEVELS, asked)[0]
    table = {TIME: days.astype(TIME_DTYPE), MEAN: values[len(ascending) :].mean(axis=0)}
    cuts = np.maximum.accumulate(values[: len(ascending)], axis=0)
    table |= {quantile_column(level): cut for level, cut in zip(ascending, cuts, strict=True)}
    return pd.DataFrame(table)


def _naive(panel: Panel, place: int, steps: int, seed: int) -> Floats:
    """Seasonal naive's quantiles (MODEL_LEVELS, steps): it needs nothing."""
    history = panel.values[place][-MOST_SKETCHED:]
    paths = seasonal_naive_paths(
        history, steps, season=WEEK, paths=PATHS, rng=np.random.default_rng([seed, place])
    )
    return np.quantile(paths, MODEL_LEVELS, axis=0)


def _whole(history: Floats, levels: Floats) -> Floats:
    """Quantiles of small whole counts in whole units, others as they are."""
    known = history[~np.isnan(history)]
    if not len(known) or np.median(known) >= SMALL_COUNT or (known != np.rint(known)).any():
        return levels
    return np.rint(levels)


def _known(score: np.float64) -> float | None:
    return float(score) if np.isfinite(score) else None


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
