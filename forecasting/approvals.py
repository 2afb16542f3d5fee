"""What becomes of a plan: applied by itself, or asked about and applied on a named person's word.

The core holds the plan, its deadline and the audit; whoever asks (Airflow, the dashboard, a script) brings
the answer through the same API. Nobody is asked where SLOTCAST_APPROVER_TOKEN is not set: plans then wait in
the core.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from forecasting.core_client import APPROVER_VARIABLE, CoreClient, CoreError
from forecasting.decisions.special_periods import special_plan_id
from metrics.contract import NOBODY_DECIDED, PlanRefusal

PENDING: Final = "pending"
EXTRA: Final = "extra"
QUOTA: Final = "quota"
LEAST_SECONDS: Final = 1.0
MOST_LIMITS: Final = 12
"""So many limits are listed in a question; the plan lists them all."""

NOT_APPLIED: Final = frozenset(
    {
        PlanRefusal.PAUSED,
        PlanRefusal.PLAN_OLDER_PERIOD,
        PlanRefusal.PLAN_NEEDS_APPROVAL,
        PlanRefusal.REGION_IN_SHADOW,
        PlanRefusal.PLAN_WRONG_STATUS,
        PlanRefusal.PLAN_OVER,
        PlanRefusal.NOTHING_TO_RAISE,
    }
)
"""Refusals of an application that are an outcome to report, not a fault to retry."""


def outcome_of(core: CoreClient, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the plan, applied if its status allows it: {"plan_id", "status", "limits", "refused"}.

    limits: how many it set. refused: the core's reason, None = none.
    """
    refused = None
    if plan["status"] in {"proposed", "approved"}:
        try:
            plan = core.apply_plan(plan["plan_id"])
        except CoreError as error:
            if error.reason not in NOT_APPLIED:
                raise
            refused = error.reason
    return _told(plan, refused)


def _told(plan: Mapping[str, Any], refused: str | None) -> dict[str, Any]:
    """The plan as it stands, as an outcome."""
    limits = sum(item.get("applied_limit") is not None for item in plan["items"])
    return {"plan_id": plan["plan_id"], "status": plan["status"], "limits": limits, "refused": refused}


def questions(plan_ids: Sequence[str], now: datetime | None = None) -> list[dict[str, Any]]:
    """What a person is to be asked about these plans, and about the special periods beside quota plans.

    None about one that does not wait. {"plan_id", "subject", "body" (Markdown, English and Chinese),
    "response_timeout" (timedelta to the plan's deadline)}. Empty without SLOTCAST_APPROVER_TOKEN. now: aware
    wall time; default the clock's.
    """
    if not os.environ.get(APPROVER_VARIABLE):
        return []
    wall = now or datetime.now(UTC)
    asked = []
    with CoreClient.from_environment() as core:
        for plan in _with_special(core, plan_ids):
            if plan["status"] != PENDING or plan["decide_by"] is None:
                continue
            plan_id = plan["plan_id"]
            left = datetime.fromisoformat(plan["decide_by"]) - wall
            asked.append(
                {
                    "plan_id": plan_id,
                    "subject": f"Apply {plan_id}? · 是否应用 {plan_id}？",
                    "body": extra_body(plan) if plan["kind"] == EXTRA else body_of(plan),
                    "response_timeout": max(left, timedelta(seconds=LEAST_SECONDS)),
                }
            )
    return asked


def _with_special(core: CoreClient, plan_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The plans that the core knows, each quota plan followed by that for special periods beside it."""
    for plan_id in plan_ids:
        if (plan := core.plan(plan_id)) is None:
            continue
        yield plan
        if plan["kind"] == QUOTA:
            beside = core.plan(special_plan_id(plan["period"], plan["region"]))
            if beside is not None:
                yield beside


def extra_body(plan: Mapping[str, Any]) -> str:
    """The question about an extra plan in Markdown: which limits it raises and why, until when it waits."""
    items = [item for item in plan["items"] if item["new_limit"] != item["old_limit"]]
    until = datetime.fromisoformat(plan["decide_by"])
    listed = [
        f"- {item['scope_kind']} {item['scope_id']} {item['channel']} {item['period_kind']} "
        f"{item['period_start']}: {item['old_limit']} → {item['new_limit']} ({item['condition']})"
        for item in items[:MOST_LIMITS]
    ]
    if len(items) > MOST_LIMITS:
        listed.append(f"- … {len(items) - MOST_LIMITS}")
    lines = "\n".join(listed)
    return (
        f"Region **{plan['region']}**, period {plan['period']} (`{plan['verdict']}`): {len(items)} limits "
        f"would be raised until their period ends. Without an answer by {until:%Y-%m-%d %H:%M} UTC the plan "
        f"is rejected.\n\n"
        f"地区 **{plan['region']}**，周期 {plan['period']}（`{plan['verdict']}`）："
        f"将临时提高 {len(items)} 项限额，到各自周期结束为止。"
        f"若在 {until:%Y-%m-%d %H:%M} UTC 前无人答复，计划将被拒绝。\n\n"
        f"{lines}\n"
    )


def body_of(plan: Mapping[str, Any]) -> str:
    """The question about a quota plan in Markdown: why it waits, what it changes, until when it waits."""
    inputs = plan["inputs"]
    old, new = inputs.get("day_units_old", 0), inputs.get("day_units_new", 0)
    condition = inputs.get("condition", "")
    until = datetime.fromisoformat(plan["decide_by"])
    changed = sum(
        item["new_limit"] is not None and item["new_limit"] != item["old_limit"] for item in plan["items"]
    )
    return (
        f"Region **{plan['region']}**, period {plan['period']}: {condition} (`{plan['verdict']}`).\n\n"
        f"{changed} limits would change; the day quotas together go from {old} to {new} units. "
        f"Without an answer by {until:%Y-%m-%d %H:%M} UTC the plan is rejected.\n\n"
        f"地区 **{plan['region']}**，周期 {plan['period']}：计划超出自动区间（`{plan['verdict']}`）。"
        f"将改变 {changed} 项配额，日配额合计由 {old} 变为 {new}。"
        f"若在 {until:%Y-%m-%d %H:%M} UTC 前无人答复，计划将被拒绝。\n"
    )


def decide(plan_id: str, *, approved: bool, by: str | None) -> dict[str, Any]:
    """What became of the plan after the answer to its question; by None = nobody answered: rejected.

    As `outcome_of`, and "decided_by". A plan that was decided elsewhere meanwhile stays as it was decided:
    only an approval applies it, a rejection that comes after one is told as refused (plan_wrong_status).
    Raises LookupError for an unknown plan, CoreError where the core fails.
    """
    approves = approved and by is not None
    with CoreClient.from_environment(APPROVER_VARIABLE, "operator") as approver:
        plan = approver.plan(plan_id)
        if plan is None:
            raise LookupError(f"the core knows no plan {plan_id!r}")
        refused = None
        if plan["status"] == PENDING:
            try:
                plan = approver.decide_plan(plan_id, approved=approves, by=by or NOBODY_DECIDED)
            except CoreError as error:
                if error.reason != PlanRefusal.PLAN_WRONG_STATUS:
                    raise
                refused = error.reason
                plan = approver.plan(plan_id) or plan
    if not approves:
        late = None if plan["status"] == "rejected" else PlanRefusal.PLAN_WRONG_STATUS
        return _told(plan, refused or late) | {"decided_by": plan["decided_by"]}
    with CoreClient.from_environment() as planner:
        outcome = outcome_of(planner, plan)
    return outcome | {"refused": outcome["refused"] or refused, "decided_by": plan["decided_by"]}
