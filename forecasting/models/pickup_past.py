"""The past of one series, each day as the days before told it: what was expected, how far off that was.

Newer days count more. A lead's mean comes from all days that are past that lead, also those still to come
("advanced" pick-up). Errors are those that would have been made then, so their quantiles cover what they say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from forecasting.frames import Floats
from forecasting.models.calendar import Integers
from forecasting.models.pickup import ERROR_LEVELS, KINDS, BookingTable, ahead, error_scale

HALF_LIFE_DAYS: Final = 90.0  # of what is usual
ERROR_HALF_LIFE_DAYS: Final = 60.0  # of how far off that was
LEAST_DAYS: Final = 14.0  # fewer (weighted) days teach nothing: the forecast stays as it is
KIND_PRIOR_DAYS: Final = (0.3, 60.0)  # bounds of the days of a kind that count as much as all kinds together
GROUP_PRIOR_DAYS: Final = 6.0  # days of a series that count as much as the group
GROUP_ERROR_DAYS: Final = 10.0
EXCESS: Final = (0.003, 0.99)
FOLLOWS_DEVIATION: Final = 0.5  # of the prior that what is to come follows the forecast in proportion

_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Past:
    """One series as it would have been seen; (days, leads) unless told, NaN = unknown.

    age_weights: (days,), 0 from now on. total: (days, 1). usual: what was expected still to come; errors: how
    far off that was, scaled. follows: (leads,). next_share, next_usual: (leads, kinds), for the days from
    now on; next_days: (leads,), the weighted days that these come from.
    """

    table: BookingTable
    age_weights: Floats
    on_hand: Floats
    total: Floats
    share: Floats
    usual: Floats
    errors: Floats
    follows: Floats
    next_share: Floats
    next_usual: Floats
    next_days: Floats

    @property
    def known_days(self) -> Floats:
        """The weighted days whose errors are known (leads,)."""
        known: Floats = (np.isfinite(self.errors) * self.age_weights[:, None]).sum(axis=0)
        return known

    def excess(self) -> Floats:
        """1 ÷ (concentration + 1) (leads,): how much the share varies beyond chance; NaN where unknown.

        By moments over all days, so that large ones count more:
        E(n − f·y)² = f (1 − f) (y + (y² − y) ÷ (concentration + 1)).
        """
        y, chance = self.total, self.share * (1 - self.share)
        above, most = (self.on_hand - self.share * y) ** 2 - chance * y, chance * (y**2 - y)
        w = self.age_weights[:, None] * (np.isfinite(above) & (most > 0))
        size = (w * np.nan_to_num(most)).sum(axis=0)
        return np.where(size > 0, (w * np.nan_to_num(above)).sum(axis=0) / np.maximum(size, _TINY), np.nan)

    def concentration(self, group: Floats) -> Floats:
        """How little the share varies (leads,); the group's excess counts as some days."""
        own, days = self.excess(), float(self.age_weights.sum())
        mixed = (days * own + GROUP_PRIOR_DAYS * group) / (days + GROUP_PRIOR_DAYS)
        concentration: Floats = 1.0 / np.clip(np.where(np.isnan(own), group, mixed), *EXCESS) - 1.0
        return concentration

    def error_quantiles(self, group: Floats | None = None) -> Floats:
        """The errors' quantiles (leads, levels), the group's counting as some days; NaN: none is known."""
        columns = []
        for lead, own in enumerate(self.errors.T):
            values, weights = own, self.age_weights
            if group is not None:
                values, weights = with_prior(values, weights, group[lead], GROUP_ERROR_DAYS)
            columns.append(weighted_quantiles(values, weights, ERROR_LEVELS))
        return np.stack(columns)


def seen_from_before(table: BookingTable, group_curve: Floats) -> Past:
    """The past of the table; group_curve (leads,): the share of the group's demand at each lead, or zeros."""
    units, kinds, now = table.units, table.kinds, table.now
    days, leads = units.shape
    means, weights = _newest_means(units, kinds, group_curve)
    from_lead_on = np.cumsum(means[:, ::-1], axis=1)[:, ::-1]
    usual, early = np.full((days, leads), np.nan), np.full((days, leads), np.nan)
    next_usual, next_share, next_days = np.zeros((leads, KINDS)), np.zeros((leads, KINDS)), np.zeros(leads)
    # by the day of looking: what a day `lead` days later still gets, from each lead's newest days
    later, evidence = np.zeros((days + 1, KINDS)), np.full(days + 1, np.inf)
    for lead in range(min(leads, days + 1)):
        looked = np.arange(days + 1 - lead)
        later = later[looked] + means[looked + lead, lead]
        evidence = np.minimum(evidence[looked], weights[looked + lead, lead])
        known = from_lead_on[:, lead + 1] if lead + 1 < leads else np.zeros((days + 1, KINDS))
        day = looked[:-1] + lead
        enough = evidence[:-1] >= LEAST_DAYS
        usual[day, lead] = np.where(enough, later[looked[:-1], kinds[day]], np.nan)
        early[day, lead] = known[day, kinds[day]]
        if now + lead <= days:
            next_usual[lead], next_days[lead] = later[now], evidence[now]
            next_share[lead] = known[now + lead] / np.maximum(known[now + lead] + later[now], _TINY)
    complete = (np.arange(days) < now)[:, None]
    age = np.where(complete[:, 0], 0.5 ** ((now - 1 - np.arange(days)) / ERROR_HALF_LIFE_DAYS), 0.0)
    total = np.where(complete, units.sum(axis=1, keepdims=True), np.nan)
    still = np.where(complete, np.cumsum(units, axis=1), np.nan)
    share = early / np.maximum(early + usual, _TINY)
    factor, follows = _following(table, usual, early + usual, still, age)
    usual = usual * factor
    errors = (still - usual) / error_scale(usual)
    return Past(
        table=table,
        age_weights=age,
        on_hand=total - still,
        total=total,
        share=share,
        usual=usual,
        errors=errors,
        follows=follows,
        next_share=next_share,
        next_usual=next_usual,
        next_days=next_days,
    )


def weighted_quantiles(values: Floats, weights: Floats, levels: Floats) -> Floats:
    """The quantiles of the known values under the weights; NaN where there is none."""
    known = np.isfinite(values) & (weights > 0)
    if not known.any():
        return np.full(len(levels), np.nan)
    order = np.argsort(values[known], kind="stable")
    ordered, share = values[known][order], weights[known][order]
    return np.interp(levels, (np.cumsum(share) - share / 2) / share.sum(), ordered)


def with_prior(values: Floats, weights: Floats, prior: Floats, days: float) -> tuple[Floats, Floats]:
    """Values and weights, and evenly weighted quantiles of a prior that count as so many days."""
    return np.concatenate([values, prior]), np.concatenate([weights, np.full(len(prior), days / len(prior))])


def _newest_means(units: Floats, kinds: Integers, group_curve: Floats) -> tuple[Floats, Floats]:
    """Units a day at each lead by kind, from the rows before each row: (days + 1, leads, kinds).

    And the weight of the days they come from (days + 1, leads). Kinds are drawn to all kinds together,
    these to the group's curve at the series' own level.
    """
    days, leads = units.shape
    decay = 0.5 ** (1.0 / HALF_LIFE_DAYS)
    known = np.isfinite(units)
    value = np.where(known, units, 0.0)
    sums, weight = np.zeros((days + 1, leads, KINDS)), np.zeros((days + 1, leads, KINDS))
    for day in range(days):
        sums[day + 1], weight[day + 1] = sums[day] * decay, weight[day] * decay
        sums[day + 1, :, kinds[day]] += value[day]
        weight[day + 1, :, kinds[day]] += known[day]
    all_sums, all_weight = sums.sum(axis=2), weight.sum(axis=2)
    level = (all_sums / np.maximum(all_weight, _TINY)).sum(axis=1, keepdims=True)
    prior = GROUP_PRIOR_DAYS if group_curve.any() else 0.0
    base = (all_sums + prior * level * group_curve) / np.maximum(all_weight + prior, _TINY)
    alike = _kind_prior_days(units, kinds)[:, None]
    means = (sums + alike * base[:, :, None]) / (weight + alike)
    return means, all_weight


def _kind_prior_days(units: Floats, kinds: Integers) -> Floats:
    """Days of one kind that count as much as all kinds together, by lead (leads,): empirical Bayes.

    The variance within kinds over that between their means, by the one-way analysis of variance.
    """
    known = np.isfinite(units)
    value = np.where(known, units, 0.0)
    hot = np.eye(KINDS)[kinds]
    counts, sums = hot.T @ known, hot.T @ value  # (kinds, leads)
    means = sums / np.maximum(counts, 1)
    days, seen = counts.sum(axis=0), (counts > 0).sum(axis=0)
    grand = sums.sum(axis=0) / np.maximum(days, 1)
    within = (known * (value - hot @ means) ** 2).sum(axis=0) / np.maximum(days - seen, 1)
    mean_square = (counts * (means - grand) ** 2).sum(axis=0) / np.maximum(seen - 1, 1)
    between = np.maximum(mean_square - within, 0.0) / np.maximum(days / np.maximum(seen, 1), 1)
    days_alike: Floats = np.clip(within / np.maximum(between, _TINY), *KIND_PRIOR_DAYS)
    return days_alike


def _following(
    table: BookingTable, usual: Floats, usual_total: Floats, still: Floats, age: Floats
) -> tuple[Floats, Floats]:
    """The factor (days, leads) on what usually still comes that a forecast asks for; its slope (leads,).

    still = usual · (1 + slope · ahead), by weighted least squares with the prior that the slope is 1: of a
    day forecast at twice the usual, twice as much is to come.
    """
    days, leads = usual.shape
    if table.mean is None:
        return np.ones((days, leads)), np.ones(leads)
    more = ahead(_filled(table.mean), usual_total)
    scale = error_scale(usual)
    x, z = usual * more / scale, (still - usual) / scale
    usable = np.isfinite(x) & np.isfinite(z)
    w = age[:, None] * usable
    x, z = np.where(usable, x, 0.0), np.where(usable, z, 0.0)
    noise = (w * z**2).sum(axis=0) / np.maximum(w.sum(axis=0), _TINY) / FOLLOWS_DEVIATION**2 + _TINY
    slope = ((w * x * z).sum(axis=0) + noise) / ((w * x**2).sum(axis=0) + noise)
    slope = np.clip(slope, 0.0, 1.0)
    return 1.0 + slope * np.nan_to_num(more), slope


def _filled(values: Floats) -> Floats:
    """Each lead without a forecast takes that of the nearest lead with one."""
    told = np.flatnonzero(np.isfinite(values).any(axis=0))
    if len(told) == 0:
        return values
    nearest = np.abs(np.arange(values.shape[1])[:, None] - told).argmin(axis=1)
    return values[:, told[nearest]]
