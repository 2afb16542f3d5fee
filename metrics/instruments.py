"""Every Prometheus instrument that the core's processes move; each label value is there at 0 from the start.

Gauges about the database (quotas, plans, forecasts, workers) come from booking_core.collector instead.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metrics import contract
from metrics.contract import Channel, OfferOutcome, Outcome, Reason, Shown

UNKNOWN_CHANNEL: Final = "unknown"
"""Channel of an attempt whose body did not tell one."""

HELD_REASON: Final = ""
"""Reason label of an attempt that was held."""

WAIT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Instruments:
    """The instruments on one registry, so that a test may have its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self.attempts = Counter(
            contract.ATTEMPTS,
            "Tries to take a slot, by channel, outcome and reason of refusal",
            ["channel", "outcome", "reason"],
            registry=self.registry,
        )
        self.attempts_unrecorded = Counter(
            contract.ATTEMPTS_UNRECORDED,
            "Attempts that could not be written to the database",
            registry=self.registry,
        )
        self.shown_free = Counter(
            contract.SHOWN_FREE,
            "Tries for a slot that was shown as free, by what became of them",
            ["outcome"],
            registry=self.registry,
        )
        self.waitlist_offers = Counter(
            contract.WAITLIST_OFFERS,
            "Places offered to the waitlist, by what became of the offer",
            ["outcome"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            contract.REQUEST_SECONDS,
            "Seconds from request to answer",
            ["route", "method", "status"],
            buckets=contract.REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = self._gauge(contract.IN_FLIGHT, "Requests being served")
        self.batch_size = Histogram(
            contract.BATCH_SIZE,
            "Bookings written by one transaction",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            contract.COMMIT_SECONDS, "Seconds of a commit", buckets=WAIT_BUCKETS, registry=self.registry
        )
        self.queue_wait_seconds = Histogram(
            contract.QUEUE_WAIT_SECONDS,
            "Seconds that the first job of a batch waited for it",
            buckets=WAIT_BUCKETS,
            registry=self.registry,
        )
        self.db_pool_in_use = self._gauge(contract.DB_POOL_IN_USE, "Database connections in use")
        self.db_pool_size = self._gauge(contract.DB_POOL_SIZE, "Database connections allowed")
        for shown in Shown:
            self.shown_free.labels(shown.value)
        for offer in OfferOutcome:
            self.waitlist_offers.labels(offer.value)
        self._attempts: dict[tuple[str, str], Counter] = {}
        self._answered: dict[tuple[str, str, int], Histogram] = {}
        for channel in (*Channel, UNKNOWN_CHANNEL):
            held = self.attempts.labels(channel, Outcome.HELD.value, HELD_REASON)
            self._attempts[channel, HELD_REASON] = held
            for reason in Reason:
                refused = self.attempts.labels(channel, Outcome.REFUSED.value, reason.value)
                self._attempts[channel, reason] = refused

    def held(self, channel: str) -> None:
        """Count an accepted attempt."""
        self._attempts[channel, HELD_REASON].inc()

    def refused(self, channel: str, reason: Reason) -> None:
        """Count a refused attempt."""
        self._attempts[channel, reason].inc()

    def answered(self, route: str, method: str, status: int) -> Histogram:
        """Where the seconds of such a request are observed; found once, since finding costs more."""
        key = (route, method, status)
        if (child := self._answered.get(key)) is None:
            child = self._answered[key] = self.request_seconds.labels(route, method, str(status))
        return child

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry, multiprocess_mode="livesum")
