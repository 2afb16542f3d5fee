"""Accepted bookings a second: one hot slot, spread over a bank, embedded on SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any, Final

from benchmarks.support import pgbench
from benchmarks.support.banks import HOT, SPREAD
from benchmarks.support.generator import Seen
from benchmarks.support.rounds import Figure, interleave, ratio
from benchmarks.support.stage import UNBATCHED, Server, Stage, milliseconds

CLIENTS: Final = 64
EMBEDDED_CLIENTS: Final = 32
WARM_SECONDS: Final = 1.5
LOANS_A_SECOND: Final = 8_000
"""Fresh loans that the bank holds for every second of load: more than any server here can book."""


def hot_slot(stage: Stage) -> list[Figure]:
    """One slot that everybody wants, against pgbench's hot row and against one transaction a request."""
    shape = replace(HOT, loans=_loans(stage))
    with ExitStack() as stack:
        batched = stack.enter_context(stage.server(shape))
        unbatched = stack.enter_context(stage.server(shape, batch=UNBATCHED))
        slots = shape.slot_ids(0)
        for server in (batched, unbatched):
            server.load(CLIENTS, seconds=WARM_SECONDS, slots=slots)
        before = batched.metrics()
        seen: dict[str, list[Any]] = interleave(
            {
                "pgbench": lambda: stage.pgbench.per_second(pgbench.HOT, stage.seconds),
                "unbatched": lambda: batch_load(unbatched, stage, slots),
                "batched": lambda: batch_load(batched, stage, slots),
            },
            stage.rounds,
        )
        stage.notes["hot_slot"] = {
            "pgbench_tps": round(median(seen["pgbench"])),
            "batched": told(seen["batched"]),
            "unbatched": told(seen["unbatched"]),
            "of_metrics": _batching(before, batched.metrics()),
            "peak_rss_mb_per_worker": {
                "batched": batched.peak_rss_mb(),
                "unbatched": unbatched.peak_rss_mb(),
            },
        }
    rates = {name: [s.goodput for s in seen[name]] for name in ("batched", "unbatched")}
    return [
        ratio("hot_slot_over_pgbench", rates["batched"], seen["pgbench"], at_least=2.5),
        ratio("hot_slot_over_unbatched", rates["batched"], rates["unbatched"], at_least=4),
    ]


def spread(stage: Stage) -> list[Figure]:
    """A thousand slots of two hundred branches, against pgbench's transaction on rows that nobody shares."""
    shape = replace(SPREAD, loans=_loans(stage))
    with stage.server(shape) as server:
        slots = shape.slot_ids(0)
        server.load(CLIENTS, seconds=2 * WARM_SECONDS, slots=slots)
        seen: dict[str, list[Any]] = interleave(
            {
                "pgbench": lambda: stage.pgbench.per_second(pgbench.SPREAD, stage.seconds),
                "batched": lambda: batch_load(server, stage, slots),
            },
            stage.rounds,
        )
        stage.notes["spread"] = {
            "pgbench_tps": round(median(seen["pgbench"])),
            "batched": told(seen["batched"]),
            "peak_rss_mb_per_worker": server.peak_rss_mb(),
        }
    return [ratio("spread_over_pgbench", [s.goodput for s in seen["batched"]], seen["pgbench"], at_least=0.5)]


def sqlite(stage: Stage) -> list[Figure]:
    """The hot slot on SQLite with 32 clients, against one transaction a request."""
    shape = replace(HOT, loans=_loans(stage) // 2)
    with ExitStack() as stack:
        batched = stack.enter_context(stage.embedded(shape))
        unbatched = stack.enter_context(stage.embedded(shape, batch=UNBATCHED))
        slots = shape.slot_ids(0)
        for server in (batched, unbatched):
            server.load(EMBEDDED_CLIENTS, seconds=WARM_SECONDS, slots=slots)
        seen = interleave(
            {
                "unbatched": lambda: batch_load(unbatched, stage, slots, EMBEDDED_CLIENTS),
                "batched": lambda: batch_load(batched, stage, slots, EMBEDDED_CLIENTS),
            },
            stage.rounds,
        )
        stage.notes["sqlite"] = {name: told(some) for name, some in seen.items()}
    rates = {name: [s.goodput for s in some] for name, some in seen.items()}
    return [ratio("sqlite_over_unbatched", rates["batched"], rates["unbatched"], at_least=2)]


def batch_load(server: Server, stage: Stage, slots: Sequence[str], clients: int = CLIENTS) -> Seen:
    """One round's closed-loop load. Raises RuntimeError where more than 1 % was not accepted."""
    seen = server.load(clients, seconds=stage.seconds, slots=slots)
    if sum(seen.refused.values()) > seen.answers / 100:
        raise RuntimeError(
            f"refusals where there should be none: {seen.refused}\n{server.served.log()[-2000:]}"
        )
    return seen


def told(rounds: Sequence[Seen]) -> dict[str, Any]:
    """Accepted a second, latencies, CPU milliseconds an accepted booking and where they go: medians."""
    names = rounds[0].cpu
    each = {name: median(s.cpu[name] / max(1, s.accepted) for s in rounds) for name in names}
    return {
        "accepted_per_second": round(median(s.goodput for s in rounds), 1),
        "p50_ms": milliseconds(median(s.p50 for s in rounds)),
        "p99_ms": milliseconds(median(s.p99 for s in rounds)),
        "cpu_ms_per_booking": {name: round(value * 1000, 3) for name, value in each.items()},
        "cpu_cores": {name: round(median(s.cpu[name] / s.seconds for s in rounds), 2) for name in names},
    }


def _loans(stage: Stage) -> int:
    return int((stage.rounds * (stage.seconds + 1) + 3 * WARM_SECONDS) * LOANS_A_SECOND)


def _batching(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Means over the rounds by the server's metrics: bookings a batch, time of commit and in the queue."""

    def mean(name: str) -> float:
        grown = {end: after.get(name + end, 0) - before.get(name + end, 0) for end in ("_sum", "_count")}
        return round(grown["_sum"] / grown["_count"], 5) if grown["_count"] else 0.0

    return {
        "batch_size": mean("booking_batch_size"),
        "commit_ms": round(mean("booking_commit_duration_seconds") * 1000, 2),
        "queue_wait_ms": round(mean("booking_queue_wait_seconds") * 1000, 2),
    }
