"""The cost re-tune: the quantile that a quota is set to, moved where quantiles keep less than they say.

If demand stayed below its 0.9 quantile on 85 % of the last days, a quota at that quantile refuses more than
the costs warrant. The level whose quantile did keep 90 % lies on the line through what the stored levels kept
(recalibration: Kuleshov, Fenner & Ermon, ICML 2018). It is worked out from the forecasts, not the quotas, so
what was tuned yesterday does not move it today; it moves by at most `tune_most_ratio`.

Demand is counted in whole units, so a right forecast's quantile holds more than its level: of a Poisson count
with mean 1.2 88 % lie below 3 and 97 % at 3 or below, and 3 is the 0.9 quantile. All that can be said of a
quantile that demand often equals is that its level should lie between the two shares (the ends of a count's
probability integral transform: Czado, Gneiting & Held, Biometrics 65, 2009). So a level counts as kept where
it does, and else by the nearer share: ties speak for the forecast, and only what they cannot excuse is tuned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

from forecasting.decisions.policy import Policy

COST_RETUNE: Final = "cost_retune"


@dataclass(frozen=True, slots=True)
class Kept:
    """How often demand stayed within the stored quantiles of its forecasts."""

    days: int
    branch_days: int
    """Branches and days, each counted once."""
    below: Mapping[float, float]
    """Share of the branch days on which demand was less, by quantile level."""
    up_to: Mapping[float, float]
    """Share on which demand was as much or less."""

    def share(self, level: float) -> float:
        """What the level's quantile kept: the level itself where ties allow it, else the nearer share."""
        return min(max(level, self.below[level]), self.up_to[level])


class Tuned(NamedTuple):
    """The level to plan at; reason None = the policy's."""

    level: float
    condition: str
    reason: str | None


def tuned_level(kept: Kept, policy: Policy) -> Tuned:
    """The quantile level whose quantile kept the policy's service level, near the policy's own."""
    target = policy.service_level
    if kept.days < policy.tune_least_days or policy.tune_most_ratio == 0:
        return Tuned(target, "", None)
    ends = [(0.0, 0.0), *((level, kept.share(level)) for level in sorted(kept.below)), (1.0, 1.0)]
    realised = _between([level for level, _ in ends], [share for _, share in ends], target)
    shared = policy.drift_day_correlation
    branches = kept.branch_days / kept.days
    trials = kept.days / (shared + (1.0 - shared) / max(branches, 1.0))  # days' errors go together: see drift
    deviations = NormalDist().inv_cdf(1.0 - policy.tune_chance / 2.0)
    chance = deviations * math.sqrt(target * (1.0 - target) / trials)
    if abs(realised - target) <= max(policy.tune_gap_ratio, chance):
        return Tuned(target, "", None)
    wanted = _between([share for _, share in ends], [level for level, _ in ends], target)
    most = policy.tune_most_ratio
    level = round(min(max(wanted, target - most), target + most, policy.tune_highest_level), 4)
    told = f"{realised:.0%} of {kept.branch_days} branch days ({kept.days} days)"
    if realised < target:
        condition = f"the {target:g} quantile kept {told}: planned at {level:g}"
    else:
        condition = f"{told} stayed below the {target:g} quantile: planned at {level:g}"
    return Tuned(level, condition, COST_RETUNE)


def _between(xs: list[float], ys: list[float], x: float) -> float:
    """The line through the points at x; xs ascend, the last of equal ones counts."""
    place = max(n for n, each in enumerate(xs) if each <= x)
    if place == len(xs) - 1:
        return ys[place]
    span = xs[place + 1] - xs[place]
    return ys[place] + (ys[place + 1] - ys[place]) * (x - xs[place]) / span
