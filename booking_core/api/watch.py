"""What is counted, timed and logged of the requests of one worker process."""

from __future__ import annotations

import logging
import time
from typing import Final

from booking_core.pressure import PressureCounter
from metrics.contract import Cause, Reason
from metrics.instruments import Instruments

FEW: Final = 8
QUIET: Final = frozenset(r for r in Reason if r.cause in {Cause.CAPACITY, Cause.SYSTEM}) | {
    Reason.RATE_LIMITED
}
"""Why a try to take a slot was refused that is logged at level debug only."""

log = logging.getLogger("booking_core.access")


class Watch:
    """The one pair of hands that counts a request in and out, whichever way it is served."""

    def __init__(self, instruments: Instruments, pressure: PressureCounter) -> None:
        self._instruments = instruments
        self._pressure = pressure
        self._in_flight = 0
        self._told_until = 0.0

    @property
    def crowded(self) -> bool:
        """Whether more than a few requests are in flight."""
        return self._in_flight > FEW

    def begin(self, now: float, *, counted: bool = True) -> None:
        """A request arrived (perf_counter seconds); `counted` where it is pressure of customers."""
        if counted:
            self._pressure.begin()
        self._gauge(+1, now)

    def end(
        self,
        status: int,
        started: float,
        route: str,
        method: str = "POST",
        *,
        reason: Reason | None = None,
        counted: bool = True,
        taking: bool = True,
    ) -> None:
        """It was answered: counted, timed and logged.

        Tries to take a slot that were held, found no place or were shed are lines at level debug: they come
        by the thousand a second, and the attempts table has every one with its trace id.
        """
        now = time.perf_counter()
        self._gauge(-1, now)
        if counted:
            self._pressure.end(status)
        self._instruments.answered(route, method, status).observe(now - started)
        quiet = not counted or (taking and (reason is None or reason in QUIET))
        level = logging.DEBUG if quiet else logging.INFO
        if log.isEnabledFor(level):
            extra = {"route": route, "method": method, "status": status, "seconds": round(now - started, 4)}
            if reason:
                extra["reason"] = reason
            log.log(level, "%s %s %s", method, route, status, extra=extra)

    def _gauge(self, change: int, now: float) -> None:
        """Keep the gauge of requests in flight: exactly while they are few, ten times a second in a crowd."""
        self._in_flight += change
        if self._in_flight <= FEW or now > self._told_until:
            self._told_until = now + 0.1
            self._instruments.in_flight.set(self._in_flight)
