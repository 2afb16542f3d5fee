"""Group commit: jobs that wait are judged together and committed once.

One thread of each worker process takes whatever waits, so a lone request goes at once and a crowd shares
one transaction: the busier, the larger the batch. Nothing waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, Final, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from booking_core.database import write_transaction
from booking_core.service.batch import Batch, Job, Moved
from booking_core.service.core import RETRIED_STATES, TRIES, Core

T = TypeVar("T")

BATCH_JOBS: Final = 64
"""Jobs of one transaction at most: beyond, locks are held longer than is won."""
GATHER_SECONDS: Final = 0.006
"""How long a crowd that was just answered is waited for at most."""
GATHER_STEP: Final = 0.0005
NEWEST: Final = 0.2
"""Weight of the newest batch in how long a batch takes."""

log = logging.getLogger(__name__)


def run(core: Core, jobs: Sequence[Job[Any]]) -> list[Any]:
    """The answer of each job, or the exception that it alone would raise; committed when this returns.

    A batch that fails is tried again in halves, so that a poisoned job fails alone.
    """
    try:
        return core.retried(lambda: _run_once(core, jobs))
    except Exception as fault:  # noqa: BLE001 – handed to whoever asked
        if len(jobs) == 1 or not _one_may_cause(fault):
            return [fault] * len(jobs)
        log.info("a batch of %s failed and is tried in halves: %s", len(jobs), fault)
    middle = len(jobs) // 2
    return [*run(core, jobs[:middle]), *run(core, jobs[middle:])]


def do(core: Core, job: Job[T]) -> T:
    """The job's answer: through the batcher, or where none runs in a transaction of its own.

    Blocks the thread. Raises what the job or the database raised.
    """
    if core.batcher is not None:
        return core.batcher.do(job)
    answer = run(core, [job])[0]
    if isinstance(answer, Exception):
        raise answer
    return answer  # type: ignore[no-any-return]


def _one_may_cause(fault: Exception) -> bool:
    """Whether the fault may lie in one of the jobs: a database that is away or too slow fails them all."""
    if isinstance(fault, OperationalError):
        return getattr(fault.orig, "sqlstate", None) in RETRIED_STATES
    return not isinstance(fault, PoolTimeoutError | InterfaceError | OSError)


def _run_once(core: Core, jobs: Sequence[Job[Any]]) -> list[Any]:
    for _ in range(TRIES):
        try:
            with write_transaction(core.engine) as connection:
                batch = Batch.load(connection, core.wall, [job.needs for job in jobs])
                answers = [job.work(batch) for job in jobs]
                before = time.perf_counter()
                batch.write(connection)
        except Moved:
            continue
        core.instruments.commit_seconds.observe(time.perf_counter() - before)
        core.instruments.batch_size.observe(len(jobs))
        for outcome in batch.offers_ended:
            core.instruments.waitlist_offers.labels(outcome.value).inc()
        return answers
    raise Moved(f"{TRIES} times in a row")


class TooLate(Exception):  # noqa: N818 – nothing failed
    """The job was not judged: its time was over before its turn, or the process ends."""


@dataclass(slots=True)
class _Waiting:
    """A job in the queue and who waits for it."""

    job: Job[Any]
    future: asyncio.Future[Any] | Future[Any]
    since: float
    until: float
    """perf_counter seconds after which nobody waits for the answer."""


class Batcher:
    """The queue of one worker process and the thread that empties it."""

    def __init__(self, core: Core, limit: int = BATCH_JOBS) -> None:
        self._core = core
        self._limit = limit
        self._queue: deque[_Waiting] = deque()
        self._filled = threading.Event()
        self._stopping = False
        self._batch_seconds = 0.0
        self._begun: float | None = None
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)

    def start(self) -> None:
        """Begin to take jobs; call it in the worker process, after the fork."""
        self._thread.start()

    def stop(self) -> None:
        """Stop when the queue is empty."""
        self._stopping = True
        self._filled.set()
        self._thread.join(timeout=30)
        while self._queue:
            _tell([self._queue.popleft()], [TooLate("the process ends")])

    @property
    def queued(self) -> int:
        """Jobs that wait."""
        return len(self._queue)

    def wait_seconds(self) -> float:
        """How long a job added now would wait for its answer, as batches have gone lately."""
        if (begun := self._begun) is None:
            return 0.0
        batch = max(self._batch_seconds, time.perf_counter() - begun)
        return batch * (1 + len(self._queue) // self._limit)

    def do(self, job: Job[T]) -> T:
        """The job's answer, for a thread that may block. Raises what the job or the database raised."""
        future: Future[T] = Future()
        self._add(job, future)
        return future.result()

    async def do_async(self, job: Job[T], seconds: float = inf) -> T:
        """The job's answer, for the event loop. Raises what the job or the database raised.

        Raises TooLate where it was not its turn within the seconds.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._add(job, future, seconds)
        return await future

    def _add(self, job: Job[Any], future: asyncio.Future[Any] | Future[Any], seconds: float = inf) -> None:
        if self._stopping:
            raise TooLate("the process ends")
        now = time.perf_counter()
        self._queue.append(_Waiting(job, future, now, now + seconds))
        self._filled.set()

    def _run(self) -> None:
        while True:
            self._filled.wait()
            self._filled.clear()
            while taken := self._take():
                _tell(taken, run(self._core, [waiting.job for waiting in taken]))
                took = time.perf_counter() - (self._begun or 0.0)
                self._batch_seconds += (took - self._batch_seconds) * NEWEST
                self._gather(len(taken))
            self._begun = None
            if self._stopping:
                return

    def _gather(self, answered: int) -> None:
        """Let the crowd that was just answered come back: one whole batch is cheaper than two halves.

        Whoever was alone is not waited for, so an idle service adds no wait.
        """
        wanted, until = min(answered, self._limit), time.perf_counter() + GATHER_SECONDS
        while answered > 1 and len(self._queue) < wanted and time.perf_counter() < until:
            time.sleep(GATHER_STEP)

    def _take(self) -> list[_Waiting]:
        """The next batch; those whose time is over are told so on the way."""
        self._begun = now = time.perf_counter()
        if self._queue:  # the longest wait of the batch: a figure for each job would cost more than it tells
            self._core.instruments.queue_wait_seconds.observe(now - self._queue[0].since)
        taken: list[_Waiting] = []
        while self._queue and len(taken) < self._limit:
            waiting = self._queue.popleft()
            if waiting.until < now:
                _tell([waiting], [TooLate("its deadline passed before its turn")])
            else:
                taken.append(waiting)
        return taken


def _tell(taken: Sequence[_Waiting], answers: Sequence[Any]) -> None:
    """Hand the answers out; those of one event loop in one wake-up."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for waiting, answer in zip(taken, answers, strict=True):
        if isinstance(waiting.future, asyncio.Future):
            by_loop.setdefault(waiting.future.get_loop(), []).append((waiting.future, answer))
        else:
            _settle(waiting.future, answer)
    for loop, told in by_loop.items():
        with suppress(RuntimeError):  # the loop has ended, and with it who asked
            loop.call_soon_threadsafe(_settle_all, told)


def _settle_all(told: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, answer in told:
        _settle(future, answer)


def _settle(future: asyncio.Future[Any] | Future[Any], answer: Any) -> None:
    if future.done():  # whoever asked has gone
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
