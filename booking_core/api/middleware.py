"""What surrounds every request: trace id, counting, timing, shedding, and faults told once. Pure ASGI."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from booking_core.api.access import ATTEMPT_PATH
from booking_core.api.responses import fault_response
from booking_core.pressure import UNCOUNTED_PATHS
from booking_core.service.core import Core
from metrics.instruments import UNKNOWN_CHANNEL
from metrics.logs import trace_id_of, trace_id_var

METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})

BODY_BYTES: Final = 16 * 1024 * 1024
"""The greatest body that is read at all; a plan of 20,000 items fits."""

log = logging.getLogger("booking_core.access")


class Surroundings:
    """The one middleware. `shed_above` bounds the requests in flight: a queue without bound is latency."""

    def __init__(self, app: ASGIApp, shed_above: int) -> None:
        self._app = app
        self._shed_above = shed_above
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        trace_id_var.set(trace_id_of(headers.get(b"traceparent")))
        started = time.perf_counter()
        scope.setdefault("state", {})["started"] = started
        status = 500
        answered = False

        async def watched(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                message["headers"] = [*message["headers"], (b"x-trace-id", trace_id_var.get().encode())]
            await send(message)

        state = scope["app"].state
        counted = scope["path"] not in UNCOUNTED_PATHS
        if counted:
            state.pressure.begin()
        state.core.instruments.in_flight.inc()
        self._in_flight += 1
        try:
            if counted and self._in_flight > self._shed_above:
                await self._tell(None, scope, receive, watched, headers)
            else:
                await self._app(scope, _bounded(receive), watched)
        except Exception as fault:
            if answered:
                log.exception("fault after the answer began")
            else:
                await self._tell(fault, scope, receive, watched, headers)
        finally:
            self._in_flight -= 1
            state.core.instruments.in_flight.dec()
            if counted:
                state.pressure.end(status)
            self._observe(state.core, scope, status, time.perf_counter() - started)

    @staticmethod
    async def _tell(
        fault: Exception | None, scope: Scope, receive: Receive, send: Send, headers: dict[Any, str]
    ) -> None:
        reason, response = fault_response(fault, headers.get(b"accept-language"))
        if scope["method"] == "POST" and scope["path"].startswith(ATTEMPT_PATH):
            instruments = scope["app"].state.core.instruments
            instruments.refused(UNKNOWN_CHANNEL, reason)
            instruments.attempts_unrecorded.inc()
        await response(scope, receive, send)

    @staticmethod
    def _observe(core: Core, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in METHODS else "other"
        core.instruments.request_seconds.labels(route, method, str(status)).observe(seconds)
        level = logging.INFO if route not in UNCOUNTED_PATHS else logging.DEBUG
        extra = {"route": route, "method": method, "status": status, "seconds": round(seconds, 4)}
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
