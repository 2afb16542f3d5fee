"""Typed settings: `BankSettings` kept in the database, so that every process agrees on them.

Connection strings and ports are environment (`SLOTCAST_*`, read where a process starts);
everything that changes what a customer may book is a row of the settings table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Connection, delete, insert, select

from booking_core.tables import settings as settings_table

OFFSET_STEP: Final = timedelta(minutes=15)
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "business_offset_seconds": (-(10**10), 10**10),
    "quarter_seconds": (0.1, 86_400),
    "hold_seconds": (1, 7 * 86_400),
    "min_notice_minutes": (0, 60 * 24 * 366),
    "booking_window_days": (1, 3660),
    "idle_days": (1, 3660),
    "waitlist_days": (0, 3660),
    "offer_seconds": (1, 7 * 86_400),
    "offers_at_once": (1, 50),
    "offers_outstanding": (1, 10_000),
}
"""Least and greatest value of a setting that is a number: outside, no time could be told any more."""


@dataclass(frozen=True, slots=True)
class BankSettings:
    """What the whole bank agrees on; every field has a stated default."""

    zone: str = "Asia/Shanghai"
    """IANA zone that decides days, weeks and month ends."""
    country: str = "CN"
    """ISO country of the public holidays, or "none"."""
    business_offset_seconds: int = 0
    """Business time minus wall time; a multiple of 900, moves forward only, 0 in production."""
    quarter_seconds: float = 900.0
    """Wall seconds that a business quarter-hour lasts; 900 but in the demo, which turns days faster."""
    hold_seconds: int = 600
    """Wall seconds a hold lives before it expires."""
    min_notice_minutes: int = 60
    """Business minutes between an attempt and the start of its slot."""
    booking_window_days: int = 62
    """How many days ahead may be booked."""
    idle_days: int = 14
    """Business days without a try after which an open wish episode closes as unmet."""
    waitlist_days: int = 28
    """How many days after the wished one a waitlist entry covers, unless it says so itself."""
    offer_seconds: int = 1800
    """Wall seconds an offer to the waitlist stands."""
    offers_at_once: int = 20
    """New offers of a branch in one sweep at most: freed units are handed out a few at a time."""
    offers_outstanding: int = 100
    """Offers of a branch that stand at the same time at most."""
    paused: bool = False
    """The pause switch: no plan is applied while it is on."""

    def tzinfo(self) -> ZoneInfo:
        """The bank's zone."""
        return ZoneInfo(self.zone)

    def business_now(self, wall_now: datetime) -> datetime:
        """Business time (aware UTC) at the wall time given."""
        return wall_now.astimezone(UTC) + timedelta(seconds=self.business_offset_seconds)

    def wall_at(self, moment: datetime, wall_now: datetime) -> datetime:
        """The wall time at which business time reaches the moment, if it goes on at its pace of now.

        Both aware. In production that is the moment less the offset. The demo's business days pass faster and
        jump over its nights, so that there it is an estimate (of the past `past_clock` is sure).
        """
        return wall_now + (moment - self.business_now(wall_now)) * (self.quarter_seconds / 900)

    def local_day(self, moment: datetime) -> date:
        """The bank-local day that contains the moment."""
        return moment.astimezone(self.tzinfo()).date()


_NAMES: Final = frozenset(f.name for f in fields(BankSettings))
_STORED: Final = select(settings_table.c.key, settings_table.c.value)


def load_settings(connection: Connection) -> BankSettings:
    """The bank's settings as stored, defaults where a key is absent; unknown keys are ignored."""
    return settings_of({row.key: row.value for row in connection.execute(_STORED)})


def settings_of(stored: Mapping[str, Any]) -> BankSettings:
    """The settings that these values make, defaults where a key is absent; unknown keys are ignored."""
    return BankSettings(**{k: v for k, v in stored.items() if k in _NAMES})


def save_settings(connection: Connection, changes: Mapping[str, Any], wall_now: datetime) -> BankSettings:
    """The settings after the changes, which are stored.

    Raises ValueError for an unknown key, a value of another type or out of bounds, an unknown zone, or an
    offset that is no multiple of 15 minutes or would move business time back.
    """
    current = load_settings(connection)
    updated = replace(current, **{key: _typed(key, value) for key, value in changes.items()})
    try:
        updated.tzinfo()
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"zone: {updated.zone!r} is no IANA time zone, e.g. Asia/Shanghai") from error
    offset = updated.business_offset_seconds
    if offset % int(OFFSET_STEP.total_seconds()):
        raise ValueError(f"business_offset_seconds {offset} is no multiple of 900 (15 minutes)")
    was_set = connection.scalar(
        select(settings_table.c.key).where(settings_table.c.key == "business_offset_seconds")
    )
    if was_set and offset < current.business_offset_seconds:
        raise ValueError(
            f"business time moves forward only: offset {offset} is before {current.business_offset_seconds}"
        )
    for key in changes:
        connection.execute(delete(settings_table).where(settings_table.c.key == key))
        connection.execute(
            insert(settings_table).values(key=key, value=getattr(updated, key), updated_utc=wall_now)
        )
    return updated


def _typed(key: str, value: Any) -> Any:
    """The value in the type of the setting's default; JSON writes 3.0 as 3."""
    known = asdict(BankSettings())
    if key not in known:
        raise ValueError(f"unknown setting {key!r}; known: {sorted(known)}")
    wanted = type(known[key])
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise ValueError(f"{key}: got {value!r}, expected {wanted.__name__}")
    least, greatest = BOUNDS.get(key, (None, None))
    if least is not None and not least <= value <= greatest:
        raise ValueError(f"{key}: got {value!r}, expected {least:,} to {greatest:,}")
    return value
