"""Requests per step, forecast online: weekly shape × day level × surge, with quantiles that keep their word.

    state = fit(step_grid(local_times, minutes=1), history)      # or begin(grid), from no history at all
    state = update(state, requests)                              # one step after the other; NaN: unknown
    low, high = predict(state, leads=[5, 15], levels=[0.5, 0.9]) # requests a second

What came is compared with what was expected over windows from one step to a day: log((came + 1) ÷ (expected
+ 1)). The long windows and the day so far are the *day level*, the short ones the *surge*: how far the last
minutes ran ahead of it. How much of each deviation persists is learned for each lead, and so are the
quantiles of the error (request_learners.py). Nothing looks ahead: a forecast depends on what was observed
before it.

A sudden collapse is no low demand: steps far below both the forecast and the shape are taken for an outage,
marked and skipped, for up to three hours. The expectation stands meanwhile, since the storm of retries comes
next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from forecasting.frames import Floats
from forecasting.models.request_learners import (
    ErrorQuantiles,
    LeadMix,
    Persistence,
    between,
    limited,
    spread_of,
)
from forecasting.models.request_shape import DayShapes
from forecasting.models.steps import Integers, StepGrid

LEAD_MINUTES: Final = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240, 480, 1440, 2880)
"""The leads that are learned; those between are interpolated."""
WINDOW_MINUTES: Final = (3, 10, 30, 90, 360, 1440)
"""Windows that deviations are measured over, beside the last step alone."""
DAY_LEVEL_MINUTES: Final = 360
"""Windows from here on are the day's level; shorter ones are the surge."""

OUTAGE_RATIO: Final = 0.1
OUTAGE_LEAST_REQUESTS: Final = 16.0
"""So many must have been expected since the collapse: fewer may fail to come by chance."""
OUTAGE_SPREADS: Final = 3.0
"""Where requests come in fits and starts, a quiet step is nothing unusual either."""
OUTAGE_MINUTES: Final = 180.0
"""A collapse that lasts longer is believed."""

_ONE: Final = 1.0
"""Added to both sides of each ratio: a request, so that empty steps have a logarithm."""
_DAY_PRIOR: Final = 0.1
"""The day so far counts against this share of the whole day."""
_BEYOND: Final = 0.7
"""How far (in logs) a forecast a few minutes ahead may go beyond all that was seen; none an hour ahead."""
_MOST_LOG: Final = 60.0
"""No quantile overflows, whatever a short history extrapolates to."""
_RESTLESS_MINUTES: Final = 60.0
_CONTEXTS: Final = 4
_REFRESH_MINUTES: Final = 15

Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class _Issued:
    """The forecasts of the last 48 hours as issued: a ring of one row a step."""

    at: Integers
    features: Floats
    valid: Bools
    log_expected: Floats
    deviation: Floats
    spread: Floats
    context: Floats

    @classmethod
    def empty(cls, rows: int, leads: int, features: int) -> _Issued:
        return cls(
            at=np.full(rows, -2),
            features=np.zeros((rows, features)),
            valid=np.zeros((rows, leads), dtype=bool),
            log_expected=np.zeros((rows, leads)),
            deviation=np.zeros((rows, leads)),
            spread=np.ones((rows, leads)),
            context=np.zeros((rows, leads, _CONTEXTS)),
        )


@dataclass(slots=True)
class _Outlook:
    """What is forecast for some leads: one entry (of `context`: one row) a lead."""

    log_expected: Floats
    deviation: Floats
    spread: Floats
    context: Floats


@dataclass(slots=True)
class RequestState:
    """All that is known after `seen` steps; `update` changes it in place (copy.deepcopy keeps one)."""

    grid: StepGrid
    expected: Floats | None
    days: DayShapes
    leads: Integers
    windows: Floats
    """Minutes of each window, the last step's first (0)."""
    persistence: Persistence
    quantiles: ErrorQuantiles
    issued: _Issued
    came: Floats
    should: Floats
    """Requests that came and that were expected, by window, older ones fading."""
    features: Floats
    seen: int = 0
    today: int = 0
    today_came: float = 0.0
    today_should: float = 0.0
    today_prior: float = 1.0
    restless: float = 1.0
    """How large the last hour's errors were beside usual ones, squared; 1 is usual."""
    collapsed_steps: int = 0
    """Steps that the present collapse has been skipped for."""
    collapsed_expected: float = 0.0
    """Requests that were expected since it began."""
    outages: list[int] = field(default_factory=list)
    """Steps taken for an outage."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What a forecast is made of: their product is its median, but for the error's own median."""

    shape_rps: float
    day_level: float
    surge: float


def begin(grid: StepGrid, expected: Floats | None = None) -> RequestState:
    """The state before anything was observed.

    expected: requests expected of each step of the grid from elsewhere, e.g. the demand forecast as it was
    known the day before (NaN: nothing known there); the weekly shape is learned and used for the rest.
    ValueError where it is not as long as the grid, or negative.
    """
    if expected is not None and (len(expected) != len(grid) or (expected < 0).any()):
        raise ValueError(f"expected has {len(expected)} steps for a grid of {len(grid)}, or one below 0")
    if len(grid) == 0:
        raise ValueError("the grid has no step")
    leads = np.unique(np.maximum(1, np.round(np.array(LEAD_MINUTES) / grid.minutes).astype(np.int64)))
    windows = np.array([0.0] + [float(w) for w in WINDOW_MINUTES if w > 1.5 * grid.minutes])
    count = len(windows) + 2
    state = RequestState(
        grid=grid,
        expected=expected,
        days=DayShapes(grid),
        leads=leads,
        windows=windows,
        persistence=Persistence(_prior(leads, windows, grid.minutes), grid.minutes),
        quantiles=ErrorQuantiles(leads.astype(np.float64), _CONTEXTS, grid.minutes),
        issued=_Issued.empty(int(leads[-1]) + 1, len(leads), count),
        came=np.zeros(len(windows)),
        should=np.zeros(len(windows)),
        features=np.concatenate([[1.0], np.zeros(count - 1)]),
    )
    _begin_day(state, 0)
    _issue(state)
    return state


def fit(grid: StepGrid, history: Floats, expected: Floats | None = None) -> RequestState:
    """The state after the history: requests of the grid's first steps, NaN where unknown.

    The grid may go on beyond it: as far as will be observed and forecast. See `begin` for expected.
    """
    state = begin(grid, expected)
    for requests in history:
        update(state, float(requests))
    return state


def update(state: RequestState, requests: float) -> RequestState:
    """The state after the next step brought so many requests (NaN: unknown); changed in place.

    ValueError for a negative or infinite count, or where the grid has no further step.
    """
    step, grid = state.seen, state.grid
    if step >= len(grid):
        raise ValueError(f"the grid ends after {len(grid)} steps: make it longer")
    if requests < 0 or math.isinf(requests):
        raise ValueError(f"step {step} has {requests} requests; expected 0 or more, or NaN for unknown")
    if grid.day[step] != state.today:
        _begin_day(state, step)
    forecast = _forecast_of(state, step)
    requests = _unless_outage(state, step, requests, forecast)
    known = not math.isnan(requests)
    if known:
        _learn(state, step, requests)
    state.days.record(step, requests)
    _measure(
        state, requests if known else _assumed_of(state, step), float(_expected(state, np.array([step]))[0])
    )
    state.seen += 1
    if state.seen % max(1, _REFRESH_MINUTES // grid.minutes) == 0:
        state.persistence.refresh(max(1, _REFRESH_MINUTES // grid.minutes))
    _issue(state)
    return state


def predict(state: RequestState, leads: Sequence[int], levels: Sequence[float]) -> Floats:
    """Quantiles (levels, leads) of the requests per second `leads` steps after the last one observed.

    Never negative, and ascending where the levels ascend; beyond 0.05 and 0.99 the outermost stands.
    ValueError for a level outside (0, 1), a lead below 1, beyond 48 hours or beyond the grid.
    """
    steps = np.asarray(leads, dtype=np.int64)
    last = min(int(state.leads[-1]), len(state.grid) - state.seen)
    if len(steps) == 0 or steps.min() < 1 or steps.max() > last:
        raise ValueError(f"leads {list(leads)}: expected 1 to {last} steps (48 hours, within the grid)")
    if not all(0.0 < level < 1.0 for level in levels):
        raise ValueError(f"levels {list(levels)}: expected numbers between 0 and 1")
    mix = LeadMix.of(steps, state.leads)
    outlook = _outlook(state, steps, mix(state.persistence.weights), mix(state.quantiles.variance))
    scaled = between(mix(state.quantiles.places), outlook.context, levels)
    log_requests = outlook.log_expected + outlook.deviation + scaled * outlook.spread
    requests = np.maximum(np.exp(np.minimum(log_requests, _MOST_LOG)) - _ONE, 0.0)
    rates: Floats = requests / (60.0 * state.grid.minutes)
    return rates


def factors(state: RequestState, lead: int) -> Factors:
    """Weekly shape, day level and surge of the forecast `lead` steps ahead."""
    steps = np.array([lead])
    mix = LeadMix.of(steps, state.leads)
    parts = mix(state.persistence.weights)[0] * state.features
    surges = 1 + int((state.windows < DAY_LEVEL_MINUTES).sum())
    surge, whole = float(parts[1:surges].sum()), float(parts.sum())
    damped = float(_damped(state, steps, np.array([whole]))[0])
    kept = damped / whole if whole else 1.0
    expected = float(_expected(state, state.seen - 1 + steps)[0])
    return Factors(
        shape_rps=expected / (60.0 * state.grid.minutes),
        day_level=math.exp(kept * (whole - surge)),
        surge=math.exp(kept * surge),
    )


def _prior(leads: Integers, windows: Floats, minutes: int) -> Floats:
    """Persistence before anything was learned: a deviation lasts about three times as long as its window."""
    lasting = 3.0 * np.maximum(windows, minutes)
    prior = np.zeros((len(leads), len(windows) + 2))
    prior[:, 1:-1] = np.exp(-leads[:, None] * minutes / lasting)
    prior[:, 1] *= 0.7  # the last step alone is part noise
    return prior


def _begin_day(state: RequestState, step: int) -> None:
    moved = state.days.begin_day(step) if step else 0.0
    if state.expected is None:
        state.should *= math.exp(moved)  # what the new level explains is no deviation any more
    state.today = int(state.grid.day[step])
    state.today_came = state.today_should = 0.0
    whole = np.arange(step, state.grid.first_step(state.today + 1))
    state.today_prior = _DAY_PRIOR * float(_expected(state, whole).sum()) + _ONE


def _expected(state: RequestState, steps: Integers) -> Floats:
    """Requests expected of steps of today and the two days after, before any deviation."""
    own = state.days.at(steps)
    if state.expected is None:
        return own
    given = state.expected[steps]
    return np.where(np.isnan(given), own, given)


def _forecast_of(state: RequestState, step: int) -> float:
    """The one-step forecast of the step, in requests."""
    row = (step - 1) % len(state.issued.at)
    return math.expm1(state.issued.log_expected[row, 0] + state.issued.deviation[row, 0])


def _assumed_of(state: RequestState, step: int) -> float:
    """What an unknown step is taken to have brought: as forecast, so that deviations fade as they usually do.

    In proportion to what was expected: the request that is added to have a logarithm would make something of
    a night in which nothing is expected, and each such night more.
    """
    row = (step - 1) % len(state.issued.at)
    log_expected, deviation = state.issued.log_expected[row, 0], state.issued.deviation[row, 0]
    return float(np.expm1(log_expected) * np.exp(deviation))


def _unless_outage(state: RequestState, step: int, requests: float, forecast: float) -> float:
    """The requests, or NaN where the step is taken for part of an outage."""
    if math.isnan(requests):
        return requests
    day_level = math.exp(min(float(state.features[-2]), 0.0))
    usual = min(forecast, float(_expected(state, np.array([step]))[0]) * day_level)
    spread = float(state.issued.spread[(step - 1) % len(state.issued.at), 0])
    missing = math.log((usual + _ONE) / (requests + _ONE))
    if requests > OUTAGE_RATIO * usual or missing < OUTAGE_SPREADS * spread:
        state.collapsed_steps, state.collapsed_expected = 0, 0.0
        return requests
    state.collapsed_expected += usual
    if state.collapsed_expected < OUTAGE_LEAST_REQUESTS:
        return requests
    if state.collapsed_steps * state.grid.minutes >= OUTAGE_MINUTES:
        return requests
    state.collapsed_steps += 1
    state.outages.append(step)
    return math.nan


def _learn(state: RequestState, step: int, requests: float) -> None:
    """Hold the step against the forecasts made of it at each lead."""
    issued, each = state.issued, np.arange(len(state.leads))
    at = step - state.leads
    rows = at % len(issued.at)
    valid = (issued.at[rows] == at) & issued.valid[rows, each]
    log_expected, deviation = issued.log_expected[rows, each], issued.deviation[rows, each]
    spread, context = issued.spread[rows, each], issued.context[rows, each]
    mean = np.exp(log_expected + deviation)
    error = math.log(requests + _ONE) - log_expected - deviation
    if valid[0]:
        keep = math.exp(-state.grid.minutes / max(_RESTLESS_MINUTES, 6.0 * state.grid.minutes))
        usual = float(state.quantiles.variance[0] + 1.0 / mean[0])
        state.restless = keep * state.restless + (1.0 - keep) * min(float(error[0]) ** 2 / usual, 16.0)
    state.quantiles.learn(error, spread, mean, context, valid.astype(np.float64))
    if state.expected is not None or state.days.level > 0.0:
        busy = np.sqrt(np.clip(mean / (_usual(state) + _ONE), 0.05, 20.0))  # busy hours cost most
        # as sure as the spread is small, and less so where errors overlap
        importance = valid * mean / (mean + 5.0) * busy / (spread**2 * np.sqrt(state.leads))
        state.persistence.learn(issued.features[rows], deviation + limited(error, spread), importance)


def _usual(state: RequestState) -> float:
    """The requests of an average step; those of the present one until a day is over."""
    return state.days.level or float(state.should[0])


def _measure(state: RequestState, came: float, should: float) -> None:
    """Take a step into the windows, and make the features of what is known now."""
    keep = np.where(state.windows > 0, np.exp(-state.grid.minutes / np.maximum(state.windows, 1e-9)), 0.0)
    state.came = keep * state.came + came
    state.should = keep * state.should + should
    state.today_came += came
    state.today_should += should
    ratio = np.log((state.came + _ONE) / (state.should + _ONE))
    state.features[1:-2] = ratio[:-1] - ratio[1:]  # each window against the next longer one
    state.features[-2] = ratio[-1]
    day = (state.today_came + state.today_prior) / (state.today_should + state.today_prior)
    state.features[-1] = math.log(day)


def _issue(state: RequestState) -> None:
    """Note what is forecast now, to learn from it when its steps have come."""
    at = state.seen - 1
    row = at % len(state.issued.at)
    steps = at + state.leads
    within = steps < len(state.grid)
    leads = np.where(within, state.leads, np.maximum(len(state.grid) - 1 - at, 0))
    outlook = _outlook(state, leads, state.persistence.weights, state.quantiles.variance)
    issued = state.issued
    issued.at[row], issued.features[row], issued.valid[row] = at, state.features, within
    issued.log_expected[row], issued.deviation[row] = outlook.log_expected, outlook.deviation
    issued.spread[row], issued.context[row] = outlook.spread, outlook.context


def _damped(state: RequestState, leads: Integers, deviation: Floats) -> Floats:
    """The deviation, within what windows of a quarter of its lead or longer have seen, or a little beyond.

    A steep rise would else be drawn on for two days.
    """
    minutes = leads * state.grid.minutes
    ratios = np.cumsum(state.features[-2:0:-1])[::-1]  # of each window, the last step's first
    long_enough = state.windows >= np.minimum(minutes, state.windows[-1])[:, None] / 4.0
    margin = _BEYOND * np.exp(-minutes / 60.0)
    today = float(state.features[-1])
    most = np.maximum(np.where(long_enough, ratios, -np.inf).max(axis=1), max(today, 0.0)) + margin
    least = np.minimum(np.where(long_enough, ratios, np.inf).min(axis=1), min(today, 0.0)) - margin
    return np.clip(deviation, least, most)


def _outlook(state: RequestState, leads: Integers, weights: Floats, variance: Floats) -> _Outlook:
    """The forecast of the steps that lie so many steps after the last one observed."""
    log_expected = np.log(_expected(state, state.seen - 1 + leads) + _ONE)
    deviation = _damped(state, leads, weights @ state.features)
    deviation = np.clip(deviation, -log_expected, _MOST_LOG - log_expected)
    log_mean = log_expected + deviation
    context = np.empty((len(leads), _CONTEXTS))
    context[:, 0] = 1.0
    surge = float(state.features[2:-2].sum())
    context[:, 1] = min(max(surge, -2.0), 2.0)
    context[:, 2] = min(max(0.5 * math.log(state.restless + 1e-9), -1.0), 1.0)
    context[:, 3] = np.clip(log_mean - math.log(_usual(state) + _ONE), -2.0, 1.5)
    return _Outlook(log_expected, deviation, spread_of(variance, np.exp(log_mean)), context)
