"""Special periods: temporary extra quotas for named events, where a plan's guardrails leave units missing.

A plan follows the forecast within its steps and its ceiling, and leaves frozen days alone. That is right for
an ordinary day whose forecast may err. On a day that has a name (an announced event, the end of a month) the
reason for the surge is known, so what is missing is put to a person as extra units that end with the day.
What the bank has not got, staff and funds, is never asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from forecasting.decisions.policy import Policy
from metrics.contract import ALL_CHANNELS, PeriodKind, ScopeKind

SPECIAL = "special_period"
"""Verdict of a plan for special periods: it waits for a person whatever its size."""
MONTH_END = "month end"

Limited = tuple[str, str, str, str, str]
"""Scope kind, scope id, channel, kind of period and its first day (ISO) of a limit."""


def special_plan_id(period: str, region: str) -> str:
    """The id of the extra plan that is made beside a period's quota plan."""
    return f"special-{period}-{region}"


def limited(item: Mapping[str, Any]) -> Limited:
    """What the item of a plan limits."""
    return (
        item["scope_kind"], item["scope_id"], item["channel"], item["period_kind"], item["period_start"],
    )  # fmt: skip


def month_ends(first: date, last: date, days: int) -> list[date]:
    """The days of first..last that are among the last `days` of their month."""
    spanned = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [day for day in spanned if (day + timedelta(days=days)).month != day.month]


def special_record(
    names: Mapping[tuple[str, date], Sequence[str]], asked: Mapping[Limited, int]
) -> dict[str, Any]:
    """What a special plan is made from beside its quota plan, as plain JSON values.

    names: what makes the days of a branch special. asked: the most that was asked for a limit before,
    however it was decided.
    """
    return {
        "names": [[branch, day.isoformat(), list(told)] for (branch, day), told in sorted(names.items())],
        "asked": [[*limit, units] for limit, units in sorted(asked.items())],
    }


def special_plan(plan: Mapping[str, Any], record: Mapping[str, Any], policy: Policy) -> dict[str, Any] | None:
    """The extra plan beside a quota plan, in the words of POST /v1/plans; None where nothing is missing.

    record: of `special_record`. A person is asked again only for clearly more than was asked before. The
    limits of a day's week, month and region are raised with it where they too are held below the forecast.
    """
    names = {(branch, date.fromisoformat(day)): told for branch, day, told in record["names"]}
    asked: dict[Limited, int] = {
        (scope_kind, scope_id, channel, period_kind, start): units
        for scope_kind, scope_id, channel, period_kind, start, units in record["asked"]
    }
    named = {
        limited(item): names[item["scope_id"], date.fromisoformat(item["period_start"])]
        for item in plan["items"]
        if item["channel"] == ALL_CHANNELS
        and (item["scope_kind"], item["period_kind"]) == (ScopeKind.BRANCH, PeriodKind.DAY)
        and (item["scope_id"], date.fromisoformat(item["period_start"])) in names
        and _missing(item, asked, policy)
    }
    if not named:
        return None
    days = {(scope_id, date.fromisoformat(day)) for _, scope_id, _, _, day in named}
    items = [
        _extra(item, named.get(limited(item), ()))
        for item in plan["items"]
        if limited(item) in named
        or (item["channel"] == ALL_CHANNELS and _above(item, days) and _missing(item, asked, policy))
    ]
    return {
        "plan_id": special_plan_id(plan["period"], plan["region"]),
        "kind": "extra",
        "region": plan["region"],
        "period": plan["period"],
        "in_band": False,
        "verdict": SPECIAL,
        "model": plan["model"],
        "forecast_run_id": plan["forecast_run_id"],
        "policy": policy.as_record(),
        "approval_hours": policy.approval_hours,
        "inputs": {
            "quota_plan": plan["plan_id"],
            "special_periods": sorted({name for told in named.values() for name in told}),
            "extra_units": sum(i["new_limit"] - i["old_limit"] for i in items if limited(i) in named),
        },
        "items": items,
    }


def _planned(item: Mapping[str, Any]) -> int:
    """The limit once the quota plan is applied."""
    return int(item["old_limit"] if item["new_limit"] is None else item["new_limit"])


def _wanted(item: Mapping[str, Any]) -> int | None:
    """What the forecast asks for, as far as staff and funds reach; None where it asks for nothing."""
    asked = item["inputs"].get("asked_units") if item["proposed"] is None else item["proposed"]
    if asked is None:
        return None
    caps = [item["inputs"].get(name) for name in ("staff_cap_units", "funds_cap_units")]
    return min([math.ceil(float(asked) - 1e-9), *(int(cap) for cap in caps if cap is not None)])


def _missing(item: Mapping[str, Any], asked: Mapping[Limited, int], policy: Policy) -> bool:
    """Whether clearly more is wanted than is planned, and than was asked before."""
    wanted = _wanted(item)
    stands = max(_planned(item), asked.get(limited(item), 0))
    return wanted is not None and wanted - stands >= policy.special_least_units


def _above(item: Mapping[str, Any], days: set[tuple[str, date]]) -> bool:
    """Whether a unit on one of these branches' days counts in the item's limit too."""
    start = date.fromisoformat(item["period_start"])
    match item["period_kind"]:
        case PeriodKind.DAY:
            last = start
        case PeriodKind.WEEK:
            last = start + timedelta(days=6)
        case _:
            last = (start.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    wide = item["scope_kind"] in {ScopeKind.REGION, ScopeKind.BANK}
    return any(start <= day <= last and (wide or item["scope_id"] == branch) for branch, day in days)


def _extra(item: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The item of the extra plan: from the planned limit to what is wanted, and what had held it back."""
    planned, wanted = _planned(item), _wanted(item)
    held = item["guardrail"] or "the plan"
    condition = f"{wanted} are forecast, {planned} planned ({held})"
    return dict(item) | {
        "old_limit": planned,
        "proposed": item["inputs"].get("asked_units", item["proposed"]),
        "new_limit": wanted,
        "condition": f"{', '.join(names)}: {condition}" if names else condition,
        "inputs": dict(item["inputs"]) | ({"special_periods": list(names)} if names else {}),
    }
