"""A past plan replayed from the database: its record read, its decision made again, nothing written."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Engine

from booking_core.read.plans import plan_record
from forecasting import store
from forecasting.correcting import EXTRA, SPECIAL
from forecasting.decisions.intraday import quarter_key_of
from forecasting.decisions.plan import quota_plan_id
from forecasting.decisions.retrace import (
    Difference,
    replay_correction,
    replay_quota_plan,
    replay_server_plan,
    replay_special_plan,
)

QUOTA: Final = "quota"


def replay_plan(engine: Engine, plan_id: str) -> tuple[dict[str, Any], list[Difference]]:
    """The plan, and where it differs from what its record leads to; none = the same decision again.

    Raises LookupError for an unknown plan, and where what it was made from is not there (any more).
    """
    plan = plan_record(engine, plan_id)
    if plan is None:
        raise LookupError(f"the core knows no plan {plan_id!r}")
    if plan["kind"] == QUOTA:
        return plan, replay_quota_plan(plan, _proposal(engine, plan, plan_id))
    if plan["kind"] != EXTRA:
        return plan, replay_server_plan(plan)
    quarter = quarter_key_of(plan_id)
    if quarter is not None:
        return plan, replay_correction(plan, _kept(engine, plan, EXTRA, quarter))
    record = _kept(engine, plan, SPECIAL, plan["period"])
    proposal = _proposal(engine, plan, str(plan["inputs"].get("quota_plan")))
    return plan, replay_special_plan(plan, proposal, record)


def _proposal(engine: Engine, plan: dict[str, Any], quota_plan: str) -> dict[str, Any]:
    """The proposal that the quota plan of the plan's period and region was made from; LookupError without."""
    record = store.proposal(engine, period=plan["period"], kind=QUOTA, region=plan["region"])
    if record is None:
        raise LookupError(f"plan {quota_plan} has no recorded proposal: it was not made by `propose`")
    kept_id = quota_plan_id(plan["period"], plan["region"], replaces=record.get("replaces", False))
    if kept_id != quota_plan:
        raise LookupError(f"the proposal of plan {quota_plan} gave way to that of {kept_id}")
    return record


def _kept(engine: Engine, plan: dict[str, Any], kind: str, period: str) -> dict[str, Any]:
    """What the extra plan was made from; LookupError without."""
    record = store.proposal(engine, period=period, kind=kind, region=plan["region"])
    if record is None:
        raise LookupError(
            f"nothing is kept of what plan {plan['plan_id']} was made from: it was not made by `correct` or "
            "`guard`, or before they kept it"
        )
    return record
