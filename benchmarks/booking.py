"""The booking core under load: `python benchmarks/booking.py [--quick] [--json FILE] [--only NAME,…]`.

Starts a PostgreSQL with default settings, the real `python -m booking_core serve`, and loads from separate
processes. docs/benchmarks.md says what each figure means.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from benchmarks.figures import growth, idle, overload, races, storm, throughput, where
from benchmarks.support.banks import Databases
from benchmarks.support.machine import machine, sync_ms
from benchmarks.support.pgbench import Pgbench, program
from benchmarks.support.report import number, print_table, write_json
from benchmarks.support.rounds import Figure
from benchmarks.support.stage import Stage
from tests.support.postgres import PostgresCluster

PARTS: Final[dict[Callable[[Stage], list[Figure]], tuple[str, ...]]] = {
    throughput.hot_slot: ("hot_slot_over_pgbench", "hot_slot_over_unbatched"),
    throughput.spread: ("spread_over_pgbench",),
    overload.goodput: ("goodput_at_10x", "p99_over_deadline", "refusal_cost_ratio"),
    idle.latency: ("idle_latency_ratio",),
    throughput.sqlite: ("sqlite_over_unbatched",),
    storm.remedies: ("remedy_success",),
    growth.cost: ("cost_growth",),
    where.goes: ("statements_per_booking",),
    races.races: ("false_refusals", "oversell"),
}
"""Each part measures its figures in the same rounds; the last one takes what time a quick run has left."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 measured (whatever the figures say), 1 a part failed, 2 it cannot run here."""
    arguments = _arguments(argv)
    missing = [name for name in ("initdb", "pg_ctl", "pgbench") if program(name) is None]
    if missing:
        print(f"booking.py: {', '.join(missing)} not found; apt-get install postgresql", file=sys.stderr)
        return 2
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # a connection is one
    wanted = arguments.only or [name for names in PARTS.values() for name in names]
    started, figures, faults = time.monotonic(), [], []
    with ExitStack() as stack:
        setting: dict[str, Any] = machine()
        cluster = stack.enter_context(PostgresCluster.start())
        stage = _stage(arguments, cluster)
        setting |= {"postgresql": _version(stage), "fdatasync_ms": sync_ms(cluster.data)}
        stage.pgbench.prepare()
        setting["commit_ms"] = round(
            1000 / stage.pgbench.per_second("UPDATE counters SET used_units = 0 WHERE id = 1;", 2, 1), 3
        )
        for part, names in PARTS.items():
            if not set(names) & set(wanted):
                continue
            began = time.monotonic()
            print(f"booking.py: {', '.join(names)} …", file=sys.stderr, flush=True)
            try:
                found = part(stage)
                figures += found
                print("".join(f"  {f.name} {number(f.value)}" for f in found), file=sys.stderr, flush=True)
            except Exception:  # noqa: BLE001 – one part that fails does not take the others with it
                traceback.print_exc()
                faults.append(f"{part.__module__}.{part.__name__}")
            stage.notes.setdefault("seconds", {})[part.__name__] = round(time.monotonic() - began, 1)
    setting |= {
        "workers": stage.workers,
        "rounds": stage.rounds,
        "window_seconds": stage.seconds,
        "quick": stage.quick,
        "details": stage.notes,
        "failed": faults,
        "took_seconds": round(time.monotonic() - started),
    }
    print_table("The booking core under load", figures)
    _print_details(stage.notes)
    if arguments.json:
        write_json(arguments.json, figures, setting)
    return 1 if faults else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [name for some in PARTS.values() for name in some]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 short rounds; everything within 10 minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and setting here")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="NAME,…", help=", ".join(names))
    parser.add_argument("--profile", action="store_true", help="functions that use the CPU")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="worker processes of the core (2)"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved rounds (5; 3 when quick)")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="of each measured window (8; 3 when quick)"
    )
    parser.add_argument("--attempts", type=int, default=300_000, metavar="N", help="of the races (300,000)")
    parser.add_argument("--growth-rows", type=int, metavar="N", help="bookings of the large bank (5,000,000)")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.only or ()) - set(names):
        parser.error(f"--only {', '.join(sorted(unknown))}: expected some of {', '.join(names)}")
    return arguments


def _stage(arguments: argparse.Namespace, cluster: PostgresCluster) -> Stage:
    databases = Databases(cluster)
    return Stage(
        databases=databases,
        pgbench=Pgbench(databases),
        workers=arguments.workers,
        rounds=arguments.rounds or (3 if arguments.quick else 5),
        seconds=arguments.seconds or (3.0 if arguments.quick else 8.0),
        attempts=arguments.attempts,
        quick=arguments.quick,
        growth_rows=arguments.growth_rows,
        profile=arguments.profile or not arguments.quick,
    )


def _version(stage: Stage) -> str:
    return str(stage.databases.command("SHOW server_version")[0][0])


def _print_details(notes: dict[str, Any]) -> None:
    for name, told in notes.items():
        print(f"{name}:")
        for key, value in told.items():
            if name != "profile":
                print(f"  {key}: {value}")
                continue
            for view, shares in value.items():
                print(f"  {key}, {view}:")
                for what, share in shares.items():
                    print(f"    {share:6.1%} {what}")


if __name__ == "__main__":
    sys.exit(main())
