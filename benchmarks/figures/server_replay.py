"""Figures of server policies replayed on traces: Kubernetes' autoscaler, the forecast alone, Slotcast.

docs/servers.md says how a trace is read, what each policy is and what each figure means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.support.rounds import Figure
from benchmarks.support.traces import Trace, traces
from forecasting.decisions.policy import Policy
from forecasting.frames import Floats
from forecasting.models.steps import MINUTES_A_DAY
from forecasting.replay.server_files import AHEAD_DAYS, RequestTrace
from forecasting.replay.server_outcomes import (
    AUTOSCALER,
    COUNTED_MINUTES,
    FORESIGHT,
    PEAK_WORKERS,
    REACTIVE,
    SLOTCAST,
    WARM_DAYS,
    ServerReplay,
    replay_servers,
)
from forecasting.replay.server_policies import Foretold, slotcast
from forecasting.replay.servers import Judged, judge, replay

QUICK_DAYS, DAYS = 48, 120
"""Most judged days, the trace's last ones."""
QUICK_STEPS: Final = 45_000
SEEDS: Final = 3
"""Start-up draws that violating minutes and worker-hours are averaged over, where not quick."""
SHIFT_HOURS: Final = 6
SPIKE, SPIKE_SHARE = 5.0, 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What every policy brought on one trace; broken: by fault, how much worse than without a forecast."""

    name: str
    minutes: int
    days: float
    policies: Mapping[str, Judged]
    broken: Mapping[str, float]

    @property
    def counted(self) -> bool:
        """Whether the autoscaler has trouble enough for its minutes to be compared."""
        return self.policies[AUTOSCALER].violating_minutes >= COUNTED_MINUTES

    @property
    def cut(self) -> float:
        """The share of the autoscaler's violating minutes that Slotcast avoids."""
        return 1.0 - self.policies[SLOTCAST].violating_minutes / self.policies[AUTOSCALER].violating_minutes

    @property
    def hours_ratio(self) -> float:
        """Slotcast's worker-hours ÷ the autoscaler's."""
        return self.policies[SLOTCAST].worker_hours / self.policies[AUTOSCALER].worker_hours

    @property
    def slack(self) -> float:
        """Slotcast's unused share of worker-hours minus perfect foresight's."""
        return self.policies[SLOTCAST].slack - self.policies[FORESIGHT].slack


def server_figures(quick: bool, folder: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The figures over all counted traces of the folder, and a row for each trace and policy.

    No figure where no trace is counted.
    """
    outcomes = [
        found for trace in traces(folder, hourly=True) if (found := outcome_of(trace, quick)) is not None
    ]
    return figures_of(outcomes), [row for outcome in outcomes for row in _rows(outcome)]


def as_figures(found: Mapping[str, float]) -> list[Figure]:
    """The figures with their targets, in a table's order."""
    targets: dict[str, tuple[float | None, float | None]] = {
        "slo_minutes_cut_mean": (0.36, None),
        "slo_minutes_cut_min": (0.0, None),
        "worker_hours_ratio_max": (None, 1.0),
        "slack_over_foresight": (None, 0.10),
        "server_broken_worse": (None, 0.01),
    }
    return [
        Figure(name, value, value, value, *targets.get(name, (None, None))) for name, value in found.items()
    ]


def figures_of(outcomes: list[Outcome]) -> dict[str, float]:
    """The figures by name; see docs/servers.md."""
    counted = [outcome for outcome in outcomes if outcome.counted]
    if not counted:
        return {}
    cuts = [outcome.cut for outcome in counted]
    faults = {
        fault: float(np.mean([outcome.broken[fault] for outcome in counted])) for fault in counted[0].broken
    }
    return {
        "slo_minutes_cut_mean": float(np.mean(cuts)),
        "slo_minutes_cut_min": min(cuts),
        "worker_hours_ratio_max": max(outcome.hours_ratio for outcome in counted),
        "slack_over_foresight": float(np.mean([outcome.slack for outcome in counted])),
        "slack_over_foresight_max": max(outcome.slack for outcome in counted),
        "server_broken_worse": max(faults.values()),
        "server_broken_worst_trace": max(max(outcome.broken.values()) for outcome in counted),
        "traces_counted": float(len(counted)),
    }


def outcome_of(
    trace: Trace,
    quick: bool,
    *,
    peak_workers: float = PEAK_WORKERS,
    start_seconds: tuple[int, int] = (60, 180),
) -> Outcome | None:
    """What every policy brought on the trace's last days; None for a trace too short or without requests.

    Any other trouble with a trace is an error: it shall not vanish from those that are counted.
    """
    per_day = MINUTES_A_DAY // trace.minutes
    since = WARM_DAYS * per_day
    most = since + (QUICK_DAYS if quick else DAYS) * per_day
    if quick:
        most = max(since + 7 * per_day, min(most, QUICK_STEPS // per_day * per_day))
    cut = _last(trace, most)
    known = RequestTrace(cut.requests, cut.grid(AHEAD_DAYS * per_day + 1), cut.first)
    if not known.busy_after(WARM_DAYS):
        return None
    made = replay_servers(
        known.requests,
        known.grid,
        Policy(),
        draws=1 if quick else SEEDS,
        peak_workers=peak_workers,
        start_seconds=start_seconds,
    )
    broken = _broken(made, since) if made.counted else {}
    return Outcome(cut.name, cut.minutes, len(cut.requests) / per_day - WARM_DAYS, made.judged, broken)


def _broken(made: ServerReplay, since: int) -> dict[str, float]:
    """By fault of the forecast, how much worse than without one."""
    usual = judge(made.load, made.fleets[REACTIVE], made.first)
    found = {}
    for name, fault in FAULTS.items():
        foretold = replace(made.foretold, quantiles=fault(made.foretold, since))
        fleet = replay(made.load, made.delays, slotcast(foretold, len(made.load.workers), Policy()))
        found[name] = _worse(judge(made.load, fleet, made.first), usual)
    return found


def half_level(foretold: Foretold, since: int) -> Floats:
    """Half of what was foretold, from step `since` on."""
    quantiles = foretold.quantiles.copy()
    quantiles[:, :, since:] *= 0.5
    return quantiles


def dead(foretold: Foretold, since: int) -> Floats:
    """Nothing is foretold any more."""
    quantiles = foretold.quantiles.copy()
    quantiles[:, :, since:] = 0.0
    return quantiles


def spikes(foretold: Foretold, since: int) -> Floats:
    """Five times as much is foretold at one step in five (seeded)."""
    quantiles = foretold.quantiles.copy()
    hit = np.random.default_rng(1).random(quantiles.shape[2]) < SPIKE_SHARE
    hit[:since] = False
    quantiles[:, :, hit] *= SPIKE
    return quantiles


def shifted(foretold: Foretold, since: int) -> Floats:
    """What was foretold six hours before."""
    quantiles = foretold.quantiles.copy()
    late = SHIFT_HOURS * 60 // foretold.minutes
    quantiles[:, :, since:] = foretold.quantiles[:, :, since - late : foretold.quantiles.shape[2] - late]
    return quantiles


FAULTS: Final[Mapping[str, Callable[[Foretold, int], Floats]]] = {
    "half_level": half_level,
    "dead": dead,
    "spikes": spikes,
    "shifted": shifted,
}


def _worse(told: Judged, usual: Judged) -> float:
    """By how much violating minutes or worker-hours, whichever more, exceed the usual ones; 0 at least."""
    minutes = told.violating_minutes / max(usual.violating_minutes, 1) - 1.0
    return max(0.0, minutes, told.worker_hours / usual.worker_hours - 1.0)


def _last(trace: Trace, most: int) -> Trace:
    """The trace's last steps, from a midnight-to-midnight distance so that its days stay whole."""
    skip = max(0, len(trace.requests) - most)
    first = trace.first + skip * np.timedelta64(trace.minutes, "m")
    return Trace(trace.name, trace.minutes, first, trace.requests[skip:], trace.country)


def _rows(outcome: Outcome) -> list[dict[str, Any]]:
    base = outcome.policies[AUTOSCALER]
    rows = []
    for name, judged in outcome.policies.items():
        minutes = base.violating_minutes
        rows.append(
            {
                "trace": outcome.name,
                "step_minutes": outcome.minutes,
                "days": round(outcome.days, 1),
                "counted": outcome.counted,
                "policy": name,
                "violating_minutes": judged.violating_minutes,
                "cut": round(1.0 - judged.violating_minutes / minutes, 3) if minutes else math.nan,
                "worker_hours": round(judged.worker_hours),
                "hours_ratio": round(judged.worker_hours / base.worker_hours, 4),
                "slack": round(judged.slack, 3),
                "broken": " ".join(f"{fault} {worse:.3f}" for fault, worse in outcome.broken.items())
                if name == SLOTCAST
                else "",
            }
        )
    return rows
