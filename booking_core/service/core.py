"""What every service function works with: the database, the clock, the instruments, who asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from booking_core.clock import Clock
from booking_core.database import write_transaction
from booking_core.decide import Rules
from booking_core.settings import BankSettings, load_settings
from metrics.contract import Channel, TokenScope
from metrics.instruments import Instruments

if TYPE_CHECKING:
    from booking_core.service.batching import Batcher

T = TypeVar("T")

RETRIED_STATES: Final = frozenset({"40001", "40P01"})
"""PostgreSQL's serialization failure and deadlock: nothing happened, judge again."""
TRIES: Final = 4

STAFF_CHANNELS: Final = frozenset({Channel.COUNTER, Channel.PHONE})
OTHERS_CHANNELS: Final = frozenset(Channel) - {Channel.COUNTER}


@dataclass(frozen=True, slots=True)
class Core:
    """The running core; one in each process."""

    engine: Engine
    instruments: Instruments
    wall: Clock
    batcher: Batcher | None = None
    """Where jobs are judged together; None = each in a transaction of its own."""

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One write transaction; its commit is timed."""
        with write_transaction(self.engine) as connection:
            yield connection
            before = time.perf_counter()
        self.instruments.commit_seconds.observe(time.perf_counter() - before)

    def retried(self, work: Callable[[], T]) -> T:
        """What the work returns, begun anew when another transaction was in its way."""
        for left in range(TRIES - 1, -1, -1):
            try:
                return work()
            except DBAPIError as fault:
                state = getattr(fault.orig, "sqlstate", None)
                if not left or not (isinstance(fault, IntegrityError) or state in RETRIED_STATES):
                    raise
        raise AssertionError("unreachable: the last try returns or raises")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: an authenticated token."""

    token_id: str
    name: str
    scopes: frozenset[TokenScope]
    region_id: str | None = None
    """Region claim; None = the whole bank."""
    holder: str | None = None
    """Customer tokens: whose loans."""

    def may_see(self, region_id: str | None) -> bool:
        """Whether the region lies within the claim; "bank" needs a token without a claim."""
        return self.region_id is None or self.region_id == region_id

    def channels(self) -> frozenset[Channel]:
        """What the caller may book through: staff by counter and phone, others by all but the counter."""
        own = OTHERS_CHANNELS if self.scopes & {TokenScope.CUSTOMER, TokenScope.CHANNEL} else frozenset()
        return own | STAFF_CHANNELS if TokenScope.OPERATOR in self.scopes else own


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, within which trace, since when (perf_counter seconds)."""

    caller: Caller
    trace_id: str
    started: float
    answered: float | None = None
    """When a system refusal was told that is only now put on record."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The settings and both clocks, read once for a judgement."""

    settings: BankSettings
    rules: Rules
    wall: datetime
    business: datetime


def moment(core: Core, connection: Connection) -> Moment:
    """The settings as committed and the time now."""
    return moment_of(load_settings(connection), core.wall())


def moment_of(settings: BankSettings, wall: datetime) -> Moment:
    """What the settings say at the wall time given."""
    rules = Rules(
        zone=settings.tzinfo(),
        min_notice_minutes=settings.min_notice_minutes,
        booking_window_days=settings.booking_window_days,
        hold_seconds=settings.hold_seconds,
    )
    return Moment(settings, rules, wall, settings.business_now(wall))
