"""The jobs that Airflow and the command line call: train → retune (propose, guard, apply), prescale, score.

Those on corrections, on questions to people and on rosters stand in modules of their own.

A job's identity is its period (a business day, ISO) or business quarter-hour: ids are made from it, and
running a job again changes nothing. Reads go through booking_core.read, forecasts and scores are written
by forecasting.store, and whatever changes what a customer may book goes through the core's plan API.

Environment: SLOTCAST_DATABASE_URL, SLOTCAST_API_URL, SLOTCAST_PLANNER_TOKEN.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from importlib.metadata import version
from typing import Any, Final

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import bank_settings, branches
from booking_core.read.bank import policy as stored_policy
from booking_core.read.demand import demand
from booking_core.read.forecasts import (
    ForecastRun,
    latest_run,
    sample_paths,
    series_choices,
)
from forecasting import autonomy, correcting, drift_watch, pressure, scoring, store
from forecasting.approvals import decide, outcome_of, questions
from forecasting.basis import planning_basis, proposal_records
from forecasting.core_client import CoreClient
from forecasting.correcting import correct
from forecasting.decisions.guardrails import run_verdict
from forecasting.decisions.plan import KEEP, gives_way, plan_of_record, server_plan_id
from forecasting.decisions.policy import Policy, policy_from
from forecasting.periods import (
    begun_day,
    business_period,
    complete_day,
    horizon_end,
    parse_day,
    parse_moment,
    resolve_period,
    resolve_quarter,
)
from forecasting.retuning import DEMAND, planned_regions
from forecasting.rostering import roster_regions, roster_week

PATHS: Final = 200
PRESSURE: Final = "pressure"
QUOTA: Final = "quota"


# --- training -------------------------------------------------------------------------------------


def series_batches(period: str, batch_size: int = 20) -> list[list[str]]:
    """The ids of the active branches in batches: one mapped task each."""
    parse_day(period)
    ids = _active_branches(store.open_engine())
    return [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]


def start_training(period: str) -> str:
    """The run id of the period's demand forecast, recorded as in training (or as it stands already).

    Raises ValueError for a period whose business day has not begun.
    """
    engine = store.open_engine()
    day, settings, policy = begun_day(engine, period), bank_settings(engine), _policy(engine)
    known = demand(engine, until=day)
    run_id = _run_id(DEMAND, day)
    store.start_run(
        engine,
        run_id=run_id,
        kind=DEMAND,
        period=day,
        trained_utc=datetime.now(UTC),
        span=None if known.empty else (known["ds"].min().date(), known["ds"].max().date()),
        parameters={
            "until": horizon_end(day, policy.plan_days).isoformat(),
            "country": settings.country,
            "seed": int(day.strftime("%Y%m%d")),
            "paths": PATHS,
            "policy": policy.as_record(),
            "synthetic_ratio": _synthetic_ratio(known),
            "censored_ratio": _censored_ratio(known),
        },
        libraries={name: version(name) for name in ("prophet", "pandas", "numpy", "holidays")},
    )
    return run_id


def train_batch(period: str, branch_ids: list[str]) -> dict[str, str]:
    """The model used for each branch of the batch ("keep": none); branches trained before are left alone."""
    from forecasting import batches  # noqa: PLC0415  (loads Prophet: only where it is needed)

    engine = store.open_engine()
    run = _run_of(engine, period)
    choices = series_choices(engine, run.run_id)
    done = dict(zip(choices["branch_id"], choices["champion"], strict=True))
    todo = sorted(set(branch_ids) - set(done))
    if run.status != store.TRAINING:
        return {branch: done.get(branch, KEEP) for branch in branch_ids}
    if todo:
        done |= batches.train(engine, run, todo)
    return {branch: done[branch] for branch in branch_ids}


def finish_training(period: str) -> dict[str, Any]:
    """The run closed as ready or vetoed, with its pressure forecast where ready; safe to repeat.

    Raises RuntimeError naming the branches that no batch has trained.
    """
    engine = store.open_engine()
    run = _run_of(engine, period)
    policy = policy_from(run.parameters["policy"])
    choices = series_choices(engine, run.run_id)
    if missing := sorted(set(_active_branches(engine)) - set(choices["branch_id"])):
        raise RuntimeError(f"{run.run_id}: train_batch has not trained {missing} yet")
    champions = Counter(choices["champion"])
    if run.status == store.TRAINING:
        age = None if run.span_to is None else (run.period - run.span_to).days
        kept = choices.loc[choices["champion"] == KEEP, "why"]
        commonest = "" if kept.empty else str(kept.mode().iloc[0])
        verdict = run_verdict(champions[KEEP], len(choices), age, policy, commonest)
        promise = drift_watch.promised(engine, run.run_id)
        scores = {
            "champions": dict(champions),
            "wql_champion": _mean(choices["wql_champion"]),
            "wql_weeks8": _mean(choices["wql_weeks8"]),
            "coverage80": _mean(choices["coverage80"]),
            "wape": promise[drift_watch.BANK]["wape"],
            "condition": verdict.condition,
            drift_watch.PROMISE: promise,
        }
        if verdict.fit:
            _forecast_pressure(engine, run, policy)
        store.finish_run(
            engine,
            run.run_id,
            status=store.READY if verdict.fit else store.VETOED,
            verdict=None if verdict.reason is None else str(verdict.reason),
            scores=scores,
        )
        run = _run_of(engine, period)
    return {
        "run_id": run.run_id,
        "period": period,
        "status": run.status,
        "verdict": run.verdict,
        "champions": dict(champions),
    }


def _forecast_pressure(engine: Engine, run: ForecastRun, policy: Policy) -> None:
    """Write the pressure forecast that follows from the demand run."""
    total = pressure.summed(sample_paths(engine, run.run_id))
    if total is None:
        return
    settings = bank_settings(engine)
    model = pressure.measure(engine, settings, policy, run.period)
    quarters = pressure.forecast(
        engine, model, total=total, settings=settings, policy=policy, period=run.period
    )
    run_id = _run_id(PRESSURE, run.period)
    store.start_run(
        engine,
        run_id=run_id,
        kind=PRESSURE,
        period=run.period,
        trained_utc=datetime.now(UTC),
        span=None,
        parameters={
            "demand_run": run.run_id,
            "quarter_seconds": settings.quarter_seconds,
            **model.as_record(),
        },
        libraries=run.libraries or {},
    )
    store.save_pressure(engine, run_id, quarters)
    store.finish_run(engine, run_id, status=store.READY, verdict=None, scores={})


# --- retune ---------------------------------------------------------------------------------------


def propose(period: str) -> list[str]:
    """The regions whose proposals stand for the period: what the forecast asks for, before guardrails.

    Each region, and "bank" where the bank has limits. Without a usable run the proposal says keep, and why;
    once another run is there it gives way to one that plans. Raises RuntimeError while the run is in
    training, ValueError for a period whose business day has not begun: its plan would shut out those before.
    """
    engine = store.open_engine()
    day, policy = begun_day(engine, period), _policy(engine)
    ids = planned_regions(engine, day)
    bases = {region: planning_basis(engine, region, day, policy) for region in ids}
    standing = {region: store.proposal(engine, period=period, kind=QUOTA, region=region) for region in ids}
    missing = [
        region
        for region, basis in bases.items()
        if (told := standing[region]) is None or gives_way(told, basis.usable_run_id)
    ]
    made = proposal_records(
        engine,
        {region: bases[region] for region in missing},
        day,
        policy,
        [told for region, told in standing.items() if told is not None and region not in missing],
    )
    for region in missing:
        body, replaced = made[region], standing[region]
        store.save_proposal(
            engine,
            period=period,
            kind=QUOTA,
            region=region,
            run_id=body["run_id"] or "",
            replacing=None if replaced is None else replaced["run_id"] or "",
            created_utc=datetime.now(UTC),
            body=body | {"replaces": replaced is not None},
        )
    return ids


def guard(period: str, region: str) -> str:
    """The id of the region's plan: the proposal guarded and posted; posting it again changes nothing.

    Beside it a plan of extra units for special periods is posted where the guardrails leave some missing.
    Raises LookupError where `propose` has not run, CoreError where the core refuses the plan.
    """
    body = store.proposal(store.open_engine(), period=period, kind=QUOTA, region=region)
    if body is None:
        raise LookupError(f"no proposal for {region} in period {period}: run propose first")
    plan = plan_of_record(period, region, body)
    with CoreClient.from_environment() as core:
        posted = str(core.post_plan(plan)["plan_id"])
        correcting.post_special(core, store.open_engine(), plan, policy_from(plan["policy"]))
        return posted


def apply(plan_id: str) -> dict[str, Any]:
    """What became of the plan: {"plan_id", "status", "limits" (set by it), "refused" (a reason) or None}.

    Proposed and approved plans are applied; pending, shadow and kept ones stay what they are. Raises
    LookupError for an unknown plan, CoreError where the core fails.
    """
    with CoreClient.from_environment() as core:
        plan = core.plan(plan_id)
        if plan is None:
            raise LookupError(f"the core knows no plan {plan_id!r}: run guard first")
        return outcome_of(core, plan)


# --- servers --------------------------------------------------------------------------------------


def prescale(at: str | None = None) -> dict[str, Any]:
    """The server plan of the business quarter-hour `at` (RFC 3339; now when None), posted and applied.

    {"plan_id", "status", "limits", "refused"}; a quarter-hour that has passed gets no plan (status "past"):
    back-filling does nothing. Without a fresh pressure forecast the plan says keep, and why. A repetition
    changes nothing, unless a newer forecast is there: its plan then replaces the quarter-hour's first.
    """
    engine = store.open_engine()
    settings, policy = bank_settings(engine), _policy(engine)
    now = pressure.quarter_start(settings.business_now(datetime.now(UTC)))
    quarter = now if at is None else pressure.quarter_start(parse_moment(at))
    if quarter < now:
        return {"plan_id": None, "status": "past", "limits": 0, "refused": None}
    with CoreClient.from_environment() as core:
        today = settings.local_day(quarter)
        run = latest_run(engine, PRESSURE, until_period=today)
        run_id = None if run is None else run.run_id
        plan_id = server_plan_id(quarter)
        standing = core.plan(plan_id)
        if standing is not None and standing["forecast_run_id"] != run_id:
            plan_id = server_plan_id(quarter, replaced_by=run_id)
            standing = core.plan(plan_id)
        if standing is None:
            standing = core.post_plan(
                pressure.plan_servers(
                    engine, run, policy, plan_id=plan_id, quarter=quarter, today=today, now=now
                )
            )
        return outcome_of(core, standing)


# --- score ----------------------------------------------------------------------------------------


def score(period: str) -> dict[str, Any]:
    """Forecasts and plans scored against what came on the days up to the period.

    {"period", "promises" (of the waitlist that fell due), "promise_chance" (told), "promise_kept_ratio",
    "scored_days" (branch-days new in this call), "coverage80", "wape", "pinball" (of the last
    score_days), "plan_days", "refused_units", "refused_old_units" (had the old quotas stayed; all three
    of the regions' plans, and of the bank's own with "bank_" before them), "regions" (what the scores say of
    each: see forecasting.autonomy)}. Raises ValueError for a period whose business
    day is not complete: a day is scored once, for good. CoreError where a region is to change its mode and
    the core is away.
    """
    engine = store.open_engine()
    day, policy = complete_day(engine, period), _policy(engine)
    scores = scoring.score_until(engine, day, policy)
    return {"period": period, **scores, "regions": autonomy.settle(engine, day, policy)}


# --- small parts ----------------------------------------------------------------------------------


def _policy(engine: Engine) -> Policy:
    return policy_from(stored_policy(engine))


def _run_id(kind: str, period: date) -> str:
    return f"{kind}-{period.isoformat()}"


def _run_of(engine: Engine, period: str) -> ForecastRun:
    """The period's demand run, whatever became of it; LookupError where it was never started."""
    run = latest_run(engine, DEMAND, until_period=parse_day(period), status=None)
    if run is None or run.period != parse_day(period):
        raise LookupError(f"no training for period {period}: run start_training first")
    return run


def _active_branches(engine: Engine) -> list[str]:
    known = branches(engine)
    return [str(branch) for branch in known.loc[known["active"], "branch_id"]]


def _synthetic_ratio(known: pd.DataFrame) -> float:
    """The share of all units learned from that is synthetic."""
    units = float(known["y"].sum())
    return round(float((known["y"] * known["synthetic_ratio"]).sum()) / units, 4) if units else 0.0


def _censored_ratio(known: pd.DataFrame) -> float:
    """The share of all known branch days whose demand is known only as "at least"."""
    return 0.0 if known.empty else round(float(known["censored"].mean()), 4)


def _mean(column: pd.Series) -> float | None:
    return None if column.dropna().empty else round(float(column.mean()), 5)


__all__ = [
    "apply", "business_period", "correct", "decide", "finish_training", "guard", "prescale", "propose",
    "questions", "resolve_period", "resolve_quarter", "roster_regions", "roster_week", "score",
    "series_batches", "start_training", "train_batch",
]  # fmt: skip
