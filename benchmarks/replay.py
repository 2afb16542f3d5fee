"""Decisions replayed on real demand and traffic: quotas against other policies, servers against HPA's rule.

    python benchmarks/replay.py                       all sets and traces
    python benchmarks/replay.py --quick --json out.json
    python benchmarks/replay.py --only nn5,chicago    sets whose name contains one of these, no servers

docs/benchmarks.md says what each figure means. SLOTCAST_DATA names the folder of demand files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from rich.console import Console
from rich.table import Table

from benchmarks.figures import quota_replay, server_replay
from benchmarks.support.demand_sets import OWN, data_folder, demand_sets
from benchmarks.support.machine import machine
from benchmarks.support.report import number, print_table, write_json
from benchmarks.support.rounds import Figure

ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
QUICK_SERIES, SERIES = 9, 20
"""More than eight share Prophet's fits, which makes nine quicker than six."""
WEEKS: Final = 26
QUICK_REFIT_DAYS, REFIT_DAYS = 14, 7
"""Half of the time goes into Prophet's fits, half of these are the rival's."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 measured (whatever the figures say), 2 there is nothing to measure on."""
    arguments = _arguments(argv)
    started = time.monotonic()
    folder = data_folder()
    setting: dict[str, Any] = machine()
    setting["packages"] = {name: version(name) for name in ("prophet", "pandas", "numpy", "scipy")}
    if folder.resolve() == OWN.resolve():
        print(f"replay.py: no benchmark data, running on {OWN.name}/ alone", file=sys.stderr)
    series = arguments.series or (QUICK_SERIES if arguments.quick else SERIES)
    weeks = arguments.weeks or WEEKS
    refit_days = QUICK_REFIT_DAYS if arguments.quick else REFIT_DAYS
    windows = {
        found.name: (found.country, window)
        for found in demand_sets(folder)
        if found.freq == "D" and (not arguments.only or any(name in found.name for name in arguments.only))
        if (window := quota_replay.wanted(found, series, weeks)) is not None
    }
    if not windows:
        print(
            f"replay.py: no daily set in {folder.name}/ has 56 weeks of a series; see --only", file=sys.stderr
        )
        return 2
    figures: list[Figure] = []
    details: dict[str, Any] = {}
    servers = not arguments.only
    with ProcessPoolExecutor(arguments.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        largest = sorted(windows, key=lambda name: -len(windows[name][1].series) * windows[name][1].weeks)
        waiting = {
            name: pool.submit(quota_replay.run_set, name, *windows[name], refit_days) for name in largest
        }
        traffic = pool.submit(server_replay.server_figures, arguments.quick, folder) if servers else None
        results = []
        for done, name in enumerate(largest, start=1):
            results.append(waiting[name].result())
            print(f"\r{done}/{len(windows)} sets: {name:<50}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        figures += quota_replay.figures_of(results)
        details["quota_sets"] = {
            r.name: {
                "series": r.series,
                "weeks": r.weeks,
                "gap": round(r.gap, 4),
                "closed": {policy: round(share, 3) for policy, share in r.closed.items()},
                "broken": {fault: round(worse, 3) for fault, worse in r.broken.items()},
                "nights_to_distrust": r.nights_to_distrust,
            }
            for r in sorted(results, key=lambda r: r.name)
        }
        rows = [row for r in sorted(results, key=lambda r: r.name) for row in r.rows]
        if traffic is not None:
            print("servers: requests of the traces, minute by minute", file=sys.stderr)
            found, server_rows = traffic.result()
            figures += server_replay.as_figures(found)
            details["server_rows"] = server_rows
    for title, table in (("Quotas", rows), ("Servers", details.get("server_rows", []))):
        if table:
            _print_rows(title, table)
    print_table("Decisions replayed", figures)
    for name, value in details["quota_sets"].items():
        print(f"{name}: {value}")
    if arguments.json:
        setting |= {
            "quick": arguments.quick,
            "data": folder.name,
            "series_of_a_set": series,
            "weeks": weeks,
            "refit_days": refit_days,
            "details": details | {"quota_rows": rows},
            "took_seconds": round(time.monotonic() - started),
        }
        write_json(arguments.json, figures, setting)
    return 0


def _print_rows(title: str, rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(number(value) if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=160).print(table)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few series, rarer fits, within 10 minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and setting here")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="NAME,…", help="sets by name")
    parser.add_argument(
        "--series", type=int, metavar="N", help=f"of a set ({SERIES}; {QUICK_SERIES} when quick)"
    )
    parser.add_argument("--weeks", type=int, metavar="N", help=f"replayed at most ({WEEKS})")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="sets at a time (2)")
    return parser.parse_args(argv)


def _one_thread() -> None:
    """Start over with one thread a process: two processes fill two cores."""
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):
        os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
        os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    _one_thread()
    sys.exit(main())
