"""Request pressure forecast on real traces: `python benchmarks/pressure_forecast.py [--quick] [--json FILE]`.

One pass over each trace, one step after the other, nothing seen before its time; quantiles 0.5 and 0.9 at 5,
15, 30 and 60 minutes against the last value, the same time yesterday and the same time last week.
docs/forecast-pressure.md says what each figure means.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

import numpy as np

from benchmarks.support.demand_sets import data_folder
from benchmarks.support.machine import machine
from benchmarks.support.pressure_rivals import FORMS, RULES, rival_quantiles
from benchmarks.support.report import print_table, write_json
from benchmarks.support.rounds import Figure
from benchmarks.support.traces import Trace, traces
from forecasting.frames import Floats
from forecasting.models.losses import weighted_quantile_loss
from forecasting.models.requests import begin, predict, update

LEVELS: Final = np.array([0.5, 0.9])
LEAD_MINUTES: Final = (5, 15, 30, 60)
DAY_AHEAD_MINUTES: Final = 1440
WARM_DAYS: Final = 8
"""Judged from here on: last week's errors are known."""
COLD_HOURS: Final = 6
"""The first week is told apart, from here on, against the last value alone."""
TUNED: Final = ("Twitter_volume_AAPL", "Twitter_volume_GOOG", "Twitter_volume_KO", "il_bank", "wc98_requests")
"""Traces that the model's numbers were chosen on; the others were looked at when it was done."""
QUICK_STEPS: Final = 16_000
_TWO_DAYS_MINUTES: Final = 2880


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one trace gave: WQL and coverage by lead."""

    name: str
    ours: list[float]
    rivals: dict[str, list[float]]
    coverage: list[float]
    cold_ratio: float
    day_ahead_ratio: float
    outage_steps: int
    step_microseconds: float

    @property
    def best_rival(self) -> str:
        """The rival with the least loss over all leads."""
        return min(self.rivals, key=lambda name: sum(self.rivals[name]))

    @property
    def ratio(self) -> float:
        """Our loss ÷ the best rival's, over all leads."""
        return sum(self.ours) / sum(self.rivals[self.best_rival])


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 measured, whatever the figures say, or no trace to measure on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"the last {QUICK_STEPS:,} steps of each trace")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and setting here")
    arguments = parser.parse_args(argv)
    folder, setting = data_folder(), machine()
    outcomes = []
    for trace in traces(folder):
        cut = _cut(trace) if arguments.quick else trace
        print(
            f"pressure_forecast.py: {trace.name}, {len(cut.requests):,} steps …", file=sys.stderr, flush=True
        )
        outcomes.append(judge(cut))
        print(f"  {outcomes[-1].ratio:.3f} of {outcomes[-1].best_rival}", file=sys.stderr, flush=True)
    if not outcomes:
        print("pressure_forecast.py: no trace (…_Nmin.csv) in the data folder; SLOTCAST_DATA names another")
    found = figures(outcomes) if outcomes else []
    setting |= {
        "traces": len(outcomes),
        "quick": arguments.quick,
        "details": {outcome.name: _details(outcome) for outcome in outcomes},
    }
    if found:
        print_table("Request pressure, WQL over 0.5 and 0.9", found)
        _print_details(outcomes)
    if arguments.json:
        write_json(arguments.json, found, setting)
    return 0


def judge(trace: Trace) -> Outcome:
    """One pass over the trace."""
    leads = sorted({-(-minutes // trace.minutes) for minutes in LEAD_MINUTES})
    day = DAY_AHEAD_MINUTES // trace.minutes
    told, outages, seconds = _pass(trace, [*leads, day])
    y = trace.requests
    steps = np.arange(len(y))
    warm = (steps >= WARM_DAYS * day + leads[-1]) & ~np.isnan(y)
    cold = (steps >= COLD_HOURS * 60 // trace.minutes) & (steps < WARM_DAYS * day) & ~np.isnan(y)
    rivals: dict[str, list[float]] = {f"{rule}, {form}": [] for rule in RULES for form in FORMS}
    ours, coverage, cold_ours = [], [], 0.0
    cold_rivals = dict.fromkeys(FORMS, 0.0)
    for lead in leads:
        mine = told[lead]
        ours.append(_loss(y, mine, warm))
        # where not even one request is to be planned for, nothing can miss
        counted = warm & (mine[1] >= 1.0)
        coverage.append(float((y[counted] <= mine[1, counted]).mean()))
        for rule in RULES:
            for form in FORMS:
                theirs = _rival(trace, rule, form, lead)
                rivals[f"{rule}, {form}"].append(_loss(y, theirs, warm))
                if rule == "last_value":
                    both = cold & ~np.isnan(theirs[0]) & ~np.isnan(mine[0])
                    cold_rivals[form] += _loss(y, theirs, both)
        cold_ours += _loss(y, mine, both)
    later = warm & (steps >= WARM_DAYS * day + day)
    ahead = [_loss(y, _rival(trace, rule, form, day), later) for rule in RULES for form in FORMS]
    return Outcome(
        name=trace.name,
        ours=ours,
        rivals=rivals,
        coverage=coverage,
        cold_ratio=cold_ours / min(cold_rivals.values()),
        day_ahead_ratio=_loss(y, told[day], later) / min(ahead),
        outage_steps=outages,
        step_microseconds=1e6 * seconds / len(y),
    )


def figures(outcomes: Sequence[Outcome]) -> list[Figure]:
    """The figures over all traces."""
    ratios = [outcome.ratio for outcome in outcomes]
    covered = [share for outcome in outcomes for share in outcome.coverage]
    return [
        Figure("pressure_wql_ratio", _geometric(ratios), min(ratios), max(ratios), at_most=0.95),
        Figure("pressure_wql_worst", max(ratios), max(ratios), max(ratios), at_most=1.02),
        Figure("pressure_cov90_min", min(covered), min(covered), max(covered), at_least=0.87),
        Figure("pressure_cov90_max", max(covered), min(covered), max(covered), at_most=0.93),
    ]


def _pass(trace: Trace, leads: Sequence[int]) -> tuple[dict[int, Floats], int, float]:
    """Quantiles (levels, steps) of each step by lead, steps taken for an outage, seconds of it all."""
    told = {lead: np.full((len(LEVELS), len(trace.requests)), np.nan) for lead in leads}
    state = begin(trace.grid(_TWO_DAYS_MINUTES // trace.minutes + 1))
    began, unit = time.perf_counter(), 60.0 * trace.minutes
    for step, requests in enumerate(trace.requests):
        update(state, float(requests))
        found = predict(state, leads, LEVELS.tolist()) * unit
        for number, lead in enumerate(leads):
            if step + lead < len(trace.requests):
                told[lead][:, step + lead] = found[:, number]
    return told, len(state.outages), time.perf_counter() - began


def _rival(trace: Trace, rule: str, form: str, lead: int) -> Floats:
    return rival_quantiles(
        trace.requests, rule=rule, form=form, lead=lead, minutes=trace.minutes, levels=LEVELS
    )


def _loss(y: Floats, told: Floats, among: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    return weighted_quantile_loss(y[among], told[:, among], LEVELS.tolist())


def _cut(trace: Trace) -> Trace:
    """The trace's last steps, whole days of them."""
    per_day = 1440 // trace.minutes
    keep = max(QUICK_STEPS // per_day, 2 * WARM_DAYS) * per_day
    skip = max(0, len(trace.requests) - keep)
    first = trace.first + skip * np.timedelta64(trace.minutes, "m")
    return Trace(trace.name, trace.minutes, first, trace.requests[skip:], trace.country)


def _geometric(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _details(outcome: Outcome) -> dict[str, Any]:
    best = outcome.rivals[outcome.best_rival]
    return {
        "tuned_on": outcome.name in TUNED,
        "ratio": round(outcome.ratio, 4),
        "best_rival": outcome.best_rival,
        "by_lead": [round(a / b, 4) for a, b in zip(outcome.ours, best, strict=True)],
        "coverage90_by_lead": [round(share, 4) for share in outcome.coverage],
        "first_week_ratio": round(outcome.cold_ratio, 4),
        "day_ahead_ratio": round(outcome.day_ahead_ratio, 4),
        "outage_steps": outcome.outage_steps,
        "step_microseconds": round(outcome.step_microseconds),
    }


def _print_details(outcomes: Sequence[Outcome]) -> None:
    for tuned, title in ((True, "tuned on"), (False, "looked at last")):
        some = [outcome for outcome in outcomes if (outcome.name in TUNED) == tuned]
        if not some:
            continue
        print(f"{title}: {_geometric([outcome.ratio for outcome in some]):.3f}")
        for outcome in some:
            told = _details(outcome)
            print(f"  {outcome.name}: " + ", ".join(f"{key} {value}" for key, value in told.items()))


if __name__ == "__main__":
    sys.exit(main())
