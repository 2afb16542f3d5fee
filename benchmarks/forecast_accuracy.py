"""Forecasts on real demand: accuracy, calibration and speed, against the forecasts to beat, in one run.

    python benchmarks/forecast_accuracy.py                       all sets, 8 origins
    python benchmarks/forecast_accuracy.py --quick --json out.json
    python benchmarks/forecast_accuracy.py --only nn5,chicago    sets whose name contains one of these

docs/benchmarks.md says what each figure means. SLOTCAST_DATA names the folder of demand files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

import pandas as pd

from benchmarks.figures import forecast_speed
from benchmarks.figures.accuracy import Job, Row, figures_of, jobs_of, run_job
from benchmarks.support.demand_sets import OWN, DemandSet, data_folder, demand_sets
from benchmarks.support.machine import machine
from benchmarks.support.report import print_table, write_json
from benchmarks.support.rounds import Figure

ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
QUICK_ACCURACY_SECONDS: Final = 330.0
QUICK_SERIES, SERIES = 5, 20
QUICK_ORIGINS, ORIGINS = {"D": 3, "h": 3, "30min": 3}, {"D": 8, "h": 6, "30min": 6}
CENSORED_SETS: Final = ("nn5", "chicago", "xyzbank", "ambulance", "koubei")
CENSORED_ORIGINS, QUICK_CENSORED_ORIGINS = 3, 1
SPEED_SERIES, QUICK_SPEED_SERIES = 1_000, 40
SELECTION_SERIES, QUICK_SELECTION_SERIES = 80, 16


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 measured (whatever the figures say), 2 there is nothing to measure on."""
    arguments = _arguments(argv)
    started = time.monotonic()
    warnings.simplefilter("ignore")
    folder = data_folder()
    setting: dict[str, Any] = machine()
    setting["packages"] = {n: version(n) for n in ("prophet", "statsforecast", "pandas", "numpy", "scipy")}
    if folder.resolve() == OWN.resolve():
        print(f"forecast_accuracy.py: no benchmark data, running on {OWN.name}/ alone", file=sys.stderr)
    most = arguments.series or (QUICK_SERIES if arguments.quick else SERIES)
    sets = [
        found
        for found in demand_sets(folder, most_series=most)
        if not arguments.only or any(name in found.name for name in arguments.only)
    ]
    if not sets:
        print(f"forecast_accuracy.py: no set of demand in {folder.name}/; see --only", file=sys.stderr)
        return 2
    notes: dict[str, Any] = {}
    rows = _accuracy(sets, arguments, notes)
    if not rows:
        print("forecast_accuracy.py: every series is too short for one origin", file=sys.stderr)
        return 2
    figures, details = figures_of(pd.DataFrame([asdict(row) for row in rows]))
    notes |= details
    if not arguments.no_speed:
        figures += _speed(sets, arguments, notes)
    print_table("Forecasts on real demand", figures)
    for name, value in notes.items():
        print(f"{name}: {value}")
    if arguments.json:
        setting |= {
            "quick": arguments.quick,
            "data": folder.name,
            "sets": [found.name for found in sets],
            "series_of_a_set": most,
            "details": notes,
            "took_seconds": round(time.monotonic() - started),
        }
        write_json(arguments.json, figures, setting)
    return 0


def _accuracy(sets: list[DemandSet], arguments: argparse.Namespace, notes: dict[str, Any]) -> list[Row]:
    """The rows of all jobs; a quick run stops giving out jobs when its time is over, and says so."""
    origins = QUICK_ORIGINS if arguments.quick else ORIGINS
    by_set = [
        jobs_of(found, arguments.origins or origins[found.freq], forced=not arguments.quick) for found in sets
    ]
    # every set's latest origin first, so that a run that is cut short has looked at all sets
    rounds = max((len(found) for found in by_set), default=0)
    jobs = [found[number] for number in range(rounds) for found in by_set if number < len(found)]
    most_censored = QUICK_CENSORED_ORIGINS if arguments.quick else CENSORED_ORIGINS
    censored = [
        Job(job.demand, job.origin, censored=True)
        for found in by_set
        for job in found[:most_censored]
        if job.demand.freq == "D" and job.demand.name.startswith(CENSORED_SETS)
    ]
    first = jobs[: len(sets)]
    jobs = [*first, *censored, *jobs[len(sets) :]]
    rows: list[Row] = []
    began, done = time.monotonic(), 0
    # spawn: a fork would copy the threads that pandas and Arrow have started
    with ProcessPoolExecutor(arguments.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(run_job, job) for job in jobs]
        for job, future in zip(jobs, waiting, strict=True):
            if arguments.quick and time.monotonic() - began > QUICK_ACCURACY_SECONDS and future.cancel():
                continue
            rows += future.result()
            done += 1
            label = f"{job.demand.name} {job.origin.date()}{' capped' if job.censored else ''}"
            print(f"\r{done}/{len(jobs)} {label:<60}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    notes["jobs"] = {"done": done, "wanted": len(jobs), "seconds": round(time.monotonic() - began)}
    return rows


def _speed(sets: list[DemandSet], arguments: argparse.Namespace, notes: dict[str, Any]) -> list[Figure]:
    """The speed figures, on series made of the longest daily set's."""
    daily = [found for found in sets if found.freq == "D"]
    if not daily:
        return []
    source = max(daily, key=lambda found: min(len(y) for y in found.series.values())).series
    rounds = 3 if arguments.quick else 5
    quick = arguments.quick
    return [
        *forecast_speed.refresh(
            source, count=QUICK_SPEED_SERIES if quick else SPEED_SERIES, rounds=rounds, notes=notes
        ),
        *forecast_speed.selection(
            source, count=QUICK_SELECTION_SERIES if quick else SELECTION_SERIES, rounds=rounds, notes=notes
        ),
        *forecast_speed.growth(source, counts=(40, 200) if quick else (100, 10_000), notes=notes),
    ]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few series and origins, within 10 minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and setting here")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="NAME,…", help="sets by name")
    parser.add_argument(
        "--series", type=int, metavar="N", help=f"of a set ({SERIES}; {QUICK_SERIES} when quick)"
    )
    parser.add_argument("--origins", type=int, metavar="N", help="of a set (8; 3 when quick)")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="for the accuracy part (2)")
    parser.add_argument("--no-speed", action="store_true", help="accuracy only")
    return parser.parse_args(argv)


def _one_thread() -> None:
    """Start over with one thread a process: two processes fill two cores, and every model gets the same."""
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):
        os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
        os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    _one_thread()
    sys.exit(main())
