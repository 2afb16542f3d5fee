"""A small region for what-if: two branches whose day quotas, staff and demand a test states in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np

from forecasting.decisions.situations import Counter, Layer, Servers, Situation

FIRST = date(2026, 3, 2)
"""A Monday."""


def layer(
    kind: str, period: str, scopes: Sequence[str], limits: Any, *, group: Any, of_day: Any, used: Any = 0.0
) -> Layer:
    """Limits by group and period; used: of these already taken."""
    units = np.asarray(limits, dtype=float)
    return Layer(
        kind, period, tuple(scopes), np.asarray(group), np.asarray(of_day), units, np.full(units.shape, used)
    )


def small_region(demand: Any, quotas: Any, **other: Any) -> Situation:
    """Branches a, b … with demand (branches, days[, paths]) and day quotas (branches, days)."""
    units = np.asarray(demand, dtype=float)
    units = units[:, :, None] if units.ndim == 2 else units
    branches, days, _ = units.shape
    ids = tuple("abcdefgh"[:branches])
    day = layer("branch", "day", ids, quotas, group=range(branches), of_day=range(days))
    given: dict[str, Any] = {
        "region": "north",
        "branches": ids,
        "first_day": FIRST,
        "demand": units,
        "layers": (day,),
        "staff_caps": np.full((branches, days), np.inf),
        "counter": Counter(*(np.full(branches, value) for value in (25.0, 0.1, 1.0, 900.0))),
        "servers": Servers(4.0, 0.05, 900.0, 0.1, 0.6, 1, 50),
        "refused_cost": 9.0,
    }
    return Situation(**(given | other))
