"""The models that a forecast is combined from, each as quantiles of every coming day of a panel.

- `daytype`: a moving level with the effects of the day's type, the season and announced events;
- `prophet`: Prophet on a group of alike series; each series has its own moving level and weekdays on it;
- `weeks8`: the quantiles of the same weekday over the last eight weeks.

All work on square roots, which level the noise of counts (Anscombe, Biometrika 35, 1948) and bend little;
on 13 daily sets the root scored 0.853 of weeks8's loss where log(y + 1 %) scored 0.895.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import pandas as pd

from forecasting.frames import Floats
from forecasting.models.calendar import WEEKDAY_PREFIX, regressors
from forecasting.models.level_regression import (
    RATES,
    Bools,
    Integers,
    LevelFit,
    coming_quantiles,
    fit_level,
)
from forecasting.models.panel import WEEK, Panel, alike_groups, group_index
from forecasting.models.prophet_model import CannotFitError, fit_prophet, prophet_course
from forecasting.models.weeks8 import weeks8_levels

DAYTYPE: Final = "daytype"
PROPHET: Final = "prophet"
WEEKS8: Final = "weeks8"
COMPONENTS: Final = (DAYTYPE, PROPHET, WEEKS8)

MODEL_LEVELS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
"""The quantile levels that components answer with; between them a forecast is interpolated."""

LEAST_DAYS: Final = 28
"""Known open days that a moving level needs; below, only weeks8 answers."""
MOST_DAYS: Final = 4 * 365
"""Older days cost time and tell about another time."""
YEARLY_ORDERS: Final = {730: 6, 540: 3}
"""Fourier order by the least span in days: with less, a year cannot be told from a trend."""
COURSES_AT_ONCE: Final = 2
"""Prophet fits that run at a time; where series are batched over processes the cores are full anyway."""
MOST_OVER_SEEN: Final = 4.0

_ROOT_SHARE: Final = 0.5
"""d√y = ½ √y · dy/y: a relative effect of 1 moves the root by half of it."""
_LEAST_ROOT: Final = 0.5
_PRIORS: Final = ((WEEKDAY_PREFIX, 0.6), ("named_", 0.15), ("month_", 0.12), ("quarter_", 0.12))
_OTHER_PRIOR: Final = 0.3
_THIRDS_PRIOR: Final = 0.06
_YEARLY_PRIOR: Final = 0.25
_EXTRA_PRIOR: Final = 0.2
_COURSE_PRIOR: Final = 0.15
_COURSE_WEEKDAY_PRIOR: Final = 0.1
_MONTH_PARTS: Final = ((1, 5), (6, 10), (11, 15), (16, 20), (21, 25), (26, 31))


@dataclass(frozen=True, slots=True)
class DayFeatures:
    """The day features of past and coming days: values (days, n), relative prior deviations (n,), names."""

    values: Floats
    priors: Floats
    names: tuple[str, ...]

    def with_yearly(self, days: pd.DatetimeIndex, order: int) -> DayFeatures:
        """The same with a yearly Fourier series of the order (0: as they are)."""
        if order == 0:
            return self
        angle = 2.0 * np.pi * np.asarray(days.dayofyear) / 365.25
        waves = [wave(k * angle) for k in range(1, order + 1) for wave in (np.sin, np.cos)]
        priors = [_YEARLY_PRIOR / k for k in range(1, order + 1) for _ in range(2)]
        names = [f"yearly_{k}_{wave}" for k in range(1, order + 1) for wave in ("sin", "cos")]
        return DayFeatures(
            np.column_stack([self.values, *waves]),
            np.concatenate([self.priors, priors]),
            (*self.names, *names),
        )


def day_features(days: pd.DatetimeIndex, country: str, extra: pd.DataFrame | None = None) -> DayFeatures:
    """The features that daytype learns: the calendar's, the part of the month, and `extra` (by day)."""
    table = regressors(days, country)
    table = table.loc[:, (table != 0).any()]
    priors = [
        next((prior for start, prior in _PRIORS if name.startswith(start)), _OTHER_PRIOR)
        for name in table.columns
    ]
    date = np.asarray(days.day)
    parts = {f"days_{a}_{b}": ((date >= a) & (date <= b)).astype(np.float64) for a, b in _MONTH_PARTS}
    frames = [table, pd.DataFrame(parts, index=days)]
    priors += [_THIRDS_PRIOR] * len(parts)
    if extra is not None:
        frames.append(extra.reindex(days, fill_value=0.0))
        priors += [_EXTRA_PRIOR] * extra.shape[1]
    joined = pd.concat(frames, axis=1)
    return DayFeatures(joined.to_numpy(dtype=np.float64), np.array(priors), tuple(map(str, joined.columns)))


@dataclass(frozen=True, slots=True)
class Rates:
    """The rate of a series' moving level in each component, chosen at a selection; None: choose now."""

    daytype: float | None = None
    prophet: float | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What a panel's components say: quantiles (series, levels, steps) by component, NaN where it cannot.

    fits: daytype's fit of each series (None where it cannot); features: what its effects belong to.
    rates: what was used; failures: why Prophet is missing, by group's first id.
    """

    quantiles: dict[str, Floats]
    fits: tuple[LevelFit | None, ...]
    features: tuple[DayFeatures | None, ...]
    rates: tuple[Rates, ...]
    failures: Mapping[str, str]


def make_components(
    panel: Panel,
    steps: int,
    *,
    groups: list[list[int]] | None = None,
    rates: tuple[Rates, ...] | None = None,
    extras: Mapping[str, pd.DataFrame] | None = None,
    among: tuple[str, ...] = COMPONENTS,
) -> Made:
    """The components' quantiles for the `steps` days after the panel's last; closed days are exactly 0.

    extras: further day features by id (index days, past and coming); series that share them share the frame.
    """
    if len(panel.days) > MOST_DAYS:
        newest = panel.values[:, -MOST_DAYS:]
        panel = replace(panel, days=panel.days[-MOST_DAYS:], values=newest, bounds=None)
    work = _Work.of(panel, steps, rates, extras or {})
    quantiles = {name: np.full((len(panel.ids), len(MODEL_LEVELS), steps), np.nan) for name in among}
    fits: tuple[LevelFit | None, ...] = (None,) * len(panel.ids)
    features: tuple[DayFeatures | None, ...] = (None,) * len(panel.ids)
    used, failures = [Rates()] * len(panel.ids), dict[str, str]()
    if WEEKS8 in among:
        for place, row in enumerate(work.values):
            quantiles[WEEKS8][place] = weeks8_levels(row, steps, np.array(MODEL_LEVELS), season=WEEK)
    if DAYTYPE in among:
        fits, features = work.daytype(quantiles[DAYTYPE])
        used = [Rates(None if fit is None else fit.rate, None) for fit in fits]
    if PROPHET in among:
        chosen = groups if groups is not None else alike_groups(work.values)
        prophet_rates, failures = work.prophet(quantiles[PROPHET], chosen)
        used = [replace(rate, prophet=prophet_rates.get(place)) for place, rate in enumerate(used)]
    closed = ~work.opened[:, None, work.past :]
    made = {name: np.where(closed & ~np.isnan(table), 0.0, table) for name, table in quantiles.items()}
    return Made(made, fits, features, tuple(used), failures)


@dataclass(frozen=True, slots=True)
class _Work:
    """What the components of one panel share: values are (series, past days), NaN = unknown or closed."""

    panel: Panel
    steps: int
    days: pd.DatetimeIndex
    opened: Bools
    values: Floats
    weekday: Integers
    rates: tuple[Rates, ...]
    extras: Mapping[str, pd.DataFrame]

    @classmethod
    def of(
        cls, panel: Panel, steps: int, rates: tuple[Rates, ...] | None, extras: Mapping[str, pd.DataFrame]
    ) -> Self:
        """The panel with its coming days."""
        days = panel.days.union(panel.coming(steps))
        opened = panel.opened(steps)
        values = np.where(opened[:, : len(panel.days)], panel.values, np.nan)
        weekday = np.asarray(days.weekday, dtype=np.int64)
        return cls(panel, steps, days, opened, values, weekday, rates or (Rates(),) * len(values), extras)

    @property
    def past(self) -> int:
        """Days that are known or could be."""
        return len(self.panel.days)

    def enough(self, places: Iterable[int]) -> list[int]:
        """Those of the series that have days enough for a moving level."""
        known = (~np.isnan(self.values)).sum(axis=1)
        return [place for place in places if known[place] >= LEAST_DAYS]

    def daytype(self, into: Floats) -> tuple[tuple[LevelFit | None, ...], tuple[DayFeatures | None, ...]]:
        """The fit and features of each series, its quantiles put `into` (series, levels, steps)."""
        fits: list[LevelFit | None] = [None] * len(self.values)
        features: list[DayFeatures | None] = [None] * len(self.values)
        known: dict[tuple[int, int], DayFeatures] = {}
        for place in self.enough(range(len(self.values))):
            extra = self.extras.get(self.panel.ids[place])
            key = (0 if extra is None else id(extra), _yearly_order(self.values[place]))
            if key not in known:
                plain = day_features(self.days, self.panel.country, extra)
                known[key] = plain.with_yearly(self.days, key[1])
            own = features[place] = known[key]
            rooted = _Rooted(self.values[place], own.values, own.priors)
            fits[place], into[place] = rooted.answer(self.steps, self.weekday, self.rates[place].daytype)
        return tuple(fits), tuple(features)

    def prophet(self, into: Floats, groups: list[list[int]]) -> tuple[dict[int, float], dict[str, str]]:
        """Each series' rate on its group's course, quantiles put `into`; and why groups have none."""
        rates: dict[int, float] = {}
        failures: dict[str, str] = {}
        weekdays = np.array([self.weekday == number for number in range(1, WEEK)], dtype=np.float64).T
        priors = np.array([_COURSE_PRIOR, *[_COURSE_WEEKDAY_PRIOR] * (WEEK - 1)])
        members = [found for group in groups if (found := self.enough(group))]
        # the optimiser is a process of its own: while it runs, the next group's is prepared
        with ThreadPoolExecutor(COURSES_AT_ONCE) as pool:
            courses = list(pool.map(self._course, members))
        for group, course in zip(members, courses, strict=True):
            if isinstance(course, CannotFitError):
                failures[self.panel.ids[group[0]]] = str(course)
                continue
            table = np.column_stack([np.sqrt(course), weekdays])
            for place in group:
                rooted = _Rooted(self.values[place], table, priors, course=True)
                fit, into[place] = rooted.answer(self.steps, self.weekday, self.rates[place].prophet)
                rates[place] = fit.rate
        return rates, failures

    def _course(self, group: list[int]) -> Floats | CannotFitError:
        """Prophet's course (past and coming days) of what the group has in common, or why there is none."""
        index = pd.Series(group_index(self.values[group]), index=self.panel.days)
        opened: Bools = np.logical_or.reduce(self.opened[group, : self.past], axis=0)
        try:
            fit = fit_prophet(index, opened, country=self.panel.country)
            return prophet_course(fit, self.days)
        except CannotFitError as error:
            return error


@dataclass(frozen=True, slots=True)
class _Rooted:
    """One series on the root scale: y (past days), features (past and coming days, n), relative priors.

    course: the first feature is another forecast of the series, which it follows in proportion.
    """

    y: Floats
    features: Floats
    priors: Floats
    course: bool = False

    def answer(self, steps: int, weekday: Integers, rate: float | None) -> tuple[LevelFit, Floats]:
        """The fit and the quantiles (levels, steps) in units."""
        known: Bools = ~np.isnan(self.y)
        root = np.sqrt(np.where(known, self.y, 0.0))
        usual = max(float(np.median(root[known])), _LEAST_ROOT)
        prior_sd, prior_mean = self.priors * usual * _ROOT_SHARE, None
        past = self.features[: len(root)]
        if self.course:
            share = float(root[known].sum() / max(past[known, 0].sum(), _LEAST_ROOT))
            prior_sd = np.concatenate([[_COURSE_PRIOR * max(share, 1e-6)], prior_sd[1:]])
            prior_mean = np.concatenate([[share], np.zeros(len(prior_sd) - 1)])
        fit = fit_level(
            root,
            known,
            past,
            prior_sd,
            steps=steps,
            prior_mean=prior_mean,
            rates=RATES if rate is None else (rate,),
        )
        levels = np.array(MODEL_LEVELS)
        quantiles = coming_quantiles(
            fit, self.features[len(root) :], weekday[len(root) :], weekday[: len(root)], levels
        )
        ceiling = MOST_OVER_SEEN * float(self.y[known].max())
        return fit, np.minimum(np.square(np.maximum(quantiles, 0.0)), ceiling)


def _yearly_order(y: Floats) -> int:
    known = np.flatnonzero(~np.isnan(y))
    span = int(known[-1] - known[0]) + 1
    return next((order for least, order in YEARLY_ORDERS.items() if span >= least), 0)
