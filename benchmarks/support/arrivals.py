"""Customers who arrive by themselves: GET requests at a changing rate, whether anyone is answered or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np

CONNECTIONS = 200
TIMEOUT_SECONDS = 20.0


@dataclass
class Answers:
    """What came of the requests sent: moments since the start, seconds to the answer, status (0: dropped)."""

    sent_at: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def since(self, second: float) -> Answers:
        """Those sent from that second on."""
        kept = [n for n, sent in enumerate(self.sent_at) if sent >= second]
        return Answers(
            [self.sent_at[n] for n in kept], [self.seconds[n] for n in kept], [self.status[n] for n in kept]
        )

    @property
    def dropped(self) -> int:
        """Requests without an answer."""
        return self.status.count(0)

    @property
    def refused_ratio(self) -> float:
        """Share of requests that got no 2xx."""
        return sum(not 200 <= status < 300 for status in self.status) / max(1, len(self.status))

    @property
    def p99_seconds(self) -> float:
        """99th percentile of the time to a 2xx; infinite where there is none."""
        served = [s for s, status in zip(self.seconds, self.status, strict=True) if 200 <= status < 300]
        return float(np.quantile(served, 0.99)) if served else float("inf")


def arrivals(
    url: str, token: str, rates: Sequence[tuple[float, float]], seed: int = 1, *, keep_alive: bool = True
) -> Answers:
    """What came of Poisson arrivals: rates is [(seconds, requests a second), …].

    keep_alive: connections are used again, so that many stay with the worker that accepted them; else each
    request comes from another customer, on a connection of its own.
    """
    return asyncio.run(_arrivals(url, token, rates, seed, CONNECTIONS if keep_alive else 0))


async def _arrivals(
    url: str, token: str, rates: Sequence[tuple[float, float]], seed: int, kept: int
) -> Answers:
    rng, answers, tasks = np.random.default_rng(seed), Answers(), []
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=kept)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=TIMEOUT_SECONDS, limits=limits) as client:
        began = time.monotonic()
        due, ends = 0.0, 0.0
        for seconds, rate in rates:
            ends += seconds
            while (due := due + rng.exponential(1.0 / rate)) < ends:
                await asyncio.sleep(max(0.0, due - (time.monotonic() - began)))
                tasks.append(asyncio.create_task(_ask(client, url, answers, began)))
            due = ends
        await asyncio.gather(*tasks)
    return answers


async def _ask(client: httpx.AsyncClient, url: str, answers: Answers, began: float) -> None:
    sent = time.monotonic()
    try:
        status = (await client.get(url)).status_code
    except httpx.HTTPError as fault:
        status = 0
        answers.faults.append(repr(fault))
    answers.sent_at.append(sent - began)
    answers.seconds.append(time.monotonic() - sent)
    answers.status.append(status)
