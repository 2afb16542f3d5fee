"""What a promise looks at beyond releases: what the next plan is expected to open."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection, func, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.queueing import Entry, Outlook, PlannedDay, opening
from booking_core.settings import BankSettings
from booking_core.store import quotas, waitlist

FRESH_DAYS: Final = 3
"""A forecast made longer ago than this says nothing of the next plan."""
PLAN_DAYS: Final = 28
"""How often plans are applied is measured on so many last days."""


def outlook(connection: Connection, entry: Entry, today: date, settings: BankSettings) -> Outlook:
    """What plans are expected to open for the entry: nothing in shadow mode, paused or without a forecast.

    From the lower quartile of each day's demand, as the newest fresh run forecast it.
    """
    first = max(entry.wished_day, today + timedelta(days=1))
    automatic = select(t.regions.c.automatic_application).where(t.regions.c.region_id == entry.region_id)
    if settings.paused or first > entry.latest_day or not connection.scalar(automatic):
        return Outlook()
    low = _low_quantiles(connection, entry.branch_id, first, entry.latest_day, today)
    slots = waitlist.free_slots(connection, entry.branch_id, first, entry.latest_day) if low else []
    free: dict[date, int] = {}
    one = {}
    for slot in slots:
        free[slot.service_day] = free.get(slot.service_day, 0) + slot.free_units
        one[slot.service_day] = slot
    if not (days := sorted(low.keys() & one.keys())):
        return Outlook()
    levels = quotas.read_levels(connection, [one[day] for day in days], entry.channel)
    cap = connection.scalar(
        select(t.branches.c.staff_cap_units).where(t.branches.c.branch_id == entry.branch_id)
    )
    planned = [
        PlannedDay(
            low_units=int(low[day]),
            most_units=int(low[day]) if cap is None else cap,
            free_units=free[day],
            levels=levels[one[day].slot_id],
        )
        for day in days
    ]
    return Outlook(opening(planned), _plan_chance(connection, entry.region_id, today))


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
