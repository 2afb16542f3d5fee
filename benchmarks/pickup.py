"""Bookings on hand: `python benchmarks/pickup.py [--quick] [--json FILE]`.

Days ahead: a day's demand, forecast when 1, 3, 7, 14 and 28 days are left, by (a) weeks8 as it was made then,
(b) additive pick-up, (c) multiplicative pick-up, each from the last eight weeks' complete days, and (d) ours:
weeks8 updated with what is on hand. Within the day: the rest of a day's arrivals at 10:00, 12:00 and 15:00,
by weeks8 of the rest (no update), that scaled by how far the day runs ahead, and ours.
Every day is forecast from what was known at its origin alone, ours learning anew at each.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from benchmarks.support.booking_curves import LEADS, Curves, arrival_curves, booking_curves
from benchmarks.support.demand_sets import data_folder
from benchmarks.support.machine import machine
from benchmarks.support.report import print_table, write_json
from benchmarks.support.rounds import Figure
from forecasting.frames import SCORED_QUANTILES, Floats
from forecasting.models.losses import coverage, weighted_quantile_loss
from forecasting.models.paths import stratified_levels
from forecasting.models.pickup import (
    BookingTable,
    day_table,
    effective_weekdays,
    reforecast_within_day,
    update_paths,
)
from forecasting.models.pickup_learning import learn_pickup
from forecasting.models.weeks8 import weeks8_levels

AHEAD: Final = (1, 3, 7, 14, 28)
CLOCKS: Final = (10, 12, 15)
PATHS: Final = 200
FIRST_DAYS: Final = 240
WINDOW: Final = 56
QUICK_STEP: Final = 2
NAMES: Final = ("forecast", "additive", "multiplicative", "ours")
WITHIN: Final = ("no update", "scaled", "ours")

Made = dict[str, list[Floats]]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 measured, whatever the figures say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="every second day")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and setting here")
    arguments = parser.parse_args(argv)
    step = QUICK_STEP if arguments.quick else 1
    began, folder = time.monotonic(), data_folder()
    bookings, calls = booking_curves(folder), arrival_curves(folder)
    for curves, what in ((bookings, "booking curves"), (calls, "arrival curves")):
        if curves.name == "synthetic":
            print(f"pickup.py: no {what} in {folder}: measured on a synthetic curve", file=sys.stderr)
    figures, details = _days_ahead(bookings, step)
    more, within = _within_day(calls, step)
    print_table(f"Bookings on hand ({bookings.name}), arrivals so far ({calls.name})", figures + more)
    for name, row in (details | within).items():
        print(f"  {name}: {row}")
    if arguments.json:
        setting = machine() | {
            "bookings": bookings.name, "arrivals": calls.name, "quick": arguments.quick,
            "wql_and_cov80": details | within, "took_seconds": round(time.monotonic() - began),
        }  # fmt: skip
        write_json(arguments.json, figures + more, setting)
    return 0


# --- days ahead -----------------------------------------------------------------------------------


def _days_ahead(curves: Curves, step: int) -> tuple[list[Figure], dict[str, dict[str, str]]]:
    """The figures, and each method's WQL and coverage, by days left."""
    units, kinds = curves.units, effective_weekdays(curves.days, curves.country)
    totals = units.sum(axis=1)
    on_hand = totals[:, None] - np.cumsum(units, axis=1)
    priors = {
        (day, left): _weeks8(totals[: day - left], left + 1)
        for day in range(2 * WINDOW, len(totals))
        for left in AHEAD
    }
    mean, deviation = (np.full(units.shape, np.nan) for _ in range(2))
    for (day, left), paths in priors.items():
        mean[day, left], deviation[day, left] = paths.mean(), paths.std()
    made = {left: {name: [] for name in NAMES} for left in AHEAD}
    actual: dict[int, list[float]] = {left: [] for left in AHEAD}
    for origin in range(FIRST_DAYS, len(totals), step):
        table = _as_of(origin, units, kinds, mean, deviation)
        pickup = learn_pickup({"": table})[""]
        for left in AHEAD:
            day = origin + left
            if day >= len(totals):
                continue
            known, past = on_hand[day, left], slice(origin - WINDOW, origin)
            prior = priors[day, left]
            ours = update_paths(
                prior[:, None], np.array([known]), np.array([left]), table.kinds[[table.now + left]], pickup
            )[:, 0]
            before = np.maximum(on_hand[past, left], 1.0)
            answers = (prior, known + totals[past] - on_hand[past, left], known * totals[past] / before, ours)
            for name, values in zip(NAMES, answers, strict=True):
                made[left][name].append(np.quantile(values, SCORED_QUANTILES))
            actual[left].append(totals[day])
    ratios, figures, details = [], [], {}
    for left in AHEAD:
        wql, cov = _judged(np.array(actual[left]), made[left])
        details[f"{left} days left"] = {name: f"{wql[name]:.4f} / {cov[name]:.3f}" for name in NAMES}
        ratios.append(wql["ours"] / min(wql[name] for name in NAMES[:-1]))
        figures += [
            _figure(f"pickup_wql_ratio_{left}", ratios[-1], at_most=1.02),
            _figure(f"pickup_cov80_{left}", cov["ours"]),
        ]
    figures.append(_figure("pickup_wql_ratio", float(np.exp(np.mean(np.log(ratios)))), at_most=1.0))
    return figures, details


def _as_of(
    origin: int,
    units: Floats,
    kinds: np.ndarray[tuple[int], np.dtype[np.int64]],
    mean: Floats,
    deviation: Floats,
) -> BookingTable:
    """What was known at the start of the day `origin`, and room for the days to come."""
    days = np.arange(origin + LEADS)
    inside = np.minimum(days, len(units) - 1)
    hidden = (days[:, None] - np.arange(LEADS) >= origin) | (days >= len(units))[:, None]
    later = (days >= origin)[:, None]
    alike = np.where(days < len(kinds), kinds[inside], days % 7)
    return BookingTable(
        np.where(hidden, np.nan, units[inside]),
        alike,
        origin,
        np.where(later, np.nan, mean[inside]),
        np.where(later, np.nan, deviation[inside]),
    )


# --- within the day -------------------------------------------------------------------------------


def _within_day(curves: Curves, step: int) -> tuple[list[Figure], dict[str, dict[str, str]]]:
    """The figures, and each method's WQL and coverage, by time of day; of the rest of the day alone."""
    totals, kinds = curves.units.sum(axis=1), effective_weekdays(curves.days, curves.country)
    priors = {day: _weeks8(totals[:day], 1) for day in range(WINDOW, len(totals))}
    mean, deviation = (np.full(len(totals), np.nan) for _ in range(2))
    for day, paths in priors.items():
        mean[day], deviation[day] = paths.mean(), paths.std()
    figures, details = [], {}
    for clock in CLOCKS:
        so_far = curves.units[:, np.array(curves.columns) < clock * 60].sum(axis=1)
        rest = totals - so_far
        made: Made = {name: [] for name in WITHIN}
        days = range(2 * WINDOW, len(totals), step)
        for day in days:
            usual = _weeks8(rest[:day], 1)
            alike = so_far[:day][kinds[:day] == kinds[day]][-8:].mean()
            table = day_table(
                so_far[:day], totals[:day], kinds[: day + 1], mean=mean[:day], deviation=deviation[:day]
            )
            pickup = learn_pickup({"": table})[""]
            ours = reforecast_within_day(priors[day], so_far[day], int(kinds[day]), pickup) - so_far[day]
            answers = (usual, usual * so_far[day] / max(alike, 1.0), ours)
            for name, values in zip(WITHIN, answers, strict=True):
                made[name].append(np.quantile(values, SCORED_QUANTILES))
        wql, cov = _judged(rest[days.start :: step], made)
        details[f"at {clock}:00"] = {name: f"{wql[name]:.4f} / {cov[name]:.3f}" for name in WITHIN}
        ratio = wql["ours"] / min(wql["no update"], wql["scaled"])
        figures += [
            _figure(f"within_day_wql_ratio_{clock}", ratio, at_most=1.0),
            _figure(f"within_day_cov80_{clock}", cov["ours"]),
        ]
    return figures, details


# --- small parts ----------------------------------------------------------------------------------


def _weeks8(history: Floats, steps: int) -> Floats:
    """The paths of weeks8 for the last of the steps."""
    return weeks8_levels(history, steps, stratified_levels(PATHS), season=7)[:, -1]


def _judged(actual: Floats, made: Made) -> tuple[dict[str, float], dict[str, float]]:
    """WQL and the coverage of the 80 % band of each method."""
    cuts = {name: np.array(values).T for name, values in made.items()}
    wql = {name: weighted_quantile_loss(actual, cut, SCORED_QUANTILES) for name, cut in cuts.items()}
    return wql, {name: coverage(actual, cut[0], cut[-1]) for name, cut in cuts.items()}


def _figure(name: str, value: float, **target: float) -> Figure:
    return Figure(name, value, value, value, **target)


if __name__ == "__main__":
    sys.exit(main())
