"""POST /v1/bookings: the request that storms are made of, answered on the event loop without a thread.

The middleware calls `Intake` before FastAPI's routing; the documented route of api.bookings, which also only
looks (`?dry_run=true`), calls the same function. Nothing but a refusal's remedies is read in a thread.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from booking_core.api.access import BOOKERS, Customers, TokenCache, admitted, secret_of
from booking_core.api.forms import BODY_BYTES, Body, BookingForm, parse
from booking_core.api.late import LateRecords, Unrecorded
from booking_core.api.responses import ProblemError, fault_problem, problem_of, response_of, retry_seconds
from booking_core.api.watch import Watch
from booking_core.domain import FieldError, Refused
from booking_core.service.admission import Admission
from booking_core.service.batch import Job
from booking_core.service.batching import do
from booking_core.service.bookings import Judgement, refusing, taking, told_async, with_remedies
from booking_core.service.core import Asking, Core
from metrics.contract import Cause, Reason
from metrics.instruments import UNKNOWN_CHANNEL
from metrics.logs import trace_id_var

T = TypeVar("T")

KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
HEADERS: Final = (b"authorization", b"idempotency-key", b"accept-language")
NO_TRACE: Final = b"0" * 32
BEAT_SECONDS: Final = 0.05
GONE: Final = 499
"""Status, in our figures only, of a request whose client left before it had sent it."""


@dataclass(slots=True)
class Try:
    """A request as it came, with its state (which the access log tells), and the channel once it is known."""

    secret: str | None
    key: str
    language: str
    state: dict[str, Any]
    body: bytes = b""
    channel: str = UNKNOWN_CHANNEL

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes], state: dict[str, Any], body: bytes = b"") -> Try:
        """The try that these headers begin."""
        secret, key, language = (headers.get(name, b"").decode("latin-1") for name in HEADERS)
        return cls(secret_of(secret), key, language, state, body)


class Intake:
    """What answers the tries to take a slot in one worker process.

    `reading_limit` bounds the answers that wait for a thread: refusals' remedies, all where no batcher runs.
    """

    def __init__(
        self,
        core: Core,
        tokens: TokenCache,
        admission: Admission,
        late: LateRecords,
        watch: Watch,
        reading_limit: int,
    ) -> None:
        self._core = core
        self._tokens = tokens
        self.admission = admission
        self._late = late
        self.watch = watch
        self._reading_limit = reading_limit
        self._readers = 0
        self._lag = 0.0
        self._due = inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as an ASGI application."""
        response = await self.answer(scope, receive)
        await response(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        """What the request is told; whatever it was, nothing is raised."""
        headers = dict(reversed(scope["headers"]))  # the first of a name counts
        asked = Try.of(headers, scope["state"])
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return Response(status_code=GONE)
            asked.body += message.get("body", b"")
            if not message.get("more_body") or len(asked.body) > BODY_BYTES:
                break
        return await self.told(asked)

    async def told(self, asked: Try) -> Response:
        """What the try is told; whatever it was, nothing is raised."""
        language = asked.language
        try:
            if self.busy():
                reason, seconds = Reason.SYSTEM_BUSY, retry_seconds()
                return await self.unjudged(asked, reason, _copy(reason, language, seconds))
            caller = await admitted(self._tokens, asked.secret, BOOKERS)
            return await self._judged(asked, Asking(caller, trace_id_var.get(), asked.state["started"]))
        except Exception as fault:  # noqa: BLE001 – told in the one place where faults become reasons
            found = fault_problem(fault)
            return await self.unjudged(asked, found.reason, response_of(found, language))

    async def _judged(self, asked: Try, asking: Asking) -> Response:
        """What the batch says of the try. Raises what kept it from being judged."""
        form, said = parse(BookingForm, asked.body)
        asked.channel = said.channel or UNKNOWN_CHANNEL
        customer = asking.caller.holder or said.loan_ref
        if customer and (seconds := self.admission.enter(customer)):
            reason = Reason.RATE_LIMITED
            return await self.unjudged(asked, reason, _copy(reason, asked.language, ceil(seconds)))
        try:
            if isinstance(form, Refused) or not KEY.fullmatch(asked.key):
                refused = form if isinstance(form, Refused) else _key_fault(asked.key)
                answer: Any = await self._do(asked, refusing(asking, refused, said))
                outcome: Any = with_remedies(self._core, answer, said)
            else:
                wish = form.wish()
                answer = await self._do(asked, taking(asking, wish, asked.key))
                telling = told_async(self._core, wish, answer)
                outcome = await (self._reading(telling) if isinstance(answer, Judgement) else telling)
        finally:
            if customer:
                self.admission.leave(customer)
        if isinstance(answer, Judgement):
            asked.state["reason"] = answer.refused.reason
            return response_of(problem_of(outcome), asked.language)
        replay = {"Idempotent-Replay": "true"} if outcome.replayed else None
        return Response(to_json(outcome.body), 201, replay, "application/json")

    async def _do(self, asked: Try, job: Job[T]) -> T:
        if self._core.batcher is None:
            return await self._reading(run_in_threadpool(do, self._core, job))
        left = self.admission.limits.deadline_seconds - (time.perf_counter() - asked.state["started"])
        return await self._core.batcher.do_async(job, left)

    async def _reading(self, answer: Awaitable[T]) -> T:
        self._readers += 1
        try:
            return await answer
        finally:
            self._readers -= 1

    def beat(self) -> None:
        """Note how late the event loop is, now and from then on: so long requests and answers lie unseen."""
        loop = asyncio.get_running_loop()
        self._lag = max(0.0, loop.time() - self._due)
        self._due = loop.time() + BEAT_SECONDS
        loop.call_later(BEAT_SECONDS, self.beat)

    def busy(self) -> bool:
        """Whether a newcomer would wait too long: to be read, for its turn, to be answered."""
        batcher = self._core.batcher
        # a machine that stood still is no crowd: who comes alone is let in
        lag = self._lag if self.watch.crowded else 0.0
        wait = 2 * lag + (0.0 if batcher is None else batcher.wait_seconds())
        return self._readers >= self._reading_limit or self.admission.too_long(wait)

    async def unjudged(self, asked: Try, reason: Any, response: Response) -> Response:
        """The response, after the try was counted, kept for the record and held back for its turn."""
        if seconds := self.note(asked, reason, trace_id_var.get()):
            await asyncio.sleep(seconds)
        return response

    def note(self, asked: Try, reason: Any, trace_id: str) -> float:
        """For how many seconds the refusal is to be held back; it is counted, and kept for the record."""
        self._core.instruments.refused(asked.channel, reason)
        asked.state["reason"] = reason
        if asked.secret and (reason.cause is Cause.SYSTEM or reason is Reason.RATE_LIMITED):
            self._late.keep(Unrecorded(asked.secret, asked.body, reason, trace_id, asked.state["started"]))
        return self.admission.pause()


async def paced(request: Request, asking: Customers, raw: Body) -> AsyncIterator[None]:
    """A dependency of the other routes that customers could hammer: the intake's bounds on one customer."""
    intake: Intake = request.app.state.intake
    said = parse(BookingForm, raw)[1]
    customer = asking.caller.holder or said.loan_ref or request.url.path
    if seconds := intake.admission.enter(customer):
        secret, channel = secret_of(request.headers.get("authorization")), said.channel or UNKNOWN_CHANNEL
        asked = Try(secret, "", "", request.scope["state"], raw, channel)
        await intake.unjudged(asked, Reason.RATE_LIMITED, Response())
        raise ProblemError(Reason.RATE_LIMITED, retry_after_seconds=ceil(seconds))
    try:
        yield
    finally:
        intake.admission.leave(customer)


def _copy(reason: Reason, accept_language: str, seconds: int) -> Response:
    """A refusal that must cost little: a copy of one made before, with its own trace id."""
    response = copy(made(reason, accept_language, seconds))
    response.body = bytes(response.body).replace(NO_TRACE, trace_id_var.get().encode())
    return response


@lru_cache(maxsize=1000)
def made(reason: Reason, accept_language: str, seconds: int) -> Response:
    """The refusal as it is sent, but for its trace id: NO_TRACE."""
    found = ProblemError(reason, retry_after_seconds=seconds)
    return response_of(found, accept_language, trace_id=NO_TRACE.decode())


def _key_fault(key: str) -> Refused:
    error = FieldError(
        "header:Idempotency-Key",
        "send 1 to 128 visible ASCII characters, new for each booking and the same for its repetitions",
        "请提供 1 至 128 个可见 ASCII 字符；每次新预约使用新值，重试时保持不变",
    )
    reason = Reason.MISSING_FIELD if not key else Reason.INVALID_FIELD
    return Refused(reason, errors=(error,), context={"fields": "Idempotency-Key"})
