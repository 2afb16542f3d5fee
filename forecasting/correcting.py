"""What changes between two retunes: special periods beside a plan, and corrections within the day.

Both are plans of kind extra: limits raised until their period ends. What they are made from is kept first and
they follow from it, so that they can be replayed; they are posted, approved and recorded like any other plan.
What is inside the band is applied at once. What a person approved is applied with the next correction: quota
plans too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine

from booking_core.read.bank import bank_settings
from booking_core.read.bank import policy as stored_policy
from booking_core.read.events import branch_scopes, events
from booking_core.read.plans import extras_asked, plans
from booking_core.settings import BankSettings
from forecasting import store
from forecasting.approvals import QUOTA, outcome_of
from forecasting.caps import Funds
from forecasting.core_client import CoreClient, CoreError
from forecasting.day_states import day_states
from forecasting.decisions.guardrails import Veto
from forecasting.decisions.intraday import correction_plan, correction_record, quarter_key
from forecasting.decisions.policy import Policy, policy_from
from forecasting.decisions.special_periods import (
    MONTH_END,
    Limited,
    month_ends,
    special_plan,
    special_plan_id,
    special_record,
)
from forecasting.periods import parse_moment
from forecasting.pressure import quarter_start
from forecasting.retuning import planned_regions, usable_run, within_of
from metrics.contract import BANK_SCOPE_ID, EventKind

EXTRA: Final = "extra"
SPECIAL: Final = "special"
"""Kinds of what is kept of them: corrections by quarter-hour, special periods by period."""
Place = tuple[str, date]
"""Branch and day."""


# --- special periods ------------------------------------------------------------------------------


def post_special(core: CoreClient, engine: Engine, plan: Mapping[str, Any], policy: Policy) -> str | None:
    """The id of the extra plan for special periods beside the quota plan, posted; None where none is needed.

    plan: the quota plan's body. It waits for a person; made once for a period, from what is kept of it.
    """
    period, region = plan["period"], plan["region"]
    if (standing := core.plan(special_plan_id(period, region))) is not None:
        return str(standing["plan_id"])
    record = store.proposal(engine, period=period, kind=SPECIAL, region=region)
    if record is None:
        first = date.fromisoformat(period) + timedelta(days=1)
        names = special_days(engine, region, first, first + timedelta(days=policy.plan_days - 1), policy)
        made = special_record(names, _asked(engine, region, first))
        if not names or special_plan(plan, made, policy) is None:
            return None
        run_id = plan["forecast_run_id"] or ""
        record = store.keep_proposal(
            engine, period=period, kind=SPECIAL, region=region, run_id=run_id, body=made
        )
    body = special_plan(plan, record, policy)
    return None if body is None else str(core.post_plan(body)["plan_id"])


def special_days(
    engine: Engine, region: str, first: date, last: date, policy: Policy
) -> dict[Place, list[str]]:
    """What makes days special, by branch and day: the names of announced events, and month ends.

    Closures are left out: they lower demand.
    """
    within = within_of(region)
    scopes = branch_scopes(engine, within)
    found: dict[Place, list[str]] = {}
    for row in events(engine, since=first, until=last, region=within).to_dict("records"):
        if row["kind"] == EventKind.CLOSURE:
            continue
        begins, ends = max(first, row["first_day"].date()), min(last, row["last_day"].date())
        for branch, held in scopes.items():
            if row["scope"] in held:
                for n in range((ends - begins).days + 1):
                    found.setdefault((branch, begins + timedelta(days=n)), []).append(row["name"])
    for day in month_ends(first, last, policy.special_month_end_days):
        for branch in scopes:
            found.setdefault((branch, day), []).append(MONTH_END)
    return found


# --- corrections within the day -------------------------------------------------------------------


def correct(at: str | None = None) -> list[dict[str, Any]]:
    """What was corrected at the business quarter-hour `at` (RFC 3339; now when None), plan by plan.

    {"plan_id", "region", "status", "limits" (set by it), "refused" (a reason) or None}. A quarter-hour that
    has passed is left alone: back-filling does nothing. A repetition changes nothing. A region, or the bank
    where it has limits, without a usable forecast is kept: plan_id None, status "kept", refused the veto.
    Raises CoreError naming the regions where the core failed, after all the others were corrected.
    """
    engine = store.open_engine()
    settings, policy = bank_settings(engine), policy_from(stored_policy(engine))
    now = quarter_start(settings.business_now(datetime.now(UTC)))
    quarter = now if at is None else quarter_start(parse_moment(at))
    if quarter < now:
        return []
    outcomes: list[dict[str, Any]] = []
    failed: dict[str, CoreError] = {}
    with CoreClient.from_environment() as core:
        today = settings.local_day(quarter)
        planned, funds = planned_regions(engine, today), Funds.of(engine, today - timedelta(days=1), policy)
        # the bank first: what its limits leave room for once raised binds no region
        for region in sorted(planned, key=lambda name: (name != BANK_SCOPE_ID, name)):
            try:
                found = _apply_approved(core, engine, region)
                found += _correct_region(core, engine, region, quarter, settings, policy, funds)
            except CoreError as error:
                failed[region] = error
            else:
                outcomes += [outcome | {"region": region} for outcome in found]
    if failed:
        told = "; ".join(f"{region}: {error}" for region, error in failed.items())
        raise CoreError(f"not corrected: {told}") from next(iter(failed.values()))
    return outcomes


def _apply_approved(core: CoreClient, engine: Engine, region: str) -> list[dict[str, Any]]:
    """What became of the region's approved plans: the newest period's quota plan, and every extra one."""
    quota = plans(engine, kind=QUOTA, region=region, status=("approved",), limit=1)
    extra = plans(engine, kind=EXTRA, region=region, status=("approved",), limit=None)
    found = [core.plan(str(plan_id)) for plan_id in [*quota["plan_id"], *extra["plan_id"]]]
    return [outcome_of(core, plan) for plan in found if plan is not None]


def _correct_region(
    core: CoreClient,
    engine: Engine,
    region: str,
    quarter: datetime,
    settings: BankSettings,
    policy: Policy,
    funds: Funds | None,
) -> list[dict[str, Any]]:
    """What became of the region's corrections at the quarter-hour, or that a veto keeps it as it is."""
    record = _record(engine, region, quarter, settings, policy, funds)
    if isinstance(record, Veto):
        return [{"plan_id": None, "status": "kept", "limits": 0, "refused": str(record)}]
    bodies = [] if record is None else [correction_plan(region, record, asks=a) for a in (False, True)]
    return [outcome_of(core, core.post_plan(body)) for body in bodies if body is not None]


def _record(
    engine: Engine,
    region: str,
    quarter: datetime,
    settings: BankSettings,
    policy: Policy,
    funds: Funds | None,
) -> dict[str, Any] | Veto | None:
    """What the region's corrections at the quarter-hour are made from: as kept, or made now and kept.

    None where nothing is raised, a veto where no forecast is fit; one in training is not waited for. The
    plans follow from the record, so that a repetition posts the same ones.
    """
    key = quarter_key(quarter)
    kept = store.proposal(engine, period=key, kind=EXTRA, region=region)
    today = settings.local_day(quarter)
    if kept is not None:
        return kept
    yesterday = today - timedelta(days=1)
    run, veto, _ = usable_run(engine, yesterday, policy, region, awaits_training=False)
    if run is None or veto is not None:
        return veto or Veto.NO_FORECAST
    states = day_states(engine, region, run.run_id, quarter, settings, policy, funds)
    made = correction_record(states, quarter=quarter, today=today, run_id=run.run_id, policy=policy)
    return (
        None
        if made is None
        else store.keep_proposal(engine, period=key, kind=EXTRA, region=region, run_id=run.run_id, body=made)
    )


def _asked(engine: Engine, region: str, since: date) -> dict[Limited, int]:
    """The highest limit asked for before by what it limits, of periods that hold a day from since on."""
    rows = extras_asked(engine, since=since - timedelta(days=31), region=region)
    found: dict[Limited, int] = {}
    for row in rows.to_dict("records"):
        key = (
            row["scope_kind"], row["scope_id"], row["channel"], row["period_kind"],
            row["period_start"].date().isoformat(),
        )  # fmt: skip
        found[key] = max(found.get(key, 0), row["new_limit"])
    return found
