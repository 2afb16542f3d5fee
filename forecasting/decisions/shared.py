"""A total that a person fixed, shared out among the day quotas beneath it.

A region's month or a day's funds may hold less than the forecast asks for its branches' days. Asked for
alone, each day would get its own quantile, and who comes first would use up what the others need. So where a
fixed total binds, the days share it out by `allocation.split_total`: one more unit is worth the same
everywhere, by what the forecast and the past together foretell (`trust`). Where it does not bind, nothing
changes: what nobody asks for stays unused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final, Self

import numpy as np

from forecasting.decisions.allocation import Integers, split_total
from forecasting.decisions.guardrails import guard_limit
from forecasting.decisions.plan import SHARED_TOTAL, limits_of
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import BranchForecast, QuotaProposal, sufficient_units
from forecasting.decisions.trust import Pool
from forecasting.frames import Floats, SamplePaths
from metrics.contract import ALL_CHANNELS, PeriodKind, ScopeKind

Place = tuple[str, date]
"""Branch and day."""

ASKED: Final = "asked_units"
"""What an item's inputs tell of: its units before any total cut it."""
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
    *,
    kept: Mapping[Place, int] | None = None,
    pool: Pool | None = None,
) -> list[QuotaProposal]:
    """The proposals, with the days of branches cut to their shares of every total that binds.

    proposals: of all plans whose branches share the totals. forecasts, used (units in use by branch and day):
    of all members. kept: the limits of days that nobody plans; a member's day without any limit is taken to
    ask for its own quantile. pool: what is shared out by, from the same first day on; None: the forecasts
    alone. A day gets no more than its guardrails let it have, so that nothing goes where it cannot be used;
    how far it falls at once is no matter where a person fixed the total. Of several totals that bind the
    least counts. Branches that are not forecast to the total's last day have no share but what they use.
    """
    shared = list(proposals)
    whole = {
        (p.scope_id, date.fromisoformat(p.period_start)): place
        for place, p in enumerate(shared)
        if (p.scope_kind, p.period_kind, p.channel) == (ScopeKind.BRANCH, PeriodKind.DAY, ALL_CHANNELS)
    }
    asked = {cell: place for cell, place in whole.items() if shared[place].proposed is not None}
    stands = dict(kept or {}) | {cell: shared[place].old_units for cell, place in whole.items()}
    for total in totals:
        told_of = {branch for branch in total.members if _reaches(forecasts.get(branch), total)}
        days = [total.first + timedelta(days=n) for n in range((total.last - total.first).days + 1)]
        cells, elsewhere = [], 0
        for cell in ((branch, day) for branch in total.members for day in days):
            if cell[0] in told_of and (cell in asked or cell not in stands):
                cells.append(cell)
            else:  # nobody plans it: its limit stands, or what it holds
                elsewhere += max(stands.get(cell, 0) if cell[0] in told_of else 0, used.get(cell, 0))
        if cells:
            paths = _paths(cells, {branch: forecasts[branch].paths for branch in told_of})
            mine = {cell: asked[cell] for cell in cells if cell in asked}
            known = _Cells.of(cells, paths, mine, shared, used, policy)
            shared = _shared(shared, total, known, max(total.units - elsewhere, 0), pool)
    return shared


@dataclass(frozen=True, slots=True)
class _Cells:
    """The days of branches that share a total, each with what it may have at least and at most."""

    cells: list[Place]
    asked: dict[Place, int]
    """The place of the cell's proposal in all of them."""
    paths: Floats
    """(cells, paths) of the forecast alone."""
    beside: Floats
    """Units that come on top of the day's own demand: displaced ones, those on hand, the waitlist's."""
    floors: Integers
    caps: Integers

    @classmethod
    def of(
        cls,
        cells: list[Place],
        paths: Floats,
        asked: dict[Place, int],
        proposals: Sequence[QuotaProposal],
        used: Mapping[Place, int],
        policy: Policy,
    ) -> Self:
        """The cells as the proposals and their guardrails have them."""
        levels = [proposals[asked[c]].quantile if c in asked else policy.service_level for c in cells]
        alone = _at_levels(paths, levels)
        floors = np.array([used.get(cell, 0) for cell in cells], dtype=np.int64)
        caps = np.maximum(np.ceil(alone - 1e-9).astype(np.int64), floors)
        beside = np.zeros(len(cells))
        for row, cell in enumerate(cells):
            if cell in asked:
                proposal = proposals[asked[cell]]
                limits = replace(limits_of(proposal, policy), shares_total=True)
                least = guard_limit(0.0, limits, policy)[0].value
                floors[row] = max(floors[row], least)
                caps[row] = max(
                    floors[row], guard_limit(float(proposal.proposed or 0.0), limits, policy)[0].value
                )
                wanted = float(proposal.inputs.get(ASKED, proposal.proposed or 0.0))
                beside[row] = max(0.0, wanted - float(alone[row]))
        return cls(cells, asked, paths, beside, floors, caps)


def _shared(
    proposals: list[QuotaProposal], total: FixedTotal, known: _Cells, units_left: int, pool: Pool | None
) -> list[QuotaProposal]:
    """The proposals with the total shared out among the cells, where they ask for more."""
    if int(known.caps.sum()) <= units_left:
        return proposals
    own = known.paths if pool is None else _paths(known.cells, pool.paths)
    split = split_total(units_left, own + known.beside[:, None], floors=known.floors, caps=known.caps)
    shared = list(proposals)
    for row, cell in enumerate(known.cells):
        units = int(split.units[row])
        if cell not in known.asked or units >= known.caps[row]:
            continue
        proposal = proposals[known.asked[cell]]
        told = {
            ASKED: proposal.inputs.get(ASKED, proposal.proposed),
            SHARED_TOTAL: total.name,
            "shared_total_units": total.units,
            "one_more_is_used": round(split.worth, 3),
        }
        if pool is not None:
            told["trusted"] = {way: round(weight, 3) for way, weight in pool.weights.items()}
        inputs = proposal.inputs | told
        inputs.pop("held_back_units", None)  # it is the total that lowers the day now: nothing to release
        shared[known.asked[cell]] = replace(proposal, proposed=float(units), inputs=inputs)
    return shared


def _at_levels(paths: Floats, levels: Sequence[float]) -> Floats:
    """Each row's quantile at its own level."""
    at = np.array(levels)
    found = np.empty(len(paths))
    for level in set(levels):
        rows = at == level
        found[rows] = sufficient_units(paths[rows], level, axis=1)
    return found


def _reaches(forecast: BranchForecast | None, total: FixedTotal) -> bool:
    return forecast is not None and forecast.sums(total.first, total.last) is not None


def _paths(cells: Sequence[Place], paths: Mapping[str, SamplePaths]) -> Floats:
    """Sample paths by cell, (cells, paths), as many as all have."""
    rows = [paths[branch].sums(day, day) for branch, day in cells]
    fewest = min(len(row) for row in rows)
    return np.array([row[:fewest] for row in rows])
