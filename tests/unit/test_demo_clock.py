"""The demo's clock puts business time where the story needs it, and only ever forward."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_core.settings import BankSettings
from demo.clock import QUARTER, next_eve, offset_for, quarters_of

CHICAGO = BankSettings(zone="America/Chicago", country="US")
EVE = date(2016, 7, 28)
WALLS = st.datetimes(datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2027-01-01"))


@given(WALLS, st.integers(0, 39))
def test_offset_lands_in_the_wanted_quarter_hour(wall: datetime, index: int) -> None:
    """Business time under the offset lies in the wanted quarter-hour; the offset is a multiple of 900."""
    now, target = wall.replace(tzinfo=UTC), quarters_of(EVE, CHICAGO)[index]
    offset = offset_for(target, now)
    business = now + timedelta(seconds=offset)
    assert offset % 900 == 0
    assert target <= business < target + QUARTER


@given(
    WALLS,
    st.lists(st.floats(0.0, 900.0), min_size=1, max_size=39),
)
def test_offset_never_moves_back_while_quarters_go_on(wall: datetime, pauses: list[float]) -> None:
    """Stepping by quarter-hours with any pauses of up to 15 minutes never lowers the offset."""
    now, offsets = wall.replace(tzinfo=UTC), []
    for quarter, pause in zip(quarters_of(EVE, CHICAGO), [0.0, *pauses], strict=False):
        now += timedelta(seconds=pause)
        offsets.append(offset_for(quarter, now))
    assert offsets == sorted(offsets)


def test_business_day_has_forty_quarter_hours() -> None:
    """The day is played from 08:00 to 18:00 in the bank's own zone."""
    quarters = quarters_of(EVE, CHICAGO)
    assert quarters[0] == datetime(2016, 7, 28, 13, 0, tzinfo=UTC)
    assert quarters[-1] + QUARTER == datetime(2016, 7, 28, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("local", "eve"),
    [
        ("2012-01-01T00:00", "2016-07-28"),
        ("2016-07-28T07:50", "2016-07-28"),
        ("2016-07-28T08:10", "2016-07-28"),
        ("2016-07-28T08:15", "2016-07-29"),
        ("2016-07-31T07:45", "2016-07-31"),
        ("2016-07-31T23:59", "2016-08-01"),
    ],
)
def test_next_eve_is_the_next_day_not_begun(local: str, eve: str) -> None:
    """A day that has begun is not played again, and nothing is played before the sample's first eve."""
    now = datetime.fromisoformat(local).replace(tzinfo=CHICAGO.tzinfo())
    assert next_eve(now, CHICAGO, EVE) == date.fromisoformat(eve)
