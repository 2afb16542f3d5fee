"""The champion of a panel, chosen and calibrated on backtest folds; and the forecast made with it.

`select` is the weekly part: components at each fold, weights, spread, scores. `forecast_panel` is the daily
part: components once, with the rates and groups chosen then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.frames import SCORED_QUANTILES, Floats
from forecasting.models.backtest import fold_origins
from forecasting.models.borrowing import borrowed
from forecasting.models.calendar import HOLIDAY, MAKE_UP, day_types
from forecasting.models.combine import (
    USUAL_SPECIAL,
    USUAL_SPREAD,
    Spread,
    Weights,
    combined,
    learn_spread,
    learn_weights,
)
from forecasting.models.components import (
    COMPONENTS,
    MODEL_LEVELS,
    WEEKS8,
    Made,
    Rates,
    make_components,
)
from forecasting.models.level_regression import Bools
from forecasting.models.losses import pinball
from forecasting.models.openings import EDGE_WORKDAYS
from forecasting.models.panel import Panel, alike_groups

COMBINATION: Final = "combination"
CHANCE_RATIO: Final = 1.05
"""A single model must beat the combination by so much: three folds are few."""
WEEKS8_ON_SPECIAL_DAYS: Final = 0.5
"""Its share there to begin with, others having 1: it knows no holiday and no month end. On 12 daily sets this
and weights of their own cut the special days' WQL by 2.4 %, all days' by 0.6 %."""
LEAST_ANSWERED: Final = 0.5
BREAK_DAYS: Final = 3

SCORED: Final = [MODEL_LEVELS.index(level) for level in SCORED_QUANTILES]
MIDDLE: Final = MODEL_LEVELS.index(0.5)
BAND: Final = (SCORED_QUANTILES.index(0.1), SCORED_QUANTILES.index(0.5), SCORED_QUANTILES.index(0.9))
_LEVELS: Final = np.array(SCORED_QUANTILES)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selection decided for a panel, by position of its ids; all of it can be stored as JSON.

    champion: "combination" or one of the models `names`; weights: theirs. wql: pooled over the folds, by
    model. series_wql, weeks8_wql: (series,) of the champion and of weeks8, NaN where unscored. coverage80:
    the share of a series' fold days in the champion's 80 % band, each fold calibrated on the others. wape:
    Σ|error of the median| ÷ Σ actual over the folds.
    """

    champion: str
    why: str
    names: tuple[str, ...]
    weights: Weights
    spread: Spread
    groups: list[list[int]]
    rates: tuple[Rates, ...]
    folds: int
    fold_days: int
    wql: dict[str, float]
    series_wql: Floats
    weeks8_wql: Floats
    coverage80: Floats
    wape: float | None
    failures: dict[str, str] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """The choice as JSON: what a forecast says it was made with."""
        return {
            "champion": self.champion,
            "weights": _named(self.names, self.weights.ordinary),
            "special_weights": _named(self.names, self.weights.special),
            "folds": self.folds,
            "fold_days": self.fold_days,
            "wql": {name: round(score, 5) for name, score in self.wql.items()},
            "special_spread": round(self.spread.special, 4),
            "wape": None if self.wape is None else round(self.wape, 5),
        }


@dataclass(frozen=True, slots=True)
class PanelForecast:
    """Quantiles (series, MODEL_LEVELS, steps) of the days after the panel's last, and how they came about.

    residuals: past one-step errors (series, RESIDUAL_DAYS) on the root scale, latest last, NaN unknown: their
    order joins the series into sample paths.
    """

    days: pd.DatetimeIndex
    quantiles: Floats
    residuals: Floats
    made: Made


RESIDUAL_DAYS: Final = 364


def select(panel: Panel, steps: int, *, extras: Mapping[str, pd.DataFrame] | None = None) -> Selection:
    """The selection for forecasts of `steps` days after the panel's last day."""
    length = len(panel.days)
    folds = fold_origins(length, steps)
    groups = alike_groups(panel.values)
    if not folds:
        return unjudged(len(panel.ids), groups, f"{length} days of history are too few to judge models")
    made = [
        make_components(panel.until(fold.origin), fold.days, groups=groups, extras=extras) for fold in folds
    ]
    actual, exact = (
        np.stack([_on_open_days(panel, values, fold.origin, fold.days) for fold in folds], axis=1)
        for values in (panel.values, panel.exact)
    )
    scored = np.stack(
        [[one.quantiles[name][:, SCORED] for name in COMPONENTS] for one in made], axis=2
    )  # (models, series, folds, levels, steps)
    special = np.array(
        [special_days(panel.days[fold.origin : fold.origin + fold.days], panel.country) for fold in folds]
    )
    failures = {name: text for one in made for name, text in one.failures.items()}
    return choose(actual, scored, special, exact=exact, groups=groups, folds=len(folds), failures=failures)


def choose(
    actual: Floats,
    scored: Floats,
    special: Bools,
    *,
    exact: Floats | None = None,
    groups: list[list[int]],
    folds: int,
    failures: dict[str, str],
    names: tuple[str, ...] = COMPONENTS,
    unit: str = "days",
) -> Selection:
    """The selection from the folds.

    actual: (series, folds, steps); scored: (models in the order of `names`, series, folds, levels, steps);
    special: (folds, steps). exact: as `actual`, days known only as "at least" unknown instead of filled in.
    Models are judged on exact days alone. Weights and spread are learned on filled-in days, too: without them
    just the busy days would be missing, and both would come out too low.
    """
    exact = actual if exact is None else exact
    told = "".join(f"; no prophet for {name}'s group: {text}" for name, text in failures.items())
    answered = ~np.isnan(actual) & ~np.isnan(scored).any(axis=3)  # (models, series, folds, steps)
    counts = answered.sum(axis=(1, 2, 3))
    # a model that answers for few series is judged on none: the others would lose their days for it
    judged = np.flatnonzero((counts > 0) & (counts >= LEAST_ANSWERED * counts.max()))
    if not len(judged):
        return unjudged(len(actual), groups, f"no model answered in any fold{told}", names=names)
    usable = np.logical_and.reduce(answered[judged], axis=0)
    y = actual[usable]
    flat = np.moveaxis(scored[judged], 3, 1)[:, :, usable]  # (models judged, levels, n)
    ordinary = ~np.broadcast_to(special, actual.shape)[usable]
    everyday = np.full(len(judged), 1.0 / len(judged))
    unusual = np.where(np.array(names)[judged] == WEEKS8, WEEKS8_ON_SPECIAL_DAYS, 1.0)
    found = [
        learn_weights(y[days], flat[:, :, days], _LEVELS, prior / prior.sum())
        for days, prior in ((ordinary, everyday), (~ordinary, unusual))
    ]
    mixed_flat = np.where(ordinary, *(np.tensordot(each, flat, 1) for each in found))
    weights = Weights(*(_spread_over(each, judged, len(names)) for each in found))
    sure = ~np.isnan(exact[usable])
    if not sure.any():
        return unjudged(len(actual), groups, f"no day of any fold is known exactly{told}", names=names)
    size = max(float(np.abs(y[sure]).sum()), 1e-9)
    wql = {names[model]: _loss(y[sure], flat[place][:, sure]) / size for place, model in enumerate(judged)}
    wql[COMBINATION] = _loss(y[sure], mixed_flat[:, sure]) / size
    least = min(wql, key=lambda name: (wql[name], name))
    champion = least if wql[COMBINATION] > CHANCE_RATIO * wql[least] else COMBINATION
    if champion != COMBINATION:
        alone = tuple(float(name == champion) for name in names)
        weights = Weights(alone, alone)
    mixed = np.stack([combined(scored[:, :, fold], weights, special[fold]) for fold in range(folds)], axis=1)
    spread = learn_spread(actual, mixed, special, BAND)
    series_wql, weeks8_wql, coverage80 = _series_scores(
        actual, exact, mixed, scored[names.index(WEEKS8)], special, spread
    )
    middle = mixed[:, :, BAND[1]]
    seen = ~np.isnan(exact) & ~np.isnan(middle)
    ranked = ", ".join(f"{name} {score:.4f}" for name, score in sorted(wql.items(), key=lambda item: item[1]))
    rank = "lowest WQL" if champion == least else "steadiest within 5 % of the lowest WQL"
    why = f"{champion}: {rank} in {folds} folds of {actual.shape[2]} {unit} ({ranked})"
    return Selection(
        champion=champion,
        why=why + told,
        names=names,
        weights=weights,
        spread=spread,
        groups=groups,
        rates=(Rates(),) * len(actual),
        folds=folds,
        fold_days=actual.shape[2],
        wql=wql,
        series_wql=series_wql,
        weeks8_wql=weeks8_wql,
        coverage80=coverage80,
        wape=float(np.abs(exact - middle)[seen].sum() / max(exact[seen].sum(), 1e-9)),
        failures=failures,
    )


def forecast_panel(
    panel: Panel,
    steps: int,
    selection: Selection,
    *,
    extras: Mapping[str, pd.DataFrame] | None = None,
    chosen_rates: bool = False,
    standing: Mapping[str, Floats] | None = None,
) -> PanelForecast:
    """The forecast of the `steps` days after the panel's last, as the selection decided.

    chosen_rates: the levels' rates are the selection's (a daily refresh) instead of chosen on all data.
    standing: what components said of these days a few days before, (series, MODEL_LEVELS, steps): taken as it
    is, for who cannot fit them every night.
    """
    rates = selection.rates if chosen_rates else None
    among: tuple[str, ...] = COMPONENTS
    if selection.champion != COMBINATION and selection.folds:
        # daytype's residuals join the paths, whatever forecasts
        among = tuple(name for name in COMPONENTS if name in {selection.champion, "daytype", WEEKS8})
    standing = standing or {}
    among = tuple(name for name in among if name not in standing)
    made = make_components(panel, steps, groups=selection.groups, rates=rates, extras=extras, among=among)
    empty = np.full((len(panel.ids), len(MODEL_LEVELS), steps), np.nan)
    stacked = np.stack([standing.get(name, made.quantiles.get(name, empty)) for name in COMPONENTS])
    days = panel.coming(steps)
    special = special_days(days, panel.country)
    mixed = combined(stacked, selection.weights, special)
    quantiles = selection.spread.widened(mixed, special, MIDDLE)
    quantiles = borrowed(panel, quantiles, steps)
    residuals = np.full((len(panel.ids), RESIDUAL_DAYS), np.nan)
    for place, fit in enumerate(made.fits):
        if fit is not None:
            nearest = fit.errors[:-1, 0][-RESIDUAL_DAYS:]
            residuals[place, RESIDUAL_DAYS - len(nearest) :] = nearest
    return PanelForecast(days, np.maximum.accumulate(quantiles, axis=1), residuals, made)


def _spread_over(weights: Floats, places: npt.NDArray[np.intp], count: int) -> tuple[float, ...]:
    """The weights at their models' places, 0 for the other models."""
    shares = np.zeros(count)
    shares[places] = weights
    return tuple(float(share) for share in shares)


def _named(names: tuple[str, ...], weights: tuple[float, ...]) -> dict[str, float]:
    return {name: round(float(weight), 4) for name, weight in zip(names, weights, strict=True)}


def special_days(days: pd.DatetimeIndex, country: str) -> Bools:
    """Days (days,) that are no ordinary ones: holidays, make-up workdays, beside breaks, ends of a month."""
    types = day_types(days, country)
    special: Bools = (
        types["kind"].isin([HOLIDAY, MAKE_UP])
        | (types["since_break"] >= BREAK_DAYS)
        | (types["until_break"] >= BREAK_DAYS)
        | types["month_end"].between(1, EDGE_WORKDAYS)
        | types["month_start"].between(1, EDGE_WORKDAYS)
    ).to_numpy(dtype=bool)
    return special


def _on_open_days(panel: Panel, values: Floats, origin: int, days: int) -> Floats:
    """The panel's values on the fold's days, closed days left out: every model knows them."""
    coming = values[:, origin : origin + days]
    opened = panel.opened(0)[:, origin : origin + days]
    return np.where(opened, coming, np.nan)


def _loss(actual: Floats, quantiles: Floats) -> float:
    """WQL times Σ|actual|: the mean over levels of twice the pinball loss, summed over steps."""
    losses = [
        pinball(actual, quantile, level).sum() for quantile, level in zip(quantiles, _LEVELS, strict=True)
    ]
    return 2.0 * float(np.mean(losses))


def _series_scores(
    actual: Floats, exact: Floats, mixed: Floats, plain: Floats, special: Bools, spread: Spread
) -> tuple[Floats, Floats, Floats]:
    """By series: WQL of the champion (widened) and of `plain`; coverage, each fold calibrated on the rest."""
    count, folds = actual.shape[:2]
    own, simple, inside = (np.full(count, np.nan) for _ in range(3))
    middle = BAND[1]
    wide = np.stack([spread.widened(mixed[:, fold], special[fold], middle) for fold in range(folds)], axis=1)
    hits = np.zeros((count, 2))
    for fold in range(folds):
        others = [other for other in range(folds) if other != fold]
        learned = learn_spread(actual[:, others], mixed[:, others], special[others], BAND)
        held = learned.widened(mixed[:, fold], special[fold], middle)
        came = exact[:, fold]
        seen = ~np.isnan(came) & ~np.isnan(held[:, 0])
        hits[:, 0] += ((came >= held[:, BAND[0]]) & (came <= held[:, BAND[2]]) & seen).sum(axis=1)
        hits[:, 1] += seen.sum(axis=1)
    for place in range(count):
        seen = ~np.isnan(exact[place]) & ~np.isnan(mixed[place, :, 0])
        size = float(np.abs(exact[place][seen]).sum())
        if size <= 0.0:
            continue
        own[place] = _loss(exact[place][seen], np.moveaxis(wide[place], 1, 0)[:, seen]) / size
        simple[place] = _loss(exact[place][seen], np.moveaxis(plain[place], 1, 0)[:, seen]) / size
        inside[place] = hits[place, 0] / max(hits[place, 1], 1.0)
    return own, simple, inside


def unjudged(
    count: int, groups: list[list[int]], why: str, *, names: tuple[str, ...] = COMPONENTS
) -> Selection:
    """The equal combination for `count` series, as wide as is usual: nothing could be judged."""
    unknown = np.full(count, np.nan)
    return Selection(
        champion=COMBINATION,
        why=f"{COMBINATION}: equal weights, {why}",
        names=names,
        weights=Weights((1.0 / len(names),) * len(names), (1.0 / len(names),) * len(names)),
        spread=Spread(np.full(count, USUAL_SPREAD), USUAL_SPECIAL),
        groups=groups,
        rates=(Rates(),) * count,
        folds=0,
        fold_days=0,
        wql={},
        series_wql=unknown,
        weeks8_wql=unknown,
        coverage80=unknown,
        wape=None,
    )
