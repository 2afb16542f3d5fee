"""One trace under every server policy: what each one's fleet brought, on the same load and start-ups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from forecasting.decisions.policy import Policy
from forecasting.frames import Floats
from forecasting.models.steps import Integers, StepGrid
from forecasting.replay.server_policies import Autoscaler, Foretold, forecast_only, foretell, slotcast
from forecasting.replay.servers import (
    START_SECONDS,
    STEPS_A_MINUTE,
    Decide,
    Fleet,
    Judged,
    Load,
    foresight,
    judge,
    load_of,
    replay,
    start_delays,
)

PEAK_WORKERS: Final = 20
"""A trace is scaled so that its largest judged step needs so many."""
WARM_DAYS: Final = 8
"""Judged from here on: the weekly shape has been seen."""
COUNTED_MINUTES: Final = 50
"""Traces on which the autoscaler violates fewer minutes are told, not counted."""
MEAN_START_STEPS: Final = 8
AUTOSCALER, FORECAST, SLOTCAST, REACTIVE, FORESIGHT = (
    "autoscaler", "forecast_only", "slotcast", "slotcast_no_forecast", "foresight"
)  # fmt: skip
POLICIES: Final = (AUTOSCALER, FORECAST, SLOTCAST, REACTIVE, FORESIGHT)


@dataclass(frozen=True, slots=True)
class ServerReplay:
    """What every policy brought on one trace."""

    load: Load
    first: int
    """The 15-second step from which on it is judged."""
    foretold: Foretold
    delays: Integers
    """The start-ups of the first draw."""
    judged: Mapping[str, Judged]
    """By policy, the mean over all draws."""
    fleets: Mapping[str, Fleet]
    """By policy, under the first draw."""

    @property
    def counted(self) -> bool:
        """Whether the autoscaler has trouble enough for its minutes to be compared."""
        return self.judged[AUTOSCALER].violating_minutes >= COUNTED_MINUTES

    @property
    def cut(self) -> float:
        """The share of the autoscaler's violating minutes that Slotcast avoids; NaN where it has none."""
        minutes = self.judged[AUTOSCALER].violating_minutes
        return 1.0 - self.judged[SLOTCAST].violating_minutes / minutes if minutes else float("nan")


def replay_servers(
    requests: Floats,
    grid: StepGrid,
    policy: Policy,
    *,
    draws: int = 1,
    warm_days: int = WARM_DAYS,
    peak_workers: float = PEAK_WORKERS,
    start_seconds: tuple[int, int] = START_SECONDS,
    told: Callable[[], object] = lambda: None,
) -> ServerReplay:
    """The trace replayed, judged from `warm_days` on.

    requests: by the grid's first steps, NaN unknown; the grid goes on two days and a step beyond them. told:
    called after the forecast and after each policy. ValueError where the judged part has no request.
    """
    since = warm_days * grid.per_day
    load = load_of(requests, grid.minutes, most_workers=peak_workers, since=since)
    steps, first = len(load.workers), since * grid.minutes * STEPS_A_MINUTE
    foretold = foretell(grid, requests, load.scale)
    told()
    alone = forecast_only(foretold, policy)
    delays = [start_delays(steps, seed, start_seconds) for seed in range(1, 1 + draws)]
    made: dict[str, Callable[[], Decide]] = {
        AUTOSCALER: Autoscaler,
        FORECAST: lambda: lambda step, *_: alone[step],
        SLOTCAST: lambda: slotcast(foretold, steps, policy),
        REACTIVE: lambda: slotcast(None, steps, policy),
    }
    judged, fleets = {}, {}
    for name, policy_of in made.items():
        each = [replay(load, drawn, policy_of()) for drawn in delays]
        judged[name], fleets[name] = _mean([judge(load, fleet, first) for fleet in each]), each[0]
        told()
    fleets[FORESIGHT] = foresight(load, MEAN_START_STEPS)
    judged[FORESIGHT] = judge(load, fleets[FORESIGHT], first)
    told()
    return ServerReplay(load, first, foretold, delays[0], judged, fleets)


def _mean(judged: Sequence[Judged]) -> Judged:
    """The mean over the start-up draws."""
    return Judged(
        round(float(np.mean([one.violating_minutes for one in judged]))),
        float(np.mean([one.worker_hours for one in judged])),
        float(np.mean([one.slack for one in judged])),
    )
