"""Expiry, sweeps and promotions racing with bookings: nothing oversold, no unit lost, nobody forgotten."""

from __future__ import annotations

import pytest

from booking_core.store import locking
from tests.support.bank import Bank
from tests.support.expiry_race import Race, expiry_race


def wrongs(race: Race) -> list[object]:
    """All that went wrong in the race."""
    found = [*race.faults, *race.oversold, *race.drift]
    return found + [told for told in (race.idle, race.left) if told]


def test_what_runs_out_is_neither_lost_nor_sold_twice(bank: Bank) -> None:
    """Holds and offers of a second, two sweeps and promotions, customers of all kinds: every unit is told."""
    assert wrongs(expiry_race(bank, seconds=4)) == []


def test_without_locks_the_race_loses_or_sells_units_twice(
    postgres_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same race with the locks removed does not add up: it can fail."""
    monkeypatch.setattr(locking, "lock_clause", lambda statement: statement)
    race = expiry_race(postgres_bank, seconds=3)
    assert race.oversold or race.drift
