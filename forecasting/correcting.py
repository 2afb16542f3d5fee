"""What changes between two retunes: special periods beside a plan, and corrections within the day.

Both are plans of kind extra: limits raised until their period ends. They are posted, approved and recorded
like any other plan; what is inside the band is applied at once, what a person approved with the next
correction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import bank_settings, regions
from booking_core.read.bank import policy as stored_policy
from booking_core.read.demand import displaced_in, wishes_by_channel
from booking_core.read.events import branch_scopes, events
from booking_core.read.plans import extras_asked, plan_items, plans
from booking_core.read.quotas import quota_periods
from booking_core.settings import BankSettings
from forecasting import store
from forecasting.approvals import outcome_of
from forecasting.core_client import CoreClient
from forecasting.decisions.intraday import (
    ChannelState,
    DayState,
    correction_plan,
    correction_plan_id,
    corrections,
)
from forecasting.decisions.policy import Policy, policy_from
from forecasting.decisions.special_periods import (
    MONTH_END,
    Limited,
    month_ends,
    special_plan,
    special_plan_id,
)
from forecasting.periods import parse_moment
from forecasting.pressure import quarter_start
from forecasting.reforecast import Paths, reforecast_day, stored_paths
from forecasting.retuning import channel_shares_of, unplanned_units_of, usable_run, within_of
from forecasting.staff_caps import staff_caps
from metrics.contract import ALL_CHANNELS, EventKind

EXTRA: Final = "extra"
Place = tuple[str, date]
"""Branch and day."""


# --- special periods ------------------------------------------------------------------------------


def post_special(core: CoreClient, engine: Engine, plan: Mapping[str, Any], policy: Policy) -> str | None:
    """The id of the extra plan for special periods beside the quota plan, posted; None where none is needed.

    plan: the quota plan's body. It waits for a person; posted once for a period.
    """
    plan_id = special_plan_id(plan["period"], plan["region"])
    if (standing := core.plan(plan_id)) is not None:
        return str(standing["plan_id"])
    first = date.fromisoformat(plan["period"]) + timedelta(days=1)
    names = special_days(engine, plan["region"], first, first + timedelta(days=policy.plan_days - 1), policy)
    if not names:
        return None
    made = special_plan(plan, names, _asked(engine, plan["region"], first), policy)
    return None if made is None else str(core.post_plan(made)["plan_id"])


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

    {"plan_id", "status", "limits" (raised by it), "refused" (a reason) or None}. A quarter-hour that has
    passed is left alone: back-filling does nothing. A repetition changes nothing. Regions without a usable
    forecast are left alone too.
    """
    engine = store.open_engine()
    settings, policy = bank_settings(engine), policy_from(stored_policy(engine))
    now = quarter_start(settings.business_now(datetime.now(UTC)))
    quarter = now if at is None else quarter_start(parse_moment(at))
    if quarter < now:
        return []
    outcomes = []
    with CoreClient.from_environment() as core:
        for region in map(str, regions(engine)["region_id"]):
            approved = plans(engine, kind=EXTRA, region=region, status=("approved",), limit=None)
            found = [core.plan(str(plan_id)) for plan_id in approved["plan_id"]]
            outcomes += [outcome_of(core, plan) for plan in found if plan is not None]
            outcomes += _correct(core, engine, region, quarter, settings, policy)
    return outcomes


def _correct(
    core: CoreClient, engine: Engine, region: str, quarter: datetime, settings: BankSettings, policy: Policy
) -> list[dict[str, Any]]:
    """What became of the region's corrections at the quarter-hour."""
    standing = [core.plan(correction_plan_id(quarter, region, asks=asks)) for asks in (False, True)]
    if any(standing):  # this quarter-hour was corrected
        return [outcome_of(core, plan) for plan in standing if plan is not None]
    today = settings.local_day(quarter)
    run, veto, _ = usable_run(engine, today - timedelta(days=1), policy, region)
    if run is None or veto is not None:
        return []
    states = day_states(engine, region, run.run_id, quarter, settings, policy)
    raises = [made for state in states for made in corrections(state, policy)]
    made = [
        correction_plan(
            raises, quarter=quarter, today=today, region=region, run_id=run.run_id, asks=asks, policy=policy
        )
        for asks in (False, True)
    ]
    return [outcome_of(core, core.post_plan(body)) for body in made if body is not None]


def day_states(
    engine: Engine, region: str, run_id: str, quarter: datetime, settings: BankSettings, policy: Policy
) -> list[DayState]:
    """The days that corrections look at as they stand, of branches with a limit and a forecast."""
    today = settings.local_day(quarter)
    days = [today + timedelta(days=n) for n in range(policy.correction_days)]
    stored = stored_paths(engine, run_id, region)
    updated = {day: reforecast_day(engine, run_id, day, until=quarter, region=region) for day in days}
    rows = quota_periods(engine, since=days[0], until=days[-1], region=region)
    rows = rows[rows["limit_units"].notna()]
    added = displaced_in(engine, since=days[0], until=days[-1], region=region)
    shares = channel_shares_of(engine, region, today - timedelta(days=1), policy)
    asked = extras_asked(engine, since=today, region=region)
    caps = staff_caps(engine, region, days[0], days[-1], policy)
    wishes = {day: wishes_by_channel(engine, since=day, until=day, region=region) for day in days}
    held_back = _held_back(engine, rows["plan_id"].dropna().unique())
    found: list[DayState] = []
    for (branch, day), limits in _by_place(rows):
        whole = limits[limits["channel"] == ALL_CHANNELS]
        if whole.empty or branch not in caps.standing:
            continue
        before, after = _of_day(stored, branch, day), _of_day(updated[day], branch, day)
        if before is None or after is None:
            continue
        begins = datetime.combine(day, time(), settings.tzinfo())
        mine = asked[(asked["scope_id"] == branch) & (asked["period_start"] == pd.Timestamp(day))]
        here = added[(added["branch_id"] == branch) & (added["service_day"] == pd.Timestamp(day))]
        arrived = wishes[day][wishes[day]["branch_id"] == branch].set_index("channel")["units"]
        one = whole.iloc[0]
        found.append(
            DayState(
                branch_id=branch,
                day=day,
                limit_units=int(one["limit_units"]),
                extra_units=int(one["extra_units"]),
                used_units=int(one["used_units"]),
                stored=before,
                updated=after,
                arrived_units=int(arrived.sum()),
                added_units=int(here["units"].sum()),
                held_back_units=held_back.get((one["plan_id"], branch, day), 0),
                staff_cap_units=caps.of(branch, day),
                unplanned_units=unplanned_units_of(one.to_dict()),
                done_units=_most(mine, ALL_CHANNELS, in_band=True),
                asked_units=_most(mine, ALL_CHANNELS, in_band=False),
                hours_before=(begins - quarter) / timedelta(hours=1),
                channels={
                    row["channel"]: ChannelState(
                        limit_units=int(row["limit_units"]),
                        used_units=int(row["used_units"]),
                        arrived_units=int(arrived.get(row["channel"], 0)),
                        share=shares.get(branch, {}).get(row["channel"], 0.0),
                        done_units=_most(mine, row["channel"], in_band=True),
                    )
                    for row in limits[limits["channel"] != ALL_CHANNELS].to_dict("records")
                },
            )
        )
    return found


def _of_day(paths: Paths, branch: str, day: date) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The branch's demand on the day, (paths,); None where the run does not reach it."""
    made = paths.get(branch)
    if made is None or not made.first_day <= day <= made.last_day:
        return None
    return made.sums(day, day)


def _by_place(rows: pd.DataFrame) -> Iterator[tuple[Place, pd.DataFrame]]:
    """The rows of each branch and day."""
    for (branch, start), found in rows.groupby(["scope_id", "period_start"]):
        yield (str(branch), pd.Timestamp(str(start)).date()), found


def _held_back(engine: Engine, plan_ids: Iterable[str]) -> dict[tuple[str, str, date], int]:
    """Units that the plans behind the limits kept back of them, by plan, branch and day."""
    return {
        (plan_id, row["scope_id"], row["period_start"].date()): int(row["inputs"]["held_back_units"])
        for plan_id in map(str, plan_ids)
        for row in plan_items(engine, plan_id).to_dict("records")
        if "held_back_units" in (row["inputs"] or {})
    }


def _most(asked: pd.DataFrame, channel: str, *, in_band: bool) -> int:
    """The highest limit asked for before, 0 where none was."""
    rows = asked[(asked["channel"] == channel) & (asked["in_band"] == in_band)]
    return 0 if rows.empty else int(rows["new_limit"].max())


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
