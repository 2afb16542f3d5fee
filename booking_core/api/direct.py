"""POST /v1/bookings past ASGI: the plainest form of that request goes from the socket straight to the intake.

A storm is made of these requests, and for each of them gunicorn's asgi worker makes a task, a scope and three
messages: more than a refusal may cost. What is not exactly of the plain form (pipelined, chunked, in parts,
another route) goes gunicorn's way and is answered the same.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from gunicorn.asgi.protocol import ASGIProtocol, _get_cached_date_header
from gunicorn.workers import gasgi
from starlette.responses import Response

from booking_core.api.access import ATTEMPT_PATH
from booking_core.api.responses import retry_seconds
from booking_core.api.take import NO_TRACE, Intake, Try, made
from metrics.contract import Reason
from metrics.logs import trace_id_of, trace_id_var

PLAIN: Final = re.compile(
    rb"POST /v1/bookings HTTP/1\.1\r\n"
    rb"((?:[A-Za-z][A-Za-z0-9-]*:[ \t]*[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?\r\n){1,40})\r\n"
)
"""Head of the plain form: fields of one line each, in ASCII. Anything else is gunicorn's to judge."""
FIELD: Final = re.compile(rb"([^:\r\n]+):[ \t]*([^\r\n]*)\r\n")
HEAD_BYTES: Final = 8_000
OTHERS: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"http2-settings", b"te", b"trailer"})
"""Fields that say how the message or the connection goes on: not plain."""
KEEP: Final = b"keep-alive"


class DirectWorker(gasgi.ASGIWorker):  # type: ignore[misc]
    """Gunicorn's asgi worker with connections that know the plain form."""

    def init_process(self) -> None:
        """Gunicorn looks its protocol up in its own module."""
        gasgi.ASGIProtocol = DirectProtocol
        super().init_process()


class DirectProtocol(ASGIProtocol):  # type: ignore[misc]
    """One connection."""

    _answering = False
    _early = b""
    """What came while a plain request was being answered."""

    def data_received(self, data: bytes) -> None:
        """Answer a plain request, hand anything else to gunicorn."""
        if self._answering:
            self._early += data
            self.transport.pause_reading()
        elif (asked := self._plain(data)) is None:
            super().data_received(data)
        else:
            self._answering = True
            self._cancel_keepalive_timer()
            intake: Intake = self.app.state.intake
            intake.watch.begin(asked.state["started"])
            if intake.busy():
                trace_id = asked.state["trace_id"]
                seconds = intake.note(asked, Reason.SYSTEM_BUSY, trace_id)
                status, rest = _refusal(asked.language, retry_seconds())
                told = b"".join(
                    (status, _get_cached_date_header(), rest.replace(NO_TRACE, trace_id.encode()))
                )
                if seconds:
                    self.worker.loop.call_later(seconds, self._tell, asked, 503, told)
                else:
                    self._tell(asked, HTTPStatus.SERVICE_UNAVAILABLE, told)
            else:
                asked.state["task"] = self.worker.loop.create_task(self._judge(intake, asked))

    def _plain(self, data: bytes) -> Try | None:
        """The try of a plain request, where nothing of another one is there."""
        parser = self._callback_parser
        if self._current_request is not None or parser is None or self._websocket or self.reader:
            return None
        head = PLAIN.match(data, 0, HEAD_BYTES)
        if head is None or parser._buffer or parser._state != "request_line":  # noqa: SLF001
            return None
        pairs = FIELD.findall(head[1])
        fields = {name.lower(): value for name, value in pairs}
        length = fields.get(b"content-length", b"")
        if len(fields) < len(pairs) or b"host" not in fields or not OTHERS.isdisjoint(fields):
            return None
        if fields.get(b"connection", KEEP).lower() != KEEP:
            return None
        if not length.isdigit() or len(length) > 8 or int(length) != len(data) - head.end():  # noqa: PLR2004
            return None
        trace_id = trace_id_of(fields.get(b"traceparent", b"").decode())
        state = {"started": time.perf_counter(), "trace_id": trace_id}
        return Try.of(fields, state, data[head.end() :])

    async def _judge(self, intake: Intake, asked: Try) -> None:
        trace_id_var.set(asked.state["trace_id"])
        response = await intake.told(asked)
        status = response.status_code
        head = b"".join((_status(status), _get_cached_date_header(), *_lines(response)))
        trace = b"x-trace-id: %b\r\n\r\n" % asked.state["trace_id"].encode()
        self._tell(asked, status, head + trace + bytes(response.body))

    def _tell(self, asked: Try, status: int, told: bytes) -> None:
        """Send the answer, and go on with what came meanwhile."""
        intake: Intake = self.app.state.intake
        if not self._closed:
            self._safe_write(told)
        intake.watch.end(status, asked.state["started"], ATTEMPT_PATH, reason=asked.state.get("reason"))
        self._answering = False
        self.worker.nr += 1
        if self._closed:
            return
        if not self.worker.alive:
            self._close_transport()
            return
        self._arm_keepalive_timer()
        if self._early:
            early, self._early = self._early, b""
            self.transport.resume_reading()
            self.data_received(early)


@lru_cache(maxsize=1000)
def _refusal(accept_language: str, seconds: int) -> tuple[bytes, bytes]:
    """Status line and the rest of a refusal that is told by the thousand; only its trace id is missing."""
    response = made(Reason.SYSTEM_BUSY, accept_language, seconds)
    trace = b"x-trace-id: %b\r\n\r\n" % NO_TRACE
    return _status(response.status_code), b"".join(_lines(response)) + trace + bytes(response.body)


@lru_cache
def _status(status: int) -> bytes:
    return b"HTTP/1.1 %d %b\r\nServer: gunicorn/asgi\r\n" % (status, HTTPStatus(status).phrase.encode())


def _lines(response: Response) -> list[bytes]:
    return [b"%b: %b\r\n" % pair for pair in response.raw_headers]
