"""What promises are reckoned from, kept a while: what branches freed, what plans may open, what was kept."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

from booking_core.promises import judged_promises
from booking_core.queueing import MOST_HISTORY, Entry, Outlook, shortfall
from booking_core.service.core import Moment
from booking_core.settings import BankSettings
from booking_core.store import outlooks, waitlist
from booking_core.store.outlooks import Coming

log = logging.getLogger(__name__)
T = TypeVar("T")

QUARTERS: Final = 96
"""Quarter-hours of a business day."""
STEPS: Final = 288
"""How often a day what is kept is read again: that takes longer than joining."""
MOST_KEPT: Final = 10_000
"""Branches whose history is kept, half a kilobyte each."""
MOST_COMING: Final = 500
"""Branches and channels whose coming days are kept, some 20 kilobytes each."""
MOST_PROMISES: Final = 5_000
"""So many promises, those that fell due last, tell how they are kept."""


@dataclass(slots=True)
class _Known(Generic[T]):
    """A value as last read, and for which time; neither before the first reading."""

    reading: threading.Lock = field(default_factory=threading.Lock)
    value: T | None = None
    time: datetime | None = None
    failed: bool = False

    def of(self, time: datetime) -> bool:
        """Whether it is of the time, or of a later one: a thread may come late."""
        return self.time is not None and self.time >= time


class Refreshed(Generic[T]):
    """Values that are read anew for each time by one thread, while all others take what was read last.

    Only the first to ask for a name is waited for. A reading that fails leaves the last value, and is tried
    again with the next time only: a database in trouble is not asked by everyone.
    """

    def __init__(self, what: str, most: int = MOST_KEPT) -> None:
        self._what = what
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known[T]] = OrderedDict()

    def get(self, name: str, time: datetime, read: Callable[[], T]) -> T | None:
        """The value of the name, of this time or else the last; None where it could never be read."""
        known = self._of(name)
        if known.of(time) or not known.reading.acquire(blocking=known.time is None):
            return known.value
        try:
            if not known.of(time):  # else another thread read it while this one waited
                self._read(known, name, read)
                known.time = time
            return known.value
        finally:
            known.reading.release()

    def _of(self, name: str) -> _Known[T]:
        with self._lock:
            known = self._known.setdefault(name, _Known())
            self._known.move_to_end(name)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
            return known

    def _read(self, known: _Known[T], name: str, read: Callable[[], T]) -> None:
        try:
            known.value = read()
        except Exception:  # a promise is worth less than joining
            if not known.failed:  # once, not with every time that it fails
                log.exception("%s of %s not read: the last value stays", self._what, name)
            known.failed = True
        else:
            known.failed = False


@dataclass(frozen=True, slots=True)
class Prospects:
    """What is kept of a core's database, for all who join in this process."""

    freed: Refreshed[tuple[int, ...]] = field(default_factory=lambda: Refreshed("what a branch freed"))
    coming: Refreshed[Coming] = field(default_factory=lambda: Refreshed("what plans open", MOST_COMING))
    short: Refreshed[float] = field(default_factory=lambda: Refreshed("how promises were kept"))


_LOCK: Final = threading.Lock()
_OF_ENGINE: Final[WeakKeyDictionary[Engine, Prospects]] = WeakKeyDictionary()


def freed(engine: Engine, branch_id: str, now: Moment) -> tuple[int, ...]:
    """What the branch freed in each of the last business days, oldest first, as of one of a day's STEPS.

    Empty where it could never be read: nothing is promised then.
    """
    begun, settings = _step(now), now.settings

    def read() -> tuple[int, ...]:
        first = settings.local_day(settings.business_now(begun)) - timedelta(days=MOST_HISTORY)
        days = [first + timedelta(days=n) for n in range(MOST_HISTORY + settings.booking_window_days + 1)]
        with engine.connect() as connection:
            return tuple(waitlist.freed(connection, branch_id, begun, _day(settings), days))

    return _prospects(engine).freed.get(branch_id, begun, read) or ()


def outlook(engine: Engine, entry: Entry, now: Moment) -> Outlook | None:
    """What is known beyond the branch's releases, as of one of a day's STEPS; nothing of plans while paused.

    None where nobody knows how promises were kept: nothing is promised then.
    """
    if (known := short(engine, now)) is None:
        return None
    if now.settings.paused:
        return Outlook(shortfall=known)
    today = now.settings.local_day(now.business)
    last = now.rules.last_day(now.business)

    def read() -> Coming:
        with engine.connect() as connection:
            return outlooks.coming(connection, entry.branch_id, entry.channel, today, last)

    name = f"{entry.branch_id}:{entry.channel}"
    found = _prospects(engine).coming.get(name, _step(now), read) or Coming()
    first = max(entry.wished_day, today + timedelta(days=1))
    return replace(found.outlook(first, entry.latest_day), shortfall=known)


def short(engine: Engine, now: Moment) -> float | None:
    """By how much the bank's promises were kept less often than they said, as of one of a day's STEPS.

    Of those that fell due within 2 · MOST_HISTORY days. None where it could never be read.
    """
    begun, settings = _step(now), now.settings

    def read() -> float:
        today = settings.local_day(settings.business_now(begun))
        since, until = today - timedelta(days=2 * MOST_HISTORY), today - timedelta(days=1)
        with engine.connect() as connection:
            found = judged_promises(
                connection, begun, settings, since=since, until=until, at_most=MOST_PROMISES
            )
        return shortfall([told.raw for told in found], [told.kept for told in found])

    return _prospects(engine).short.get("the bank", begun, read)


def _prospects(engine: Engine) -> Prospects:
    with _LOCK:
        return _OF_ENGINE.setdefault(engine, Prospects())


def _day(settings: BankSettings) -> timedelta:
    """The wall time that a business day takes."""
    return timedelta(seconds=QUARTERS * settings.quarter_seconds)


def _step(now: Moment) -> datetime:
    """The wall time at which the present one of a business day's STEPS began."""
    step = _day(now.settings) / STEPS
    epoch = datetime.fromtimestamp(0, UTC)
    return epoch + (now.wall - epoch) // step * step
