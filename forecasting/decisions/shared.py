"""A total that a person fixed, shared out among the day quotas beneath it.

A region's month or a day's funds may hold less than the forecast asks for its branches' days. Asked for
alone, each day would get its own quantile, and who comes first would use up what the others need. So where a
fixed total binds, the days share it out by `allocation.split_total`: one more unit is worth the same
everywhere, by what the forecast and the past together foretell (`trust`). Where it does not bind, nothing
changes: what nobody asks for stays unused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

import numpy as np

from forecasting.decisions.allocation import split_total
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import BranchForecast, QuotaProposal
from forecasting.decisions.trust import Pool
from forecasting.frames import Floats, SamplePaths
from metrics.contract import ALL_CHANNELS, PeriodKind, ScopeKind

Place = tuple[str, date]
"""Branch and day."""

FIXED: Final = "fixed"
"""Why the limit itself is kept: a person set it."""


@dataclass(frozen=True, slots=True)
class FixedTotal:
    """Units that branches may use on some coming days together."""

    name: str
    """What holds them, e.g. region:north:month 2026-12-01, or funds of region:north 2026-12-01."""
    members: tuple[str, ...]
    """All branches that share it, of whatever region."""
    first: date
    last: date
    units: int
    """What the days have, their units in use included."""


def kept_fixed(proposals: Sequence[QuotaProposal], policy: Policy) -> list[QuotaProposal]:
    """The proposals; those of limits that the policy calls fixed are kept as a person set them."""
    return [
        replace(
            p,
            proposed=None,
            keep_reason=FIXED,
            keep_condition="fixed by policy: the days beneath share it out",
        )
        if f"{p.scope_kind}:{p.scope_id}:{p.period_kind}" in policy.fixed_totals and p.channel == ALL_CHANNELS
        else p
        for p in proposals
    ]


def share_out(
    proposals: Sequence[QuotaProposal],
    totals: Sequence[FixedTotal],
    forecasts: Mapping[str, BranchForecast],
    used: Mapping[Place, int],
    policy: Policy,
    pool: Pool | None = None,
) -> list[QuotaProposal]:
    """The proposals, with the days of branches cut to their shares of every total that binds.

    forecasts, used (units in use by branch and day): of all members, also of those whose limits other plans
    hold; their days are taken to ask for their own quantile. pool: what is shared out by, from the same first
    day on; None: the forecasts alone. Of several totals that bind the least counts.
    Branches that are not forecast to the total's last day have no share but what they use already.
    """
    shared = list(proposals)
    for total in totals:
        shared = _shared(shared, total, forecasts, used, policy, pool)
    return shared


def _shared(
    proposals: list[QuotaProposal],
    total: FixedTotal,
    forecasts: Mapping[str, BranchForecast],
    used: Mapping[Place, int],
    policy: Policy,
    pool: Pool | None,
) -> list[QuotaProposal]:
    days = [total.first + timedelta(days=n) for n in range((total.last - total.first).days + 1)]
    told_of = [branch for branch in total.members if _reaches(forecasts.get(branch), total)]
    cells = [(branch, day) for branch in told_of for day in days]
    if not cells:
        return proposals
    others = sum(used.get((branch, day), 0) for branch in set(total.members) - set(told_of) for day in days)
    units_left = max(total.units - others, 0)
    paths = _paths(cells, {branch: forecasts[branch].paths for branch in told_of})
    asked = {
        (p.scope_id, date.fromisoformat(p.period_start)): place
        for place, p in enumerate(proposals)
        if p.scope_kind == ScopeKind.BRANCH
        and p.period_kind == PeriodKind.DAY
        and p.channel == ALL_CHANNELS
        and p.proposed is not None
    }
    alone = np.quantile(paths, policy.service_level, axis=1)
    if pool is not None:
        paths = _paths(cells, pool.paths)
    for row, cell in enumerate(cells):
        if cell in asked:  # what others hold there, and who waits, comes on top of the day's own demand
            wanted = float(proposals[asked[cell]].proposed or 0.0)
            paths[row] += max(0.0, wanted - float(alone[row]))
            alone[row] = wanted
    in_use = np.array([used.get(cell, 0) for cell in cells], dtype=np.int64)
    floors = np.maximum(in_use, policy.floor_units)
    caps = np.maximum(np.ceil(alone - 1e-9).astype(np.int64), floors)
    if int(caps.sum()) <= units_left:
        return proposals
    split = split_total(units_left, paths, floors=floors, caps=caps)
    shared = list(proposals)
    for row, cell in enumerate(cells):
        if cell not in asked:
            continue
        proposal = proposals[asked[cell]]
        units = int(split.units[row])
        if units >= math.ceil((proposal.proposed or 0.0) - 1e-9):
            continue
        told = {
            "asked_units": proposal.inputs.get("asked_units", proposal.proposed),
            "shared_total": total.name,
            "shared_total_units": total.units,
            "one_more_is_used": round(split.worth, 3),
        }
        if pool is not None:
            told["trusted"] = {way: round(weight, 3) for way, weight in pool.weights.items()}
        shared[asked[cell]] = replace(proposal, proposed=float(units), inputs=proposal.inputs | told)
    return shared


def _reaches(forecast: BranchForecast | None, total: FixedTotal) -> bool:
    return forecast is not None and forecast.sums(total.first, total.last) is not None


def _paths(cells: Sequence[Place], paths: Mapping[str, SamplePaths]) -> Floats:
    """Sample paths by cell, (cells, paths), as many as all have."""
    rows = [paths[branch].sums(day, day) for branch, day in cells]
    fewest = min(len(row) for row in rows)
    return np.array([row[:fewest] for row in rows])
