"""What a promise looks at beyond releases: what the next plan will open, and how promises were kept."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, case, func, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.queueing import MOST_HISTORY, Entry, Outlook, PlannedDay, kept, opening
from booking_core.settings import BankSettings
from booking_core.store import quotas, waitlist
from metrics.contract import Reason

ENDED: Final = ("left", "booked", "expired")
"""Kinds of events that end an entry without its taking an offer."""
FRESH_DAYS: Final = 3
"""A forecast made longer ago than this says nothing of the next plan."""
PLAN_DAYS: Final = 28
"""How often plans are applied is measured on so many last days."""
MOST_PROMISES: Final = 5_000
"""So many promises, the newest, tell how they are kept."""


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


def judged(connection: Connection, now: datetime, settings: BankSettings) -> list[tuple[float, bool]]:
    """(chance as first reckoned, whether kept) of the last promises that can be judged at wall time now."""
    w, e = t.waitlist.c, t.waitlist_events.c
    since = now - timedelta(days=2 * MOST_HISTORY) * (settings.quarter_seconds / 900)
    entries = select(w.entry_ref, w.promise, w.latest_day).where(w.joined_utc >= since)
    entries = entries.order_by(w.joined_utc.desc(), w.entry_ref).limit(MOST_PROMISES)
    own = e.kind.in_(ENDED) & (func.coalesce(e.reason, "") != Reason.OUTSIDE_BOOKING_WINDOW)
    life = (
        select(
            e.entry_ref,
            func.min(case((e.kind == "offered", e.at_utc))).label("offered"),
            func.min(case((own, e.at_utc))).label("ended"),
        )
        .where(e.entry_ref.in_(select(entries.subquery().c.entry_ref)))
        .group_by(e.entry_ref)
    )
    lives = {row.entry_ref: row for row in connection.execute(life)}
    today = settings.local_day(settings.business_now(now))

    def day_of(at: datetime | None) -> date | None:
        return None if at is None else settings.local_day(settings.business_at(at, now))

    found = []
    for row in connection.execute(entries):
        life_of = lives.get(row.entry_ref)
        if not row.promise or life_of is None:
            continue
        due = date.fromisoformat(row.promise["by"]) if row.promise["by"] else row.latest_day
        was_kept = kept(due, today, day_of(life_of.offered), day_of(life_of.ended))
        if was_kept is not None:
            found.append((float(row.promise.get("raw", row.promise["chance"])), was_kept))
    return found


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
