"""`python -m booking_core scale`: moves gunicorn's workers to the target of the server rule.

Everything it knows lies in the database (pressure, applied server plan, its own decisions) and in gunicorn
(how many workers run), so it may be killed and started at any time. It never touches a worker itself:
gunicorn lets a worker finish its requests before it goes.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from gunicorn.ctl.client import ControlClient, ControlClientError
from sqlalchemy import Connection, Engine, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from booking_core.clock import utc_now
from booking_core.database import make_engine, write_transaction
from booking_core.load import LoadMeter
from booking_core.pressure import minute_totals, quarter_hour
from booking_core.scaling import (
    ScalingInputs,
    ScalingReason,
    ScalingRule,
    WorkerDecision,
    decide_workers,
    worker_cap,
)
from booking_core.serving import CONTROL_SOCKET, run_dir
from booking_core.settings import BankSettings, load_settings
from booking_core.tables import plan_items, plans, settings
from booking_core.tables_forecast import scaling_decisions
from metrics.logs import configure_logs

log = logging.getLogger(__name__)

QUARTER_SECONDS: Final = 900.0
RECORD_SECONDS: Final = 60.0
"""A decision that changes nothing is written down about once a minute, as a sign of life."""
SPARE_CONNECTIONS: Final = 20
"""Kept for the actuator, the planner, the dashboard and an operator's psql."""
API_POOL_SIZE: Final = 12
"""Connections a worker may open: its eight threads and four for its background work (api/app.py)."""
REACH_SECONDS: Final = 40.0
"""How long a resize is waited for; gunicorn gives a leaving worker 30 s for its last requests."""


class ServerAbsentError(Exception):
    """Gunicorn does not answer on its control socket: not started yet, restarting or gone."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Worker processes there are, and how many gunicorn keeps."""

    running: int
    kept: int


class Gunicorn:
    """A running gunicorn, asked through its control socket."""

    def __init__(self, control_socket: Path) -> None:
        self._path = str(control_socket)

    def workers(self) -> Workers:
        """How many workers there are. Raises ServerAbsentError."""
        stats = self._ask("show stats")
        return Workers(running=int(stats["workers_current"]), kept=int(stats["workers_target"]))

    def resize(self, target: int, wait_seconds: float = REACH_SECONDS) -> Workers:
        """The workers after moving to the target, or as far as it came in time. Raises ServerAbsentError."""
        deadline = time.monotonic() + wait_seconds
        while True:
            now = self.workers()
            if now == Workers(target, target) or time.monotonic() > deadline:
                return now
            change = target - now.kept
            if change:
                # gunicorn restarts its control socket around a fork, so the answer may be lost on the way:
                # the next look tells whether the command arrived
                with suppress(ServerAbsentError):
                    self._ask(f"worker {'add' if change > 0 else 'remove'} {abs(change)}")
            time.sleep(0.1)

    def _ask(self, command: str) -> dict[str, Any]:
        fault: ControlClientError | None = None
        for _ in range(3):
            try:
                with ControlClient(self._path, timeout=5.0) as client:
                    answer: dict[str, Any] = client.send_command(command)
                    return answer
            except ControlClientError as error:
                fault = error
                if command.startswith("worker"):
                    break
                time.sleep(0.2)
        raise ServerAbsentError(str(fault))


class Actuator:
    """Reads, decides, resizes and writes down, one step at a time."""

    def __init__(
        self,
        engine: Engine,
        server: Gunicorn,
        *,
        rule: Callable[[Connection], ScalingRule],
        lead_seconds: float,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self._engine = engine
        self._server = server
        self._rule = rule
        self._lead_seconds = lead_seconds
        self._wall = wall
        self._meter = LoadMeter(0.0)
        self._recorded: tuple[Any, ...] = ()
        self._recorded_at: datetime | None = None

    def step(self) -> WorkerDecision:
        """The decision taken now, and carried out unless the rule is to forecast only.

        Raises ServerAbsentError, SQLAlchemyError.
        """
        before = self._server.workers()
        now = self._wall()
        with self._engine.connect() as connection:
            bank = load_settings(connection)
            rule = self._rule(connection)
            self._meter.follow(
                rule.stabilisation_seconds, trend_gain=rule.trend_gain, trend_seconds=rule.trend_seconds
            )
            load = self._meter.observe(now, minute_totals(connection, self._meter.since(now)))
            planned, plan_id = planned_workers(connection, *lead_span(bank, now, self._lead_seconds))
        inputs = ScalingInputs(
            running=before.kept,
            observed_rps=load.rps,
            peak_rps=load.peak_rps,
            cost_seconds=load.cost_seconds,
            failed_ratio=load.failed_ratio,
            forecast_workers=planned,
            rising_rps=load.rising_rps,
        )
        decision = decide_workers(rule, inputs)
        after = before
        if rule.forecast_only:
            decision = replace(decision, reason=ScalingReason.FORECAST_ONLY)
        elif decision.target != before.kept:
            log.info(
                "workers %d -> %d",
                before.kept,
                decision.target,
                extra={"reason": decision.reason, "condition": decision.condition, "plan_id": plan_id},
            )
            after = self._server.resize(decision.target)
            if after.running != decision.target:
                log.warning("gunicorn runs %d workers, %d were asked for", after.running, decision.target)
        facts = (after.running, decision.target, decision.reactive_need, planned, decision.reason, plan_id)
        stale = self._recorded_at is None or now - self._recorded_at >= timedelta(seconds=RECORD_SECONDS)
        if stale or facts != self._recorded:
            with write_transaction(self._engine) as connection:
                connection.execute(
                    insert(scaling_decisions).values(
                        at_utc=now,
                        business_utc=bank.business_now(now),
                        running=after.running,
                        target=decision.target,
                        reactive_need=decision.reactive_need,
                        forecast_need=planned,
                        observed_rps=load.rps,
                        reason=decision.reason,
                        plan_id=plan_id,
                    )
                )
            self._recorded, self._recorded_at = facts, now
        return decision

    def run(self, stop: threading.Event, interval_seconds: float) -> None:
        """Step until told to stop; an absent gunicorn or database is waited for, workers stay as they are."""
        fault = ""
        while not stop.is_set():
            try:
                self.step()
                if fault:
                    log.info("scaling again")
                fault = ""
            except (ServerAbsentError, SQLAlchemyError, OSError) as error:
                what = "gunicorn" if isinstance(error, ServerAbsentError) else "the database"
                if what != fault:
                    log.warning("%s does not answer, workers stay as they are; trying on: %s", what, error)
                fault = what
            stop.wait(interval_seconds)


def planned_workers(connection: Connection, first: datetime, last: datetime) -> tuple[int | None, str | None]:
    """The most workers the server plan asks for in the quarter-hours first..last, and the plan.

    (None, None) where the newest plan covers none of them, or keeps: a vetoed forecast plans nothing,
    whatever an earlier one said.
    """
    table = plan_items.c
    newest = connection.execute(
        select(plans.c.plan_id, plans.c.status)
        .where(plans.c.kind == "server", plans.c.status.in_(("applied", "kept")))
        .order_by(plans.c.period.desc(), plans.c.created_utc.desc())
        .limit(1)
    ).one_or_none()
    if newest is None or newest.status == "kept":
        return None, None
    workers = connection.scalar(
        select(func.max(table.applied_limit)).where(
            table.plan_id == newest.plan_id, table.starts_utc.between(first, last)
        )
    )
    return (None, None) if workers is None else (workers, newest.plan_id)


def lead_span(bank: BankSettings, wall_now: datetime, lead_seconds: float) -> tuple[datetime, datetime]:
    """The business span whose plan counts now: the current quarter-hour to the lead time's, both included.

    The lead is wall time (workers boot in wall seconds); where the demo turns a quarter-hour in
    `quarter_seconds` wall seconds, the same lead spans more business time.
    """
    now = bank.business_now(wall_now)
    lead = timedelta(seconds=lead_seconds * QUARTER_SECONDS / bank.quarter_seconds)
    return quarter_hour(now), quarter_hour(now + lead)


def stored_rule(connection: Connection, bounds: ScalingRule) -> ScalingRule:
    """The rule with the bounds given and the bank's numbers: settings "policy", then settings "scaling".

    Raises ValueError for numbers that make no rule.
    """
    rows = connection.execute(
        select(settings.c.key, settings.c.value).where(settings.c.key.in_(("policy", "scaling")))
    )
    stored = {row.key: row.value for row in rows}
    policy, scaling = stored.get("policy", {}), stored.get("scaling", {})
    taken = {
        "target_utilisation": policy.get("target_utilisation", bounds.target_utilisation),
        "default_cost_seconds": policy.get("cost_seconds", bounds.default_cost_seconds),
    }
    unknown = set(scaling) - {f.name for f in fields(ScalingRule)}
    if unknown:
        raise ValueError(
            f'settings "scaling" names {sorted(unknown)}; known: {[f.name for f in fields(ScalingRule)]}'
        )
    return replace(
        bounds, **{**taken, **scaling, "min_workers": bounds.min_workers, "max_workers": bounds.max_workers}
    )


def default_max_workers(engine: Engine) -> tuple[int, str]:
    """The most workers this machine and the database carry, and what says so: see `worker_cap`."""
    allowed = None
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            allowed = int(connection.exec_driver_sql("SHOW max_connections").scalar_one())
    return worker_cap(
        os.cpu_count() or 1,
        max_connections=allowed,
        spare_connections=SPARE_CONNECTIONS,
        connections_a_worker=API_POOL_SIZE,
    )


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `scale` to the commands of booking_core."""
    parser = subparsers.add_parser("scale", help="move the API's workers to their target")
    parser.add_argument("--once", action="store_true", help="decide and resize once, then end")
    parser.add_argument("--interval", type=float, default=2.0, metavar="S", help="seconds between looks (2)")
    parser.add_argument("--min", type=int, default=1, dest="min_workers", metavar="N", help="(1)")
    parser.add_argument(
        "--max",
        type=int,
        dest="max_workers",
        metavar="N",
        help="(one a core, as far as the database's connections allow)",
    )
    parser.add_argument(
        "--lead-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="wall seconds that workers are started ahead of a forecast peak (60)",
    )
    parser.set_defaults(run=run_command)


def run_command(arguments: argparse.Namespace) -> int:
    """The exit code of `scale`: 0 done, 2 for arguments or settings that make no rule, 3 nothing to scale."""
    configure_logs()
    folder = run_dir()
    engine = make_engine(pool_size=2)
    try:
        most, why = arguments.max_workers, "--max"
        if most is None:
            most, why = default_max_workers(engine)
        bounds = ScalingRule(min_workers=arguments.min_workers, max_workers=most, max_condition=why)
        with engine.connect() as connection:
            stored_rule(connection, bounds)
    except ValueError as error:
        log.error("cannot scale: %s", error)  # noqa: TRY400 - the operator needs the sentence, not the trace
        return 2
    except SQLAlchemyError as error:
        log.error("cannot scale, the database does not answer: %s", error)  # noqa: TRY400
        return 3
    actuator = Actuator(
        engine,
        Gunicorn(folder / CONTROL_SOCKET),
        rule=lambda connection: stored_rule(connection, bounds),
        lead_seconds=arguments.lead_seconds,
    )
    with _only_one(folder) as alone:
        if not alone:
            log.error("another `scale` already moves the workers of %s", folder)
            return 3
        if arguments.once:
            try:
                actuator.step()
            except (ServerAbsentError, SQLAlchemyError) as error:
                log.error("nothing scaled: %s", error)  # noqa: TRY400
                return 3
            return 0
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        log.info(
            "scaling between %d and %d workers (%s)",
            bounds.min_workers,
            bounds.max_workers,
            bounds.max_condition,
        )
        actuator.run(stop, arguments.interval)
    return 0


@contextmanager
def _only_one(folder: Path) -> Iterator[bool]:
    """Whether this process holds the run directory's lock: two actuators would work against each other."""
    with (folder / "scale.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
