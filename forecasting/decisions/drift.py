"""Drift watch: live forecasts held against what their backtest promised.

Three questions about the last `drift_days` days that have come. Each is asked of the size of the departure
(is it worth acting on?) and of its chance (would a healthy forecast show it?), and vetoes where both answers
are bad:

- coverage: does the 80 % band hold fewer days than promised? Exact binomial tail;
- error: is the WAPE above the promised one, even without the worst day (a storm proves nothing)? Gamma tail;
- level: do the forecasts add up to what came? Normal tail, the quickest with a forecast of half the level.

Branches err together within a day (weather, a campaign, pay day), so a day of n branches weighs as
1 ÷ (ρ + (1 − ρ) ÷ n) independent ones, with ρ = `drift_day_correlation`: the design effect of a sample by
clusters (Kish, Survey Sampling, 1965). On real demand ρ was 0.02 to 0.28, 0.15 at the
median. Branches count by their size, since a few large ones make the error.

forecasting.drift_watch reads the scores and the promise, and keeps the verdict. Days around
public holidays belong in only if the backtest had such days: with them weeks8, which knows no calendar, was
vetoed in 6 % of seven-day windows of real demand, without them in 3 %, nearly all true shifts of level.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist
from typing import Final

from scipy.special import bdtr

from forecasting.decisions.guardrails import Verdict, Veto
from forecasting.decisions.policy import Policy
from forecasting.decisions.score import DriftScore, ForecastScore

NOMINAL: Final = 0.8
"""Nobody is held to a band wider than the one that was asked for."""

ERROR_VARIATION: Final = 1.0
"""Squared coefficient of variation of one absolute error: 0.57 if errors were normal, 1 if exponential."""

LEAST_DAYS_OF_ERROR: Final = 3

SIGMA_PER_ERROR: Final = math.sqrt(math.pi / 2.0)
"""Standard deviation ÷ mean absolute value of a normal error."""

FIT: Final = Verdict(True, "", None)


@dataclass(frozen=True, slots=True)
class LiveDay:
    """One day's live scores of a group of branches or the bank, one score a branch."""

    day: date
    scores: int
    """Branches scored."""
    inside80: int
    """Branches whose demand fell into the 80 % band."""
    error_units: float
    """Σ |actual − mean|."""
    actual_units: float
    mean_units: float
    sizes: float
    """How many branches of equal size weigh as these do: (Σ size)² ÷ Σ size², 1 to `scores`."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the backtest said of the same group; None where it could not say."""

    coverage80: float | None
    wape: float | None
    series: int
    days: int
    """Backtest days of a series."""


def live_days(scores: Iterable[ForecastScore]) -> list[LiveDay]:
    """The scores by day, oldest first. Where several runs scored a branch's day, the latest one counts."""
    latest: dict[tuple[date, str], ForecastScore] = {}
    for score in scores:
        key = (score.day, score.branch_id)
        if key not in latest or score.horizon_days < latest[key].horizon_days:
            latest[key] = score
    by_day: dict[date, list[ForecastScore]] = {}
    for (day, _), score in sorted(latest.items(), key=lambda item: item[0]):
        by_day.setdefault(day, []).append(score)
    return [_live_day(day, found) for day, found in by_day.items()]


def drift_verdict(live: Sequence[LiveDay], promise: Promise | None, policy: Policy) -> Verdict:
    """Unfit (`drift`) where the last days' forecasts break a promise; the condition tells the numbers.

    live: days that have come, in any order; the last `drift_days` of them count. Fewer than
    `drift_least_days` of them, or no promise, are not judged: fit.
    """
    days = _judged(live, policy)
    if promise is None or len(days) < policy.drift_least_days:
        return FIT
    for question in (_level, _coverage, _error):
        verdict = question(days, promise, policy)
        if not verdict.fit:
            return verdict
    return FIT


def drift_score(
    run_id: str, scope: str, live: Sequence[LiveDay], promise: Promise | None, policy: Policy
) -> DriftScore | None:
    """The record of a judgement, verdict included; None where no day has come.

    scope: bank | group:NAME.
    """
    days = _judged(live, policy)
    if not days:
        return None
    verdict = drift_verdict(days, promise, policy)
    scores, came = sum(day.scores for day in days), sum(day.actual_units for day in days)
    return DriftScore(
        run_id=run_id,
        day=days[-1].day,
        scope=scope,
        days=scores,
        coverage80=sum(day.inside80 for day in days) / scores,
        coverage80_promised=None if promise is None else promise.coverage80,
        wape=sum(day.error_units for day in days) / came if came > 0 else None,
        wape_promised=None if promise is None else promise.wape,
        verdict=None if verdict.reason is None else str(verdict.reason),
        condition=verdict.condition or None,
    )


def _judged(live: Sequence[LiveDay], policy: Policy) -> list[LiveDay]:
    """The last days of which there are scores, oldest first."""
    return sorted((day for day in live if day.scores), key=lambda day: day.day)[-policy.drift_days :]


def _coverage(days: Sequence[LiveDay], promise: Promise, policy: Policy) -> Verdict:
    """Unfit when the 80 % band holds too few."""
    if promise.coverage80 is None or math.isnan(promise.coverage80):
        return FIT
    promised = min(promise.coverage80, NOMINAL)
    weights = [_weight(day.scores, policy) for day in days]
    held = sum(w * day.inside80 / day.scores for w, day in zip(weights, days, strict=True)) / sum(weights)
    trials = max(math.floor(_against(sum(weights), promise, policy)), 1)
    chance = _binomial_tail(math.floor(held * trials + 1e-9), trials, promised)
    if held >= promised - policy.drift_coverage_gap or chance >= policy.drift_chance:
        return FIT
    scores = sum(day.scores for day in days)
    return _drifted(
        f"80 % band held {held:.0%} of {scores} branch days ({_span(days)}), promised {promised:.0%}", chance
    )


def _error(days: Sequence[LiveDay], promise: Promise, policy: Policy) -> Verdict:
    """Unfit when the WAPE without the worst day is too high; two days are too few to leave one out."""
    if len(days) < LEAST_DAYS_OF_ERROR or promise.wape is None or not promise.wape > 0:
        return FIT
    worst = max(days, key=lambda day: day.error_units)
    kept = [day for day in days if day is not worst]
    size = sum(day.actual_units for day in kept)
    if size <= 0:
        return FIT  # nothing came: the level tells
    wape = sum(day.error_units for day in kept) / size
    ratio = wape / promise.wape
    # Wilson and Hilferty's cube root makes a gamma variable normal (PNAS 17, 1931)
    spread = ERROR_VARIATION / (9.0 * _against(_by_size(kept, policy), promise, policy))
    chance = _upper_tail((ratio ** (1.0 / 3.0) - (1.0 - spread)) / math.sqrt(spread))
    if ratio < policy.drift_wape_ratio or chance >= policy.drift_chance:
        return FIT
    return _drifted(
        f"WAPE {wape:.0%} ({_span(days)}, without the worst day), promised {promise.wape:.0%}", chance
    )


def _level(days: Sequence[LiveDay], promise: Promise, policy: Policy) -> Verdict:
    """Unfit when the summed forecast is far from what came."""
    came, told = sum(day.actual_units for day in days), sum(day.mean_units for day in days)
    if promise.wape is None or not promise.wape > 0 or max(came, told) <= 0:
        return FIT
    off = abs(came - told) / max(came, told)
    trials = _against(_by_size(days, policy), promise, policy)
    chance = 2.0 * _upper_tail(off * math.sqrt(trials) / (SIGMA_PER_ERROR * promise.wape))
    if off < policy.drift_level_ratio or chance >= policy.drift_chance:
        return FIT
    return _drifted(f"{came:.0f} units came ({_span(days)}), {told:.0f} were forecast", chance)


def _live_day(day: date, scores: Sequence[ForecastScore]) -> LiveDay:
    sizes = [score.actual + score.mean for score in scores]
    squares = sum(size**2 for size in sizes)
    return LiveDay(
        day=day,
        scores=len(scores),
        inside80=sum(score.inside80 for score in scores),
        error_units=sum(abs(score.actual - score.mean) for score in scores),
        actual_units=sum(score.actual for score in scores),
        mean_units=sum(score.mean for score in scores),
        sizes=sum(sizes) ** 2 / squares if squares > 0 else 1.0,
    )


def _weight(branches: float, policy: Policy) -> float:
    """How many independent branches a day of so many weighs as."""
    shared = policy.drift_day_correlation
    return 1.0 / (shared + (1.0 - shared) / max(branches, 1.0))


def _by_size(days: Sequence[LiveDay], policy: Policy) -> float:
    return sum(_weight(day.sizes, policy) for day in days)


def _against(weight: float, promise: Promise, policy: Policy) -> float:
    """The weight left when a mean is held against a promise that is itself measured on few days."""
    promised = _weight(promise.series, policy) * max(promise.days, 1)
    return weight * promised / (weight + promised)


def _binomial_tail(most: int, trials: int, share: float) -> float:
    """P(at most `most` of `trials`), by the incomplete beta function: exact for any number of trials."""
    return float(bdtr(most, trials, share))


def _upper_tail(deviate: float) -> float:
    """P(a standard normal variable exceeds the deviate)."""
    return NormalDist().cdf(-deviate)


def _span(days: Sequence[LiveDay]) -> str:
    return f"{days[0].day} to {days[-1].day}"


def _drifted(what: str, chance: float) -> Verdict:
    return Verdict(False, f"{what}; chance {chance:.2g} of a healthy forecast", Veto.DRIFT)
