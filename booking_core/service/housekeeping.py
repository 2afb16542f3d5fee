"""What time does: holds, offers and temporary quotas expire, what is free goes to those who wait.

Plans that nobody approved in time are rejected.

Every worker sweeps; each change re-reads what it changes under its locks, so several sweeps at once
do no more than one.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timedelta
from typing import Final

from booking_core.service.changes import expire
from booking_core.service.core import Core, moment
from booking_core.service.offers import promote
from booking_core.service.plans import reject_overdue
from booking_core.store import attempts, bookings, plans, temporaries

SWEEP_SECONDS: Final = 3.0
KEY_DAYS: Final = 7
"""How long a repeated Idempotency-Key is recognised."""
AT_ONCE: Final = 32
"""Holds given back by one transaction: their slots stay locked meanwhile."""
ACTOR: Final = "housekeeping"

log = logging.getLogger(__name__)


def sweep(core: Core) -> int:
    """How many holds and offers expired; what is free is offered to those who wait.

    On the way idle episodes close, temporary quotas end, old keys are forgotten, overdue plans rejected.
    """
    with core.engine.connect() as connection:
        now = moment(core, connection)
        idle_days, stale = now.settings.idle_days, now.wall - timedelta(days=KEY_DAYS)
        idle = attempts.any_idle(connection, business_now=now.business, idle_days=idle_days)
        idle = idle or bookings.any_key(connection, stale) or temporaries.any_due(connection, now.wall)
        overdue = plans.any_overdue(connection, now.wall)
    if overdue:
        with core.transaction() as connection:
            reject_overdue(connection, now.wall)
    if idle:
        with core.transaction() as connection:  # in the order of docs/locking.md: counters, episodes, keys
            temporaries.end_due(connection, now.wall)
            attempts.close_idle(connection, business_now=now.business, idle_days=idle_days)
            bookings.forget_keys(connection, stale)
    expired, until = 0, time.monotonic() + SWEEP_SECONDS
    while given_back := _expire_some(core, now.wall):
        expired += given_back
        if time.monotonic() > until:
            break
    promote(core)
    return expired


def _expire_some(core: Core, now: datetime) -> int:
    """How many of the oldest holds and offers that are over were given back by this worker."""
    with core.engine.connect() as connection:
        due = bookings.due_bookings(connection, now)
    return sum(expire(core, due[n : n + AT_ONCE], ACTOR) for n in range(0, len(due), AT_ONCE))


class Housekeeper:
    """A thread that sweeps every few seconds; a fault is logged and the next sweep tries again."""

    def __init__(self, core: Core, every_seconds: float = SWEEP_SECONDS) -> None:
        self._core = core
        self._every = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the sweep under way."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                sweep(self._core)
            except Exception:
                log.warning("the sweep failed and is tried again in %s s", self._every, exc_info=True)
