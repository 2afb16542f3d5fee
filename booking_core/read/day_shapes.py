"""When in the day customers come and call: the shape that staff by half-hour is planned on."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import pandas as pd
from sqlalchemy import Engine, func, select

from booking_core import tables as t
from booking_core.read.bank import bank_settings
from booking_core.read.quotas import LIVE_STATUSES
from booking_core.read.sql import DAY, frame, in_region, quarter_index, quarter_starts, typed
from metrics.contract import Channel

_VISITS: Final = {"branch_id": "str", "half_hour": "int64", "units": "int64"}
_CALLS: Final = {"branch_id": "str", "half_hour": "int64", "lead_days": "int64", "calls": "int64"}


def visits_by_half_hour(
    engine: Engine, *, since: date, until: date, region: str | None = None
) -> pd.DataFrame:
    """Units booked for the service days since..until by half-hour of the slot's start.

    [branch_id, half_hour (0 = midnight … 47, bank-local), units]; a booking that was cancelled or ran out is
    none.
    """
    b, s = t.bookings.c, t.slots.c
    quarter = quarter_index(s.start_utc)
    rows = frame(
        engine,
        select(b.branch_id, quarter.label("quarter"), func.sum(b.units).label("units"))
        .join(t.slots, s.slot_id == b.slot_id)
        .where(
            b.service_day.between(since, until), b.status.in_(LIVE_STATUSES), *in_region(b.region_id, region)
        )
        .group_by(b.branch_id, quarter),
        {"branch_id": "str", "quarter": "int64", "units": "int64"},
    )
    local = quarter_starts(rows["quarter"]).dt.tz_convert(bank_settings(engine).zone)
    rows = rows.assign(half_hour=local.dt.hour * 2 + local.dt.minute // 30)
    return typed(rows.groupby(["branch_id", "half_hour"])["units"].sum().reset_index(), _VISITS)


def calls_by_half_hour(
    engine: Engine, *, since: date, until: date, region: str | None = None
) -> pd.DataFrame:
    """Calls of the days since..until by half-hour in which they came and days until the day they were about.

    [branch_id, half_hour (bank-local business time), lead_days, calls]. A call = the attempts by phone on one
    day for one loan and service day, at the first of them: tries within a call count once.
    """
    a = t.attempts.c
    settings = bank_settings(engine)
    opened, closed = (
        datetime.combine(day, time(), settings.tzinfo()).astimezone(UTC)
        for day in (since, until + timedelta(days=1))
    )
    quarter = quarter_index(a.business_utc)
    rows = frame(
        engine,
        select(a.branch_id, a.loan_hash, a.service_day, quarter.label("quarter"))
        .where(
            a.channel == Channel.PHONE,
            a.branch_id.is_not(None),
            a.service_day.is_not(None),
            a.business_utc >= opened,
            a.business_utc < closed,
            *in_region(a.region_id, region),
        )
        .distinct()
        .order_by(quarter),
        {"branch_id": "str", "loan_hash": "str", "service_day": DAY, "quarter": "int64"},
    )
    local = quarter_starts(rows["quarter"]).dt.tz_convert(settings.zone)
    called = local.dt.tz_localize(None).dt.normalize().astype(DAY)
    rows = rows.assign(
        half_hour=local.dt.hour * 2 + local.dt.minute // 30,
        called=called,
        lead_days=(rows["service_day"] - called).dt.days.clip(lower=0),
    ).drop_duplicates(["branch_id", "loan_hash", "service_day", "called"])
    calls = rows.groupby(["branch_id", "half_hour", "lead_days"]).size().rename("calls")
    return typed(calls.reset_index(), _CALLS)
