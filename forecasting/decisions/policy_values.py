"""Which values the fields of a policy may have, where that is more than a number between two others."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

_TOTAL: Final = re.compile(r"(?:bank:bank|region:[^:]+):(?:day|week|month)")


def is_half_hour(text: object) -> bool:
    """Whether the text is a bank-local time on a whole half-hour, 00:00 to 24:00."""
    return isinstance(text, str) and re.fullmatch(r"(([01]\d|2[0-3]):(00|30)|24:00)", text) is not None


def are_days(days: tuple[str, ...]) -> bool:
    """Whether all are ISO days."""
    try:
        return all(date.fromisoformat(day) is not None for day in days)
    except (TypeError, ValueError):
        return False


def are_totals(names: tuple[str, ...]) -> bool:
    """Whether all name a limit of a region or the bank, by day, week or month."""
    return all(isinstance(name, str) and _TOTAL.fullmatch(name) for name in names)


def are_month_days(days: tuple[int, ...]) -> bool:
    """Whether all are days of a month."""
    return all(type(day) is int and 1 <= day <= 31 for day in days)  # noqa: PLR2004 – days of a month


def are_lengths(hours: tuple[float, ...]) -> bool:
    """Whether all are lengths in whole half-hours, and there is one."""
    return bool(hours) and all(
        type(each) in {int, float} and each > 0 and float(each * 2).is_integer() for each in hours
    )
