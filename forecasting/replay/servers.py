"""Worker fleets replayed on a trace: what a policy's decisions would have run, every 15 seconds.

The load of a step is its requests as workers kept fully busy. A worker is paid from the moment it is
ordered, and serves after its start-up, 60 to 180 s drawn (seeded) by the step in which it was ordered: at
the same moment every policy meets the same delays. A policy sees what a metric of the last 15 seconds would
show it, how many workers serve and how many are starting, and says how many there shall be. Workers that
still start are the first to go, the newest before others.

A trace coarser than 15 s is held flat within each of its steps: nothing is put in that the trace does not
tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from forecasting.frames import Floats
from forecasting.models.steps import Integers

STEP_SECONDS: Final = 15
STEPS_A_MINUTE: Final = 60 // STEP_SECONDS
STEPS_AN_HOUR: Final = 3600 // STEP_SECONDS
START_SECONDS: Final = (60, 180)
_DRAWS_A_STEP: Final = 8
"""Delays drawn for each step; a step that starts more workers uses them again."""

Bools = npt.NDArray[np.bool_]
Decide = Callable[[int, float, int, int], int]
"""(step, load observed in the step before, workers that serve, workers that start) → workers there shall
be."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of each 15 s as workers kept fully busy, and whether it is known (elsewhere it is held)."""

    workers: Floats
    known: Bools
    scale: float
    """Workers kept fully busy by one request a step of the trace."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers of each 15 s: those that serve, and those that are paid (starting ones included)."""

    serving: Integers
    paid: Integers


@dataclass(frozen=True, slots=True)
class Judged:
    """What a fleet brought over the judged part of a trace."""

    violating_minutes: int
    """Minutes in which the load exceeded the serving workers for 15 s or more."""
    worker_hours: float
    slack: float
    """1 − load ÷ paid workers: the unused share of worker-hours."""


def load_of(requests: Floats, minutes: int, *, most_workers: float, since: int) -> Load:
    """The load of a trace, its largest from step `since` on = most_workers.

    requests: by steps of `minutes`, NaN unknown; an unknown step holds the load before it.
    ValueError for a trace without requests there.
    """
    known = ~np.isnan(requests)
    largest = float(np.max(requests[since:][known[since:]], initial=0.0))
    if largest <= 0:
        raise ValueError("the trace has no request in its judged part: nothing to scale for")
    places = np.arange(len(requests))
    newest = np.maximum.accumulate(np.where(known, places, -1))
    held = np.where(newest >= 0, requests[np.maximum(newest, 0)], 0.0)
    scale = most_workers / largest
    steps = minutes * STEPS_A_MINUTE
    return Load(np.repeat(held * scale, steps), np.repeat(known, steps), scale)


def start_delays(steps: int, seed: int, seconds: tuple[int, int] = START_SECONDS) -> Integers:
    """Start-up times in steps, (steps, draws): even between the two, ends included."""
    least, most = (math.ceil(s / STEP_SECONDS) for s in seconds)
    return np.random.default_rng(seed).integers(least, most + 1, (steps, _DRAWS_A_STEP))


def replay(load: Load, delays: Integers, decide: Decide) -> Fleet:
    """The fleet under the policy, from one serving worker on."""
    steps = len(load.workers)
    serving_at, paid_at = np.empty(steps, dtype=np.int64), np.empty(steps, dtype=np.int64)
    loads: list[float] = load.workers.tolist()
    serving, starting, observed = 1, list[int](), loads[0]
    for step in range(steps):
        if starting:
            still = [ready for ready in starting if ready > step]
            serving += len(starting) - len(still)
            starting = still
        present = serving + len(starting)
        wanted = max(1, decide(step, observed, serving, len(starting)))
        if wanted > present:
            row = delays[step]
            starting += [step + int(row[n % _DRAWS_A_STEP]) for n in range(wanted - present)]
        elif wanted < present:
            kept = max(0, len(starting) - (present - wanted))
            serving -= present - wanted - (len(starting) - kept)
            del starting[kept:]
        serving_at[step], paid_at[step] = serving, serving + len(starting)
        observed = loads[step]
    return Fleet(serving_at, paid_at)


def foresight(load: Load, start_steps: int) -> Fleet:
    """The fleet that knows what comes: no worker too few, each ordered its start-up before it is needed.

    A worker needed again within a start-up is kept, which costs as much as to start it anew.
    """
    need = np.maximum(1, np.ceil(load.workers - 1e-9)).astype(np.int64)
    paid = need.copy()
    for ahead in range(1, start_steps + 1):
        paid[:-ahead] = np.maximum(paid[:-ahead], need[ahead:])
    return Fleet(need, paid)


def judge(load: Load, fleet: Fleet, since: int) -> Judged:
    """What the fleet brought from 15-second step `since` (a whole minute) on; unknown steps are left out."""
    known = load.known[since:]
    workers, serving, paid = load.workers[since:], fleet.serving[since:], fleet.paid[since:]
    short = ((workers > serving + 1e-9) & known).reshape(-1, STEPS_A_MINUTE)
    taken = float(paid[known].sum())
    return Judged(
        int(short.any(axis=1).sum()), taken / STEPS_AN_HOUR, 1.0 - float(workers[known].sum()) / taken
    )
