"""Roster proposals: from forecasts and measured handling times to heads by half-hour, shifts and shortages.

A proposal is kept, and nothing applies it by itself: a person states it as rosters (`state_rosters`), changed
or not. Rosters that stand cap the quotas of their days from the next retune on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import numpy as np

from booking_core.read.bank import branches
from booking_core.read.bank import policy as stored_policy
from booking_core.read.rosters import ROSTER
from forecasting import store
from forecasting.basis import planning_basis
from forecasting.core_client import CoreClient
from forecasting.decisions.policy import Policy, policy_from
from forecasting.decisions.roster import (
    DayRoster,
    ShiftRules,
    propose_roster,
    roster_drafts,
    shortage_text,
)
from forecasting.decisions.staffing import (
    HALF_HOURS,
    StaffNeed,
    calls_of,
    comes_of,
    queue_target,
    staff_need,
)
from forecasting.frames import Floats, SamplePaths
from forecasting.periods import begun_day, next_monday, parse_day
from forecasting.reforecast import reforecast
from forecasting.staff_measures import StaffMeasures, There, measure_staff, who_is_there
from metrics.contract import Skill

WEEK_DAYS: Final = 7


class NoForecastError(RuntimeError):
    """No forecast is fit to plan staff with."""


def roster_regions(period: str) -> list[str]:
    """The regions that have branches to staff, by id. Raises ValueError for a period not begun."""
    engine = store.open_engine()
    begun_day(engine, period)
    known = branches(engine)
    return sorted({str(region) for region in known.loc[known["active"], "region_id"]})


def roster_week(period: str, region: str) -> dict[str, Any]:
    """What is proposed for the week that begins after the period, in short.

    {"period", "region", "first_day", "shortages" ({"branch", "day", "skill", "missing" (in words)} of each
    day that lacks heads), "totals", "refused" (why there is no proposal; None = there is one)}. Made again
    from the same forecast and staff it is the same. Raises as `roster`, but for a missing forecast.
    """
    first = next_monday(parse_day(period))
    told = {"period": period, "region": region, "first_day": first.isoformat()}
    try:
        made = roster(period, region, WEEK_DAYS, first)
    except NoForecastError as missing:
        return told | {"shortages": [], "totals": {}, "refused": str(missing)}
    short = [
        {name: each[name] for name in ("branch", "day", "skill")}
        | {"missing": shortage_text(each["shortages"])}
        for each in made["rosters"]
        if each["shortages"]
    ]
    return told | {"shortages": short, "totals": made["totals"], "refused": None}


def state_rosters(proposal: Mapping[str, Any]) -> list[str]:
    """The ids of the rosters that now stand as the proposal has them: one for each branch, where none stood.

    A person's act, brought to the core by the planner's token. Raises CoreError where the core refuses.
    """
    with CoreClient.from_environment() as core:
        return [str(core.post_roster(body)["roster_id"]) for body in roster_drafts(proposal)]


def roster(
    period: str, region: str, days: int | None = None, first_day: date | None = None
) -> dict[str, Any]:
    """The region's roster proposal for so many days (default: the policy's plan_days), kept.

    first_day: the day after the period, or one later; None = the day after. {"period", "region", "run_id",
    "first_day", "days", "measures" by branch, "rosters" (one for each branch, day and skill that needs
    anybody: see decisions.roster), "totals" by skill, "policy"}. Made again it takes the place of the one
    before: who is there may have changed. Raises LookupError for a region without branches, NoForecastError
    where no forecast is fit to plan with, ValueError for a period not begun.
    """
    engine = store.open_engine()
    day, policy = begun_day(engine, period), policy_from(stored_policy(engine))
    if branches(engine, region).empty:
        raise LookupError(f"region {region!r} has no branches")
    basis = planning_basis(engine, region, day, policy)
    if basis.run is None or not basis.plans:
        raise NoForecastError(f"no roster for {region} in period {period}: {basis.veto} ({basis.condition})")
    after = day + timedelta(days=1)
    first = after if first_day is None else max(first_day, after)
    if basis.forecasts is None:
        paths = reforecast(engine, basis.run.run_id, until=after, region=region)
    else:
        paths = {branch: forecast.paths for branch, forecast in basis.forecasts.items()}
    count = policy.plan_days if days is None else days
    reach = max((each.last_day for each in paths.values()), default=first)
    if first + timedelta(days=count - 1) > reach:
        most = (reach - first).days + 1
        raise ValueError(f"days {count}: the forecast reaches {reach}, expected at most {most} from {first}")
    measures = measure_staff(engine, day, policy, region)
    there = who_is_there(engine, first, first + timedelta(days=count - 1), region)
    rosters, needs = _proposed(paths, measures, there, first, count, policy)
    body = {
        "period": period,
        "region": region,
        "run_id": basis.run.run_id,
        "first_day": first.isoformat(),
        "days": count,
        "measures": {branch: measures[branch].as_record() for branch in sorted(paths)},
        "rosters": [each.as_record() for each in rosters],
        "totals": {str(skill): _totals(skill, rosters, needs) for skill in Skill},
        "policy": policy.as_record(),
    }
    standing = store.proposal(engine, period=period, kind=ROSTER, region=region)
    if standing == json.loads(json.dumps(body)):
        return body
    store.save_proposal(
        engine,
        period=period,
        kind=ROSTER,
        region=region,
        run_id=basis.run.run_id,
        created_utc=datetime.now(UTC),
        body=body,
        replacing=None if standing is None else standing["run_id"],
    )
    return body


def _proposed(
    paths: Mapping[str, SamplePaths],
    measures: Mapping[str, StaffMeasures],
    there: There,
    first: date,
    count: int,
    policy: Policy,
) -> tuple[list[DayRoster], list[tuple[Skill, StaffNeed]]]:
    """The roster of every branch, day and skill that needs anybody, in this order; the needs behind them."""
    rules, rosters, needs = ShiftRules.of(policy), [], []
    for branch, forecast in sorted(paths.items()):
        known = forecast.values[:, (first - forecast.first_day).days :]
        days = min(count, known.shape[1])
        by_skill = _needs(known, days, measures[branch], policy)
        needs += list(by_skill.items())
        for n in range(days):
            for skill, need in by_skill.items():
                wanted = np.zeros(HALF_HOURS, dtype=np.int64)
                wanted[rules.opens : rules.closes] = need.heads[n]
                if not wanted.any():
                    continue
                available = there.get((branch, first + timedelta(days=n), skill))
                shifts, short = propose_roster(wanted.tolist(), available, rules)
                rosters.append(
                    DayRoster(
                        branch=branch,
                        day=(first + timedelta(days=n)).isoformat(),
                        skill=skill,
                        need=tuple(wanted.tolist()),
                        shifts=shifts,
                        shortages=short,
                        rostered=available is not None,
                    )
                )
    return rosters, needs


def _needs(known: Floats, days: int, measures: StaffMeasures, policy: Policy) -> dict[Skill, StaffNeed]:
    """What each skill needs on the first `days` days of the paths."""
    counter = queue_target(Skill.COUNTER, policy, measures.handling_seconds)
    phone, quantile, reach = queue_target(Skill.PHONE, policy), policy.staff_quantile, known.shape[1]
    comes = comes_of(measures.no_show_ratio, reach, days)
    calls = calls_of(measures.call_leads, measures.calls_per_unit, reach, days)
    return {
        Skill.COUNTER: staff_need(known, measures.visit_shares, counter, quantile, per_unit=comes),
        Skill.PHONE: staff_need(known, measures.call_shares, phone, quantile, per_unit=calls),
    }


def _totals(skill: Skill, rosters: list[DayRoster], needs: list[tuple[Skill, StaffNeed]]) -> dict[str, Any]:
    """The skill's figures over all branches and days."""
    own = [each for each in rosters if each.skill is skill]
    ruled = [need.newsvendor[need.heads > 0] for which, need in needs if which is skill]
    cells = np.concatenate([*ruled, np.zeros(0, dtype=bool)])
    return {
        "head_days": sum(each.heads for each in own),
        "short_days": sum(each.missing_half_hours > 0 for each in own),
        "missing_half_hours": sum(each.missing_half_hours for each in own),
        "newsvendor_ratio": round(float(cells.mean()), 4) if len(cells) else 0.0,
    }
