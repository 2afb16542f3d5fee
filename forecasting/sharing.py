"""Totals that a person fixed, read for the plan of one region: who shares them, and what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import branches
from booking_core.read.forecasts import ForecastRun, series_choices
from booking_core.read.quotas import live_bookings, quota_periods
from forecasting.caps import Funds
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import BranchForecast, LimitState, QuotaProposal
from forecasting.decisions.shared import FixedTotal, Place, kept_fixed, share_out
from forecasting.pooling import pool_of
from forecasting.reforecast import reforecast
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, PeriodKind, ScopeKind


def with_totals(
    engine: Engine,
    asked: Mapping[str, Sequence[QuotaProposal]],
    day: date,
    run: ForecastRun,
    policy: Policy,
    instead: Mapping[str, BranchForecast] | None = None,
    decided: Mapping[Place, int] | None = None,
    funds: Funds | None = None,
) -> dict[str, list[QuotaProposal]]:
    """The proposals by region, the branches' days after `day` cut to their shares of what is fixed above.

    Fixed are the limits that the policy names, and every day's funds of a region or the bank. asked: of all
    regions that are planned, since they may share one total; the days of the others keep their limits, or
    have what was `decided` for them before. A branch that is planned from `instead` has these forecasts.
    funds: of the days after `day`, the whole bank's.
    """
    kept = {region: kept_fixed(proposals, policy) for region, proposals in asked.items()}
    totals = _totals(engine, day, policy, funds)
    if not totals:
        return kept
    first = day + timedelta(days=1)
    choices = series_choices(engine, run.run_id, None)
    models = dict(zip(choices["branch_id"], choices["champion"], strict=True))
    paths = reforecast(engine, run.run_id, until=first)
    known = branches(engine)
    open_ones = set(known.loc[known["active"], "branch_id"])
    paths = {branch: found for branch, found in paths.items() if branch in open_ones}
    forecasts = {branch: BranchForecast(models[branch], found) for branch, found in paths.items()}
    last = max(total.last for total in totals)
    booked = live_bookings(engine, since=first, until=last)
    used: dict[tuple[str, date], int] = {}
    for row in booked.to_dict("records"):
        place = (row["branch_id"], row["service_day"].date())
        used[place] = used.get(place, 0) + row["units"]
    members = {branch for total in totals for branch in total.members}
    own = {branch: found for branch, found in paths.items() if branch in members}
    pool = pool_of(engine, own, day, run, policy, last=last, instead=instead)
    shared = share_out(
        [proposal for proposals in kept.values() for proposal in proposals],
        totals,
        forecasts | dict(instead or {}),
        used,
        policy,
        kept=_standing(engine, first, last) | dict(decided or {}),
        pool=pool,
    )
    rest = iter(shared)
    return {region: [next(rest) for _ in proposals] for region, proposals in kept.items()}


def _standing(engine: Engine, first: date, last: date) -> dict[Place, int]:
    """The limits of branches' days as they stand."""
    rows = quota_periods(
        engine, since=first, until=last, period_kind=PeriodKind.DAY, scope_kind=ScopeKind.BRANCH
    )
    rows = rows[(rows["channel"] == ALL_CHANNELS) & rows["limit_units"].notna()]
    return {
        (row["scope_id"], row["period_start"].date()): int(row["limit_units"])
        for row in rows.to_dict("records")
    }


def _totals(engine: Engine, day: date, policy: Policy, funds: Funds | None) -> list[FixedTotal]:
    """What is fixed for the days after `day`, the narrowest scope first.

    Closed branches are members, too: what is booked there is taken from the total.
    """
    known = branches(engine)
    members = {
        (str(ScopeKind.BANK), BANK_SCOPE_ID): tuple(known["branch_id"]),
        **{
            (str(ScopeKind.REGION), str(region)): tuple(rows["branch_id"])
            for region, rows in known.groupby("region_id")
        },
    }
    found = [*_limits(engine, members, day, policy), *_funds(engine, members, day, policy, funds)]
    return sorted(found, key=lambda total: (len(total.members), total.first, total.name))


def _limits(
    engine: Engine, members: Mapping[tuple[str, str], tuple[str, ...]], day: date, policy: Policy
) -> list[FixedTotal]:
    """The totals of the limits that the policy names."""
    first, found = day + timedelta(days=1), []
    for name in policy.fixed_totals:
        scope_kind, scope_id, period_kind = name.split(":")
        rows = quota_periods(
            engine,
            since=first,
            until=day + timedelta(days=policy.plan_days),
            period_kind=period_kind,
            scope_kind=scope_kind,
        )
        mine = (rows["scope_id"] == scope_id) & (rows["channel"] == ALL_CHANNELS)
        for row in rows[mine & rows["limit_units"].notna()].to_dict("records"):
            start = row["period_start"].date()
            limit = LimitState(scope_kind, scope_id, period_kind, start, 0, 0)
            before = live_bookings(engine, since=start, until=day) if start <= day else None
            spent = 0
            if before is not None:
                branch_ids = members.get((scope_kind, scope_id), ())
                spent = int(before.loc[before["branch_id"].isin(branch_ids), "units"].sum())
            found.append(
                FixedTotal(
                    name=f"{name} {start}",
                    members=members.get((scope_kind, scope_id), ()),
                    first=max(first, start),
                    last=limit.next_start - timedelta(days=1),
                    units=int(row["limit_units"]) - spent,
                )
            )
    return found


def _funds(
    engine: Engine,
    members: Mapping[tuple[str, str], tuple[str, ...]],
    day: date,
    policy: Policy,
    funds: Funds | None,
) -> list[FixedTotal]:
    """The funds of regions' and the bank's days as units: in use, and what is left ÷ mean payoff."""
    until = day + timedelta(days=policy.plan_days)
    left = {} if funds is None else {
        level: yuan
        for level, yuan in funds.left_cny.items()
        if level[:2] in members and level[:2] in funds.means
        and level[2] == ALL_CHANNELS and level[3] <= until
    }  # fmt: skip
    if funds is None or not left:
        return []
    booked = live_bookings(engine, since=day + timedelta(days=1), until=until)
    found = []
    for (scope_kind, scope_id, _, funds_day), yuan in left.items():
        branch_ids = members[scope_kind, scope_id]
        here = booked["branch_id"].isin(branch_ids) & (booked["service_day"] == pd.Timestamp(funds_day))
        paid = int(max(yuan, 0.0) // funds.means[scope_kind, scope_id])
        found.append(
            FixedTotal(
                name=f"funds of {scope_kind}:{scope_id} {funds_day}",
                members=branch_ids,
                first=funds_day,
                last=funds_day,
                units=int(booked.loc[here, "units"].sum()) + paid,
            )
        )
    return found
