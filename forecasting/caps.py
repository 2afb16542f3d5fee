"""What a day's funds leave of a proposal: the caps above each limit, read and turned into units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Funds:
    """What is left of every day's funds, and what an appointment takes of them."""

    left_cny: Mapping[Level, float]
    payoffs: pd.DataFrame
    """[branch_id, region_id, mean_cny, units]"""

    @classmethod
    def of(cls, engine: Engine, day: date, policy: Policy) -> Self | None:
        """The funds of the days after `day`, to the end of their months; None where no cap stands."""
        left = funds_left(engine, day, policy)
        if not left:
            return None
        known = branches(engine)
        payoffs = mean_payoffs(engine, day=day, days=policy.funds_days)
        payoffs["region_id"] = payoffs["branch_id"].map(
            dict(zip(known["branch_id"], known["region_id"], strict=True))
        )
        return cls(left, payoffs)

    def units(self, limit: LimitState, region: str | None, first: date) -> tuple[int, float] | None:
        """The units that the funds of the limit's days from `first` on pay out, and yuan a unit.

        Capped by the funds of its own scope and of those above it; region: the one that it lies in, None for
        the bank. None where a day is without any cap, or no payoff is known.
        """
        mean = self._mean(limit)
        if mean is None:
            return None
        scopes = {(str(ScopeKind.BANK), BANK_SCOPE_ID), (str(limit.scope_kind), limit.scope_id)}
        scopes |= set() if region is None else {(str(ScopeKind.REGION), region)}
        begins = max(limit.period_start, first)
        days = (begins + timedelta(days=n) for n in range((limit.next_start - begins).days))
        levels = [(scope, channel) for scope in scopes for channel in {ALL_CHANNELS, limit.channel}]
        caps = [
            [
                self.left_cny[*scope, channel, day]
                for scope, channel in levels
                if (*scope, channel, day) in self.left_cny
            ]
            for day in days
        ]
        units = funds_units(limit.used_units, caps, mean)
        return None if units is None else (units, mean)

    def _mean(self, limit: LimitState) -> float | None:
        """Yuan a unit of the limit's branches, each as far as it is measured; None where nothing is known."""
        column = {ScopeKind.BRANCH: "branch_id", ScopeKind.REGION: "region_id"}.get(
            ScopeKind(limit.scope_kind)
        )
        mine = self.payoffs if column is None else self.payoffs[self.payoffs[column] == limit.scope_id]
        mine = mine[mine["mean_cny"] > 0]
        if mine.empty:
            return None
        weights = mine["units"].clip(lower=1)
        return float((mine["mean_cny"] * weights).sum() / weights.sum())


def with_funds(
    engine: Engine, proposals: Sequence[QuotaProposal], day: date, policy: Policy
) -> list[QuotaProposal]:
    """The proposals, each with the units that the funds of its days from the day after `day` on pay out.

    A limit is capped by the funds of its own scope and of those above it. Where no cap stands, or no payoff
    is known, they stay as they are.
    """
    funds = Funds.of(engine, day, policy)
    if funds is None:
        return list(proposals)
    known = branches(engine)
    region_of = dict(zip(known["branch_id"], known["region_id"], strict=True))
    return [_capped(proposal, funds, region_of, day + timedelta(days=1)) for proposal in proposals]


def _capped(
    proposal: QuotaProposal, funds: Funds, region_of: Mapping[str, str], first: date
) -> QuotaProposal:
    start = date.fromisoformat(proposal.period_start)
    limit = LimitState(
        proposal.scope_kind, proposal.scope_id, proposal.period_kind, start,
        limit_units=proposal.old_units, used_units=proposal.used_units, channel=proposal.channel,
    )  # fmt: skip
    branch = proposal.scope_kind == ScopeKind.BRANCH
    found = funds.units(limit, region_of[proposal.scope_id] if branch else None, first)
    if found is None:
        return proposal
    units, mean = found
    inputs = proposal.inputs | {"mean_payoff_cny": round(mean)}
    return replace(proposal, funds_cap_units=units, inputs=inputs)


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
