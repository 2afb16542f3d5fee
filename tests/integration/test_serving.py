"""The real server: several workers, one set of figures, resized and stopped without losing an answer."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from booking_core.__main__ import main
from booking_core.serving import is_no_fork_artefact
from tests.support.bank import Bank
from tests.support.counts import attempts_by_outcome, drift, rows
from tests.support.serving import Served, serve
from tests.support.tools import free_port


def attempts_metric(served: Served) -> dict[str, float]:
    """Attempts by outcome, as /metrics sums them over workers and reasons."""
    found: dict[str, float] = {"held": 0, "refused": 0}
    for line in httpx.get(f"{served.url}/metrics").text.splitlines():
        if line.startswith("booking_attempts_total{"):
            outcome = line.split('outcome="')[1].split('"')[0]
            found[outcome] += float(line.rsplit(" ", 1)[1])
    return found


def test_workers_share_figures_and_may_come_and_go_under_load(postgres_bank: Bank) -> None:
    """While workers are added and taken away no answer is lost, and the figures equal the records."""
    slot = postgres_bank.add_slot(capacity=60)
    loans = [postgres_bank.add_loan(f"R{n}") for n in range(90)]
    with serve(postgres_bank.url, workers=1) as served:
        master = int((served.run_dir / "gunicorn.pid").read_text())
        done = threading.Event()

        def resize() -> None:
            for name in (signal.SIGTTIN, signal.SIGTTOU):
                if not done.wait(1.5):
                    os.kill(master, name)

        def ask(loan: str) -> int:
            body = {"loan": loan, "slot": slot, "channel": "web"}
            with served.client(Connection="close") as client:
                time.sleep(0.03)
                return client.post("/v1/bookings", json=body, headers={"Idempotency-Key": loan}).status_code

        resizer = threading.Thread(target=resize)
        resizer.start()
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(ask, loans))
        resizer.join()
        done.set()
        assert sorted(statuses) == [201] * 60 + [409] * 30
        assert attempts_by_outcome(postgres_bank.engine) == {"held": 60, "refused": 30}
        _wait_for_folding(served.run_dir / "prometheus")
        assert attempts_metric(served) == {"held": 60, "refused": 30}
    assert served.process.returncode == 0
    assert drift(postgres_bank.engine) == []


def test_a_killed_worker_loses_nothing_acknowledged(sqlite_bank: Bank) -> None:
    """Every booking that was answered before a kill -9 stands afterwards, and its key still answers."""
    slot = sqlite_bank.add_slot(capacity=200)
    loans = [sqlite_bank.add_loan(f"R{n}") for n in range(60)]
    acknowledged: set[str] = set()
    killed: set[int] = set()
    with serve(sqlite_bank.url) as served, served.client() as client:

        def ask(loan: str) -> httpx.Response:
            body = {"loan": loan, "slot": slot, "channel": "app"}
            return client.post("/v1/bookings", json=body, headers={"Idempotency-Key": loan})

        def ask_and_kill(loan: str) -> None:
            assert ask(loan).status_code == 201
            acknowledged.add(loan)
            if len(acknowledged) in {10, 25}:
                killed.add(_kill_worker(served))

        with ThreadPoolExecutor(4) as pool:
            outcomes = [pool.submit(ask_and_kill, loan) for loan in loans]
        faults = [fault for outcome in outcomes if (fault := outcome.exception())]
        assert killed
        assert all(isinstance(fault, httpx.TransportError) for fault in faults)
        _wait_until_healthy(served)
        for loan in loans:
            answer = ask(loan)
            assert answer.status_code == 201
            assert loan not in acknowledged or answer.headers["idempotent-replay"] == "true"
    assert len(rows(sqlite_bank.engine, "bookings")) == 60
    assert drift(sqlite_bank.engine) == []


def _kill_worker(served: Served) -> int:
    """The worker that was killed with signal 9, or 0 where none ran just then."""
    master = (served.run_dir / "gunicorn.pid").read_text().strip()
    for worker in Path(f"/proc/{master}/task/{master}/children").read_text().split():
        os.kill(int(worker), signal.SIGKILL)
        return int(worker)
    return 0


def _wait_for_folding(folder: Path, seconds: float = 30) -> None:
    """Wait until the counters of the workers that left are folded into those of pid 0."""
    deadline = time.monotonic() + seconds
    while len(list(folder.glob("counter_*.db"))) != 2 or not (folder / "counter_0.db").exists():
        assert time.monotonic() < deadline, sorted(folder.iterdir())
        time.sleep(0.2)


def _wait_until_healthy(served: Served, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{served.url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(served.log())


def test_a_second_server_leaves_the_first_ones_figures_alone(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a server lives already another is refused in one line, before it removes any metric file."""
    with serve(sqlite_bank.url) as served:
        before = sorted((served.run_dir / "prometheus").iterdir())
        monkeypatch.setenv("SLOTCAST_RUN_DIR", str(served.run_dir))
        assert main(["serve", "--port", str(free_port())]) == 2
        told = capsys.readouterr().err
        assert (told.count("\n"), "set SLOTCAST_RUN_DIR" in told) == (1, True)
        assert before
        assert set(before) <= set((served.run_dir / "prometheus").iterdir())


def test_the_running_server_sweeps_holds(sqlite_bank: Bank) -> None:
    """A hold that nobody confirms is given back by the server itself, a few seconds after its end."""
    sqlite_bank.set("hold_seconds", 1)
    slot = sqlite_bank.add_slot(capacity=1)
    with serve(sqlite_bank.url) as served, served.client() as client:
        body = {"loan": "L1", "slot": slot, "channel": "app"}
        client.post("/v1/bookings", json=body, headers={"Idempotency-Key": "k"})
        deadline = time.monotonic() + 20
        while rows(sqlite_bank.engine, "bookings")[0]["status"] != "expired":
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert drift(sqlite_bank.engine) == []


def test_a_fork_artefact_of_the_control_server_is_not_logged() -> None:
    """The cancelled client task that gunicorn leaves at a fork is dropped; other asyncio errors are not."""
    artefact = "Exception in callback StreamReaderProtocol.connection_made.<locals>.callback(<Task cancell"
    for message, told in ((artefact, False), ("Task exception was never retrieved", True)):
        record = logging.LogRecord("asyncio", logging.ERROR, "base_events.py", 1, message, None, None)
        assert is_no_fork_artefact(record) is told
