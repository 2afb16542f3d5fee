"""Half-hours of a day by number, 0 (midnight) to 48 (the day's end): what staff is planned by."""

from __future__ import annotations

from typing import Final

HALF_HOUR_MINUTES: Final = 30


def half_hour(text: str) -> int:
    """The number of the half-hour that starts at the time, 0 (midnight) to 48 (the day's end)."""
    hours, minutes = text.split(":")
    return int(hours) * 2 + int(minutes) // HALF_HOUR_MINUTES


def clock_text(number: int) -> str:
    """The time at which the half-hour of this number starts, the reverse of `half_hour`."""
    return f"{number // 2:02d}:{number % 2 * HALF_HOUR_MINUTES:02d}"
