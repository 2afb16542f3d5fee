"""What a region is planned from: forecasts and a quantile, or why it keeps its quotas; kept as the proposal.

A run that is fit is planned with. While live forecasts drift from their promise weeks8 stands in for it,
where it would have done better; else the quotas are kept. Where a region's own plans have been bad, the next
one is kept too, with the items that it would have set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Engine

from booking_core.read.bank import bank_settings
from booking_core.read.forecasts import ForecastRun
from booking_core.read.scores import level_shares
from forecasting.autonomy import applies_by_itself, judged_days
from forecasting.caps import Funds
from forecasting.decisions.autonomy import bad_plans
from forecasting.decisions.guardrails import Veto
from forecasting.decisions.plan import planned_units
from forecasting.decisions.policy import Policy, policy_from
from forecasting.decisions.quotas import BranchForecast, QuotaProposal
from forecasting.decisions.shared import Place
from forecasting.decisions.tune import Kept, Tuned, tuned_level
from forecasting.fallback import weeks8_instead
from forecasting.frames import QUANTILES
from forecasting.retuning import fallbacks, region_proposals, usable_run, within_of
from forecasting.sharing import with_totals
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, PeriodKind, ScopeKind


@dataclass(frozen=True, slots=True)
class Basis:
    """What a region is planned from in a period."""

    run: ForecastRun | None
    veto: Veto | None
    """Why the quotas are kept; None = they are planned."""
    condition: str
    """In words and numbers: the veto, or what stands in for what."""
    forecasts: dict[str, BranchForecast] | None = None
    """In place of the run's own, by branch; None = the run's."""
    tuned: Tuned | None = None
    """The quantile level where it is not the policy's; None = the policy's."""
    fallbacks: dict[str, str] = field(default_factory=dict)
    """Why a branch is not planned by a champion."""

    @property
    def plans(self) -> bool:
        """Whether there is something to plan with; plans vetoed for being bad are still made, and kept."""
        return self.run is not None and self.veto in {None, Veto.BAD_PLANS}

    @property
    def usable_run_id(self) -> str | None:
        """The run that is planned with and applied; None = the quotas are kept."""
        return None if self.run is None or self.veto else self.run.run_id


def planning_basis(engine: Engine, region: str, day: date, policy: Policy) -> Basis:
    """What the region (or "bank") is planned from for the days after `day`.

    Raises RuntimeError while the period's run is in training.
    """
    run, veto, condition = usable_run(engine, day, policy, region)
    if run is None:
        return Basis(run, veto, condition)
    why = fallbacks(engine, region, run)
    if veto is not None and veto is not Veto.DRIFT:
        return Basis(run, veto, condition, fallbacks=why)
    basis = Basis(run, None, "", fallbacks=why)
    if veto is Veto.DRIFT:
        forecasts, verdict = weeks8_instead(engine, within_of(region), day, run, policy)
        told = "; ".join(part for part in (condition, verdict.condition) if part)
        if not verdict.fit:
            return Basis(run, Veto.DRIFT, told, fallbacks=why)
        drifting = dict.fromkeys(forecasts, f"weeks8: {run.run_id} drifts")
        basis = replace(basis, condition=told, forecasts=forecasts, fallbacks=why | drifting)
    else:
        tuned = _tuned(engine, region, day, policy)
        basis = replace(basis, tuned=tuned, condition="" if tuned is None else tuned.condition)
    if applies_by_itself(engine, region):
        verdict = bad_plans(judged_days(engine, region, day, policy), policy)
        if not verdict.fit:
            return replace(basis, veto=Veto.BAD_PLANS, condition=verdict.condition)
    return basis


def proposal_records(
    engine: Engine,
    bases: Mapping[str, Basis],
    day: date,
    policy: Policy,
    standing: Sequence[Mapping[str, Any]] = (),
) -> dict[str, dict[str, Any]]:
    """The regions' proposals as they are kept: all that their guarded plans, and replays, are made from.

    bases: of all regions that are still to be planned in the period, since what is fixed above them is shared
    among them. standing: the records of the others, whose shares of it are taken as decided.
    """
    paused = bank_settings(engine).paused
    asked: dict[str, list[QuotaProposal]] = {}
    instead: dict[str, BranchForecast] = {}
    runs: list[ForecastRun] = []
    funds, first = Funds.of(engine, day, policy), day + timedelta(days=1)
    for region, basis in bases.items():
        if basis.run is None or not basis.plans:
            continue
        level = policy if basis.tuned is None else replace(policy, service_level=basis.tuned.level)
        found = region_proposals(engine, region, day, basis.run, level, basis.forecasts)
        asked[region] = found if funds is None else [funds.capped(one, first) for one in found]
        instead |= {} if region == BANK_SCOPE_ID else basis.forecasts or {}
        runs.append(basis.run)
    decided = {place: units for record in standing for place, units in _decided(record).items()}
    shared = with_totals(engine, asked, day, runs[0], policy, instead, decided, funds) if runs else {}
    return {
        region: {
            "run_id": None if basis.run is None else basis.run.run_id,
            "veto": None if basis.veto is None else str(basis.veto),
            "condition": basis.condition,
            "paused": paused,
            "policy": policy.as_record(),
            "fallbacks": basis.fallbacks,
            "items": [item.as_record() for item in shared.get(region, [])],
        }
        for region, basis in bases.items()
    }


def _decided(record: Mapping[str, Any]) -> dict[Place, int]:
    """The units of branches' days that the record leads to."""
    policy = policy_from(record["policy"])
    items = [QuotaProposal.from_record(item) for item in record["items"]]
    return {
        (item.scope_id, date.fromisoformat(item.period_start)): planned_units(item, policy)
        for item in items
        if (item.scope_kind, item.period_kind, item.channel)
        == (ScopeKind.BRANCH, PeriodKind.DAY, ALL_CHANNELS)
    }


def _tuned(engine: Engine, region: str, day: date, policy: Policy) -> Tuned | None:
    """The level that kept the service level on the last days, where that is another one."""
    shares = level_shares(
        engine,
        since=day - timedelta(days=policy.tune_days - 1),
        until=day,
        horizon_days=policy.tune_horizon_days,
        region=within_of(region),
    )
    if not shares["branch_days"]:
        return None
    kept = Kept(
        days=shares["days"],
        branch_days=shares["branch_days"],
        below={level: float(shares[f"q{round(level * 100)}_below"]) for level in QUANTILES},
        up_to={level: float(shares[f"q{round(level * 100)}"]) for level in QUANTILES},
    )
    tuned = tuned_level(kept, policy)
    return None if tuned.reason is None else tuned
