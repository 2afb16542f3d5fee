"""A past plan replayed from the database: its record read, its decision made again, nothing written."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Engine

from booking_core.read.plans import plan_record
from forecasting import store
from forecasting.decisions.plan import quota_plan_id
from forecasting.decisions.retrace import Difference, replay_quota_plan, replay_server_plan

QUOTA: Final = "quota"


def replay_plan(engine: Engine, plan_id: str) -> tuple[dict[str, Any], list[Difference]]:
    """The plan, and where it differs from what its record leads to; none = the same decision again.

    Raises LookupError for an unknown plan, and for a quota plan whose proposal is not there any more.
    """
    plan = plan_record(engine, plan_id)
    if plan is None:
        raise LookupError(f"the core knows no plan {plan_id!r}")
    if plan["kind"] != QUOTA:
        return plan, replay_server_plan(plan)
    record = store.proposal(engine, period=plan["period"], kind=QUOTA, region=plan["region"])
    if record is None:
        raise LookupError(f"plan {plan_id} has no recorded proposal: it was not made by `propose`")
    kept_id = quota_plan_id(plan["period"], plan["region"], replaces=record.get("replaces", False))
    if kept_id != plan_id:
        raise LookupError(f"the proposal of plan {plan_id} gave way to that of {kept_id}")
    return plan, replay_quota_plan(plan, record)
