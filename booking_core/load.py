"""The observed load, as the server rule wants it: from counts by wall minute to rates, pure of any I/O."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from booking_core.pressure import Sums, wall_minute

WINDOW_SECONDS: Final = 15.0
"""The recent rate is taken over so many wall seconds: workers flush their counts every second."""
MEASURED_REQUESTS: Final = 20
"""The cost of a request and a share of failures are believed from so many requests on."""
TWO_SPREADS: Final = 2.0
"""A rise counts beyond what counting alone brings about once in forty looks (Poisson)."""
MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Load:
    """Recent rate, highest rate and highest share of failures of the stabilisation time, cost a request."""

    rps: float
    peak_rps: float
    """The highest rate of the stabilisation time, rises drawn on."""
    failed_ratio: float
    cost_seconds: float | None
    rising_rps: float = 0.0
    """The recent rate with its rise drawn on."""


class LoadMeter:
    """Turns polls of growing minute counts into rates.

    What it saw itself has the sharpness of the polls; what was before it started, and what it missed, has
    that of whole minutes: a restarted actuator knows the last minutes at once.
    """

    def __init__(
        self, stabilisation_seconds: float, *, trend_gain: float = 0.0, trend_seconds: float = 300.0
    ) -> None:
        self._polls: deque[tuple[datetime, Mapping[datetime, Sums]]] = deque()
        self._seen: deque[tuple[datetime, float, float]] = deque()
        self._watches_since: datetime | None = None
        self.follow(stabilisation_seconds, trend_gain=trend_gain, trend_seconds=trend_seconds)

    def follow(self, stabilisation_seconds: float, *, trend_gain: float, trend_seconds: float) -> None:
        """Go on with these settings; what was seen before stays as it was seen."""
        self._stabilisation = timedelta(seconds=stabilisation_seconds)
        self._trend_gain, self._trend = trend_gain, timedelta(seconds=trend_seconds)

    def since(self, now: datetime) -> datetime:
        """The wall minute from which on `observe` needs the counts."""
        return wall_minute(now - max(self._stabilisation, 2 * MINUTE, self._trend))

    def observe(self, now: datetime, totals: Mapping[datetime, Sums]) -> Load:
        """The load now, given the counts by wall minute from `since(now)` on."""
        recent, seconds = self._recent(now, totals)
        self._polls.append((now, totals))
        rps = recent.requests / seconds
        rising = self._drawn_on(rps, self._earlier(now, totals))
        self._seen.append((now, rising, _failed_ratio(recent)))
        while self._seen[0][0] < now - self._stabilisation:
            self._seen.popleft()
        past = [
            sums
            for minute, sums in totals.items()
            if now - self._stabilisation <= minute and minute + MINUTE <= now
        ]
        first = wall_minute(now - max(self._stabilisation, 2 * MINUTE))
        whole = _summed(sums for minute, sums in totals.items() if minute >= first)
        return Load(
            rps=rps,
            peak_rps=max([rps for _, rps, _ in self._seen] + [sums.requests / 60 for sums in past]),
            failed_ratio=max([ratio for _, _, ratio in self._seen] + [_failed_ratio(sums) for sums in past]),
            cost_seconds=_cost(whole),
            rising_rps=rising,
        )

    def _earlier(self, now: datetime, totals: Mapping[datetime, Sums]) -> Sums | None:
        """The counts of the minute from which a rise is drawn on, None where nobody knows them.

        A minute without requests leaves no counts: it is known to have had none if the meter watched it.
        """
        minute = wall_minute(now - self._trend)
        watched = self._watches_since is not None and self._watches_since <= minute
        return totals.get(minute, Sums() if watched else None)

    def _drawn_on(self, rps: float, earlier: Sums | None) -> float:
        """The rate with its rise since the earlier minute drawn on, as far as it is no chance of counting."""
        if earlier is None:
            return rps
        chance = TWO_SPREADS * math.sqrt(max(rps, 0.0) / WINDOW_SECONDS)
        return rps + self._trend_gain * max(0.0, rps - earlier.requests / 60 - chance)

    def _recent(self, now: datetime, totals: Mapping[datetime, Sums]) -> tuple[Sums, float]:
        """What was counted over the last seconds, and how many they are."""
        window = timedelta(seconds=WINDOW_SECONDS)
        while len(self._polls) > 1 and self._polls[1][0] <= now - window:
            self._polls.popleft()
        if not self._polls or self._polls[0][0] < now - 2 * window:
            self._polls.clear()  # the first poll, or the first after an outage: no counts to compare with
            self._watches_since = now
            start = wall_minute(now) - MINUTE
            counted = _summed(sums for minute, sums in totals.items() if minute >= start)
            return counted, (now - start).total_seconds()
        then, before = self._polls[0]
        grown = Sums()
        for minute, sums in totals.items():
            was = before.get(minute, Sums())
            if minute >= wall_minute(then) - MINUTE:
                grown.add(
                    Sums(
                        sums.requests - was.requests,
                        sums.refused - was.refused,
                        sums.failed - was.failed,
                        sums.busy_seconds - was.busy_seconds,
                    )
                )
        return grown, max(1.0, (now - then).total_seconds())


def _cost(sums: Sums) -> float | None:
    """Busy seconds of a request that was served.

    Where load is shed a refusal costs next to nothing: counted in, refusals would make requests look cheap
    just when workers are short.
    """
    served = sums.requests - sums.failed
    return sums.busy_seconds / served if served >= MEASURED_REQUESTS else None


def _failed_ratio(sums: Sums) -> float:
    return sums.failed / sums.requests if sums.requests >= MEASURED_REQUESTS else 0.0


def _summed(some: Iterable[Sums]) -> Sums:
    total = Sums()
    for sums in some:
        total.add(sums)
    return total
