"""Scaling on a real gunicorn: `python benchmarks/live_scaling.py [--quick] [--json FILE]`.

A PostgreSQL with default settings, the real server, the real actuator. Two cores cannot show that more
workers serve more, so each worker here has a stated limit (benchmarks/support/limited.py): figures named
`…_limited_workers` hold for workers that wait for something behind them, not for workers that fill a core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from sqlalchemy import insert

from benchmarks.support.arrivals import Answers, arrivals
from benchmarks.support.banks import Databases, Shape
from benchmarks.support.limited import HOLD_SECONDS, PATH, SLOTS, WAITING, WORKER_RPS
from benchmarks.support.machine import machine
from benchmarks.support.report import print_table, write_json
from benchmarks.support.rounds import Figure
from booking_core import tables as t
from booking_core.actuator import Actuator, Gunicorn, Workers
from booking_core.database import make_engine, write_transaction
from booking_core.pressure import quarter_hour
from booking_core.scaling import ScalingRule
from booking_core.serving import CONTROL_SOCKET
from tests.support.postgres import PostgresCluster
from tests.support.serving import ROOT, Served, serve

MOST: Final = 4
QUICK_ROUNDS, ROUNDS = 3, 5
LIMITED: Final = "benchmarks.support.limited"
STABILISATION_SECONDS: Final = 5.0
"""Of the live rule here: scale-in is to be seen within a minute."""
CALM_RPS: Final = 0.4 * WORKER_RPS
SURGE_RPS: Final = 2.4 * WORKER_RPS
CALM_SECONDS, SURGE_SECONDS = 12.0, 20.0


@dataclass
class Bench:
    """A server on a fresh bank."""

    served: Served
    plans: int = 0

    @property
    def gunicorn(self) -> Gunicorn:
        """The control socket's client."""
        return Gunicorn(self.served.run_dir / CONTROL_SOCKET)

    @property
    def url(self) -> str:
        """What customers ask for."""
        return self.served.url + PATH

    def plan(self, workers: int) -> None:
        """A server plan for this quarter-hour and the next, posted and applied over HTTP."""
        self.plans += 1
        first = quarter_hour(datetime.now(UTC)) + timedelta(seconds=self.plans)
        starts = quarter_hour(first)
        items = [
            {
                "scope_kind": "bank",
                "scope_id": "bank",
                "period_kind": "quarter_hour",
                "new_limit": workers,
                "starts": (starts + timedelta(minutes=15 * n)).isoformat(),
            }
            for n in range(2)
        ]
        plan_id = f"live-{self.plans}"
        body = {"plan_id": plan_id, "kind": "server", "region": "bank", "period": first.isoformat(),
                "in_band": True, "model": "champion", "policy": {}, "inputs": {}, "items": items}  # fmt: skip
        with self.served.client("planner") as client:
            client.post("/v1/plans", json=body).raise_for_status()
            client.post(f"/v1/plans/{plan_id}/apply").raise_for_status()

    def wait(self, wanted: Workers, seconds: float = 60.0) -> float:
        """Seconds until gunicorn has the workers. Raises TimeoutError."""
        began = time.monotonic()
        while self.gunicorn.workers() != wanted:
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"{self.gunicorn.workers()} instead of {wanted} after {seconds} s")
            time.sleep(0.05)
        return time.monotonic() - began


@contextmanager
def bench(databases: Databases, *, module: str = "booking_core", workers: int = 1) -> Iterator[Bench]:
    """A bank, its server, and a rule whose scale-in waits seconds instead of minutes."""
    url = databases.copy(Shape(loans=100))
    try:
        engine = make_engine(url)
        with write_transaction(engine) as connection:
            value = {"stabilisation_seconds": STABILISATION_SECONDS}
            connection.execute(
                insert(t.settings).values(key="scaling", value=value, updated_utc=datetime.now(UTC))
            )
        engine.dispose()
        with serve(url, workers=workers, arguments=["--log-level", "warning"], module=module) as served:
            yield Bench(served)
    finally:
        databases.drop(url)


@contextmanager
def actuator(served: Served) -> Iterator[None]:
    """The real `scale` beside the server."""
    command = [sys.executable, "-m", "booking_core", "scale", "--max", str(MOST), "--interval", "1"]
    with (served.run_dir / "scale.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=served.environment(), stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def reached(databases: Databases, rounds: int) -> list[float]:
    """Seconds from a decision until gunicorn has the workers it asks for: 1 → 4 by a plan, 4 → 1 by rule."""
    found = []
    with bench(databases) as made:
        engine = make_engine(made.served.database_url, pool_size=2)
        for number in range(2 * rounds):
            target = MOST if number % 2 == 0 else 1
            rule = ScalingRule(max_workers=MOST, step_down_workers=MOST, stabilisation_seconds=0.0)
            made.plan(target)
            acting = Actuator(engine, made.gunicorn, rule=lambda _, r=rule: r, lead_seconds=1.0)  # type: ignore[misc]
            began = time.monotonic()
            decision = acting.step()
            if decision.target != target:
                raise SystemExit(f"live_scaling.py: decided {decision.target} workers where {target} are due")
            made.wait(Workers(decision.target, decision.target))
            found.append(time.monotonic() - began)
        engine.dispose()
    return found


def scale_in(databases: Databases, rounds: int) -> Answers:
    """What customers met while workers were taken away and added again under load, again and again."""
    with bench(databases, workers=MOST) as made:
        stopped = threading.Event()

        def resize() -> None:
            while not stopped.is_set():
                for target in (1, MOST):
                    made.gunicorn.resize(target)
                    stopped.wait(1.0)

        resizing = threading.Thread(target=resize)
        resizing.start()
        try:
            return arrivals(made.url, made.served.tokens["channel"], [(10.0 * rounds, 60.0)])
        finally:
            stopped.set()
            resizing.join()


def surge(databases: Databases, *, prescaled: bool, seed: int) -> Answers:
    """What customers met in the surge: from 0.4 to 2.4 times what one limited worker carries, at once."""
    with bench(databases, module=LIMITED) as made, actuator(made.served):
        if prescaled:
            made.plan(MOST)
            made.wait(Workers(MOST, MOST))
        else:
            made.wait(Workers(1, 1))
        rates = [(CALM_SECONDS, CALM_RPS), (SURGE_SECONDS, SURGE_RPS)]
        came = arrivals(made.url, made.served.tokens["channel"], rates, seed, keep_alive=False)
        return came.since(CALM_SECONDS)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 measured, whatever the figures say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds instead of {ROUNDS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and setting here")
    arguments = parser.parse_args(argv)
    rounds, setting, began = QUICK_ROUNDS if arguments.quick else ROUNDS, machine(), time.monotonic()
    with PostgresCluster.start() as cluster:
        databases = Databases(cluster)
        print("live_scaling.py: decisions carried out …", file=sys.stderr, flush=True)
        seconds = reached(databases, rounds)
        print("live_scaling.py: scale-in under load …", file=sys.stderr, flush=True)
        through = scale_in(databases, rounds)
        with_plan, without = [], []
        for number in range(rounds):
            print(f"live_scaling.py: surge {number + 1} of {rounds} …", file=sys.stderr, flush=True)
            for prescaled in (True, False) if number % 2 == 0 else (False, True):
                (with_plan if prescaled else without).append(
                    surge(databases, prescaled=prescaled, seed=number)
                )
    found = _figures(seconds, through, with_plan, without)
    setting |= {
        "quick": arguments.quick,
        "rounds": rounds,
        "limited_worker": {
            "slots": SLOTS,
            "hold_seconds": HOLD_SECONDS,
            "waiting": WAITING,
            "rps": WORKER_RPS,
        },
        "surge": {
            "calm_rps": CALM_RPS,
            "surge_rps": SURGE_RPS,
            "seconds": SURGE_SECONDS,
            "most_workers": MOST,
        },
        "details": {
            "reached_seconds": [round(s, 2) for s in seconds],
            "scale_in_requests": len(through.status),
            "scale_in_faults": through.faults[:5],
            "surge_requests": sum(len(a.status) for a in [*with_plan, *without]),
        },
        "took_seconds": round(time.monotonic() - began),
    }
    print_table("Scaling on a real gunicorn (surge: workers with a stated limit)", found)
    print(f"{setting['details']}")
    if arguments.json:
        write_json(arguments.json, found, setting)
    return 0


def _figures(
    seconds: list[float], through: Answers, with_plan: list[Answers], without: list[Answers]
) -> list[Figure]:
    def of(name: str, values: list[float], **target: Any) -> Figure:
        return Figure(name, median(values), min(values), max(values), **target)

    dropped = float(through.dropped + sum(not 200 <= s < 300 for s in through.status if s))
    return [
        Figure("live_target_reached_seconds", max(seconds), min(seconds), max(seconds), at_most=10.0),
        Figure("live_scale_in_dropped", dropped, dropped, dropped, at_most=0.0),
        of("surge_p99_prescaled_limited_workers", [a.p99_seconds for a in with_plan]),
        of("surge_p99_reactive_limited_workers", [a.p99_seconds for a in without]),
        of("surge_refused_prescaled_limited_workers", [a.refused_ratio for a in with_plan]),
        of("surge_refused_reactive_limited_workers", [a.refused_ratio for a in without]),
    ]


if __name__ == "__main__":
    sys.exit(main())
