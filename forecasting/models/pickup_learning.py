"""The pick-up of a group of series: each one's own past, drawn to the group, and the kept forecasts judged.

What a forecast updated with what was on hand would have said is held against what came: how wide the
forecast should have been, at which levels its quantiles really stood, and whether it or the additive view
lost less.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from forecasting.frames import SCORED_QUANTILES, Floats
from forecasting.models.calendar import Integers
from forecasting.models.losses import pinball
from forecasting.models.pickup import (
    DOUBT,
    ERROR_LEVELS,
    BookingTable,
    Pickup,
    at_levels,
    error_scale,
    reach,
)
from forecasting.models.pickup_past import (
    EXCESS,
    LEAST_DAYS,
    Past,
    seen_from_before,
    weighted_quantiles,
    with_prior,
)
from forecasting.models.posterior import DayEvidence

JUDGED_DAYS: Final = 150
JUDGED_SERIES: Final = 16
BAND: Final = 1.2815515655446004  # deviations of a normal's 80 % band
BAND_LEVEL: Final = np.array([0.8])
SPREADS: Final = (0.7, 3.0)
SPREAD_PRIOR_DAYS: Final = 10.0
LEVEL_PRIOR_DAYS: Final = 20.0
WEIGHT_POWER: Final = 14.0  # weights go as the losses to this power: a tenth better counts four times
WEIGHT_PRIOR_DAYS: Final = 10.0

_TINY: Final = 1e-12


def learn_pickup(tables: Mapping[str, BookingTable]) -> dict[str, Pickup]:
    """The pick-up of each series; what its own days do not say is drawn towards the group of all of them.

    Raises ValueError where the tables differ in their number of leads.
    """
    if len(counts := {table.units.shape[1] for table in tables.values()}) > 1:
        raise ValueError(f"booking tables of one group have {sorted(counts)} leads; expected the same number")
    curve = _group_curve(tables)
    past = {name: seen_from_before(table, curve) for name, table in tables.items()}
    if not past:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # leads of which nothing is known
        excess = np.nanmean([each.excess() for each in past.values()], axis=0)
        errors = np.nanmean([each.error_quantiles() for each in past.values()], axis=0)
    excess = np.clip(np.nan_to_num(excess), *EXCESS)
    # how far off one is must be known for the group, how much comes for each series
    tried = np.mean([each.known_days for each in past.values()], axis=0) >= LEAST_DAYS
    judged = _judged([past[name] for name in sorted(past)[:JUDGED_SERIES]], excess, errors)
    return {
        name: Pickup(
            share=np.where((tried & (each.next_days >= LEAST_DAYS))[:, None], each.next_share, 0.0),
            usual=each.next_usual,
            concentration=each.concentration(excess),
            follows=each.follows,
            errors=np.nan_to_num(each.error_quantiles(errors)),
            spread=judged.spread,
            levels=judged.levels,
            weight=judged.weight,
        )
        for name, each in past.items()
    }


def _group_curve(tables: Mapping[str, BookingTable]) -> Floats:
    """The share of the group's demand at each lead (leads,); zeros for a single series, its own group."""
    leads = next(iter(tables.values())).units.shape[1] if tables else 0
    sums = np.zeros(leads)
    if len(tables) > 1:
        for table in tables.values():
            known = np.isfinite(table.units)
            sums += np.where(known, table.units, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return sums / max(float(sums.sum()), _TINY)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the kept forecasts say, by lead: see Pickup."""

    spread: Floats
    levels: Floats
    weight: Floats


@dataclass(frozen=True, slots=True)
class _Cases:
    """Past days of one series with a kept forecast, (days,) but cuts: the additive view's scored quantiles.

    cuts: (levels, days). size: (days,), the series' mean total, so that small series count as large ones do.
    """

    lead: Integers
    age: Floats
    days: DayEvidence
    total: Floats
    size: Floats
    cuts: Floats

    def widened(self, spread: Floats) -> DayEvidence:
        """The days with their forecasts' deviations times the `spread` (leads,) of their leads."""
        return replace(self.days, variance=self.days.variance * spread[self.lead] ** 2)

    def off(self) -> Floats:
        """How far the forecasts were off, in half-widths of their 80 % bands (days,)."""
        return np.abs(self.total - self.days.mean) / (BAND * np.sqrt(np.maximum(self.days.variance, _TINY)))

    def loss(self, cuts: Floats) -> Floats:
        """What scored quantiles (levels, days) lost on each day, older days counting less (days,)."""
        lost = [pinball(self.total, cut, level) for cut, level in zip(cuts, SCORED_QUANTILES, strict=True)]
        summed: Floats = self.age * np.sum(lost, axis=0) / self.size
        return summed


def _judged(past: list[Past], excess: Floats, errors: Floats) -> _Judged:
    """The judgement of the newest days; leads without a kept forecast lie between their neighbours."""
    leads = len(excess)
    cases = [found for each in past if (found := _cases(each, excess, errors)) is not None]
    if not cases:
        return _Judged(np.ones(leads), np.tile(ERROR_LEVELS, (leads, 1)), np.full(leads, 0.5))
    lead, age = np.concatenate([each.lead for each in cases]), np.concatenate([each.age for each in cases])
    told = np.unique(lead)
    rows = [lead == each for each in told]
    seen = np.array([age[row].sum() for row in rows])

    def spread_out(values: Floats) -> Floats:
        return np.interp(np.arange(leads), told, values)

    # large days count more: there the units are
    off = np.concatenate([each.off() for each in cases])
    counted = np.concatenate([each.age * each.total / each.size for each in cases])
    needed = np.array([weighted_quantiles(off[row], counted[row], BAND_LEVEL)[0] for row in rows])
    needed = (seen * np.nan_to_num(needed, nan=1.0) + SPREAD_PRIOR_DAYS) / (seen + SPREAD_PRIOR_DAYS)
    spread = spread_out(np.clip(needed, *SPREADS))

    stood = np.concatenate([each.widened(spread).levels(each.total[None, :])[0] for each in cases])
    columns = [with_prior(stood[row], age[row], ERROR_LEVELS, LEVEL_PRIOR_DAYS) for row in rows]
    levels = np.stack([weighted_quantiles(*column, ERROR_LEVELS) for column in columns])
    levels = np.stack([spread_out(column) for column in levels.T], axis=1)

    scored = np.array(SCORED_QUANTILES)
    updated = [
        each.widened(spread).quantiles(at_levels(scored, levels[each.lead], ends=(0.0, 1.0)))
        for each in cases
    ]
    lost = [np.concatenate([each.loss(cuts) for each, cuts in zip(cases, updated, strict=True)])]
    lost.append(np.concatenate([each.loss(each.cuts) for each in cases]))
    bayes, additive = (np.maximum([loss[row].sum() for row in rows], _TINY) for loss in lost)
    power = WEIGHT_POWER * seen / (seen + WEIGHT_PRIOR_DAYS)
    return _Judged(spread, levels, spread_out(1.0 / (1.0 + (additive / bayes) ** power)))


def _cases(each: Past, excess: Floats, errors: Floats) -> _Cases | None:
    """The series' newest days with a kept forecast; None where there is none."""
    mean, deviation = each.table.mean, each.table.deviation
    if mean is None or deviation is None:
        return None
    usable = np.isfinite(mean + deviation + each.errors + each.total) & (each.share > 0)
    usable[: max(0, each.table.now - JUDGED_DAYS)] = False
    day, lead = np.nonzero(usable)
    if len(day) == 0:
        return None
    on_hand, total = each.on_hand[day, lead], each.total[day, 0]
    share, usual = each.share[day, lead], each.usual[day, lead]
    off = at_levels(np.array(SCORED_QUANTILES), each.error_quantiles(errors)[lead])
    days = DayEvidence(
        mean=mean[day, lead],
        variance=np.maximum(deviation[day, lead] ** 2, mean[day, lead]),  # never surer than Poisson's
        doubt=DOUBT * reach(share),
        on_hand=on_hand,
        share=share,
        concentration=each.concentration(excess)[lead],
    )
    return _Cases(
        lead=lead,
        age=each.age_weights[day],
        days=days,
        total=total,
        size=np.full(len(day), max(float(np.mean(total)), _TINY)),
        cuts=on_hand + np.maximum(usual + off * error_scale(usual), 0.0),
    )
