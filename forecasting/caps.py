"""What a day's funds leave of a proposal: the caps above each limit, read and turned into units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

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


def with_funds(
    engine: Engine, proposals: Sequence[QuotaProposal], day: date, policy: Policy
) -> list[QuotaProposal]:
    """The proposals, each with the units that the funds of its days from the day after `day` on pay out.

    A limit is capped by the funds of its own scope and of those above it. Where no cap stands, or no payoff
    is known, they stay as they are.
    """
    left = funds_left(engine, day, policy)
    if not left:
        return list(proposals)
    known = branches(engine)
    region_of = dict(zip(known["branch_id"], known["region_id"], strict=True))
    payoffs = mean_payoffs(engine, day=day, days=policy.funds_days)
    payoffs["region_id"] = payoffs["branch_id"].map(region_of)
    return [_capped(proposal, day, left, region_of, payoffs) for proposal in proposals]


def _capped(
    proposal: QuotaProposal,
    day: date,
    left: dict[Level, float],
    region_of: dict[str, str],
    payoffs: pd.DataFrame,
) -> QuotaProposal:
    scopes = [(str(ScopeKind.BANK), BANK_SCOPE_ID)]
    if proposal.scope_kind == ScopeKind.REGION:
        scopes.append((str(ScopeKind.REGION), proposal.scope_id))
    elif proposal.scope_kind == ScopeKind.BRANCH:
        scopes.append((str(ScopeKind.REGION), region_of[proposal.scope_id]))
        scopes.append((str(ScopeKind.BRANCH), proposal.scope_id))
    mean = _mean(proposal, payoffs)
    if mean is None:
        return proposal
    start = date.fromisoformat(proposal.period_start)
    limit = LimitState(proposal.scope_kind, proposal.scope_id, proposal.period_kind, start, 0, 0)
    first = max(start, day + timedelta(days=1))
    channels = {ALL_CHANNELS, proposal.channel}
    caps = [
        [
            left[*scope, channel, each]
            for scope in scopes
            for channel in channels
            if (*scope, channel, each) in left
        ]
        for each in (first + timedelta(days=n) for n in range((limit.next_start - first).days))
    ]
    units = funds_units(proposal.used_units, caps, mean)
    if units is None:
        return proposal
    inputs = proposal.inputs | {"mean_payoff_cny": round(mean)}
    return replace(proposal, funds_cap_units=units, inputs=inputs)


def _mean(proposal: QuotaProposal, payoffs: pd.DataFrame) -> float | None:
    """Yuan a unit of the proposal's branches, each by what it is measured on; None where nothing is known."""
    column = {ScopeKind.BRANCH: "branch_id", ScopeKind.REGION: "region_id"}.get(
        ScopeKind(proposal.scope_kind)
    )
    mine = payoffs if column is None else payoffs[payoffs[column] == proposal.scope_id]
    mine = mine[mine["mean_cny"] > 0]
    if mine.empty:
        return None
    weights = mine["units"].clip(lower=1)
    return float((mine["mean_cny"] * weights).sum() / weights.sum())


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
