"""Training demand capped as sold-out days cap it, and what weeks8 makes of it, un-constrained or not.

    python -m benchmarks.support.censoring_trial

prints for each daily set the WQL of 28 days ahead ÷ that of the uncapped history: capped as seen, without the
censored days, filled in with each one's mean, and filled in as `unconstrain` does for training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.support.demand_sets import DemandSet, data_folder, demand_sets
from forecasting.frames import SCORED_QUANTILES, Floats
from forecasting.models.calendar import Bools
from forecasting.models.censoring import unconstrain
from forecasting.models.losses import weighted_quantile_loss
from forecasting.models.weeks8 import weeks8_levels

CAP_LEVEL: Final = 0.7
UNRECORDED: Final = 0.5
"""Share of the capped days on which nothing of the refused is on record."""

SETS: Final = ("nn5", "chicago", "xyzbank", "ambulance", "koubei")
MOST_SERIES: Final = 20
ORIGINS: Final = 4
DAYS: Final = 28
STEP: Final = 29
TRAINING_DAYS: Final = 730
LEAST_DAYS: Final = 60


def cap_training(y: Floats, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """(seen, at_least): demand capped at its 70th percentile on a random half of the days above it.

    On those days the refused left no record, so that only "at least the cap" is known; on the other half
    all refused are on record and demand is seen in full. Unknown days (NaN) stay unknown.
    """
    if np.isnan(y).all():
        return y.copy(), np.zeros(len(y), dtype=bool)
    cap = np.nanquantile(y, CAP_LEVEL)
    at_least = (y > cap) & (rng.random(len(y)) < UNRECORDED)
    return np.where(at_least, cap, y), at_least


@dataclass(frozen=True, slots=True)
class Case:
    """One series at one origin."""

    truth: Floats
    seen: Floats
    at_least: Bools
    coming: Floats


def trial(among: DemandSet) -> dict[str, float]:
    """The WQL of each way to train weeks8 ÷ the WQL on the uncapped history."""
    cases = list(_cases(among))
    coming = np.concatenate([case.coming for case in cases])
    wql = {}
    for way in ("uncapped", "as seen", "left out", "expected", "y_hat"):
        levels = [
            weeks8_levels(_trained_on(case, way), DAYS, np.array(SCORED_QUANTILES), season=7)
            for case in cases
        ]
        wql[way] = weighted_quantile_loss(coming, np.concatenate(levels, axis=1), SCORED_QUANTILES)
    return {way: loss / wql["uncapped"] for way, loss in wql.items() if way != "uncapped"}


def _cases(among: DemandSet) -> Iterator[Case]:
    rng = np.random.default_rng(1)
    for y in among.series.values():
        for number in range(ORIGINS):
            origin = len(y) - DAYS - STEP * number
            past = y.iloc[max(0, origin - TRAINING_DAYS) : max(0, origin)].to_numpy()
            if (~np.isnan(past)).sum() >= LEAST_DAYS:
                seen, at_least = cap_training(past, rng)
                yield Case(past, seen, at_least, y.iloc[origin : origin + DAYS].to_numpy())


def _trained_on(case: Case, way: str) -> Floats:
    if way == "uncapped":
        return case.truth
    if way == "as seen":
        return case.seen
    if way == "left out":
        return np.where(case.at_least, np.nan, case.seen)
    filled = unconstrain(case.seen, case.at_least)
    return filled.y_hat if way == "y_hat" else filled.expected


def main() -> None:
    """Print the table."""
    found = {
        among.name: trial(among)
        for among in demand_sets(data_folder(), most_series=MOST_SERIES)
        if among.freq == "D" and among.name.startswith(SETS)
    }
    ways = list(next(iter(found.values())))
    mean = {way: float(np.exp(np.mean([np.log(row[way]) for row in found.values()]))) for way in ways}
    print(f"{'WQL ÷ uncapped':34}" + "".join(f"{way:>10}" for way in ways))
    for name, row in (found | {"geometric mean": mean}).items():
        print(f"{name:34}" + "".join(f"{row[way]:10.3f}" for way in ways))


if __name__ == "__main__":
    main()
