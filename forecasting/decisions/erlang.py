"""Queues of a phone line or a counter: Erlang B, C and A by stable recursion, vectorised over half-hours.

Loads are in erlang: arrivals in a time × mean handling time ÷ that time, so 20 customers an hour of 15
minutes each are a load of 5. Arrivals are Poisson within the half-hour, handling times exponential (real ones
vary less, which errs on the safe side), each half-hour is in its steady state. Arguments broadcast.

Sources: A. K. Erlang, 1917 (B and C); C. Palm, 1946, and A. Mandelbaum and S. Zeltyn, "The Palm/Erlang-A
queue, with applications to call centers", 2005 (A: exponential patience).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

from forecasting.frames import Floats

Ints = npt.NDArray[np.int64]
Numbers = npt.ArrayLike

NEVER: Final = float("inf")
"""Patience of customers who do not leave: Erlang A is then Erlang C."""
_TAIL_DEVIATIONS: Final = 12.0
_TAIL_LEAST: Final = 64
"""Erlang A's sum ends so many deviations above the likeliest queue: what is left is below 1e-12."""
_HALVINGS: Final = 40
"""Bisections of a load: 2⁻⁴⁰ of the range is far below what any load is known to."""
_GUESS_DEVIATIONS: Final = 2.0
"""First guess of the agents: the load and twice its root (square-root staffing); doubled until enough."""


@dataclass(frozen=True, slots=True)
class QueueTarget:
    """What a queue is staffed for: so large a share served within so long a wait."""

    service_level: float
    """Share of all arrivals, below 1."""
    wait_seconds: float
    handling_seconds: float
    patience_seconds: float = NEVER
    """Mean time after which a waiting customer leaves."""

    def __post_init__(self) -> None:
        if not 0 < self.service_level < 1:
            raise ValueError(f"service_level {self.service_level}: expected a share between 0 and 1, below 1")
        if self.wait_seconds < 0 or self.handling_seconds <= 0 or self.patience_seconds <= 0:
            raise ValueError(
                f"wait {self.wait_seconds} s, handling {self.handling_seconds} s, "
                f"patience {self.patience_seconds} s: expected a wait of 0 or more, the others more than 0"
            )


def erlang_b(load: Numbers, agents: Numbers) -> Floats:
    """The share of arrivals lost where nobody can wait; 1 without agents."""
    a, n = _broadcast(load, agents)
    return 1.0 / _inverse_b(a, n)


def erlang_c(load: Numbers, agents: Numbers) -> Floats:
    """The share of arrivals that must wait where nobody leaves; 1 where the load is not below the agents."""
    a, n = _broadcast(load, agents)
    return _waiting(a, n, 1.0 / _inverse_b(a, n))


def service_level(load: Numbers, agents: Numbers, wait_seconds: float, handling_seconds: Numbers) -> Floats:
    """The share of arrivals that wait no longer than so, nobody leaving (Erlang C)."""
    a, n = _broadcast(load, agents)
    spare = np.maximum(n - a, 0.0)
    level: Floats = 1.0 - erlang_c(a, n) * np.exp(-spare * wait_seconds / np.asarray(handling_seconds, float))
    return level


def mean_wait_seconds(load: Numbers, agents: Numbers, handling_seconds: Numbers) -> Floats:
    """The mean wait of all arrivals, nobody leaving (Erlang C); infinite from a load of `agents` on."""
    a, n = _broadcast(load, agents)
    spare = n - a
    with np.errstate(divide="ignore"):
        wait: Floats = np.where(
            spare > 0, erlang_c(a, n) * np.asarray(handling_seconds, float) / np.abs(spare), np.inf
        )
    return np.where(a == 0, 0.0, wait)


@dataclass(frozen=True, slots=True)
class Impatient:
    """What Erlang A says of a queue whose customers leave after an exponential time."""

    waiting: Floats
    """Share of arrivals that do not find a free agent."""
    abandoned: Floats
    """Share of arrivals that leave unserved."""
    mean_wait_seconds: Floats
    """Of all arrivals, whether served or gone."""
    service_level: Floats
    """Share of all arrivals that are served within the target's wait."""


def erlang_a(
    load: Numbers, agents: Numbers, wait_seconds: float, handling_seconds: float, patience_seconds: float
) -> Impatient:
    """The steady state of M/M/n+M; without agents everybody leaves. Patience is finite.

    Whoever finds k waiting is served after k + 1 departures, at rates n/handling + i/patience, i = 0..k. The
    time until then is −patience · ln X with X ~ Beta(n·patience/handling, k + 1), so each share is a beta
    distribution's, without numerical integrals.
    """
    a, n = _broadcast(load, agents)
    shape = a.shape
    a, n = a.reshape(-1, 1), n.reshape(-1, 1)
    ratio = patience_seconds / handling_seconds
    queue = np.arange(_longest_queue(a, n, ratio))
    # P(n + k busy or waiting) ÷ P(n busy), scaled by the largest: the product of load ÷ (n + i ÷ ratio)
    with np.errstate(divide="ignore"):
        steps = np.log(a) - np.log(n + queue[1:] / ratio)
    logs = np.concatenate([np.zeros_like(a), np.cumsum(steps, axis=1)], axis=1)
    highest = logs.max(axis=1, keepdims=True)
    weights = np.exp(logs - highest)
    below = (_inverse_b(a, n) - 1.0) * np.exp(-highest)
    queued = weights / (below + weights.sum(axis=1, keepdims=True))
    waiting = queued.sum(axis=1)
    c = n * ratio
    served = c / (c + queue + 1)
    abandoned = (queued * (1.0 - served)).sum(axis=1)
    in_time = 1.0 - betainc(c + 1.0, queue + 1.0, np.exp(-wait_seconds / patience_seconds))
    level = 1.0 - waiting + (queued * served * in_time).sum(axis=1)
    return Impatient(
        waiting=waiting.reshape(shape),
        abandoned=abandoned.reshape(shape),
        mean_wait_seconds=(abandoned * patience_seconds).reshape(shape),  # Little's law: leavers ÷ second
        service_level=np.clip(level, 0.0, 1.0).reshape(shape),
    )


def level_reached(load: Numbers, agents: Numbers, target: QueueTarget) -> Floats:
    """The share of arrivals served within the target's wait: Erlang A where customers leave, else C."""
    if target.patience_seconds == NEVER:
        return service_level(load, agents, target.wait_seconds, target.handling_seconds)
    return erlang_a(
        load, agents, target.wait_seconds, target.handling_seconds, target.patience_seconds
    ).service_level


def agents_needed(load: Numbers, target: QueueTarget) -> Ints:
    """The least number of agents that reaches the target, by load; none where nobody comes."""
    loads, _ = _broadcast(load, 0)
    greatest = float(loads.max(initial=0.0))
    most = int(greatest + _GUESS_DEVIATIONS * np.sqrt(greatest)) + 1
    while (carried := greatest_loads(most, target))[-1] < greatest:
        most *= 2
    return np.searchsorted(carried, loads).astype(np.int64)


@lru_cache(maxsize=256)
def greatest_loads(most_agents: int, target: QueueTarget) -> Floats:
    """The greatest load that 0, 1 … most_agents agents carry at the target, shape (most_agents + 1,).

    More agents carry more, so the agents of any number of loads are one search in this table.
    """
    agents = np.arange(1, most_agents + 1)
    low, high = np.zeros(most_agents), agents / target.service_level  # more than is served is not in time
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = level_reached(middle, agents, target) >= target.service_level
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    table = np.concatenate([[0.0], low])
    table.flags.writeable = False
    return table


# --- small parts ----------------------------------------------------------------------------------


def _broadcast(load: Numbers, agents: Numbers) -> tuple[Floats, Floats]:
    a, n = np.broadcast_arrays(np.asarray(load, dtype=float), np.asarray(agents, dtype=float))
    if not np.isfinite(a).all() or (a < 0).any() or (n < 0).any() or (n != np.floor(n)).any():
        raise ValueError("expected finite loads of 0 or more erlang, and whole numbers of agents")
    return a, n


def _inverse_b(a: Floats, n: Floats) -> Floats:
    """1 ÷ B(n, a): B⁻¹(k) = 1 + k ÷ a · B⁻¹(k − 1) from B(0) = 1; infinite where nobody is ever lost."""
    inverse = np.ones(a.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for k in range(1, int(n.max(initial=0)) + 1):
            inverse = np.where(k <= n, 1.0 + k / a * inverse, inverse)
    return inverse


def _waiting(a: Floats, n: Floats, b: Floats) -> Floats:
    """Erlang C of Erlang B: B ÷ (1 − a ÷ n · (1 − B))."""
    busy = np.divide(a, n, out=np.ones_like(a), where=n > 0)
    waiting: Floats = np.where(busy < 1, b / np.maximum(1.0 - busy * (1.0 - b), np.finfo(float).tiny), 1.0)
    return waiting


def _longest_queue(a: Floats, n: Floats, ratio: float) -> int:
    """How many queue lengths Erlang A's sums need: departures outnumber arrivals above the likeliest one."""
    if not a.size:
        return 1
    likeliest = np.maximum((a - n) * ratio, 0.0).max()
    deviation = np.sqrt(np.maximum(a, 1.0).max() * max(ratio, 1.0))
    return int(likeliest + _TAIL_DEVIATIONS * deviation) + _TAIL_LEAST
