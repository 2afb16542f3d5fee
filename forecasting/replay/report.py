"""A replay's results as a table for people, JSON for programs and rows for a spreadsheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecasting.frames import ID, TIME, TIME_DTYPE, VALUE
from forecasting.replay.policies import WEEK
from forecasting.replay.quotas import SAME_TOTAL, PolicyResult, QuotaReplay, gap_closed
from forecasting.replay.waiting import Waiting


def merged(replays: Sequence[QuotaReplay]) -> list[PolicyResult]:
    """The results of several batches of series as one; shares are of all demand together."""
    return [
        PolicyResult(
            policy=first.policy,
            setting=first.setting,
            demand=sum(r.demand for r in same),
            unmet=sum(r.unmet for r in same),
            idle=sum(r.idle for r in same),
            cost=sum(r.cost for r in same),
            waiting=Waiting(
                sum(r.waiting.waitlisted for r in same),
                sum(r.waiting.waited_days for r in same),
                sum(r.waiting.gave_up for r in same),
            ),
            raised=sum(r.raised for r in same),
            raised_cost=sum(r.raised_cost for r in same),
        )
        for first in replays[0].results
        for same in [[replay.result(first.setting, first.policy) for replay in replays]]
    ]


def as_table(results: Sequence[PolicyResult]) -> pd.DataFrame:
    """One row a setting and policy: refused, idle and cost as shares of demand, days waited, gap closed.

    waitlisted and days waited are those with quotas raised by who waits (raised, of demand);
    raised cost pays for these units too.
    """
    return pd.DataFrame(
        [
            {
                "setting": r.setting,
                "policy": r.policy,
                "refused": percent(r.unmet / r.demand),
                "idle": percent(r.idle / r.demand),
                "cost": f"{r.cost / r.demand:.4f}",
                "waitlisted": percent(r.waiting.waitlisted / r.demand),
                "days waited": f"{r.waiting.average_days:.1f}",
                "raised": percent(r.raised / r.demand),
                "raised cost": f"{r.raised_cost / r.demand:.4f}",
                "gap closed": percent(gap_closed(results, r.policy)) if r.setting == SAME_TOTAL else "",
            }
            for r in results
        ]
    )


def as_json(results: Sequence[PolicyResult], setting: dict[str, Any]) -> dict[str, Any]:
    """{"figures": {name: number or null}, "setting": {…}}; shares are fractions of demand."""
    figures: dict[str, float | None] = {}
    for r in results:
        key = f"{r.setting}_{r.policy}"
        figures |= {
            f"refused_{key}": round(r.unmet / r.demand, 6),
            f"idle_{key}": round(r.idle / r.demand, 6),
            f"cost_{key}": round(r.cost / r.demand, 6),
            f"waited_days_{key}": round(r.waiting.average_days, 4),
            f"raised_{key}": round(r.raised / r.demand, 6),
            f"raised_cost_{key}": round(r.raised_cost / r.demand, 6),
        }
        if r.setting == SAME_TOTAL:
            closed = gap_closed(results, r.policy)
            figures[f"gap_closed_{r.policy}"] = None if math.isnan(closed) else round(closed, 6)
    return {"figures": figures, "setting": setting}


def quota_rows(replay: QuotaReplay) -> pd.DataFrame:
    """`unique_id`, `ds`, `y` (what came) and a column for each setting's policy: its quota of the day."""
    values, first = replay.window.values()
    days = pd.date_range(replay.window.first, periods=replay.window.days, freq="D").astype(TIME_DTYPE)
    tables = []
    for place, name in enumerate(replay.window.series):
        columns = {
            f"{policy}_{setting}": quotas[place]
            for setting, policies in replay.quotas.items()
            for policy, quotas in policies.items()
        }
        tables.append(pd.DataFrame({ID: name, TIME: days, VALUE: values[place, first:]} | columns))
    return pd.concat(tables, ignore_index=True)


def weekly_unmet(replay: QuotaReplay) -> pd.DataFrame:
    """Refused units at the same total by week (index: its Monday) and policy."""
    values, first = replay.window.values()
    came = values[:, first:]
    weeks = pd.date_range(replay.window.first, periods=replay.window.weeks, freq="7D")
    return pd.DataFrame(
        {
            policy: np.maximum(came - quotas, 0.0).sum(axis=0).reshape(-1, WEEK).sum(axis=1)
            for policy, quotas in replay.quotas[SAME_TOTAL].items()
        },
        index=weeks,
    )


def percent(share: float) -> str:
    """The share in per cent; a dash where there is none."""
    return "–" if math.isnan(share) else f"{share:.1%}"
