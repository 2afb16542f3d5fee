"""The load as a process of its own: `python -m benchmarks.support.generator` reads a Load, writes a Seen.

Both are JSON on its standard streams. It notes the CPU seconds of itself and of the process trees it is told
at both ends of the measured window, so that the shares belong to exactly that window.
"""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.support.processes import cpu_seconds
from benchmarks.support.scripts import Booking, BookingAndCancelling, Following, Requests
from benchmarks.support.traffic import Traffic

ROOT: Final = Path(__file__).parents[2]


@dataclass
class Load:
    """What to send where."""

    address: tuple[str, int]
    token: str
    run: str
    """Begins every idempotency key: another for each load."""
    connections: int
    seconds: float | None = None
    """Length of the window; None: until loans or wishes are used up."""
    ramp: float = 0.5
    rate: float | None = None
    """Arrivals a second, open loop; None: closed loop."""
    deadline: float | None = None
    loans: tuple[int, int] = (0, 0)
    slots: Sequence[str] = ()
    cancelled: float = 0.0
    wishes: Sequence[tuple[int, str]] = ()
    """(loan, slot) of each customer who follows remedies."""
    watched: dict[str, int] = field(default_factory=dict)
    """Process trees whose CPU seconds are noted: name -> root."""
    seed: int = 7


@dataclass
class Seen:
    """What came of a load within its window; latencies in seconds, of the accepted."""

    seconds: float
    accepted: int
    late: int
    answers: int
    offered: int
    sent: int
    lost: int
    dropped: int
    refused: dict[str, int]
    p50: float
    p99: float
    counts: dict[str, int]
    cpu: dict[str, float]
    """CPU seconds within the window, the generator's own among them."""

    @property
    def goodput(self) -> float:
        """Accepted within the deadline, a second."""
        return self.accepted / self.seconds


def run(load: Load) -> Seen:
    """What came of the load, sent by a separate process. Raises RuntimeError when that fails."""
    command = [sys.executable, "-m", "benchmarks.support.generator"]
    done = subprocess.run(
        command, input=json.dumps(asdict(load)), capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the generator ended with {done.returncode}:\n{done.stderr}")
    return Seen(**json.loads(done.stdout))


def drive(load: Load) -> Seen:
    """What came of the load, sent by this process."""
    requests = Requests(load.token, load.run)
    script: Booking | Following
    if load.wishes:
        script = Following(requests, load.wishes)
    elif load.cancelled:
        script = BookingAndCancelling(requests, range(*load.loans), load.slots, load.seed, load.cancelled)
    else:
        script = Booking(requests, range(*load.loans), load.slots, load.seed)
    edges: list[dict[str, float]] = []

    def at_edge() -> None:
        noted = {name: cpu_seconds(root) for name, root in load.watched.items()}
        edges.append(noted | {"generator": time.process_time()})

    traffic = Traffic(load.address, load.connections, script)
    deadline = math.inf if load.deadline is None else load.deadline
    gc.disable()  # no cycles are made, and a collection would be a pause of the load
    tally = traffic.run(
        seconds=load.seconds,
        ramp=load.ramp,
        rate=load.rate,
        deadline=deadline,
        at_edge=at_edge,
        seed=load.seed,
    )
    told = {name: value for name, value in vars(tally).items() if name not in {"latencies", "refused"}}
    latencies = sorted(tally.latencies)
    return Seen(
        **told,
        refused=dict(tally.refused),
        p50=_quantile(latencies, 0.50),
        p99=_quantile(latencies, 0.99),
        counts=dict(script.counts),
        cpu={name: edges[1][name] - edges[0][name] for name in edges[0]},
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def main() -> None:
    """Drive the load that stands on standard input."""
    told: dict[str, Any] = json.load(sys.stdin)
    json.dump(asdict(drive(Load(**{**told, "address": tuple(told["address"])}))), sys.stdout)


if __name__ == "__main__":
    main()
