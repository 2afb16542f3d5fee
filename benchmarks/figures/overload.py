"""Ten times as many customers as can be served: what is still served, how fast, and what a refusal costs.

Peak goodput is what a closed loop gets from the hot slot, with as many clients as get most (64 to 512 are
tried first). The storm offers ten times that as an open loop: customers arrive by themselves (Poisson),
whether anyone was answered or not. One machine cannot hold a socket for each, so the storm has a fixed number
of connections, as a load balancer in front would; who arrives while all of them wait for an answer is
counted as offered and lost. A refused customer frees the connection for the next arrival at once, so the
server always meets as many requests as it can answer at all. Accepted counts as goodput only within the
deadline after the arrival. Peak and storm come from the same generator, on the same cores as the server: its
share is told beside the figures.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median
from typing import Any, Final

from benchmarks.figures.throughput import CLIENTS, LOANS_A_SECOND, WARM_SECONDS
from benchmarks.support.banks import HOT
from benchmarks.support.generator import Seen
from benchmarks.support.rounds import Figure, figure, interleave, ratio
from benchmarks.support.stage import Stage, milliseconds

TIMES: Final = 10
CONNECTIONS: Final = 4000
"""Requests that can be on their way at once: more than the core could answer within the deadline."""
TRIED: Final = (64, 128, 256, 512)
"""Clients of the closed loop, among which the best is the peak."""
DEADLINE_SECONDS: Final = 2.0
RAMP_SECONDS: Final = 5.0
"""Before the window opens: connections are made, queues fill."""


def goodput(stage: Stage) -> list[Figure]:
    """Goodput at ten times the sustainable load ÷ peak goodput; p99 of the accepted; the cost of refusing."""
    closed = stage.rounds * (stage.seconds + 1) + (len(TRIED) + 1) * (WARM_SECONDS + 1)
    each = int((stage.seconds + RAMP_SECONDS) * LOANS_A_SECOND / 2)  # who is refused may come again
    shape = replace(HOT, loans=int(closed * LOANS_A_SECOND) + stage.rounds * each)
    slots = shape.slot_ids(0)
    with stage.server(shape) as server:
        server.load(CLIENTS, seconds=WARM_SECONDS, slots=slots)
        tried = {n: server.load(n, seconds=WARM_SECONDS, slots=slots).goodput for n in TRIED}
        clients = max(tried, key=tried.__getitem__)
        peaks = [tried[clients]]

        def peak() -> Seen:
            seen = server.load(clients, seconds=stage.seconds, slots=slots, deadline=DEADLINE_SECONDS)
            peaks.append(seen.goodput)
            return seen

        def storm() -> Seen:
            return server.load(
                CONNECTIONS,
                seconds=stage.seconds,
                ramp=RAMP_SECONDS,
                rate=TIMES * peaks[-1],
                loans=each,
                deadline=DEADLINE_SECONDS,
                slots=slots,
            )

        seen = interleave({"peak": peak, "storm": storm}, stage.rounds)
    stage.notes["overload"] = {
        "deadline_seconds": DEADLINE_SECONDS,
        "connections": CONNECTIONS,
        "per_second_by_clients": {n: round(rate, 1) for n, rate in tried.items()},
        "peak_per_second": round(median(s.goodput for s in seen["peak"]), 1),
        "storm": _told(seen["storm"]),
    }
    booking = median(_server_cpu(s) / max(1, s.accepted) for s in seen["peak"])
    goodputs = {name: [s.goodput for s in some] for name, some in seen.items()}
    costs = [_refusal_cost(*pair) for pair in zip(seen["peak"], seen["storm"], strict=True)]
    stage.notes["overload"]["cpu_ms"] = {
        "booking_at_peak": milliseconds(booking),
        "refusal": milliseconds(booking * median(costs)),
    }
    return [
        ratio("goodput_at_10x", goodputs["storm"], goodputs["peak"], at_least=0.9),
        figure("p99_over_deadline", [s.p99 / DEADLINE_SECONDS for s in seen["storm"]], at_most=1),
        figure("refusal_cost_ratio", costs, at_most=0.1),
    ]


def _refusal_cost(peak: Seen, storm: Seen) -> float:
    """CPU of a refused request ÷ CPU of a booking (workers and database).

    What the storm's window cost beyond its bookings, at the peak's price of a booking, is the refusals'.
    """
    refused = sum(storm.refused.values())
    if not refused or not peak.accepted:
        return math.nan
    booking = _server_cpu(peak) / peak.accepted
    return max(0.0, _server_cpu(storm) - booking * (storm.accepted + storm.late)) / refused / booking


def _server_cpu(seen: Seen) -> float:
    return seen.cpu["workers"] + seen.cpu["postgres"]


def _told(storms: list[Seen]) -> dict[str, Any]:
    """Medians a second, and latencies of the accepted."""
    rates = {
        name: round(median(getattr(s, name) / s.seconds for s in storms), 1)
        for name in ("offered", "sent", "lost", "accepted", "late")
    }
    reasons = sorted({reason for s in storms for reason in s.refused})
    return {
        **{f"{name}_per_second": value for name, value in rates.items()},
        "refused_per_second": {
            reason: round(median(s.refused.get(reason, 0) / s.seconds for s in storms), 1)
            for reason in reasons
        },
        "connections_dropped": sum(s.dropped for s in storms),
        "p50_ms": milliseconds(median(s.p50 for s in storms)),
        "p99_ms": milliseconds(median(s.p99 for s in storms)),
        "cpu_cores": {n: round(median(s.cpu[n] / s.seconds for s in storms), 2) for n in storms[0].cpu},
    }
