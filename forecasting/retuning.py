"""What a region's proposals are made from: the run that may be planned with, the limits and their use.

Bank-wide limits are planned like those of a region that holds every branch, in a plan of their own: a
region's plan changes what the region may decide, and one limit in many plans would be set by the last.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import date, timedelta
from typing import Any, Final

import pandas as pd
from sqlalchemy import Engine

from booking_core.read import waitlist
from booking_core.read.bank import branches, regions
from booking_core.read.demand import displaced_in, wishes_by_channel
from booking_core.read.forecasts import ForecastRun, latest_run, series_choices
from booking_core.read.on_hand import on_hand
from booking_core.read.quotas import live_bookings, quota_periods
from forecasting import store
from forecasting.decisions.backlog import Backlog, Place, backlog_days
from forecasting.decisions.channels import Shares, channel_shares
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
from forecasting.staff_caps import staff_caps
from metrics.contract import BANK_SCOPE_ID, UNIT_PERIODS, ScopeKind

DEMAND: Final = "demand"


def planned_regions(engine: Engine, day: date) -> list[str]:
    """The regions that have a quota plan of their own: all, and "bank" where the bank has limits."""
    limited = any(
        not quota_periods(engine, since=day, until=day, period_kind=kind, scope_kind=ScopeKind.BANK).empty
        for kind in UNIT_PERIODS
    )
    return [*regions(engine)["region_id"].map(str), *([BANK_SCOPE_ID] if limited else [])]


def usable_run(
    engine: Engine,
    day: date,
    policy: Policy,
    region: str | None = None,
    *,
    awaits_training: bool = True,
) -> tuple[ForecastRun | None, Veto | None, str]:
    """The run to plan the period with, or why none is fit: the period's own, else the last fresh one.

    awaits_training: RuntimeError while the period's own is in training; else the last ready one is used.

    No run is fit while live forecasts of the bank or of the region drift from their promise: a forecast made
    the same way is not to be trusted.
    """
    own = latest_run(engine, DEMAND, until_period=day, status=None)
    if own is not None and own.period == day and own.status == store.VETOED:
        return own, Veto(own.verdict or Veto.NO_FORECAST), str((own.scores or {}).get("condition", ""))
    if awaits_training and own is not None and own.period == day and own.status == store.TRAINING:
        raise RuntimeError(f"{own.run_id} is still in training: run finish_training first")
    run = latest_run(engine, DEMAND, until_period=day)
    if run is None:
        return None, Veto.NO_FORECAST, f"no forecast was made up to {day}"
    verdict = stale((day - run.period).days, policy)
    if not verdict.fit:
        return run, Veto.STALE, verdict.condition
    verdict = drifted(engine, day, policy, None if region is None else within_of(region))
    return run, None if verdict.fit else Veto.DRIFT, verdict.condition


def region_proposals(
    engine: Engine,
    region: str,
    day: date,
    run: ForecastRun,
    policy: Policy,
    instead: Mapping[str, BranchForecast] | None = None,
) -> list[QuotaProposal]:
    """The proposals of one region, or of the limits of the bank; by the forecasts `instead` of the run's."""
    return propose_quotas(region_state(engine, region, day, run, policy, instead), policy)


def region_state(
    engine: Engine,
    region: str,
    day: date,
    run: ForecastRun,
    policy: Policy,
    instead: Mapping[str, BranchForecast] | None = None,
) -> RegionState:
    """What is known of one region, or of the bank, when its quotas are planned from the day after `day`."""
    within = within_of(region)
    known = branches(engine, within)
    known = known[known["active"]]
    choices = series_choices(engine, run.run_id, within)
    models = dict(zip(choices["branch_id"], choices["champion"], strict=True))
    first = day + timedelta(days=1)
    # what is wished already for the days to be planned says more of the near ones than the forecast did
    if instead is None:
        paths = reforecast(engine, run.run_id, until=first, region=within)
        forecasts = {branch: BranchForecast(models[branch], updated) for branch, updated in paths.items()}
    else:
        forecasts = dict(instead)
    limits = _limits(engine, region, day, policy)
    last = max((limit.next_start for limit in limits), default=first) - timedelta(days=1)
    caps = staff_caps(engine, within, first, last, policy)
    since = min((limit.period_start for limit in limits), default=day)
    booked = live_bookings(engine, since=since, until=day, region=within)
    used: dict[tuple[str, date], int] = {}
    used_by_channel: dict[Place, int] = {}
    for row in booked.to_dict("records"):
        key = (row["branch_id"], row["service_day"].date())
        used[key] = used.get(key, 0) + row["units"]
        used_by_channel[*key, row["channel"]] = row["units"]
    return RegionState(
        period=day,
        branches=tuple(known["branch_id"]),
        limits=limits,
        forecasts=forecasts,
        used=used,
        staff_caps=caps.standing,
        rostered_caps=caps.rostered,
        distrusted_no_shows=caps.distrusted_no_shows,
        displaced=_displaced(engine, within, day, limits),
        on_hand=_on_hand(engine, within, first, limits),
        used_by_channel=used_by_channel,
        backlog=_backlog(engine, within, first, forecasts, policy),
        shares=channel_shares_of(engine, within, day, policy),
    )


def within_of(region: str) -> str | None:
    """The region that rows are read within; None, all of them, for the bank."""
    return None if region == BANK_SCOPE_ID else region


def fallbacks(engine: Engine, region: str, run: ForecastRun) -> dict[str, str]:
    """Why the region's branches that are not planned by a champion model are not, by branch."""
    choices = series_choices(engine, run.run_id, within_of(region))
    fallen = choices[choices["champion"].isin([WEEKS8, KEEP])]
    return dict(zip(fallen["branch_id"], fallen["why"], strict=True))


def channel_shares_of(engine: Engine, region: str | None, day: date, policy: Policy) -> Shares:
    """Each branch's share of demand by channel, as wished for the last `channel_days` days."""
    wishes = wishes_by_channel(
        engine, since=day - timedelta(days=policy.channel_days - 1), until=day, region=region
    )
    counts = {(row["branch_id"], row["channel"]): row["units"] for row in wishes.to_dict("records")}
    known = branches(engine, region)
    return channel_shares(
        counts, dict(zip(known["branch_id"], known["region_id"], strict=True)), policy.channel_prior_units
    )


def _backlog(
    engine: Engine, region: str | None, first: date, forecasts: Mapping[str, BranchForecast], policy: Policy
) -> dict[Place, int]:
    """Units of the waitlist's backlog by the place that they are planned for."""
    rows = [
        Backlog(
            row["branch_id"],
            row["channel"],
            row["first_day"].date(),
            row["latest_day"].date(),
            row["entries"],
        )
        for row in waitlist.backlog(engine, since=first, region=region).to_dict("records")
    ]
    waited_for = {row.branch_id for row in rows}
    usual = {
        (branch, forecast.paths.first_day + timedelta(days=n)): float(mean)
        for branch, forecast in forecasts.items()
        if branch in waited_for
        for n, mean in enumerate(forecast.paths.values.mean(axis=0))
    }
    return backlog_days(rows, usual, policy.backlog_day_ratio)


def _on_hand(
    engine: Engine, region: str | None, first: date, limits: list[LimitState]
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
    engine: Engine, region: str | None, day: date, limits: list[LimitState]
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
            channel=row["channel"],
        )
        found.setdefault(row["branch_id"], []).append(moved)
    return found


def _limits(engine: Engine, region: str, day: date, policy: Policy) -> list[LimitState]:
    """The limits that the region's plan covers, of every period that holds a day to be planned.

    Of the region and its branches, narrowed to a channel or not; the bank's own for the bank.
    """
    found = []
    own = (ScopeKind.BANK,) if region == BANK_SCOPE_ID else (ScopeKind.BRANCH, ScopeKind.REGION)
    for scope_kind in own:
        for period_kind in UNIT_PERIODS:
            rows = quota_periods(
                engine,
                since=day + timedelta(days=1),
                until=day + timedelta(days=policy.plan_days),
                period_kind=period_kind,
                scope_kind=scope_kind,
                region=within_of(region),
            )
            rows = rows[rows["limit_units"].notna()]
            found += [
                LimitState(
                    scope_kind=str(scope_kind),
                    scope_id=row["scope_id"],
                    period_kind=str(period_kind),
                    period_start=row["period_start"].date(),
                    limit_units=int(row["limit_units"] - row["extra_units"]),  # a plan sets what is beneath
                    used_units=max(0, int(row["used_units"] - row["extra_units"])),
                    channel=row["channel"],
                    unplanned_units=unplanned_units_of(row),
                )
                for row in rows.to_dict("records")
            ]
    return found


def unplanned_units_of(row: Mapping[Hashable, Any]) -> int | None:
    """The limit that would stand had no plan set it: a person's override, else the standing one.

    row: of `quota_periods`. None = unknown.
    """
    if pd.isna(row["plan_id"]):
        return int(row["limit_units"] - row["extra_units"])
    return None if pd.isna(row["standing_units"]) else int(row["standing_units"])
