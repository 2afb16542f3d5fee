"""The workers that the foretold pressure asks for: pressure by quarter-hour → workers, guarded.

Load = requests per second × cost of a request ÷ `full_utilisation`: workers kept as busy as one can be before
answers get slow, which is the unit that the replay of servers decides in. The workers are those that the
forecast is worth at the policy's price (`decisions.worth`), not one quantile for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from forecasting.decisions.guardrails import Guardrail, guard_workers
from forecasting.decisions.policy import Policy
from forecasting.decisions.servers import QuarterPressure
from forecasting.decisions.worth import Integers, share_held, workers_worth
from forecasting.frames import LOAD_QUANTILES, Floats

_TOLD_TIMES: Final = 10
"""What is asked for is told up to so many times `max_workers`: a forecast gone wild asks for any number."""
_ALWAYS_KNOWN: Final = tuple(LOAD_QUANTILES.index(level) for level in (0.5, 0.9))
_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class QuarterNeed:
    """The workers that one business quarter-hour asks for, guarded."""

    starts_utc: datetime
    proposed: float
    """Workers before guardrails."""
    workers: int
    quantile: float
    """P(load ≤ proposed): the quantile that was planned for."""
    guardrail: Guardrail | None
    condition: str
    inputs: Mapping[str, Any]
    """What it was decided from."""


def server_needs(
    pressure: Sequence[QuarterPressure], cost_seconds: float, policy: Policy
) -> list[QuarterNeed]:
    """The guarded workers of each quarter-hour: those that its forecast is worth."""
    if not pressure:
        return []
    # decided from what is recorded, so that a plan made again from its record is the same
    rps = np.round(np.array([quarter.quantiles_rps for quarter in pressure], dtype=np.float64).T, _DIGITS)
    worth, held = _worth(rps * cost_seconds / policy.full_utilisation, policy)
    needs = []
    for number, quarter in enumerate(pressure):
        guarded = guard_workers(int(worth[number]), policy)
        foretold = [None if np.isnan(value) else value for value in rps[:, number].tolist()]
        needs.append(
            QuarterNeed(
                starts_utc=quarter.starts_utc,
                proposed=float(worth[number]),
                workers=guarded.value,
                quantile=round(float(held[number]), 4),
                guardrail=guarded.reason,
                condition=guarded.condition,
                inputs={"rps": foretold},
            )
        )
    return needs


def worth_record(policy: Policy) -> dict[str, Any]:
    """What a plan says about how its workers follow from the foretold requests."""
    return {
        "levels": list(LOAD_QUANTILES),
        "price": policy.worker_price,
        "price_workers": policy.worker_price_workers,
        "full_utilisation": policy.full_utilisation,
    }


def _worth(load: Floats, policy: Policy) -> tuple[Integers, Floats]:
    """(workers, the quantile that they are) by column of the load's quantiles."""
    most = _TOLD_TIMES * policy.max_workers
    load = np.minimum(load, float(most))
    worth, held = np.zeros(load.shape[1], dtype=np.int64), np.zeros(load.shape[1])
    partly = np.isnan(load).any(axis=0)
    for columns, rows in ((~partly, range(len(LOAD_QUANTILES))), (partly, _ALWAYS_KNOWN)):
        if columns.any():
            levels, foretold = [LOAD_QUANTILES[row] for row in rows], load[list(rows)][:, columns]
            sure = np.floor(foretold[0]).astype(np.int64)  # less would be too few almost surely
            bought = workers_worth(levels, foretold, _price(foretold, levels, policy), most, least=sure)
            worth[columns], held[columns] = bought, share_held(levels, foretold, bought)
    return worth, held


def _price(load: Floats, levels: Sequence[float], policy: Policy) -> Floats:
    """The price of a worker by column: in proportion less where more than `worker_price_workers` are busy."""
    median = load[list(levels).index(0.5)]
    prices: Floats = policy.worker_price * np.minimum(
        1.0, policy.worker_price_workers / np.maximum(median, 1e-9)
    )
    return prices
