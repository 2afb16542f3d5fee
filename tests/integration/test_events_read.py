"""The announced events that a forecast reads: those of its days, as they were known then."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from booking_core import tables_forecast as tf
from booking_core.read.events import branch_scopes, events
from tests.support.bank import Bank
from tests.support.recorded import DAY, NOON, event_row, put, two_regions

YEAR: Any = {"since": DAY - timedelta(days=180), "until": DAY + timedelta(days=180)}


def known(bank: Bank, as_of: datetime | None) -> list[str]:
    """The ids of the events of the year, as known at the time."""
    return events(bank.engine, **YEAR, as_of=as_of)["event_id"].tolist()


def test_a_forecast_made_for_a_past_period_sees_the_calendar_as_it_was_known(bank: Bank) -> None:
    """An event is known from its announcement until it is ended, and not before or after."""
    hour = timedelta(hours=1)
    put(
        bank,
        tf.events,
        event_row("stands"),
        event_row("ended", created_utc=NOON + hour, ended_utc=NOON + 2 * hour),
    )
    assert known(bank, NOON - hour) == []
    assert known(bank, NOON) == ["stands"]
    assert known(bank, NOON + hour) == ["ended", "stands"]
    assert known(bank, NOON + 2 * hour) == ["stands"]
    assert known(bank, None) == ["stands"]
    with pytest.raises(ValueError, match="no time zone"):
        known(bank, NOON.replace(tzinfo=None))


def test_an_event_counts_for_every_day_it_touches(bank: Bank) -> None:
    """Both ends of the span and of the event are included."""
    put(bank, tf.events, event_row(first_day=DAY, last_day=DAY + timedelta(days=2)))
    for since, until, found in ((-5, -1, 0), (-5, 0, 1), (1, 1, 1), (2, 9, 1), (3, 9, 0)):
        span = {"since": DAY + timedelta(days=since), "until": DAY + timedelta(days=until)}
        assert len(events(bank.engine, **span)) == found


def test_what_nobody_told_is_missing(bank: Bank) -> None:
    """An effect that was not estimated is NaN, not 0 or 1."""
    put(bank, tf.events, event_row(expected_effect_ratio=None, confirmed=False))
    [row] = events(bank.engine, **YEAR).itertuples()
    assert (row.confirmed, row.expected_effect_ratio == row.expected_effect_ratio) == (False, False)


def test_each_branch_has_three_scopes_and_a_region_reads_what_holds_there(bank: Bank) -> None:
    """The bank's events hold everywhere, a region's in its branches, a branch's in itself."""
    two_regions(bank)
    scopes = ["bank:bank", "branch:b1", "branch:b2", "region:north", "region:south"]
    put(bank, tf.events, *(event_row(scope.replace(":", "-"), scope=scope) for scope in scopes))
    assert branch_scopes(bank.engine) == {
        "b1": ("bank:bank", "region:north", "branch:b1"),
        "b2": ("bank:bank", "region:south", "branch:b2"),
    }
    assert events(bank.engine, **YEAR)["scope"].tolist() == scopes
    south = events(bank.engine, **YEAR, region="south")["scope"].tolist()
    assert south == ["bank:bank", "branch:b2", "region:south"]
