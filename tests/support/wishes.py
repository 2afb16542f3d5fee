"""Booking without HTTP: a core on a bank's database, wishes and callers that a test can vary."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from booking_core.domain import Wish
from booking_core.service import bookings
from booking_core.service.bookings import Refusal, Taken
from booking_core.service.core import Asking, Caller, Core
from metrics.contract import Channel, Reason, TokenScope
from metrics.instruments import Instruments
from metrics.logs import new_trace_id


@dataclass
class Wall:
    """A wall clock that stands until it is moved."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        """The time it stands at."""
        return self.now

    def move(self, **span: float) -> None:
        """Move on by the span (seconds=…, minutes=…, days=…)."""
        self.now += timedelta(**span)


def core_on(engine: Engine, wall: Wall | None = None) -> Core:
    """A core with instruments of its own."""
    return Core(engine, Instruments(), wall or Wall())


def asking(*, region: str | None = None, holder: str | None = None, token_id: str = "t1") -> Asking:
    """A channel's request, now."""
    scopes = frozenset({TokenScope.CUSTOMER if holder else TokenScope.CHANNEL})
    return Asking(Caller(token_id, "test", scopes, region, holder), new_trace_id(), time.perf_counter())


def wish(loan: str, slot: str, channel: Channel = Channel.APP, **more: object) -> Wish:
    """A wish for the slot."""
    return Wish(loan, slot, channel, **more)  # type: ignore[arg-type]


def book(core: Core, loan: str, slot: str, *, key: str | None = None, **more: object) -> Taken | Refusal:
    """The outcome of one booking request, with a key of its own unless given."""
    return bookings.book(core, asking(), wish(loan, slot, **more), key or new_trace_id())


def reason(outcome: Taken | Refusal | None) -> Reason | None:
    """Why it was refused, None for what was granted."""
    return outcome.refused.reason if isinstance(outcome, Refusal) else None


def ref(outcome: Taken | Refusal | None) -> str:
    """The reference of what was booked."""
    assert isinstance(outcome, Taken), outcome
    return str(outcome.body["booking"]["ref"])
