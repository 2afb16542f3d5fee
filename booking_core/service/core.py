"""What every service function works with: the database, the clock, the instruments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from booking_core.clock import Clock
from booking_core.database import write_transaction
from metrics.contract import TokenScope
from metrics.instruments import Instruments

T = TypeVar("T")

RETRIED_STATES: Final = frozenset({"40001", "40P01"})
"""PostgreSQL's serialization failure and deadlock: nothing happened, judge again."""
TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Core:
    """The running core; one in each process."""

    engine: Engine
    instruments: Instruments
    wall: Clock

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
