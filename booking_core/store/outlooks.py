"""What a promise looks at beyond releases: what the next plan is expected to open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.queueing import Outlook, PlannedDay, opening
from booking_core.store import quotas, waitlist

FRESH_DAYS: Final = 3
"""A forecast made longer ago than this says nothing of the next plan."""
PLAN_DAYS: Final = 28
"""How often plans are applied is measured on so many last days."""


@dataclass(frozen=True, slots=True)
class Coming:
    """The coming days of a branch for a channel as the next plan will find them; empty without one."""

    days: Mapping[date, PlannedDay] = field(default_factory=dict)
    plan_chance: float = 0.0
    """That a day brings a plan which is applied."""

    def outlook(self, first: date, last: date) -> Outlook:
        """What plans are expected to open on the days."""
        return Outlook(
            opening([self.days[day] for day in sorted(self.days) if first <= day <= last]), self.plan_chance
        )


def coming(connection: Connection, branch_id: str, channel: str, today: date, last: date) -> Coming:
    """The days from tomorrow to the last one that have a forecast and room; none in shadow mode.

    By the lower quartile of each day's demand, as the newest fresh run forecast it.
    """
    b, r = t.branches.c, t.regions.c
    branch = connection.execute(
        select(b.region_id, b.staff_cap_units, r.automatic_application)
        .join(t.regions, r.region_id == b.region_id)
        .where(b.branch_id == branch_id)
    ).one_or_none()
    if branch is None or not branch.automatic_application:
        return Coming()
    first = today + timedelta(days=1)
    low = _low_quantiles(connection, branch_id, first, last, today)
    slots = waitlist.free_slots(connection, branch_id, first, last) if low else []
    free: dict[date, int] = {}
    one = {}
    for slot in slots:
        free[slot.service_day] = free.get(slot.service_day, 0) + slot.free_units
        one[slot.service_day] = slot
    days = sorted(low.keys() & one.keys())
    levels = quotas.read_levels(connection, [one[day] for day in days], channel)
    cap = branch.staff_cap_units
    planned = {
        day: PlannedDay(
            low_units=int(low[day]),
            most_units=int(low[day]) if cap is None else cap,
            free_units=free[day],
            levels=levels[one[day].slot_id],
        )
        for day in days
    }
    return Coming(planned, _plan_chance(connection, branch.region_id, today) if planned else 0.0)


def _low_quantiles(
    connection: Connection, branch_id: str, first: date, last: date, today: date
) -> dict[date, float]:
    """The lower quartile of the branch's demand by day, of the newest fresh run; empty without one."""
    r, v = tf.forecast_runs.c, tf.forecast_values.c
    run = (
        select(r.run_id)
        .where(r.kind == "demand", r.status == "ready", r.period >= today - timedelta(days=FRESH_DAYS))
        .order_by(r.period.desc(), r.trained_utc.desc(), r.run_id.desc())
        .limit(1)
    )
    statement = select(v.day, v.q25).where(
        v.run_id == run.scalar_subquery(), v.branch_id == branch_id, v.day.between(first, last)
    )
    return dict(connection.execute(statement).tuples().all())


def _plan_chance(connection: Connection, region_id: str, today: date) -> float:
    """The share of the last PLAN_DAYS days whose quota plan was applied in the region."""
    p = t.plans.c
    periods = [(today - timedelta(days=n + 1)).isoformat() for n in range(PLAN_DAYS)]
    statement = select(func.count(func.distinct(p.period))).where(
        p.kind == "quota",
        p.region_id == region_id,
        p.period.in_(periods),
        p.status.in_(("applied", "superseded")),
    )
    return (connection.scalar(statement) or 0) / PLAN_DAYS
