"""What a region's proposals are made from: the run that may be planned with, the limits and their use."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import branches
from booking_core.read.demand import displaced_in
from booking_core.read.forecasts import ForecastRun, latest_run, series_choices
from booking_core.read.on_hand import on_hand
from booking_core.read.quotas import live_bookings, quota_periods
from forecasting import store
from forecasting.decisions.guardrails import Veto, stale
from forecasting.decisions.plan import KEEP, WEEKS8
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import (
    BranchForecast,
    DisplacedUnits,
    LimitState,
    QuotaProposal,
    RegionState,
    propose_quotas,
)
from forecasting.drift_watch import drifted
from forecasting.frames import ID, TIME
from forecasting.reforecast import reforecast
from metrics.contract import ALL_CHANNELS, UNIT_PERIODS, ScopeKind

DEMAND: Final = "demand"


def usable_run(
    engine: Engine, day: date, policy: Policy, region: str | None = None
) -> tuple[ForecastRun | None, Veto | None, str]:
    """The run to plan the period with, or why none is fit: the period's own, else the last fresh one.

    No run is fit while live forecasts of the bank or of the region drift from their promise: a forecast made
    the same way is not to be trusted.
    """
    own = latest_run(engine, DEMAND, until_period=day, status=None)
    if own is not None and own.period == day and own.status == store.VETOED:
        return own, Veto(own.verdict or Veto.NO_FORECAST), str((own.scores or {}).get("condition", ""))
    if own is not None and own.period == day and own.status == store.TRAINING:
        raise RuntimeError(f"{own.run_id} is still in training: run finish_training first")
    run = latest_run(engine, DEMAND, until_period=day)
    if run is None:
        return None, Veto.NO_FORECAST, f"no forecast was made up to {day}"
    verdict = stale((day - run.period).days, policy)
    if not verdict.fit:
        return run, Veto.STALE, verdict.condition
    verdict = drifted(engine, day, policy, region)
    return run, None if verdict.fit else Veto.DRIFT, verdict.condition


def region_proposals(
    engine: Engine, region: str, day: date, run: ForecastRun, policy: Policy
) -> list[QuotaProposal]:
    """The proposals of one region."""
    known = branches(engine, region)
    known = known[known["active"]]
    choices = series_choices(engine, run.run_id, region)
    models = dict(zip(choices["branch_id"], choices["champion"], strict=True))
    first = day + timedelta(days=1)
    # what is wished already for the days to be planned says more of the near ones than the forecast did
    paths = reforecast(engine, run.run_id, until=first, region=region)
    forecasts = {branch: BranchForecast(models[branch], updated) for branch, updated in paths.items()}
    limits = _limits(engine, region, day, policy)
    since = min((limit.period_start for limit in limits), default=day)
    booked = live_bookings(engine, since=since, until=day, region=region)
    used: dict[tuple[str, date], int] = {}
    for row in booked.to_dict("records"):
        key = (row["branch_id"], row["service_day"].date())
        used[key] = used.get(key, 0) + row["units"]
    state = RegionState(
        period=day,
        branches=tuple(known["branch_id"]),
        limits=limits,
        forecasts=forecasts,
        used=used,
        staff_caps={
            row["branch_id"]: None if pd.isna(row["staff_cap_units"]) else int(row["staff_cap_units"])
            for row in known.to_dict("records")
        },
        displaced=_displaced(engine, region, day, limits),
        on_hand=_on_hand(engine, region, first, limits),
    )
    return propose_quotas(state, policy)


def fallbacks(engine: Engine, region: str, run: ForecastRun) -> dict[str, str]:
    """Why the region's branches that are not planned by a champion model are not, by branch."""
    choices = series_choices(engine, run.run_id, region)
    fallen = choices[choices["champion"].isin([WEEKS8, KEEP])]
    return dict(zip(fallen["branch_id"], fallen["why"], strict=True))


def _on_hand(
    engine: Engine, region: str, first: date, limits: list[LimitState]
) -> dict[tuple[str, date], int]:
    """Wishes opened before `first` for the days from then on that the limits cover, by branch and day."""
    horizon = max((limit.next_start for limit in limits), default=first) - first
    rows = on_hand(engine, until=first, horizon_days=horizon.days, history_days=0, region=region)
    found: dict[tuple[str, date], int] = {}
    for row in rows.to_dict("records"):
        key = (row[ID], row[TIME].date())
        found[key] = found.get(key, 0) + row["units"]
    return found


def _displaced(
    engine: Engine, region: str, day: date, limits: list[LimitState]
) -> dict[str, list[DisplacedUnits]]:
    """Units that wishes for another branch or day hold on the days after `day` that the limits cover."""
    last = max((limit.next_start for limit in limits), default=day) - timedelta(days=1)
    rows = displaced_in(engine, since=day + timedelta(days=1), until=last, region=region)
    found: dict[str, list[DisplacedUnits]] = {}
    for row in rows.to_dict("records"):
        moved = DisplacedUnits(
            day=row["service_day"].date(),
            wished_branch=row["wished_branch_id"],
            wished_day=row["wished_day"].date(),
            units=row["units"],
        )
        found.setdefault(row["branch_id"], []).append(moved)
    return found


def _limits(engine: Engine, region: str, day: date, policy: Policy) -> list[LimitState]:
    """The region's limits on all channels, of every period that holds a day to be planned."""
    found = []
    for scope_kind in (ScopeKind.BRANCH, ScopeKind.REGION):
        for period_kind in UNIT_PERIODS:
            rows = quota_periods(
                engine,
                since=day + timedelta(days=1),
                until=day + timedelta(days=policy.plan_days),
                period_kind=period_kind,
                scope_kind=scope_kind,
                region=region,
            )
            rows = rows[(rows["channel"] == ALL_CHANNELS) & rows["limit_units"].notna()]
            found += [
                LimitState(
                    scope_kind=str(scope_kind),
                    scope_id=row["scope_id"],
                    period_kind=str(period_kind),
                    period_start=row["period_start"].date(),
                    limit_units=int(row["limit_units"] - row["extra_units"]),  # a plan sets what is beneath
                    used_units=int(row["used_units"]),
                )
                for row in rows.to_dict("records")
            ]
    return found
