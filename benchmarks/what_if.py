"""What-if, timed: `python benchmarks/what_if.py [--quick] [--json FILE]`.

A region of 100 branches, 28 days and 200 sample paths, with day, week and month limits of every branch and a
month's limit of the region, played through as it stands and with everything changed at once. Rounds change a
number each, so that nothing is remembered; the first call of the process counts too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from benchmarks.support.machine import machine
from benchmarks.support.report import print_table, write_json
from benchmarks.support.rounds import Figure
from forecasting.decisions.situations import Changes, Counter, Layer, LimitChange, Servers, Shock, Situation
from forecasting.decisions.whatif import what_if

BRANCHES: Final = 100
DAYS: Final = 28
PATHS: Final = 200
ROUNDS: Final = 15
QUICK_ROUNDS: Final = 5
AT_MOST_SECONDS: Final = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 measured, whatever the figures say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="five rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and setting here")
    arguments = parser.parse_args(argv)
    setting = {
        "machine": machine(),
        "branches": BRANCHES,
        "days": DAYS,
        "paths": PATHS,
        "rounds": QUICK_ROUNDS if arguments.quick else ROUNDS,
    }
    situation = region(BRANCHES, DAYS, PATHS)
    took = []
    for n in range(int(setting["rounds"])):
        before = time.perf_counter()
        what_if(situation, everything(situation, 1.0 + n / 100))
        took.append(time.perf_counter() - before)
    figures = [
        Figure("what_if_seconds", float(np.median(took)), min(took), max(took), at_most=AT_MOST_SECONDS),
        Figure("what_if_first_seconds", took[0], took[0], took[0], at_most=AT_MOST_SECONDS),
    ]
    print_table(f"What-if: {BRANCHES} branches × {DAYS} days × {PATHS} paths", figures)
    if arguments.json:
        write_json(arguments.json, figures, setting)
    return 0


def region(branches: int, days: int, paths: int) -> Situation:
    """A made-up region whose forecast is as uncertain as a branch's is: rates that vary by a quarter."""
    rng = np.random.default_rng(3)
    week = np.array([1.1, 1.0, 1.0, 1.05, 1.2, 0.6, 0.4])[np.arange(days) % 7]
    level = rng.lognormal(3.0, 0.6, branches)[:, None, None] * week[None, :, None]
    demand = rng.poisson(level * rng.gamma(16.0, 1 / 16.0, (branches, 1, paths))).astype(float)
    ids = tuple(f"b{n:03d}" for n in range(branches))
    own, whole = np.arange(branches), np.zeros(branches, dtype=np.int64)
    mean = demand.mean(axis=2)
    weeks, month = np.arange(days) // 7, np.zeros(days, dtype=np.int64)
    by_week = np.stack([mean[:, weeks == n].sum(axis=1) for n in np.unique(weeks)], axis=1)
    total = mean.sum(axis=1, keepdims=True)
    layers = (
        ("branch", "day", ids, own, np.arange(days), np.ceil(mean * 1.2)),
        ("branch", "week", ids, own, weeks, np.ceil(by_week * 1.1)),
        ("branch", "month", ids, own, month, np.ceil(total * 1.1)),
        ("region", "month", ("north",), whole, month, np.ceil(total.sum(axis=0, keepdims=True) * 1.05)),
    )
    return Situation(
        region="north",
        branches=ids,
        first_day=date(2026, 3, 2),
        demand=demand,
        layers=tuple(Layer(*parts, used=np.zeros_like(parts[-1])) for parts in layers),
        staff_caps=np.ceil(mean * 1.5),
        counter=Counter(
            units_per_head=np.full(branches, 24.0),
            peak_share=np.full(branches, 0.1),
            come_ratio=np.full(branches, 0.93),
            handling_seconds=rng.uniform(600, 1500, branches),
        ),
        servers=Servers(4.0, 0.03, 900.0, 0.02, 0.6, 1, 64),
        refused_cost=9.0,
        waiting=rng.poisson(3.0, branches).astype(float),
        elsewhere=demand.sum(axis=0) * 4,
    )


def everything(situation: Situation, ratio: float) -> Changes:
    """Every kind of change at once, a shock of the ratio among them."""
    return Changes(
        refused_cost=12.0,
        idle_cost=1.0,
        quota_ratio=1.1,
        limits=(LimitChange("region:north", "month", 10**6),),
        staff_heads={situation.branches[0]: 3.0},
        staff_ratio=0.9,
        shocks=(Shock(ratio), Shock(1.5, f"branch:{situation.branches[1]}")),
    )


if __name__ == "__main__":
    sys.exit(main())
