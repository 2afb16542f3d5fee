"""How far each way of foretelling is trusted where a total is shared out, and what they foretell together.

The ways are the forecast's models and the past itself: a year's same weekdays, a year's days of any weekday,
eight weeks, last week. Each has a distribution of every day's demand; a total is shared out over their linear
pool (Stone, Annals of Mathematical Statistics 32, 1961), in which each way has as many of the paths as it is
trusted. So one more unit has the same chance to be used everywhere, by all that is known, not by one model.

The demand ledger is uncensored, so it tells of every way what it would have brought, not only of the one that
was taken. That makes exponential weights safe: over time their mix loses little more than the best way alone,
whichever that is, and a way that breaks is left within days (Littlestone and Warmuth, Information and
Computation 108, 1994; Cesa-Bianchi and Lugosi, "Prediction, Learning, and Games", 2006, ch. 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forecasting.decisions.allocation import split_total
from forecasting.frames import Floats, SamplePaths

FORECAST: Final = "forecast"
"""The combined forecast; its models are named as they name themselves."""
YEAR: Final = "year"
"""The same weekdays of 52 weeks."""
ANY_DAY: Final = "any_day"
"""All days of 52 weeks, whatever their weekday: what makes even shares."""
WEEKS8: Final = "weeks8"
"""The same weekdays of eight weeks."""
LAST_WEEK: Final = "last_week"

WEEK: Final = 7
YEAR_DAYS: Final = 364
PAST_WEEKS: Final[Mapping[str, int]] = {YEAR: 52, WEEKS8: 8, LAST_WEEK: 1}

MODELS_PRIOR: Final = 0.7
"""Trust in the forecast's models together before anything was seen."""
PRIOR: Final[Mapping[str, float]] = {YEAR: 0.15, ANY_DAY: 0.1, WEEKS8: 0.03, LAST_WEEK: 0.02}
"""Trust in the ways that cannot break. A year's days are dull, which is what demand that hardly follows a
week calls for: on nine sets the pool closed 7.2 points more of the gap to foresight than the best of four
plain policies on each, the forecast alone 4.3. With 0.5 to 0.8 for the models it lost up to 0.4 of that."""
RATE: Final = 8.0
"""Trust falls by this power of e for each usual day's demand left unserved; from 4 to 12 little changes."""
KEPT_A_DAY: Final = 0.97
"""What a day's loss still counts a day later: half after three weeks."""
POOL_PATHS: Final = 200
"""Paths of a pool; 400 changed nothing."""


def trust(losses: Mapping[str, float]) -> dict[str, float]:
    """The weight of each way, summing to 1.

    losses: by way, units unserved as a share of a usual day's demand, older days faded by `faded`. Ways that
    PRIOR does not name are models of the forecast; some of either kind may be missing.
    """
    models = sum(way not in PRIOR for way in losses)
    least = min(losses.values())
    raw = {
        way: (PRIOR[way] if way in PRIOR else MODELS_PRIOR / models) * math.exp(-RATE * (loss - least))
        for way, loss in losses.items()
    }
    total = sum(raw.values())
    return {way: weight / total for way, weight in raw.items()}


def faded(before: Mapping[str, float], unserved: Mapping[str, float], usual: float) -> dict[str, float]:
    """The losses after one more day on which the ways would have left so many units unserved.

    usual: a usual day's demand in units; a day of none teaches nothing.
    """
    share = 1.0 / usual if usual > 0 else 0.0
    return {way: KEPT_A_DAY * before.get(way, 0.0) + units * share for way, units in unserved.items()}


def past_ways(past: Floats, steps: int) -> dict[str, Floats]:
    """What the past foretells of the `steps` days after it: by way, paths (series, steps, n), ascending.

    past: (series, days), 364 days or more without a gap, the last one yesterday; ValueError for fewer.
    """
    if past.shape[1] < YEAR_DAYS:
        raise ValueError(f"{past.shape[1]} days of the past; expected {YEAR_DAYS} or more")
    year = past[:, -YEAR_DAYS:]
    by_weekday = year.reshape(len(past), YEAR_DAYS // WEEK, WEEK)
    ahead = np.arange(steps) % WEEK  # a day so many weeks before tomorrow has tomorrow's weekday
    ways = {
        way: np.sort(by_weekday[:, -weeks:, ahead].transpose(0, 2, 1), axis=2)
        for way, weeks in PAST_WEEKS.items()
    }
    any_day = np.sort(year, axis=1)[:, None, :]
    return ways | {ANY_DAY: np.broadcast_to(any_day, (len(past), steps, YEAR_DAYS))}


def closed_alike(ways: Mapping[str, Floats], holidays: npt.NDArray[np.bool_]) -> dict[str, Floats]:
    """The ways with nothing on days that the forecast knows to be closed: the past knows no calendar.

    ways: (…, days, n) ascending; holidays: (days,). A forecast of nothing is believed on holidays, and where
    nobody ever came on that weekday; on other days it is dead, and only its own loss.
    """
    nobody = ways[YEAR][..., -1] <= 0 if YEAR in ways else np.ones(ways[FORECAST].shape[:-1], dtype=np.bool_)
    closed = ((ways[FORECAST][..., -1] <= 0) & (nobody | holidays))[..., None]
    return {way: np.where(closed, 0.0, paths) for way, paths in ways.items()}


def pooled(ways: Mapping[str, Floats], weights: Mapping[str, float], paths: int = POOL_PATHS) -> Floats:
    """The ways' paths together, (…, paths): of each evenly over its own, as many as it weighs.

    ways: (…, n) ascending, of the same leading shape, n each their own.
    """
    parts = [
        ways[way][..., ((np.arange(count) + 0.5) * ways[way].shape[-1] / count).astype(np.int64)]
        for way, count in _counts(weights, paths).items()
        if count
    ]
    return np.concatenate(parts, axis=-1)


@dataclass(frozen=True, slots=True)
class Pool:
    """What all ways foretell together, and how far each is trusted."""

    weights: Mapping[str, float]
    paths: Mapping[str, SamplePaths]
    """By branch: of each day on its own, ascending; paths of two days do not belong together."""


@dataclass(frozen=True, slots=True)
class WeekOnPaper:
    """A week that has passed: what each way foretold of it on its eve, and what came."""

    ways: Mapping[str, Floats]
    """(series, days, n), ascending; the same ways as in the other weeks."""
    came: Floats
    """(series, days) units."""
    usual: float
    """All series' mean day of the 52 weeks before, in units."""


def trust_of_weeks(weeks: Iterable[WeekOnPaper]) -> dict[str, float]:
    """The trust after these weeks, oldest first, each of which had its usual demand to share out.

    Empty where no week is known.
    """
    losses: dict[str, float] = {}
    for week in weeks:
        series, days = week.came.shape
        total = round(week.usual * days)
        units = {
            way: split_total(total, paths.reshape(series * days, -1)).units.reshape(series, days)
            for way, paths in week.ways.items()
        }
        for day in range(days):
            came = week.came[:, day]
            unserved = {way: float(np.maximum(came - own[:, day], 0.0).sum()) for way, own in units.items()}
            losses = faded(losses, unserved, week.usual)
    return trust(losses) if losses else {}


def _counts(weights: Mapping[str, float], paths: int) -> dict[str, int]:
    """Whole paths by way, summing to `paths`: largest remainders first."""
    exact = {way: weight * paths for way, weight in weights.items()}
    counts = {way: math.floor(units) for way, units in exact.items()}
    order = sorted(exact, key=lambda way: counts[way] - exact[way])
    for way in order[: paths - sum(counts.values())]:
        counts[way] += 1
    return counts
