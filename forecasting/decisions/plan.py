"""Plans: guarded proposals in the words of POST /v1/plans. The same inputs give the same body."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from forecasting.decisions.channels import within_whole
from forecasting.decisions.guardrails import (
    BandTotals,
    Guardrail,
    LimitInputs,
    Veto,
    band_verdict,
    ceiling_of,
    guard_limit,
)
from forecasting.decisions.policy import Policy, policy_from
from forecasting.decisions.quotas import QuotaProposal
from forecasting.decisions.server_needs import QuarterNeed
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID, PeriodKind, ScopeKind

KEEP = "keep"
"""Model of a plan that changes nothing."""
SHARED_TOTAL = "shared_total"
"""What an item's inputs name where a fixed total cut it."""
WEEKS8 = "weeks8"
"""Model of a plan made from the fallback alone."""
NEWER_FIELD: Final = "auto_band_least_ratio"
"""Records of a policy without it were made by the earlier rules: see `quota_plan`."""


def quota_plan_id(period: str, region: str, *, replaces: bool = False) -> str:
    """The id of a region's quota plan: the same period plans the same plan.

    replaces: the period has a plan without a forecast already, and this is the one with it.
    """
    return f"quota-{period}-{region}{'+trained' if replaces else ''}"


def gives_way(standing: Mapping[str, Any], run_id: str | None) -> bool:
    """Whether the stored proposal changes nothing, and gives way to one from this usable run (None: none)."""
    return bool(standing["veto"]) and run_id not in {None, standing["run_id"]}


def server_plan_id(quarter: datetime, replaced_by: str | None = None) -> str:
    """The id of the server plan made for this business quarter-hour (aware UTC).

    replaced_by: the forecast run of a plan that replaces the quarter-hour's first one, made before that run.
    """
    first = f"server-{quarter:%Y-%m-%dT%H:%MZ}"
    return first if replaced_by is None else f"{first}+{replaced_by}"


def quota_plan(
    *,
    period: str,
    region: str,
    run_id: str | None,
    proposals: Sequence[QuotaProposal],
    veto: Veto | str | None,
    condition: str,
    policy: Policy,
    fallbacks: Mapping[str, str] | None = None,
    replaces: bool = False,
    paused: bool = False,
    earlier: bool = False,
) -> dict[str, Any]:
    """The body of a region's quota plan: every proposal guarded, old → new, with what bound and why.

    A veto, or nothing proposed, makes a plan of model "keep" without items: visible, changing nothing. One
    that is vetoed because the plans before it were bad has the items that it would have set.
    fallbacks: why a branch is planned by weeks8 or keeps its quotas, shown in the plan's inputs. paused: the
    bank's pause switch was on when it was proposed, so that it waits for the switch. earlier: by the rules
    before steps downward were judged, so that old records replay: a region without branches' day limits was
    not judged, models were counted of these alone, and what was kept back was told as asked for.
    """
    body: dict[str, Any] = {
        "plan_id": quota_plan_id(period, region, replaces=replaces),
        "kind": "quota",
        "region": region,
        "period": period,
        "in_band": True,
        "verdict": None,
        "model": KEEP,
        "forecast_run_id": run_id,
        "policy": policy.as_record(),
        "approval_hours": policy.approval_hours,
        "inputs": ({"condition": condition} if condition else {})
        | ({"fallbacks": dict(fallbacks)} if fallbacks else {})
        | ({"paused": True} if paused else {}),
        "items": [],
    }
    wanted = [p for p in proposals if p.proposed is not None]
    if (veto is not None and veto != Veto.BAD_PLANS) or not wanted:
        return body | {"verdict": str(veto or Veto.SHORT)}
    items = within_whole([_quota_item(p, policy, earlier=earlier) for p in proposals])
    if earlier:
        judged = [i for i in _earlier_judged(items, region) if i["new_limit"] is not None]
        days = (p for p in wanted if p.scope_kind == ScopeKind.BRANCH and p.period_kind == PeriodKind.DAY)
        models = Counter(p.model for p in days)
    else:
        judged = _judged(items, region)
        models = Counter(i["inputs"]["model"] for i in judged)
    totals = _totals(judged, earlier=earlier)
    band = band_verdict(totals, policy)
    inputs = {
        "day_units_old": totals.old_units,
        "day_units_new": totals.new_units,
        "day_items": totals.items,
        "day_items_clipped": totals.clipped,
        "models": dict(sorted(models.items())),
    }
    if veto is not None:
        return body | {"verdict": str(veto), "inputs": body["inputs"] | inputs, "items": items}
    if band.condition:
        inputs["condition"] = "; ".join(part for part in (band.condition, condition) if part)
    return body | {
        "in_band": band.fit,
        "verdict": None if band.reason is None else str(band.reason),
        "model": WEEKS8 if set(models) == {WEEKS8} else "champion",
        "inputs": body["inputs"] | inputs,
        "items": items,
    }


def plan_of_record(period: str, region: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the quota plan that the recorded proposal leads to: pure, so that a replay is the same.

    Raises ValueError for a record that was made with a policy no longer known.
    """
    return quota_plan(
        period=period,
        region=region,
        run_id=record["run_id"],
        proposals=[QuotaProposal.from_record(item) for item in record["items"]],
        veto=record["veto"],
        condition=record["condition"],
        fallbacks=record.get("fallbacks", {}),
        replaces=record.get("replaces", False),
        paused=record.get("paused", False),
        policy=policy_from(record["policy"]),
        earlier=NEWER_FIELD not in record["policy"],
    )


def _judged(items: Sequence[dict[str, Any]], region: str) -> list[dict[str, Any]]:
    """The items that the guard band is judged by, of those that set a limit.

    Branches' days (of the bank its own days); where there are none, all limits of all channels, else all.
    """
    new = [item for item in items if item["new_limit"] is not None]
    wholes = [item for item in new if item["channel"] == ALL_CHANNELS]
    return _days(wholes, region) or wholes or new


def _earlier_judged(items: Sequence[dict[str, Any]], region: str) -> list[dict[str, Any]]:
    """The same as it was: nothing of a region without day limits of its branches."""
    wholes = [item for item in items if item["channel"] == ALL_CHANNELS]
    days = _days(wholes, region)
    return days if days or region != BANK_SCOPE_ID else wholes


def _days(wholes: Sequence[dict[str, Any]], region: str) -> list[dict[str, Any]]:
    scope = ScopeKind.BANK if region == BANK_SCOPE_ID else ScopeKind.BRANCH
    return [i for i in wholes if i["period_kind"] == PeriodKind.DAY and i["scope_kind"] == scope]


def _totals(judged: Sequence[dict[str, Any]], *, earlier: bool) -> BandTotals:
    """What the guard band looks at; by the earlier rules no limit downward but that of the present total."""
    bound = [i["inputs"]["bound"] for i in judged]
    totals = BandTotals(
        items=len(judged),
        old_units=sum(i["old_limit"] for i in judged),
        new_units=sum(i["new_limit"] for i in judged),
        clipped=sum(Guardrail.MAX_STEP_UP in found for found in bound),
    )
    if earlier:
        return totals
    told = [(i["inputs"]["unplanned_units"], i["old_limit"]) for i in judged]
    return replace(
        totals,
        unplanned_units=sum(old if unplanned is None else unplanned for unplanned, old in told),
        clipped_down=sum(Guardrail.MAX_STEP_DOWN in found for found in bound),
        named="day quotas" if all(i["period_kind"] == PeriodKind.DAY for i in judged) else "limits",
    )


def server_plan(
    *,
    plan_id: str,
    quarter: datetime,
    run_id: str | None,
    needs: Sequence[QuarterNeed],
    inputs: dict[str, Any],
    veto: Veto | None,
    policy: Policy,
) -> dict[str, Any]:
    """The body of the bank-wide server plan made for the business quarter-hour.

    With a veto (no pressure forecast, or one that is stale or distrusted) a plan of model "keep": the
    actuator then obeys the observed load alone.
    """
    items = [
        {
            "scope_kind": str(ScopeKind.BANK),
            "scope_id": BANK_SCOPE_ID,
            "period_kind": "quarter_hour",
            "starts": _utc_text(need.starts_utc),
            "old_limit": None,
            "proposed": need.proposed,
            "new_limit": need.workers,
            "quantile": need.quantile,
            "guardrail": None if need.guardrail is None else str(need.guardrail),
            "condition": need.condition or None,
            "inputs": dict(need.inputs),
        }
        for need in (() if veto else needs)
    ]
    return {
        "plan_id": plan_id,
        "kind": "server",
        "region": BANK_SCOPE_ID,
        "period": _utc_text(quarter),
        "in_band": True,
        "verdict": None if veto is None else str(veto),
        "model": "champion" if items else KEEP,
        "forecast_run_id": run_id,
        "policy": policy.as_record(),
        "inputs": inputs,
        "items": items,
    }


def _quota_item(proposal: QuotaProposal, policy: Policy, *, earlier: bool) -> dict[str, Any]:
    """One guarded item: new_limit null where the limit is kept.

    Its `held_back_units` are those that the guarded limit would have had more, had none been kept back.
    """
    item: dict[str, Any] = {
        "scope_kind": proposal.scope_kind,
        "scope_id": proposal.scope_id,
        "channel": proposal.channel,
        "period_kind": proposal.period_kind,
        "period_start": proposal.period_start,
        "old_limit": proposal.old_units,
        "proposed": proposal.proposed,
        "new_limit": None,
        "quantile": proposal.quantile,
        "guardrail": proposal.keep_reason,
        "condition": proposal.keep_condition,
    }
    known = {
        "model": proposal.model,
        "used_units": proposal.used_units,
        "unplanned_units": proposal.unplanned_units,
        **proposal.inputs,
    }
    held_back = 0 if earlier else known.pop("held_back_units", 0)
    if proposal.proposed is None:
        caps = {"staff_cap_units": proposal.staff_cap_units, "funds_cap_units": proposal.funds_cap_units}
        return item | {"inputs": known | {"bound": []} | caps}
    limits = limits_of(proposal, policy, earlier=earlier)
    guarded, bound = guard_limit(proposal.proposed, limits, policy)
    if held_back:
        lowered_by = guard_limit(proposal.proposed + held_back, limits, policy)[0].value - guarded.value
        known |= {"held_back_units": lowered_by} if lowered_by else {}
    return item | {
        "new_limit": guarded.value,
        "guardrail": None if guarded.reason is None else str(guarded.reason),
        "condition": guarded.condition or None,
        "inputs": known
        | {
            "bound": [str(reason) for reason in bound],
            "staff_cap_units": limits.staff_cap_units,
            "ceiling_units": limits.ceiling_units,
            "funds_cap_units": limits.funds_cap_units,
        },
    }


def planned_units(item: QuotaProposal, policy: Policy) -> int:
    """What the proposal's limit becomes: guarded, or kept as it stands."""
    if item.proposed is None:
        return item.old_units
    return guard_limit(item.proposed, limits_of(item, policy), policy)[0].value


def limits_of(proposal: QuotaProposal, policy: Policy, *, earlier: bool = False) -> LimitInputs:
    """What the guardrails of the proposal look at; the earlier rules knew no shares of a total."""
    return LimitInputs(
        old_units=proposal.old_units,
        used_units=proposal.used_units,
        staff_cap_units=proposal.staff_cap_units,
        ceiling_units=ceiling_of(
            proposal.period_kind, proposal.inputs.get("branches", 1), proposal.unplanned_units, policy
        ),
        funds_cap_units=proposal.funds_cap_units,
        shares_total=SHARED_TOTAL in proposal.inputs and not earlier,
    )


def _utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
