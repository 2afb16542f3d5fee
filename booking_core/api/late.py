"""System refusals: told and counted at once, put on record when there is room.

A refusal must cost little, so the body is kept as sent, in a bounded buffer, and read only when the batches
are no longer full. What does not fit, or cannot be written, is counted as unrecorded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from booking_core.api.forms import BookingForm, parse
from booking_core.domain import Refused
from booking_core.service.batch import Job
from booking_core.service.batching import BATCH_JOBS, run
from booking_core.service.bookings import Judgement, refusing
from booking_core.service.core import Asking, Caller, Core
from booking_core.service.tokens import caller_of
from metrics.contract import Reason

KEPT: Final = 10_000
"""Refusals kept at most; a body is a few hundred bytes."""
EVERY_SECONDS: Final = 0.25
"""Between two batches: who hammers costs us no more than these."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """A try that was refused without being read."""

    secret: str
    body: bytes
    reason: Reason
    trace_id: str
    started: float
    answered: float = field(default_factory=time.perf_counter)


class LateRecords:
    """The buffer of one worker process and the thread that writes it down."""

    def __init__(self, core: Core, *, kept: int = KEPT, every_seconds: float = EVERY_SECONDS) -> None:
        self._core = core
        self._limit = kept
        self._every = every_seconds
        self._kept: deque[Unrecorded] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="late-records", daemon=True)

    def start(self) -> None:
        """Begin to write down what is kept."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and write down what is left; call it when the last request was answered."""
        self._stop.set()
        self._thread.join(timeout=10)
        while self._flush():
            pass
        self._core.instruments.attempts_unrecorded.inc(len(self._kept))

    def keep(self, refusal: Unrecorded) -> None:
        """Keep a refusal that was told just now, if there is room."""
        if len(self._kept) < self._limit:
            self._kept.append(refusal)
        else:
            self._core.instruments.attempts_unrecorded.inc()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            if self._core.batcher is None or self._core.batcher.queued < BATCH_JOBS:
                self._flush()

    def _flush(self) -> int:
        """How many were taken from the buffer, a batch at most; where the database is away they stay.

        Nothing is raised: one that cannot be read must not end the thread that writes the others down.
        """
        some = [self._kept.popleft() for _ in range(min(BATCH_JOBS, len(self._kept)))]
        if not some:
            return 0
        try:
            callers = self._callers_of({refusal.secret for refusal in some})
            # nobody's tries are only counted
            jobs = [_job(refusal, caller) for refusal in some if (caller := callers.get(refusal.secret))]
            answers = run(self._core, jobs) if jobs else []
        except SQLAlchemyError as fault:
            log.warning("%s refusals wait for the database: %s", len(some), str(fault).splitlines()[0])
            self._kept.extendleft(reversed(some))
            return 0
        except Exception as fault:
            log.exception("refusals could not be read")
            answers = [fault] * len(some)
        faults = [answer for answer in answers if isinstance(answer, Exception)]
        if faults:
            log.warning("%s refusals could not be put on record: %s", len(faults), faults[0])
            self._core.instruments.attempts_unrecorded.inc(len(faults))
        return len(some)

    def _callers_of(self, secrets: set[str]) -> dict[str, Caller]:
        """Who bears the secrets, as far as they are known."""
        now = self._core.wall()
        with self._core.engine.connect() as connection:
            found = {secret: caller_of(connection, secret, now) for secret in secrets}
        return {secret: caller for secret, caller in found.items() if caller}


def _job(refusal: Unrecorded, caller: Caller) -> Job[Judgement]:
    """The job that puts the refusal on record, as of when it was told."""
    asking = Asking(caller, refusal.trace_id, refusal.started, refusal.answered)
    return refusing(asking, Refused(refusal.reason), parse(BookingForm, refusal.body)[1])
