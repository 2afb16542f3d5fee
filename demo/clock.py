"""The business clock of the demo: which offset puts business time into which quarter-hour."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from booking_core.settings import BankSettings
from demo.overlay import OPENS, QUARTERS

QUARTER: Final = timedelta(minutes=15)


def offset_for(target: datetime, wall_now: datetime) -> int:
    """The offset in seconds (a multiple of 900) that puts business time into the target's quarter-hour.

    Both aware. It never decreases while the target moves on by whole quarter-hours.
    """
    return int((floor_quarter(target) - floor_quarter(wall_now)).total_seconds())


def floor_quarter(moment: datetime) -> datetime:
    """The start of the quarter-hour, aware UTC."""
    moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute - moment.minute % 15, second=0, microsecond=0)


def opening(day: date, settings: BankSettings) -> datetime:
    """When the bank opens on the day (its own zone), aware."""
    return datetime.combine(day, OPENS, settings.tzinfo())


def quarters_of(day: date, settings: BankSettings, first: int = 0, last: int = QUARTERS) -> list[datetime]:
    """The starts of the business quarter-hours first..last-1 of the day, aware UTC."""
    opens = opening(day, settings).astimezone(UTC)
    return [opens + QUARTER * index for index in range(first, last)]


def next_eve(business_now: datetime, settings: BankSettings, first_eve: date) -> date:
    """The next day that can be played from its opening, never before the first.

    A clock still inside the first quarter-hour of a day may play that day.
    """
    local = business_now.astimezone(settings.tzinfo())
    today = local.date()
    if local >= opening(today, settings) + QUARTER:
        today += timedelta(days=1)
    return max(today, first_eve)
