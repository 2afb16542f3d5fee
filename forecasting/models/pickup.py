"""What is on hand updates a forecast: the pick-up curve of a series, and a day's paths given what is known.

A booking table is one series: a row for each service day, a column for each lead (0 = wished on the day
itself; the last column holds all longer leads). On hand when L days are left are the units with a lead
above L. Two views of the day's whole demand are averaged, quantile by quantile:

- the forecast's, updated by Bayes (`posterior`): a day that outruns its curve will be larger;
- the additive one: on hand plus what usually still comes on such a day, scaled by the forecast as far as
  the past says so. Weatherford and Kimes, International Journal of Forecasting 19 (2003), found it robust.

The weight between them is what lost least in the past (`pickup_learning`), times `reach` of the share on
hand: nothing known, nothing changed. Both rise with what is on hand, and neither falls below it.
Within the day it is the same with two leads: 0 = after this time of day, 1 = before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from forecasting.frames import Floats
from forecasting.models.calendar import HOLIDAY, MAKE_UP, WEEKEND, Integers, day_types
from forecasting.models.paths import arrange, ranks_of, stratified_levels
from forecasting.models.posterior import DayEvidence

KINDS: Final = 7
ERROR_LEVELS: Final = stratified_levels(39)
ERROR_POWER: Final = 0.75  # errors grow with the mean: to the power 0.5 as Poisson's, 1 in proportion
LEAST_SCALE: Final = 0.3  # units
DOUBT: Final = 0.2
"""How likely the forecast of a day is far off; with less on hand it is doubted less."""
MOST_AHEAD: Final = 3.0  # a forecast four times the usual moves what is to come no further


@dataclass(frozen=True, slots=True)
class BookingTable:
    """What was wished for each day of one series, by lead, and what had been forecast for it.

    units: (days, leads), consecutive days; NaN = not known (yet). Row `now` is the first day that is not
    complete: of row `now` + L the leads above L are known. kinds: (days,), 0 to 6, which days are alike.
    mean, deviation: (days, leads), the forecast of the day's total when L days were left and its standard
    deviation, NaN = none; None where no forecasts were kept.
    """

    units: Floats
    kinds: Integers
    now: int
    mean: Floats | None = None
    deviation: Floats | None = None


@dataclass(frozen=True, slots=True)
class Pickup:
    """What the past says of one series, by lead (rows) and kind of day (columns).

    share: of a day's demand, on hand when so many days are left; 0 = not learned. usual: units still to
    come. concentration: of the share about its mean (leads,). follows: how far what is to come follows the
    forecast, 0 to 1 (leads,). errors: quantiles at ERROR_LEVELS of its scaled errors (leads, levels).
    spread: the forecast's deviation as it should have been over what it was (leads,). levels: at which the
    updated forecast's quantiles really stood, for ERROR_LEVELS (leads, levels). weight: of the additive view
    (leads,).
    """

    share: Floats
    usual: Floats
    concentration: Floats
    follows: Floats
    errors: Floats
    spread: Floats
    levels: Floats
    weight: Floats


def effective_weekdays(days: pd.DatetimeIndex, country: str) -> Integers:
    """Which days are alike, as weekdays: a holiday ends the weekend, a make-up workday begins the week."""
    margin = pd.Timedelta(weeks=4)
    around = day_types(pd.date_range(days.min() - margin, days.max() + margin, unit="us"), country)
    weekend = set(pd.DatetimeIndex(around.index[around["kind"] == WEEKEND]).weekday)
    workdays = set(range(KINDS)) - weekend
    kind = day_types(days, country)["kind"].to_numpy()
    weekday = np.asarray(days.weekday, dtype=np.int64)
    rest, work = max(weekend, default=KINDS - 1), min(workdays, default=0)
    return np.where(kind == HOLIDAY, rest, np.where(kind == MAKE_UP, work, weekday))


def reach(share: Floats) -> Floats:
    """How far what is on hand may replace the forecast's own shape: 0 if nothing is known, 1 if all is."""
    return 1.0 - (1.0 - share) ** 3


def ahead(forecast: Floats, usual_total: Floats) -> Floats:
    """How much larger a day is forecast than such days usually are, 0.5 = half as large again; bounded."""
    return np.clip(forecast / np.maximum(usual_total, 1e-9) - 1.0, -1.0, MOST_AHEAD)


def error_scale(usual: Floats) -> Floats:
    """The units that one scaled error stands for, where so much is still to come."""
    scale: Floats = np.maximum(usual, LEAST_SCALE) ** ERROR_POWER
    return scale


def update_paths(paths: Floats, on_hand: Floats, leads: Integers, kinds: Integers, pickup: Pickup) -> Floats:
    """The sample paths (paths, days) of each day's whole demand, given the units on hand.

    on_hand, leads (days left), kinds: (days,). No path is below what is on hand; paths keep their ranks, so
    that days stay joined as they were; whole numbers stay whole. Where nothing was learned of a lead, and on
    days that every path has at 0 (closed), paths change only to reach what is on hand.
    """
    updated = np.maximum(paths, on_hand)
    lead = np.clip(leads, 0, len(pickup.share) - 1)
    share = np.where(leads == lead, pickup.share[lead, kinds], 0.0)
    told = (share > 0) & (paths > 0).any(axis=0)
    if not told.any():
        return updated
    prior, n, f, lead, kind = paths[:, told], on_hand[told], share[told], lead[told], kinds[told]
    far, even = reach(f), stratified_levels(len(paths))
    mean = prior.mean(axis=0)
    days = DayEvidence(
        mean=mean,
        variance=np.maximum(prior.var(axis=0), mean) * pickup.spread[lead] ** 2,
        doubt=DOUBT * far,
        on_hand=n,
        share=f,
        concentration=pickup.concentration[lead],
    )
    # far out the forecast's own shape counts, near the day its ranks, at the levels that proved right
    own = days.before().levels(np.sort(prior, axis=0))
    bayes = days.quantiles((1 - far) * own + far * at_levels(even, pickup.levels[lead], ends=(0.0, 1.0)))
    usual = pickup.usual[lead, kind]
    usual = usual * (1.0 + pickup.follows[lead] * ahead(mean, usual / np.maximum(1 - f, 1e-9)))
    additive = n + np.maximum(usual + at_levels(even, pickup.errors[lead]) * error_scale(usual), 0.0)
    weight = pickup.weight[lead] * far
    moved = (1 - weight) * bayes + weight * additive
    whole = (prior == np.rint(prior)).all(axis=0)
    moved = np.maximum.accumulate(np.where(whole, np.rint(moved), moved), axis=0)
    updated[:, told] = np.maximum(arrange(moved, ranks_of(prior)), n)
    return updated


def at_levels(levels: Floats, quantiles: Floats, *, ends: tuple[float, float] | None = None) -> Floats:
    """The quantiles (days, ERROR_LEVELS) read at other levels, (levels, days); `ends`: those of 0 and 1."""
    known = ERROR_LEVELS if ends is None else np.concatenate([[0.0], ERROR_LEVELS, [1.0]])
    rows = quantiles if ends is None else np.pad(quantiles, ((0, 0), (1, 1)), constant_values=(ends,))
    return np.column_stack([np.interp(levels, known, row) for row in rows])


def day_table(
    so_far: Floats,
    totals: Floats,
    kinds: Integers,
    *,
    mean: Floats | None = None,
    deviation: Floats | None = None,
) -> BookingTable:
    """The booking table of one time of day, from past days' units up to that time and in all, oldest first.

    All are (days,), the forecast made before each day included; kinds has one more, the running day's.
    """
    unknown = np.full((len(totals) + 1, 2), np.nan)

    def known(values: Floats | None) -> Floats | None:
        if values is None:
            return None
        filled = unknown.copy()
        filled[:-1, 0] = values
        return filled

    units = unknown.copy()
    units[:-1] = np.column_stack([totals - so_far, so_far])
    return BookingTable(units, kinds, len(totals), known(mean), known(deviation))


def reforecast_within_day(paths: Floats, arrived: float, kind: int, pickup: Pickup) -> Floats:
    """The running day's paths (paths,) given the units `arrived` so far.

    pickup: learned from the `day_table` of this time of day. The rest of the day is what exceeds `arrived`.
    """
    moved = update_paths(paths[:, None], np.array([arrived]), np.array([0]), np.array([kind]), pickup)
    return moved[:, 0]
