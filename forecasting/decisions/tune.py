"""The cost re-tune: the quantile that a quota is set to, moved where quantiles keep less than they say.

If demand stayed below its 0.9 quantile on 85 % of the last days, a quota at that quantile refuses more than
the costs warrant. The level whose quantile did keep 90 % lies on the line through what the stored levels kept
(recalibration: Kuleshov, Fenner & Ermon, ICML 2018). It is worked out from the forecasts, not the quotas, so
what was tuned yesterday does not move it today; it moves by at most `tune_most_ratio`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from forecasting.decisions.policy import Policy

SIGMAS: Final = 2.0
"""A departure within two deviations of a proportion is taken for chance."""
HIGHEST: Final = 0.999
"""Beyond it no number of sample paths tells a quantile."""
COST_RETUNE: Final = "cost_retune"


@dataclass(frozen=True, slots=True)
class Kept:
    """How often demand stayed at or below the stored quantiles of its forecasts."""

    days: int
    branch_days: int
    shares: Mapping[float, float]
    """Share of the branch days, by quantile level."""


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
    ends = [(0.0, 0.0), *sorted(kept.shares.items()), (1.0, 1.0)]
    realised = _between([level for level, _ in ends], [share for _, share in ends], target)
    shared = policy.drift_day_correlation
    branches = kept.branch_days / kept.days
    trials = kept.days / (shared + (1.0 - shared) / max(branches, 1.0))  # days' errors go together: see drift
    chance = SIGMAS * math.sqrt(target * (1.0 - target) / trials)
    if abs(realised - target) <= max(policy.tune_gap_ratio, chance):
        return Tuned(target, "", None)
    wanted = _between([share for _, share in ends], [level for level, _ in ends], target)
    most = policy.tune_most_ratio
    level = round(min(max(wanted, target - most), target + most, HIGHEST), 4)
    condition = (
        f"the {target:g} quantile kept {realised:.0%} of {kept.branch_days} branch days "
        f"({kept.days} days): planned at {level:g}"
    )
    return Tuned(level, condition, COST_RETUNE)


def _between(xs: list[float], ys: list[float], x: float) -> float:
    """The line through the points at x; xs ascend, the last of equal ones counts."""
    place = max(n for n, each in enumerate(xs) if each <= x)
    if place == len(xs) - 1:
        return ys[place]
    span = xs[place + 1] - xs[place]
    return ys[place] + (ys[place + 1] - ys[place]) * (x - xs[place]) / span
