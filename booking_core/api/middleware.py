"""What surrounds every request: trace id, counting, timing, shedding, and faults told once. Pure ASGI."""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from booking_core.api.access import ATTEMPT_PATH, is_attempt
from booking_core.api.responses import fault_problem, response_of
from booking_core.api.watch import Watch
from booking_core.pressure import UNCOUNTED_PATHS
from booking_core.service.batching import TooLate
from metrics.instruments import UNKNOWN_CHANNEL
from metrics.logs import trace_id_of, trace_id_var

METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
BODY_BYTES: Final = 16 * 1024 * 1024
"""The greatest body that is read at all; a plan of 20,000 items fits."""

log = logging.getLogger(__name__)


class Surroundings:
    """The one middleware. `shed_above` bounds the requests in flight: a queue without bound is latency.

    Tries to take a slot go past it and past FastAPI's routing to the intake, which bounds its queue by time.
    """

    def __init__(self, app: ASGIApp, shed_above: int) -> None:
        self._app = app
        self._shed_above = shed_above
        self._in_flight = 0

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
        watch: Watch = state.watch
        watch.begin(started, counted=counted)
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
            self._in_flight -= not taking
            route = ATTEMPT_PATH if taking else getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in METHODS else "other"
            reason = scope["state"].get("reason")
            watch.end(status, started, route, method, reason=reason, counted=counted, taking=taking)

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
