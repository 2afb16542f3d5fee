"""The application: routes, the surrounding middleware, and what lives and dies with the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry
from starlette.exceptions import HTTPException

from booking_core.api import bookings, calendar, control, operations, plans, quotas, waitlist
from booking_core.api.access import TokenCache
from booking_core.api.late import LateRecords
from booking_core.api.middleware import Surroundings
from booking_core.api.responses import ProblemError, told
from booking_core.api.take import Intake
from booking_core.api.watch import Watch
from booking_core.clock import Clock, utc_now
from booking_core.collector import DatabaseCollector
from booking_core.database import make_engine
from booking_core.parts import routers
from booking_core.pressure import PressureCounter
from booking_core.service.admission import Admission, Limits
from booking_core.service.availability import availability_of
from booking_core.service.batching import BATCH_JOBS, Batcher
from booking_core.service.core import Core
from booking_core.service.housekeeping import Housekeeper
from metrics.instruments import Instruments

THREADS: Final = 8
"""Requests served at the same time by one worker; each may use one database connection."""
SPARE_CONNECTIONS: Final = 4
"""For the threads that judge batches, that sweep, that write down pressure and late records."""
STATEMENT_SECONDS: Final = 20.0
"""After which a statement is given up: a forgotten lock must not hold every thread for good."""
SHED_PER_THREAD: Final = 25
"""Requests in flight for each thread above which a worker says system_busy at once."""


def create_app(
    engine: Engine | None = None,
    *,
    wall: Clock = utc_now,
    registry: CollectorRegistry | None = None,
    threads: int = THREADS,
    shed_above: int | None = None,
    batch_jobs: int = BATCH_JOBS,
    limits: Limits = Limits(),  # noqa: B008 – frozen
    housekeeping: bool = True,
    without: Collection[str] = (),
) -> FastAPI:
    """The ASGI application; without an engine it makes its own from SLOTCAST_DATABASE_URL, after the fork.

    without: the outer parts (booking_core.parts) that are not served.
    """
    in_flight = threads * SHED_PER_THREAD if shed_above is None else shed_above

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = threads
        own = engine or make_engine(
            pool_size=threads + SPARE_CONNECTIONS, statement_seconds=STATEMENT_SECONDS
        )
        core = Core(own, Instruments(registry), wall)
        batcher = Batcher(core, batch_jobs) if batch_jobs > 1 else None
        app.state.core = core = replace(core, batcher=batcher)
        availability_of(core)  # claims this worker's share while no crowd is there yet
        if batcher:
            batcher.start()
        _watch_pool(own, core.instruments, threads + SPARE_CONNECTIONS)
        app.state.tokens = tokens = TokenCache(core)
        late = LateRecords(core)
        late.start()
        app.state.pressure = PressureCounter(own, wall_clock=wall)
        app.state.watch = watch = Watch(core.instruments, app.state.pressure)
        app.state.intake = Intake(core, tokens, Admission(limits), late, watch, in_flight)
        app.state.intake.beat()
        app.state.database_collector = DatabaseCollector(own)
        app.state.pressure.start()
        keeper = Housekeeper(core)
        if housekeeping:
            keeper.start()
        yield
        if housekeeping:
            keeper.stop()
        if batcher:
            batcher.stop()
        availability_of(core).close()
        late.stop()
        app.state.pressure.stop()
        if engine is None:
            own.dispose()

    app = FastAPI(
        title="Slotcast booking core",
        version="0.1.0",
        description="Appointments for early loan repayment; refusals tell reason and remedies.",
        lifespan=lifespan,
        responses={"4XX": {"description": "application/problem+json: reason, cause, violations, remedies"}},
    )
    for part in (bookings, waitlist, calendar, quotas, plans, control, operations):
        app.include_router(part.router)
    for outer in routers(without):
        app.include_router(outer)
    app.add_middleware(Surroundings, shed_above=in_flight)
    for fault in (ProblemError, RequestValidationError, HTTPException):
        app.add_exception_handler(fault, told)
    return app


def _watch_pool(engine: Engine, instruments: Instruments, size: int) -> None:
    """Keep the pool's gauges as connections come and go (a gauge of a worker is read in another).

    A connection that could not be made is checked in without ever having been checked out.
    """
    instruments.db_pool_size.set(size)

    in_use: set[int] = set()

    def taken(_connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        in_use.add(id(record))
        instruments.db_pool_in_use.inc()

    def given_back(_connection: Any, record: ConnectionPoolEntry) -> None:
        if id(record) in in_use:
            in_use.discard(id(record))
            instruments.db_pool_in_use.dec()

    event.listen(engine, "checkout", taken)
    event.listen(engine, "checkin", given_back)
