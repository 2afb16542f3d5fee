"""What is free, shared by all who ask in one worker process; and what became of what was shown as free.

A look is fresh while few ask. From CROWD_ASKS looks a second on, equal questions are answered from one look
for up to a second, and whoever asks while it is on its way waits for it: one query, however many ask.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from math import exp
from random import Random
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakKeyDictionary, ref

from sqlalchemy import Connection, Engine

from booking_core.choosing import Share, Tally, level_id
from booking_core.domain import QuotaState, Refused, SlotState
from booking_core.service.core import Core
from booking_core.service.shares import share_of_process
from booking_core.store.availability import View
from metrics.contract import Cause, Reason, Shown
from metrics.instruments import Instruments

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

CROWD_ASKS: Final = 20
"""Looks within the last second from which on a look is shared."""
SHARED_SECONDS: Final = (0.1, 1.0)
"""For how long it is: the longer, the more of the time is spent on looking (LOOKING of it at the least)."""
LOOKING: Final = 0.05
KEPT_SLOTS: Final = 100_000
"""Slots of all looks that are kept."""
SHOWN_SECONDS: Final = 60.0
"""For how long a slot counts as shown."""
KEPT_SHOWN: Final = 100_000
KEPT_SENT: Final = 5_000

IN_THE_SLOT: Final = frozenset({Reason.SLOT_CLOSED, Reason.NOTICE_TOO_SHORT, Reason.OUTSIDE_BOOKING_WINDOW})
"""Rules that the slot breaks, whoever asks."""


class Question(Protocol[T_co]):
    """Something to look up; equal questions have the same answer."""

    def __hash__(self) -> int: ...

    def read(self, connection: Connection) -> T_co:
        """The answer as committed."""


class Availability:
    """The looks of one process that are in use, its tally of recommendations, and what it showed as free."""

    def __init__(
        self,
        engine: Engine,
        instruments: Instruments,
        *,
        clock: Callable[[], float] = time.monotonic,
        share: Callable[[], Share] = lambda: (0, 1),
        rng: Random | None = None,
    ) -> None:
        self.tally = Tally(clock, share)
        self.rng = rng or Random()  # noqa: S311 – spreads customers, no secret
        self._engine = ref(engine)  # whose end is also ours: see availability_of
        self._instruments = instruments
        self._clock = clock
        self._lock = threading.Lock()
        self._asks: deque[float] = deque(maxlen=CROWD_ASKS)
        self._looks: OrderedDict[Question[Any], tuple[float, Any]] = OrderedDict()
        """By question, oldest first: when it was begun, and the answer."""
        self._kept_slots = 0
        self._spent, self._spent_at = 0.0, clock()
        """Seconds spent on looking within about the last one."""
        self._flights: dict[Question[Any], Future[Any]] = {}
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="look")
        """For askers on the event loop; their threads begin with the first of them."""
        self._shown: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._sent: OrderedDict[tuple[str, str], float] = OrderedDict()

    def look(self, question: Question[T]) -> T:
        """The answer, at most a second old. Blocks; raises what the database raised."""
        known, flight, ours = self._ask(question)
        if flight is None:
            return known  # type: ignore[no-any-return]
        if ours:
            self._fly(question, flight)
        return flight.result()  # type: ignore[no-any-return]

    async def look_async(self, question: Question[T]) -> T:
        """The same for the event loop."""
        known, flight, ours = self._ask(question)
        if flight is None:
            return known  # type: ignore[no-any-return]
        if ours:
            self._readers.submit(self._fly, question, flight)
        return await asyncio.wrap_future(flight)

    def learn(self, slots: Iterable[SlotState], quotas: Iterable[QuotaState]) -> None:
        """Note what a batch has just committed: newer than any look."""
        now = self._clock()
        for slot in slots:
            self.tally.learn(slot.slot_id, slot.free_units, now)
        for quota in quotas:
            self.tally.learn(level_id(quota), quota.free_units, now)

    def note_shown(self, slot_ids: Iterable[str], channel: str) -> None:
        """Remember for a minute that the slots were shown as free."""
        until = self._clock() + SHOWN_SECONDS
        with self._lock:
            for slot_id in slot_ids:
                self._shown[slot_id, channel] = until
                self._shown.move_to_end((slot_id, channel))
            while len(self._shown) > KEPT_SHOWN:
                self._shown.popitem(last=False)

    def note_sent(self, slot_id: str, channel: str) -> None:
        """Remember when a customer was last told first to take the slot."""
        with self._lock:
            self._sent[slot_id, channel] = self._clock()
            while len(self._sent) > KEPT_SENT:
                self._sent.popitem(last=False)

    def judge_shown(self, slot_id: str, channel: str, refused: Refused | None) -> Shown | None:
        """What became of a try for a slot that was shown as free, counted; None if it was not shown."""
        if (sent := self._sent.pop((slot_id, channel), None)) is not None:
            self.tally.note_followed(self._clock() - sent)
        if self._shown.get((slot_id, channel), float("-inf")) < self._clock():
            return None
        outcome = _became(refused)
        if outcome is not None:
            self._instruments.shown_free.labels(outcome.value).inc()
        return outcome

    def close(self) -> None:
        """Let go of the reading threads."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _ask(self, question: Question[Any]) -> tuple[Any, Future[Any] | None, bool]:
        """(known answer, None, False) or (None, the look that brings one, whether it is ours to begin)."""
        now = self._clock()
        with self._lock:
            crowded = len(self._asks) == CROWD_ASKS and now - self._asks[0] < 1.0
            self._asks.append(now)
            flight: Future[Any] | None = None
            if crowded:
                begun, answer = self._looks.get(question, (float("-inf"), None))
                if now - begun < self._shared_seconds(now):
                    return answer, None, False
                flight = self._flights.get(question)
            if flight is not None:
                return None, flight, False
            flight = Future()
            flight.set_running_or_notify_cancel()  # or one asker who leaves would cancel it for all
            if crowded:
                self._flights[question] = flight
            return None, flight, True

    def _fly(self, question: Question[Any], flight: Future[Any]) -> None:
        """Look, keep the answer for others, and tell those who wait."""
        begun = self._clock()
        try:
            with self._connection() as connection:
                answer = question.read(connection)
        except BaseException as fault:  # noqa: BLE001 – told to all who wait
            self._land(question, flight)
            flight.set_exception(fault)
            return
        self._spend(begun)
        if isinstance(answer, View):
            answer.seen_at = begun
            for place in answer.places.values():
                self.tally.learn_place(place)
        self._land(question, flight, (begun, answer))
        flight.set_result(answer)

    def _spend(self, begun: float) -> None:
        now = self._clock()
        with self._lock:
            self._spent = self._spent * exp(self._spent_at - now) + now - begun
            self._spent_at = now

    def _shared_seconds(self, now: float) -> float:
        """For how long a look is shared now."""
        least, most = SHARED_SECONDS
        return min(most, max(least, least / LOOKING * self._spent * exp(self._spent_at - now)))

    def _connection(self) -> Connection:
        engine = self._engine()
        assert engine is not None  # noqa: S101 – whoever asks has the core, which has the engine
        return engine.connect()

    def _land(
        self, question: Question[Any], flight: Future[Any], look: tuple[float, Any] | None = None
    ) -> None:
        with self._lock:
            if self._flights.get(question) is flight:
                del self._flights[question]
            if look is None:
                return
            known = self._looks.pop(question, None)
            if known is not None:
                self._kept_slots -= _size(known[1])
                look = max(known, look, key=lambda some: some[0])
            self._looks[question] = look
            self._kept_slots += _size(look[1])
            old = self._clock() - SHARED_SECONDS[1]
            while self._looks and (
                self._kept_slots > KEPT_SLOTS or next(iter(self._looks.values()))[0] < old
            ):
                _, (_, answer) = self._looks.popitem(last=False)
                self._kept_slots -= _size(answer)


_LOCK: Final = threading.Lock()
_OF_ENGINE: Final[WeakKeyDictionary[Engine, Availability]] = WeakKeyDictionary()


def availability_of(core: Core) -> Availability:
    """The one that all of the process share who work on this core's database."""
    with _LOCK:
        found = _OF_ENGINE.get(core.engine)
        if found is None:
            found = _OF_ENGINE[core.engine] = Availability(
                core.engine, core.instruments, share=share_of_process()
            )
        return found


def _size(answer: Any) -> int:
    return 1 + len(answer.slots) if isinstance(answer, View) else 1


def _became(refused: Refused | None) -> Shown | None:
    """What became of a slot shown as free; None where the refusal does not lie in the slot."""
    if refused is None:
        return Shown.HELD
    if refused.reason.cause is Cause.CAPACITY:
        return Shown.TAKEN
    return Shown.CHANGED if refused.reason in IN_THE_SLOT else None
