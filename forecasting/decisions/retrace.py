"""A past decision replayed from its record: the same pure functions, and where the plan says otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from booking_core.scaling import workers_needed
from forecasting.decisions.guardrails import distrusted, guard_workers
from forecasting.decisions.intraday import ASKS, correction_plan
from forecasting.decisions.plan import plan_of_record, server_plan
from forecasting.decisions.policy import Policy, policy_from
from forecasting.decisions.reliability import Reliability
from forecasting.decisions.server_needs import QuarterNeed, server_needs
from forecasting.decisions.servers import QuarterPressure
from forecasting.decisions.special_periods import special_plan
from metrics.contract import ALL_CHANNELS

QUARTER_MINUTES: Final = 15
EARLIER_QUANTILE: Final = 0.9
"""Server plans were made at this quantile until they followed from what a forecast is worth."""
PLAN_FIELDS: Final = (
    "plan_id", "kind", "region", "period", "in_band", "verdict", "model", "forecast_run_id", "policy",
    "inputs",
)  # fmt: skip
ITEM_FIELDS: Final = (
    "scope_kind", "scope_id", "channel", "period_kind", "period_start", "starts", "old_limit", "proposed",
    "new_limit", "quantile", "guardrail", "condition", "inputs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that the plan says and its record does not lead to."""

    where: str
    """The field, with the item's number (from 0) and what it limits."""
    told: Any
    """What the plan says."""
    replayed: Any
    """What the record leads to."""

    def __str__(self) -> str:
        return f"{self.where}: the plan says {self.told!r}, its record leads to {self.replayed!r}"


def replay_quota_plan(plan: Mapping[str, Any], record: Mapping[str, Any]) -> list[Difference]:
    """Where the quota plan differs from what its recorded proposal and policy lead to; none = the same.

    plan: in the words of GET /v1/plans/{id}. record: the proposal as `propose` kept it.
    """
    body = plan_of_record(str(plan["period"]), str(plan["region"]), record)
    return [*_differences(plan, body), *_undercut(plan["items"])]


def replay_server_plan(plan: Mapping[str, Any]) -> list[Difference]:
    """Where the server plan differs from what its own inputs (rates, cost, judgement) and policy lead to.

    Its inputs are its only record: they are taken as told, and so is a veto that they do not lead to (no
    forecast, or a stale one).
    """
    policy = policy_from(plan["policy"])
    inputs = dict(plan["inputs"])
    cost = float(inputs.get("cost_seconds", policy.cost_seconds))
    veto, judged = plan["verdict"], inputs.get("reliability")
    if judged is not None:
        rule = policy.reliability_rule(QUARTER_MINUTES)
        verdict = distrusted(Reliability.of_record(judged, rule))
        veto = verdict.reason
        inputs["condition"] = verdict.condition or None
    body = server_plan(
        plan_id=str(plan["plan_id"]),
        quarter=datetime.fromisoformat(str(plan["period"])),
        run_id=plan["forecast_run_id"],
        needs=_needs(plan["items"], cost, policy, by_worth="worth" in inputs),
        inputs=inputs,
        veto=veto,
        policy=policy,
    )
    return _differences(plan, body)


def replay_special_plan(
    plan: Mapping[str, Any], quota_record: Mapping[str, Any], record: Mapping[str, Any]
) -> list[Difference]:
    """Where the plan for special periods differs from what was kept of it and of its quota plan lead to.

    quota_record: the quota plan's proposal. record: of `special_periods.special_record`.
    """
    quota_plan = plan_of_record(str(plan["period"]), str(plan["region"]), quota_record)
    body = special_plan(quota_plan, record, policy_from(quota_record["policy"]))
    return _against(plan, body)


def replay_correction(plan: Mapping[str, Any], record: Mapping[str, Any]) -> list[Difference]:
    """Where the corrections differ from what the days as they were recorded lead to.

    record: of `intraday.correction_record`. Whether they are those that a person was asked for is in the id.
    """
    asks = str(plan["plan_id"]).endswith(ASKS)
    return _against(plan, correction_plan(str(plan["region"]), record, asks=asks))


def _against(plan: Mapping[str, Any], body: Mapping[str, Any] | None) -> list[Difference]:
    """Where the extra plan differs from the body; None = its record leads to no plan."""
    if body is None:
        return [Difference("items", len(plan["items"]), 0)]
    return [*_differences(plan, body), *_undercut(plan["items"])]


def _needs(
    items: Sequence[Mapping[str, Any]], cost_seconds: float, policy: Policy, *, by_worth: bool
) -> list[QuarterNeed]:
    """The workers that the items' foretold rates lead to; by_worth False: as plans were made before it."""
    foretold = [(datetime.fromisoformat(item["starts"]), item["inputs"]["rps"]) for item in items]
    if by_worth:
        quarters = [
            QuarterPressure(starts, math.nan, tuple(math.nan if rps is None else rps for rps in quantiles))
            for starts, quantiles in foretold
        ]
        return server_needs(quarters, cost_seconds, policy)
    needs = []
    for starts, rps in foretold:
        busy = rps * cost_seconds / policy.target_utilisation
        guarded = guard_workers(workers_needed(rps, cost_seconds, policy.target_utilisation), policy)
        needs.append(
            QuarterNeed(
                starts_utc=starts,
                proposed=round(busy, 6),
                workers=guarded.value,
                quantile=EARLIER_QUANTILE,
                guardrail=guarded.reason,
                condition=guarded.condition,
                inputs={"rps": rps},
            )
        )
    return needs


def _differences(plan: Mapping[str, Any], body: Mapping[str, Any]) -> list[Difference]:
    policy = {name: body["policy"][name] for name in plan["policy"] if name in body["policy"]}
    body = {**body, "policy": policy}  # fields of policy made since then are none of the plan's
    found = [
        Difference(name, plan.get(name), body.get(name))
        for name in PLAN_FIELDS
        if not _same(plan.get(name), body.get(name))
    ]
    told, replayed = plan["items"], [{"channel": ALL_CHANNELS, **item} for item in body["items"]]
    if len(told) != len(replayed):
        return [*found, Difference("items", len(told), len(replayed))]
    for number, (mine, theirs) in enumerate(zip(told, replayed, strict=True)):
        found += [
            Difference(f"item {number} ({_limited(theirs)}) {name}", mine.get(name), theirs.get(name))
            for name in ITEM_FIELDS
            if not _same(mine.get(name), theirs.get(name))
        ]
    return found


def _undercut(items: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    """Limits that were set below the plan's; above it they are raised to what was used."""
    for number, item in enumerate(items):
        applied, new = item.get("applied_limit"), item["new_limit"]
        if applied is not None and (new is None or applied < new):
            yield Difference(f"item {number} ({_limited(item)}) applied_limit", applied, new)


def _limited(item: Mapping[str, Any]) -> str:
    """What the item limits, in words."""
    start = item.get("period_start") or item.get("starts")
    channel = "" if item["channel"] == ALL_CHANNELS else f" {item['channel']}"
    return f"{item['scope_kind']} {item['scope_id']}{channel} {item['period_kind']} {start}"


def _same(told: Any, replayed: Any) -> bool:
    """Equal as JSON: a list may have been a tuple, 3 may have been 3.0, and what is absent is None."""
    if isinstance(told, Mapping) and isinstance(replayed, Mapping):
        return all(_same(told.get(name), replayed.get(name)) for name in told.keys() | replayed.keys())
    if isinstance(told, list | tuple) and isinstance(replayed, list | tuple):
        return len(told) == len(replayed) and all(map(_same, told, replayed))
    return bool(told == replayed)
