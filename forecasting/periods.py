"""Periods: the business day or quarter-hour that a job is for, from a parameter, a partition key or now."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Engine

from booking_core.read.bank import bank_settings
from booking_core.read.bank import policy as stored_policy
from forecasting import store
from forecasting.decisions.policy import policy_from


def business_period(at: str | None = None) -> str:
    """The period of a run that starts at the wall time `at` (RFC 3339; now when None): an ISO business day.

    It is the latest bank-local business day that is complete: today from the policy's day_closes_hour on,
    else yesterday.
    """
    return _last_complete(store.open_engine(), at).isoformat()


def resolve_period(explicit: str | None, partition_key: str | None) -> str:
    """The period of a run: the explicit one; else its key, an ISO day or a wall time; else that of now.

    Raises ValueError for an explicit period that is no ISO day.
    """
    if explicit:
        return parse_day(explicit).isoformat()
    if partition_key and len(partition_key) == len("2016-07-28"):
        return parse_day(partition_key).isoformat()
    return business_period(partition_key)


def resolve_quarter(explicit: str | None, partition_key: str | None) -> str | None:
    """The business time of a prescale run: the explicit one; else its wall-time key moved by the offset."""
    if explicit or not partition_key:
        return explicit or None
    settings = bank_settings(store.open_engine())
    return settings.business_now(_wall(partition_key)).isoformat()


def parse_day(period: str) -> date:
    """The period as a date; ValueError that says what was expected."""
    try:
        return date.fromisoformat(period)
    except ValueError:
        raise ValueError(f"period {period!r}: expected an ISO day such as 2016-07-28") from None


def begun_day(engine: Engine, period: str) -> date:
    """The period as a date; ValueError where that business day has not begun: its demand is not known."""
    day, settings = parse_day(period), bank_settings(engine)
    today = settings.local_day(settings.business_now(datetime.now(UTC)))
    if day > today:
        raise ValueError(f"period {period} lies after the business day {today}: its demand is not known yet")
    return day


def complete_day(engine: Engine, period: str) -> date:
    """The period as a date; ValueError where that business day is not complete (see `business_period`)."""
    day, latest = parse_day(period), _last_complete(engine)
    if day > latest:
        raise ValueError(
            f"period {period} is not over: its demand is not known yet; the latest complete day is {latest}"
        )
    return day


def next_monday(day: date) -> date:
    """The first day of the ISO week that begins after the day."""
    return day + timedelta(days=7 - day.weekday())


def horizon_end(period: date, plan_days: int) -> date:
    """The last day to forecast: the end of the next calendar month, and of every week and month planned."""
    planned = period + timedelta(days=plan_days)
    week_end = planned + timedelta(days=6 - planned.weekday())
    return max(_month_end(_month_end(period) + timedelta(days=1)), week_end, _month_end(planned))


def _month_end(day: date) -> date:
    """The last day of the calendar month that contains the day."""
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def _last_complete(engine: Engine, at: str | None = None) -> date:
    settings, policy = bank_settings(engine), policy_from(stored_policy(engine))
    local = settings.business_now(_wall(at)).astimezone(settings.tzinfo())
    return local.date() if local.hour >= policy.day_closes_hour else local.date() - timedelta(days=1)


def _wall(at: str | None) -> datetime:
    return datetime.now(UTC) if at is None else parse_moment(at)


def parse_moment(text: str) -> datetime:
    """The aware moment of an RFC 3339 text; ValueError without an offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901  (naive: refused below)
    if moment.tzinfo is None:
        raise ValueError(f"time {text!r}: expected RFC 3339 with an offset, such as 2016-07-28T13:00:00Z")
    return moment
