"""`scale` against a real gunicorn: follows plan and load, drops nothing, survives restarts of either side."""

from __future__ import annotations

import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

import httpx
import pytest
from sqlalchemy import select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.actuator import (
    Actuator,
    Gunicorn,
    ServerAbsentError,
    Workers,
    lead_span,
    planned_workers,
    stored_rule,
)
from booking_core.collector import worker_families
from booking_core.database import write_transaction
from booking_core.pressure import Sums, add_pressure, quarter_hour
from booking_core.scaling import ScalingReason, ScalingRule
from booking_core.service.commands import Command
from booking_core.service.core import Caller
from booking_core.service.plan_drafts import PlanDraft
from booking_core.service.plans import StoredPlan, apply_plan, create_plan
from booking_core.serving import CONTROL_SOCKET
from booking_core.settings import BankSettings
from metrics.contract import TokenScope
from tests.support.bank import Bank
from tests.support.serving import ROOT, Served, serve


def eventually(holds: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(ServerAbsentError, httpx.TransportError):
            if holds():
                return
        time.sleep(0.1)
    pytest.fail(f"not within {seconds} s: {what}")


def plan_servers(bank: Bank, plan_id: str, workers: int | None, start: datetime | None = None) -> None:
    """A server plan for this quarter-hour and the next, in force; None keeps (a vetoed forecast)."""
    first = quarter_hour(start or datetime.now(UTC))
    items = (
        []
        if workers is None
        else [
            {
                "scope_kind": "bank",
                "scope_id": "bank",
                "period_kind": "quarter_hour",
                "new_limit": workers,
                "starts": (first + timedelta(minutes=15 * n)).isoformat(),
            }
            for n in range(2)
        ]
    )
    draft = PlanDraft.model_validate(
        {
            "plan_id": plan_id,
            "kind": "server",
            "region": "bank",
            "period": first.isoformat(),
            "in_band": True,
            "model": "champion" if items else "keep",
            "policy": {},
            "inputs": {},
            "items": items,
        }
    )
    command = Command(Caller("t", "test", frozenset({TokenScope.PLANNER})), datetime.now(UTC))
    with write_transaction(bank.engine) as connection:
        assert isinstance(create_plan(connection, draft, command), StoredPlan)
        if items:
            assert isinstance(apply_plan(connection, plan_id, command), StoredPlan)


@dataclass
class Stage:
    """A served bank whose scale-in waits two seconds instead of two minutes; its processes end with it."""

    bank: Bank
    served: Served
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def gunicorn(self) -> Gunicorn:
        """The control socket's client."""
        return Gunicorn(self.served.run_dir / CONTROL_SOCKET)

    @property
    def port(self) -> int:
        """The port it answers on."""
        return int(self.served.url.rsplit(":", 1)[1])

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command of booking_core beside the server, logging into its run directory."""
        with (self.served.run_dir / f"{arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "booking_core", *arguments],
                cwd=ROOT,
                env=self.served.environment(),
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def scale(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The actuator."""
        return self.start("scale", "--max", "3", "--lead-seconds", "1", *arguments)

    def running(self, workers: int) -> Callable[[], bool]:
        """Whether so many workers run, and no more are wanted."""
        return lambda: (w := self.gunicorn.workers()).running == w.kept == workers

    def log(self) -> str:
        """What the actuators logged."""
        return (self.served.run_dir / "scale.log").read_text()

    def reasons(self) -> list[tuple[str, int]]:
        """The decisions as (reason, target), repetitions folded."""
        c = tf.scaling_decisions.c
        with self.bank.engine.connect() as connection:
            rows = connection.execute(select(c.reason, c.target).order_by(c.decision_id)).all()
        return [key for key, _ in groupby((row.reason, row.target) for row in rows)]


@contextmanager
def staged(bank: Bank) -> Iterator[Stage]:
    """A stage whose server answers."""
    bank.set("scaling", {"stabilisation_seconds": 2.0})
    with serve(bank.url) as served:
        stage = Stage(bank, served)
        try:
            eventually(stage.running(1), "the control socket answers")
            yield stage
        finally:
            for process in stage.processes:
                process.terminate()
            for process in stage.processes:
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@pytest.fixture
def stage(bank: Bank) -> Iterator[Stage]:
    """A stage on each database."""
    with staged(bank) as made:
        yield made


@pytest.fixture
def sqlite_stage(sqlite_bank: Bank) -> Iterator[Stage]:
    """A stage on SQLite."""
    with staged(sqlite_bank) as made:
        yield made


class Customers(threading.Thread):
    """A few requests a second on kept connections, until stopped; what failed is kept."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self.url = f"{stage.served.url}/v1/branches"
        self.headers = {"Authorization": f"Bearer {stage.served.tokens['planner']}"}
        self.answered, self.failed, self.stopped = 0, [], threading.Event()

    def run(self) -> None:
        """Ask on."""
        with httpx.Client(headers=self.headers, timeout=20) as client:
            while not self.stopped.wait(0.05):
                try:
                    client.get(self.url).raise_for_status()
                    self.answered += 1
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))


def test_the_plan_scales_out_and_idleness_scales_in(stage: Stage) -> None:
    """1 → 3 by an applied server plan, back to 1 by low observed load; no request fails on the way."""
    customers = Customers(stage)
    customers.start()
    plan_servers(stage.bank, "s1", 3)
    stage.scale("--interval", "0.3")
    eventually(stage.running(3), "three workers by plan")
    plan_servers(stage.bank, "s2", None, datetime.now(UTC) + timedelta(minutes=15))
    eventually(stage.running(1), "one worker for little load")
    customers.stopped.set()
    customers.join()
    assert customers.failed == []
    assert customers.answered > 20
    eventually(lambda: ("steady", 1) in stage.reasons(), "the last decision is written")
    told = stage.reasons()
    assert [step for step in told if step[0] in ("forecast", "step_down_limit", "scale_in")] == [
        ("forecast", 3),
        ("step_down_limit", 2),
        ("scale_in", 1),
    ]


def test_requests_in_flight_are_answered_while_their_worker_leaves(sqlite_stage: Stage) -> None:
    """Requests whose bodies are still under way on every worker are answered after the resize began."""
    stage = sqlite_stage
    assert stage.gunicorn.resize(3).running == 3
    body = b'{"plan_id": 1}'
    head = (
        f"POST /v1/plans HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stage.served.tokens['planner']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    sockets = [socket.create_connection(("127.0.0.1", stage.port), timeout=20) for _ in range(12)]
    for connection in sockets:
        connection.sendall(head + body[:5])
    time.sleep(0.5)
    resizing = threading.Thread(target=stage.gunicorn.resize, args=(1,))
    resizing.start()
    time.sleep(1.0)
    for connection in sockets:
        connection.sendall(body[5:])
    answers = [connection.recv(4096).split(b"\r\n")[0] for connection in sockets]
    assert answers == [b"HTTP/1.1 400 Bad Request"] * 12
    resizing.join()
    eventually(stage.running(1), "the workers left")


def test_the_actuator_survives_its_own_death_and_gunicorns(sqlite_stage: Stage) -> None:
    """Killed and started anew it goes on from what it finds; a restarted gunicorn is scaled again."""
    stage = sqlite_stage
    plan_servers(stage.bank, "s1", 2)
    actuator = stage.scale("--interval", "0.2")
    eventually(stage.running(2), "two workers")
    actuator.send_signal(signal.SIGKILL)
    actuator.wait()
    plan_servers(stage.bank, "s2", 3)
    actuator = stage.scale("--interval", "0.2")
    eventually(stage.running(3), "three workers by the second actuator")
    assert stage.start("scale", "--once").wait(20) == 3, "a second actuator beside it refuses to work"
    stage.served.process.terminate()
    stage.served.process.wait(40)
    eventually(lambda: "gunicorn does not answer" in stage.log(), "absence is logged")
    assert actuator.poll() is None
    stage.start("serve", "--port", str(stage.port), "--log-level", "warning")
    eventually(stage.running(3), "the new gunicorn is scaled")
    eventually(lambda: "scaling again" in stage.log(), "the return is logged")
    actuator.terminate()
    assert actuator.wait(20) == 0
    assert stage.gunicorn.workers().running == 3, "its end leaves the workers as they are"


def test_once_without_a_server_says_so(sqlite_stage: Stage) -> None:
    """Exit 3 and a clear line where there is nothing to scale; exit 2 for bounds that make no rule."""
    sqlite_stage.served.process.terminate()
    sqlite_stage.served.process.wait(40)
    assert sqlite_stage.scale("--once").wait(30) == 3
    assert "nothing scaled" in sqlite_stage.log()
    assert sqlite_stage.scale("--once", "--min", "5").wait(30) == 2
    assert "min 5, max 3" in sqlite_stage.log()


@dataclass
class StillServer:
    """A server whose worker count is a number."""

    count: int = 1

    def workers(self) -> Workers:
        """Running and kept alike."""
        return Workers(self.count, self.count)

    def resize(self, target: int) -> Workers:
        """Reached at once."""
        self.count = target
        return self.workers()


def test_a_decision_is_written_when_something_changes_and_every_minute(bank: Bank) -> None:
    """Standing still writes one row a minute; a change writes at once, with its plan."""
    now = [datetime(2026, 3, 2, 10, 1, tzinfo=UTC)]
    rule = ScalingRule(max_workers=3)
    actuator = Actuator(bank.engine, StillServer(), rule=lambda _: rule, lead_seconds=60, wall=lambda: now[0])  # type: ignore[arg-type]
    for _ in range(40):
        actuator.step()
        now[0] += timedelta(seconds=2)
    plan_servers(bank, "s1", 2, now[0])
    assert actuator.step().reason is ScalingReason.FORECAST
    c = tf.scaling_decisions.c
    with bank.engine.connect() as connection:
        rows = connection.execute(
            select(c.at_utc, c.target, c.reason, c.plan_id).order_by(c.decision_id)
        ).all()
    assert [tuple(row)[1:] for row in rows] == [
        (1, "steady", None),
        (1, "steady", None),
        (2, "forecast", "s1"),
    ]
    assert rows[1].at_utc - rows[0].at_utc == timedelta(seconds=60)


def test_observed_load_needs_no_forecast(bank: Bank) -> None:
    """Pressure in the database alone scales out: 20 requests/s of 0.1 s each keep two workers busy.

    A trend that is set later is followed from then on.
    """
    now = datetime(2026, 3, 2, 10, 1, tzinfo=UTC)
    rule = ScalingRule(max_workers=9, trend_gain=0.0)
    with write_transaction(bank.engine) as connection:
        for ago, requests in ((5, 60), (1, 1200)):
            counted = Sums(requests=requests, refused=0, failed=0, busy_seconds=requests / 10)
            minute = now - timedelta(minutes=ago)
            add_pressure(connection, "w1", [((minute, quarter_hour(minute)), counted)])
    actuator = Actuator(
        bank.engine,
        StillServer(),  # type: ignore[arg-type]
        rule=lambda _: rule,
        lead_seconds=60,
        wall=lambda: now,
    )
    decision = actuator.step()
    assert (decision.target, decision.reason) == (4, ScalingReason.OBSERVED_LOAD)
    with bank.engine.connect() as connection:
        row = connection.execute(select(tf.scaling_decisions)).one()
    assert (row.reactive_need, row.forecast_need, row.observed_rps) == (4, None, 20.0)
    rule, now = replace(rule, trend_gain=1.0), now + timedelta(seconds=40)
    # 12 requests/s over the last 100 s; a rise from 1, less 2·√(12/15), once more on top
    assert actuator.step().reactive_need == math.ceil((12 + 11 - 2 * math.sqrt(12 / 15)) * 0.1 / 0.6)


def test_forecast_only_writes_decisions_down_and_moves_nothing(bank: Bank) -> None:
    """A bank begins by watching: target and need are recorded, no worker starts, the gauge misses none."""
    now = datetime(2026, 3, 2, 10, 1, tzinfo=UTC)
    server = StillServer()
    plan_servers(bank, "s1", 3, now)
    for forecast_only in (True, False):
        rule = ScalingRule(max_workers=9, forecast_only=forecast_only)
        actuator = Actuator(bank.engine, server, rule=lambda _, r=rule: r, lead_seconds=60, wall=lambda: now)  # type: ignore[arg-type,misc]
        decision = actuator.step()
        with bank.engine.connect() as connection:
            row = connection.execute(
                select(tf.scaling_decisions).order_by(tf.scaling_decisions.c.decision_id.desc())
            ).first()
            gauges = {f.name: f.samples[0].value for f in worker_families(connection, now)}
        assert (row.target, row.forecast_need) == (3, 3)
        if forecast_only:
            assert decision.reason is ScalingReason.FORECAST_ONLY
            assert (server.count, row.running, gauges["booking_workers_target"]) == (1, 1, 1)
    assert (server.count, gauges["booking_workers_target"]) == (3, 3), "negative control: carried out"


def test_the_plan_counts_from_now_to_the_lead_time(bank: Bank) -> None:
    """The highest of the quarter-hours ahead counts; past ones, other plans and a veto do not."""
    now = datetime(2026, 3, 2, 10, 20, tzinfo=UTC)
    quarter = datetime(2026, 3, 2, 10, 15, tzinfo=UTC)
    plan_servers(bank, "s1", 4, now)

    def planned(first: datetime, last: datetime) -> tuple[int | None, str | None]:
        with bank.engine.connect() as connection:
            return planned_workers(connection, first, last)

    assert planned(quarter, quarter) == (4, "s1")
    assert planned(quarter - timedelta(hours=1), quarter - timedelta(minutes=15)) == (None, None)
    assert planned(quarter + timedelta(minutes=30), quarter + timedelta(minutes=45)) == (None, None)
    plan_servers(bank, "s2", None, now + timedelta(minutes=15))
    assert planned(quarter, quarter) == (None, None), "the newest forecast was vetoed"


def test_the_lead_is_wall_time() -> None:
    """A minute ahead is one quarter-hour in production, and fifteen where the demo turns one in 4 s."""
    now = datetime(2026, 3, 2, 10, 14, 30, tzinfo=UTC)
    start = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
    assert lead_span(BankSettings(), now, 60) == (start, start + timedelta(minutes=15))
    demo = BankSettings(quarter_seconds=4.0, business_offset_seconds=900)
    assert lead_span(demo, now, 60) == (start + timedelta(minutes=15), start + timedelta(minutes=15 * 16))


def test_the_rule_is_the_banks(engine: object, sqlite_bank: Bank) -> None:
    """Policy and scaling settings set the numbers, the command sets the bounds, unknown names are refused."""
    sqlite_bank.set("policy", {"target_utilisation": 0.5, "cost_seconds": 0.1, "service_level": 0.9})
    sqlite_bank.set("scaling", {"step_up_workers": 2, "max_workers": 99})
    with sqlite_bank.engine.connect() as connection:
        rule = stored_rule(connection, ScalingRule(max_workers=3))
    assert rule == ScalingRule(
        max_workers=3, target_utilisation=0.5, default_cost_seconds=0.1, step_up_workers=2
    )
    with write_transaction(sqlite_bank.engine) as connection:
        connection.execute(
            t.settings.update().where(t.settings.c.key == "scaling").values(value={"speed": 1})
        )
        with pytest.raises(ValueError, match="speed"):
            stored_rule(connection, ScalingRule())
