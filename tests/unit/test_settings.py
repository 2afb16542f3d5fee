"""Bank settings refuse what would break every process that reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from booking_core.database import write_transaction
from booking_core.settings import BankSettings, load_settings, save_settings
from tests.support.bank import Bank

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def save(bank: Bank, **changes: Any) -> BankSettings:
    with write_transaction(bank.engine) as connection:
        return save_settings(connection, changes, NOW)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zone": "Mars/Olympus"}, "no IANA time zone"),
        ({"hold_seconds": "600"}, "expected int"),
        ({"hold_minutes": 10}, "unknown setting"),
        ({"business_offset_seconds": 901}, "multiple of 900"),
        ({"business_offset_seconds": 900 * 10**12}, "business_offset_seconds: got 9.*, expected"),
        ({"quarter_seconds": 0}, "quarter_seconds: got 0.0, expected 0.1 to"),
        ({"quarter_seconds": float("nan")}, "quarter_seconds: got nan"),
        ({"hold_seconds": -1}, "hold_seconds: got -1, expected 1 to"),
        ({"booking_window_days": 10**9}, "booking_window_days"),
        ({"idle_days": 0}, "idle_days"),
        ({"min_notice_minutes": -1}, "min_notice_minutes"),
    ],
)
def test_an_unfit_setting_is_named_and_nothing_is_stored(
    sqlite_bank: Bank, changes: dict[str, Any], message: str
) -> None:
    """The error says which setting and what was expected; the stored ones stay."""
    with sqlite_bank.engine.connect() as connection:
        before = load_settings(connection)
    with pytest.raises(ValueError, match=message):
        save(sqlite_bank, **changes)
    with sqlite_bank.engine.connect() as connection:
        assert load_settings(connection) == before


def test_business_time_starts_anywhere_and_then_moves_forward_only(sqlite_bank: Bank) -> None:
    """The first offset may be negative; a later one may not lie before it."""
    assert save(sqlite_bank, business_offset_seconds=-9000).business_offset_seconds == -9000
    assert save(sqlite_bank, business_offset_seconds=-8100).business_offset_seconds == -8100
    with pytest.raises(ValueError, match="forward only"):
        save(sqlite_bank, business_offset_seconds=-9000)
