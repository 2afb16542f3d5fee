"""What is learned by lead: how far today's pace persists, and how wide the errors are.

Both learn online from one forecast at a time, for all leads at once: arrays have one row a lead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from forecasting.frames import Floats
from forecasting.models.steps import Integers

LEVELS: Final = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99])
"""The quantile levels that are tracked; others lie between their neighbours."""
_NORMAL: Final = np.array([-1.645, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.645, 1.96, 2.326])
"""Where the tracked quantiles start: those of the normal distribution."""

MEMORY_DAYS: Final = 5.0
_MEMORY_STEPS: Final = 1500.0
"""Long steps say less in five days: they are kept longer."""
_RIDGE: Final = 5.0
_LARGEST_ERROR: Final = 4.0
"""An error counts as at most so many spreads: a flash crowd does not rewrite what was learned."""
_SPREAD_DAYS: Final = 7.0
_FIRST_VARIANCE: Final = 0.05
_LEAST_VARIANCE: Final = 1e-5
_STEP: Final = 0.02
_FIRST_STEP: Final = 0.2
_STEP_LEAD_POWER: Final = 0.3
"""Errors of a long lead overlap, so one bad spell counts many times: its steps are smaller."""
_MOVED_A_LEAD: Final = 0.7
_FIRST_MOVED_A_LEAD: Final = 2.0
"""Until a forecast is judged its quantiles move by no more spreads than this, or they would swing."""
_CONTEXT_DECAY: Final = 0.05


class Persistence:
    """For each lead the share of each deviation that will still be there: ridge regression that forgets.

    The prior is what holds without any data; `weights` (leads, features).
    """

    def __init__(self, prior: Floats, minutes: int) -> None:
        leads, features = prior.shape
        self._prior = prior
        self._decay = np.exp(-1.0 / max(MEMORY_DAYS * 1440.0 / minutes, _MEMORY_STEPS))
        self._products = np.zeros((leads, features, features))
        self._targets = np.zeros((leads, features))
        self._ridge = np.eye(features) * _RIDGE
        self.weights = prior.copy()

    def learn(self, features: Floats, deviations: Floats, importance: Floats) -> None:
        """Take in, per lead, the features (leads, features) at issue and the deviation that came."""
        weighted = importance[:, None] * features
        self._products += weighted[:, :, None] * features[:, None, :]
        self._targets += weighted * deviations[:, None]

    def refresh(self, steps: int) -> None:
        """Forget as much as `steps` steps do, and solve for the weights."""
        kept = self._decay**steps
        self._products *= kept
        self._targets *= kept
        right = self._targets + _RIDGE * self._prior
        solved = np.linalg.solve(self._products + self._ridge, right[:, :, None])
        self.weights = solved[:, :, 0].astype(np.float64)


class ErrorQuantiles:
    """Quantiles of the log errors by lead, scaled by their spread and moved until they cover what they say.

    Each quantile steps up after an error above it and down after one below, by amounts that balance at its
    level: Angelopoulos, Candès and Tibshirani, "Conformal PID Control for Time Series Prediction" (2023),
    quantile tracking; Gibbs and Candès, "Adaptive Conformal Inference Under Distribution Shift" (2021). The
    first column of `context` (leads, contexts) is 1 and keeps that promise; the others let a quantile lean on
    what is known at issue. `places` is (leads, levels, contexts).
    """

    def __init__(self, leads: Floats, contexts: int, minutes: int) -> None:
        count = len(leads)
        self._leads = leads
        self.places = np.zeros((count, len(LEVELS), contexts))
        self.places[:, :, 0] = _NORMAL
        self.variance = np.full(count, _FIRST_VARIANCE)
        self._least_step = np.minimum(_STEP * leads**-_STEP_LEAD_POWER, _MOVED_A_LEAD / leads)
        self._first_step = np.minimum(_FIRST_STEP, _FIRST_MOVED_A_LEAD / leads)
        self._steps = np.zeros(count)
        self._weight = np.zeros(count)
        self._memory = _SPREAD_DAYS * 1440.0 / minutes

    def learn(self, error: Floats, spread: Floats, mean: Floats, context: Floats, valid: Floats) -> None:
        """Take in, per lead, the log error of a forecast with its spread and mean; valid 0: none was made."""
        scaled = error / spread
        told = np.einsum("lkc,lc->lk", self.places, context)
        learned = self._steps / (4.0 * self._leads)
        rate = np.maximum(self._least_step, self._first_step / np.sqrt(1.0 + learned))
        # hours in which nothing is expected cover anything, and would teach that anything covers
        rate *= valid * np.clip(mean - 0.5, 0.0, 1.0)
        move = rate[:, None] * (LEVELS - (scaled[:, None] <= told))
        share = context / (1.0 + (context[:, 1:] ** 2).sum(axis=1))[:, None]
        share[:, 0] = 1.0
        self.places += move[:, :, None] * share[:, None, :]
        self.places[:, :, 1:] *= (1.0 - _CONTEXT_DECAY * rate)[:, None, None]
        self._steps += valid
        weight = valid * mean / (mean + 5.0)
        self._weight += weight
        noise = 1.0 / mean
        squared = np.minimum(np.maximum(error * error - noise, 0.0), 25.0 * (self.variance + noise))
        self.variance += weight / np.minimum(self._weight + 10.0, self._memory) * (squared - self.variance)


def spread_of(variance: Floats, mean: Floats) -> Floats:
    """The spread of log errors: what the model cannot know, and the noise of counting `mean` requests."""
    spread: Floats = np.sqrt(np.maximum(variance, _LEAST_VARIANCE) + 1.0 / mean)
    return spread


def limited(error: Floats, spread: Floats) -> Floats:
    """The error, cut to four spreads."""
    return np.clip(error, -_LARGEST_ERROR * spread, _LARGEST_ERROR * spread)


def between(places: Floats, context: Floats, levels: Sequence[float]) -> Floats:
    """The scaled quantiles (levels, leads): between the tracked ones, ascending, the outermost beyond."""
    tracked = np.maximum.accumulate(np.einsum("lkc,lc->lk", places, context), axis=1)
    position = np.interp(np.asarray(levels, dtype=np.float64), LEVELS, np.arange(len(LEVELS)))
    low = np.minimum(position.astype(np.int64), len(LEVELS) - 2)
    share = (position - low)[None, :]
    found: Floats = (tracked[:, low] * (1.0 - share) + tracked[:, low + 1] * share).T
    return found


@dataclass(frozen=True, slots=True)
class LeadMix:
    """Values at any leads from values at the learned ones, straight in the logarithm of the lead."""

    low: Integers
    high: Integers
    share: Floats

    @classmethod
    def of(cls, steps: Integers, learned: Integers) -> LeadMix:
        """The mix for leads of so many steps; beyond the learned ones the outermost stands."""
        place = np.interp(np.log(steps), np.log(learned), np.arange(len(learned)))
        low = place.astype(np.int64)
        return cls(low, np.minimum(low + 1, len(learned) - 1), place - low)

    def __call__(self, values: Floats) -> Floats:
        """One row for each lead, from one row for each learned lead."""
        share = self.share.reshape(-1, *[1] * (values.ndim - 1))
        mixed: Floats = values[self.low] * (1.0 - share) + values[self.high] * share
        return mixed
