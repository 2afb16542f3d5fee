"""What a day's funds leave of a proposal: the caps above each limit, read and turned into units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Self

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import branches
from booking_core.read.funds import mean_payoffs
from booking_core.read.quotas import quota_periods
from forecasting.decisions.funds import funds_units
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import LimitState, QuotaProposal
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, PeriodKind, ScopeKind

Level = tuple[str, str, str, date]
"""Scope kind, scope id, channel and day of a funds cap."""
Scope = tuple[str, str]
"""Scope kind and scope id."""


@dataclass(frozen=True, slots=True)
class Funds:
    """What is left of every day's funds, and what an appointment takes of them: one reading for the bank."""

    left_cny: Mapping[Level, float]
    means: Mapping[Scope, float]
    """Yuan a unit of a scope's branches, each as far as it is measured; a scope of which nothing is known
    is missing."""
    region_of: Mapping[str, str]

    @classmethod
    def of(cls, engine: Engine, day: date, policy: Policy) -> Self | None:
        """The funds of the days after `day`, to the end of their months; None where no cap stands."""
        left = funds_left(engine, day, policy)
        if not left:
            return None
        known = branches(engine)
        region_of = dict(zip(known["branch_id"], known["region_id"], strict=True))
        payoffs = mean_payoffs(engine, day=day, days=policy.funds_days)
        return cls(left, means_by_scope(payoffs, region_of), region_of)

    def capped(self, proposal: QuotaProposal, first: date) -> QuotaProposal:
        """The proposal with the units that the funds of its days from `first` on pay out.

        Where no cap stands above it, or no payoff is known, it stays as it is.
        """
        start = date.fromisoformat(proposal.period_start)
        limit = LimitState(
            proposal.scope_kind, proposal.scope_id, proposal.period_kind, start,
            limit_units=proposal.old_units, used_units=proposal.used_units, channel=proposal.channel,
        )  # fmt: skip
        branch = proposal.scope_kind == ScopeKind.BRANCH
        found = self.units(limit, self.region_of[proposal.scope_id] if branch else None, first)
        if found is None:
            return proposal
        units, mean = found
        inputs = proposal.inputs | {"mean_payoff_cny": round(mean)}
        return replace(proposal, funds_cap_units=units, inputs=inputs)

    def units(self, limit: LimitState, region: str | None, first: date) -> tuple[int, float] | None:
        """The units that the funds of the limit's days from `first` on pay out, and yuan a unit.

        Capped by the funds of its own scope and of those above it; region: the one that it lies in, None for
        the bank. None where a day is without any cap, or no payoff is known.
        """
        mean = self._mean(limit)
        if mean is None:
            return None
        begins = max(limit.period_start, first)
        days = (begins + timedelta(days=n) for n in range((limit.next_start - begins).days))
        caps = [[self.left_cny[level] for level in self._levels(limit, region, day)] for day in days]
        units = funds_units(limit.used_units, caps, mean)
        return None if units is None else (units, mean)

    def rooms(self, limit: LimitState, region: str | None) -> dict[Level, int]:
        """The units that each funds cap above the limit's first day still pays out, as for `units`."""
        mean = self._mean(limit)
        if mean is None:
            return {}
        levels = self._levels(limit, region, limit.period_start)
        return {level: int(max(self.left_cny[level], 0.0) // mean) for level in levels}

    def _mean(self, limit: LimitState) -> float | None:
        return self.means.get((str(limit.scope_kind), limit.scope_id))

    def _levels(self, limit: LimitState, region: str | None, day: date) -> list[Level]:
        """The caps that stand on the day's funds of the limit's scope and of those above it."""
        scopes = [(str(ScopeKind.BANK), BANK_SCOPE_ID), (str(limit.scope_kind), limit.scope_id)]
        scopes += [] if region is None else [(str(ScopeKind.REGION), region)]
        levels = [(*scope, channel, day) for scope in scopes for channel in (ALL_CHANNELS, limit.channel)]
        return [level for level in dict.fromkeys(levels) if level in self.left_cny]


def means_by_scope(payoffs: pd.DataFrame, region_of: Mapping[str, str]) -> dict[Scope, float]:
    """Yuan a unit of every branch, region and the bank; branches weigh as their measured units, 1 at least.

    payoffs: as of `mean_payoffs`; what is not above 0 tells nothing.
    """
    mine = payoffs[payoffs["mean_cny"] > 0]
    if mine.empty:
        return {}
    weights = mine["units"].clip(lower=1)
    table = pd.DataFrame({"cny": mine["mean_cny"] * weights, "units": weights})
    found: dict[Scope, float] = {}
    for kind, of in (
        (ScopeKind.BRANCH, mine["branch_id"]),
        (ScopeKind.REGION, mine["branch_id"].map(region_of)),
        (ScopeKind.BANK, pd.Series(BANK_SCOPE_ID, index=mine.index)),
    ):
        sums = table.groupby(of).sum()
        means = sums["cny"] / sums["units"]
        found |= {(str(kind), str(scope)): float(mean) for scope, mean in means.items()}
    return found


def funds_left(engine: Engine, day: date, policy: Policy) -> dict[Level, float]:
    """Yuan left of every funds cap on the days to be planned, to the end of their months."""
    found: dict[Level, float] = {}
    for kind in ScopeKind:
        rows = quota_periods(
            engine,
            since=day + timedelta(days=1),
            until=day + timedelta(days=policy.plan_days + 31),
            period_kind=PeriodKind.FUNDS_DAY,
            scope_kind=kind,
        )
        rows = rows[rows["limit_units"].notna()]
        for row in rows.to_dict("records"):
            level = (str(kind), row["scope_id"], row["channel"], row["period_start"].date())
            found[level] = float(row["limit_units"] - row["used_units"])
    return found
