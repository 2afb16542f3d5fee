"""What surrounds every request: trace id, counting, timing, shedding, and faults told once. Pure ASGI."""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from booking_core.api.access import ATTEMPT_PATH, is_attempt
from booking_core.api.responses import fault_problem, response_of
from booking_core.pressure import UNCOUNTED_PATHS
from booking_core.service.batching import TooLate
from booking_core.service.core import Core
from metrics.contract import Cause, Reason
from metrics.instruments import UNKNOWN_CHANNEL
from metrics.logs import trace_id_of, trace_id_var

METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
FEW: Final = 8
QUIET: Final = frozenset(r for r in Reason if r.cause in {Cause.CAPACITY, Cause.SYSTEM}) | {
    Reason.RATE_LIMITED
}
"""Why a try to take a slot was refused that is logged at level debug only."""

BODY_BYTES: Final = 16 * 1024 * 1024
"""The greatest body that is read at all; a plan of 20,000 items fits."""

log = logging.getLogger("booking_core.access")


class Surroundings:
    """The one middleware. `shed_above` bounds the requests in flight: a queue without bound is latency.

    Tries to take a slot go past it and past FastAPI's routing to the intake, which bounds its queue by time.
    """

    def __init__(self, app: ASGIApp, shed_above: int) -> None:
        self._app = app
        self._shed_above = shed_above
        self._in_flight = 0
        self._all = 0
        self._told_until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        trace_id = trace_id_of(headers.get(b"traceparent", b"").decode("latin-1"))
        trace_id_var.set(trace_id)
        started = time.perf_counter()
        scope.setdefault("state", {})["started"] = started
        status = 500
        answered = False

        async def watched(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                message["headers"] = [*message["headers"], (b"x-trace-id", trace_id.encode())]
            await send(message)

        state = scope["app"].state
        path = scope["path"]
        counted = path not in UNCOUNTED_PATHS
        taking = path == ATTEMPT_PATH and scope["method"] == "POST" and not scope["query_string"]
        if counted:
            state.pressure.begin()
        self._count(state.core, +1, started)
        self._in_flight += not taking
        try:
            if taking:
                await state.intake(scope, receive, watched)
            elif counted and self._in_flight > self._shed_above:
                raise TooLate("too many requests in flight")  # noqa: TRY301 – told like any other fault
            else:
                await self._app(scope, _bounded(receive), watched)
        except Exception as fault:
            if answered:
                log.exception("fault after the answer began")
            else:
                await self._tell(fault, scope, receive, watched, headers)
        finally:
            now = time.perf_counter()
            self._in_flight -= not taking
            self._count(state.core, -1, now)
            if counted:
                state.pressure.end(status)
            self._observe(state.core, scope, status, now - started, taking=taking)

    def _count(self, core: Core, change: int, now: float) -> None:
        """Keep the gauge of requests in flight: exactly while they are few, ten times a second in a crowd."""
        self._all += change
        if self._all <= FEW or now > self._told_until:
            self._told_until = now + 0.1
            core.instruments.in_flight.set(self._all)

    @staticmethod
    async def _tell(
        fault: Exception, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]
    ) -> None:
        found = fault_problem(fault)
        if is_attempt(scope):
            instruments = scope["app"].state.core.instruments
            instruments.refused(UNKNOWN_CHANNEL, found.reason)
            instruments.attempts_unrecorded.inc()
        response = response_of(found, headers.get(b"accept-language", b"").decode("latin-1"))
        await response(scope, receive, send)

    @staticmethod
    def _observe(core: Core, scope: Scope, status: int, seconds: float, *, taking: bool) -> None:
        """Count, time and log the request.

        Tries to take a slot that were held, found no place or were shed are lines at level debug: they come
        by the thousand a second, and the attempts table has every one with its trace id.
        """
        route = ATTEMPT_PATH if taking else getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in METHODS else "other"
        core.instruments.answered(route, method, status).observe(seconds)
        reason = scope["state"].get("reason")
        quiet = route in UNCOUNTED_PATHS or (taking and (reason is None or reason in QUIET))
        level = logging.DEBUG if quiet else logging.INFO
        if log.isEnabledFor(level):
            extra = {"route": route, "method": method, "status": status, "seconds": round(seconds, 4)}
            if reason:
                extra["reason"] = reason
            log.log(level, "%s %s %s", method, route, status, extra=extra)


def _bounded(receive: Receive) -> Receive:
    """The request's messages, up to the greatest body; beyond it HTTP 413 is raised."""
    unread = BODY_BYTES

    async def bounded() -> Message:
        nonlocal unread
        message = await receive()
        unread -= len(message.get("body", b""))
        if unread < 0:
            raise HTTPException(413, f"expected a body of at most {BODY_BYTES} bytes")
        return message

    return bounded
