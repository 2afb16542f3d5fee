"""A replay of servers as a table for people, JSON for programs and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from forecasting.plots import BLUE, GREY
from forecasting.replay.pictures import bars, begun, ended
from forecasting.replay.report import percent
from forecasting.replay.server_outcomes import AUTOSCALER, POLICIES, SLOTCAST, ServerReplay
from forecasting.replay.servers import STEP_SECONDS, STEPS_AN_HOUR, Fleet, Load

_DAY: Final = 24 * STEPS_AN_HOUR
DRAWN: Final = {AUTOSCALER: (GREY, "-"), SLOTCAST: (BLUE, "-")}
"""Of all policies those whose workers are drawn."""


def as_table(replays: Mapping[str, ServerReplay]) -> pd.DataFrame:
    """One row a series and policy: violating minutes, the share of the autoscaler's avoided, worker-hours."""
    return pd.DataFrame(
        [
            {
                "series": name,
                "policy": policy,
                "violating minutes": judged.violating_minutes,
                "avoided": percent(_cut(judged.violating_minutes, base.violating_minutes)),
                "worker-hours": f"{judged.worker_hours:.0f}",
                "of autoscaler's": f"{judged.worker_hours / base.worker_hours:.3f}",
                "unused": percent(judged.slack),
            }
            for name, made in replays.items()
            for base in [made.judged[AUTOSCALER]]
            for policy, judged in made.judged.items()
        ]
    )


def as_json(replays: Mapping[str, ServerReplay], setting: dict[str, Any]) -> dict[str, Any]:
    """{"figures": {name: number or null}, "series": {id: {policy: …}}, "setting": {…}}; shares as fractions.

    Figures named slo_… are over the counted series only (null where none is), as benchmarks/replay.py's.
    """
    figures: dict[str, float | None] = {}
    for policy in POLICIES:
        judged = [made.judged[policy] for made in replays.values()]
        figures[f"violating_minutes_{policy}"] = sum(one.violating_minutes for one in judged)
        figures[f"worker_hours_{policy}"] = round(sum(one.worker_hours for one in judged), 3)
    cuts = [made.cut for made in replays.values() if made.counted]
    figures["slo_minutes_cut_mean"] = round(float(np.mean(cuts)), 6) if cuts else None
    figures["slo_minutes_cut_min"] = round(min(cuts), 6) if cuts else None
    series = {
        name: {
            "counted": made.counted,
            "policies": {
                policy: {
                    "violating_minutes": judged.violating_minutes,
                    "worker_hours": round(judged.worker_hours, 3),
                    "slack": round(judged.slack, 6),
                }
                for policy, judged in made.judged.items()
            },
        }
        for name, made in replays.items()
    }
    return {"figures": figures, "series": series, "setting": setting}


def draw_servers(
    path: Path, replays: Mapping[str, ServerReplay], first: Mapping[str, pd.Timestamp], *, title: str
) -> None:
    """Write the picture to `path` (PNG): what each policy brought, and the autoscaler's hardest day.

    first: when each series' trace begins.
    """
    figure, minutes, hours, lines = begun()
    totals = as_json(replays, {})["figures"]
    labels = [policy.replace("_", " ") for policy in POLICIES]
    colours = [BLUE if policy == SLOTCAST else GREY for policy in POLICIES]
    for axes, key, name in (
        (minutes, "violating_minutes", "minutes with too few workers"),
        (hours, "worker_hours", "worker-hours"),
    ):
        values = [float(totals[f"{key}_{policy}"]) for policy in POLICIES]
        bars(axes, labels, values, colours, [f"{value:,.0f}" for value in values])
        axes.set_title(name, loc="left", fontsize=9)
    series, day = _hardest_day(replays)
    made = replays[series]
    steps = slice(made.first + day * _DAY, made.first + (day + 1) * _DAY)
    begins = first[series] + pd.Timedelta(seconds=STEP_SECONDS * steps.start)
    load = made.load.workers[steps]
    times = pd.date_range(begins, periods=len(load), freq=f"{STEP_SECONDS}s")
    lines.fill_between(times, load, color=GREY, alpha=0.2, linewidth=0.0, label="load")
    for policy, (colour, style) in DRAWN.items():
        workers = made.fleets[policy].serving[steps]
        lines.step(times, workers, where="post", color=colour, linestyle=style, linewidth=1.2, label=policy)
    lines.set_title(
        f"workers that serve, {series}, {begins:%Y-%m-%d}", loc="left", fontsize=9, parse_math=False
    )
    ended(figure, lines, path, title=title)


def _hardest_day(replays: Mapping[str, ServerReplay]) -> tuple[str, int]:
    """(series, its judged day) on which the autoscaler was short most often."""
    most, found = -1, (next(iter(replays)), 0)
    for name, made in replays.items():
        short = _short(made.load, made.fleets[AUTOSCALER])[made.first :]
        for day in range(max(1, len(short) // _DAY)):
            count = int(short[day * _DAY : (day + 1) * _DAY].sum())
            if count > most:
                most, found = count, (name, day)
    return found


def _short(load: Load, fleet: Fleet) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    short: np.ndarray[tuple[int], np.dtype[np.bool_]] = (load.workers > fleet.serving + 1e-9) & load.known
    return short


def _cut(minutes: int, base: int) -> float:
    return 1.0 - minutes / base if base else math.nan
