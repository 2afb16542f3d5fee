"""The wall clock, as an argument: `Clock` is what everything that needs the time is given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall time now, aware UTC: the clock of a running service."""
    return datetime.now(UTC)
