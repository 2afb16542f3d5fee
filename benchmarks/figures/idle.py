"""What batching costs a customer who is alone."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Final

from benchmarks.support.banks import HOT
from benchmarks.support.generator import Seen
from benchmarks.support.rounds import Figure, interleave, ratio
from benchmarks.support.stage import UNBATCHED, Server, Stage, milliseconds

REQUESTS: Final = 150
"""One after the other, in each round."""
ROUNDS_MORE: Final = 2
"""A round is short: some more cost little, and medians of latencies need them."""


def latency(stage: Stage) -> list[Figure]:
    """Median latency of a single client, batched ÷ one transaction a request."""
    rounds = stage.rounds + ROUNDS_MORE
    shape = replace(HOT, loans=(rounds + 2) * REQUESTS)
    slots = shape.slot_ids(0)

    def one_after_the_other(server: Server) -> Seen:
        return server.load(1, loans=REQUESTS, slots=slots)

    with ExitStack() as stack:
        batched = stack.enter_context(stage.server(shape))
        unbatched = stack.enter_context(stage.server(shape, batch=UNBATCHED))
        for server in (batched, unbatched):
            one_after_the_other(server)
        seen = interleave(
            {
                "unbatched": lambda: one_after_the_other(unbatched),
                "batched": lambda: one_after_the_other(batched),
            },
            rounds,
        )
    stage.notes["idle_latency"] = {
        name: {
            "p50_ms": milliseconds(median(s.p50 for s in some)),
            "p99_ms": milliseconds(median(s.p99 for s in some)),
        }
        for name, some in seen.items()
    }
    latencies = {name: [s.p50 for s in some] for name, some in seen.items()}
    return [ratio("idle_latency_ratio", latencies["batched"], latencies["unbatched"], at_most=1.1)]
