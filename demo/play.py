"""A business day played live: Locust's customers come while the business clock is stepped."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from demo.core_api import CoreApi
from demo.preflight import Ports
from demo.services import Places

LANES: Final = 40
"""Customers served at the same time, at most."""
STARTUP_SECONDS: Final = 4.0
"""Time that Locust needs to start before the first customer comes."""
OVERTIME_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Play:
    """What is played: the wishes of a file while the clock passes these business quarter-hours."""

    wishes: Path
    quarters: Sequence[datetime]
    first_quarter: int
    """Index within the day of quarters[0]."""
    quarter_seconds: float


class Stopped(Exception):  # noqa: N818
    """The run is being stopped."""


def play(
    act: Play,
    *,
    places: Places,
    ports: Ports,
    core: CoreApi,
    tokens: Mapping[str, str],
    stopping: threading.Event,
    noted: Callable[[int], None],
    told: Callable[[datetime], None],
) -> None:
    """Return when the last customer has left.

    noted: is given the process id of the customers; told: is called at each business hour with its start.
    Raises Stopped when the run ends meanwhile.
    """
    starts = time.time() + STARTUP_SECONDS
    environment = {
        **os.environ,
        "SLOTCAST_DEMO_WISHES": str(act.wishes),
        "SLOTCAST_DEMO_STARTS": str(starts),
        "SLOTCAST_DEMO_FROM": str(act.first_quarter),
        "SLOTCAST_DEMO_QUARTER_SECONDS": str(act.quarter_seconds),
        "SLOTCAST_CHANNEL_TOKEN": tokens["channel"],
        "SLOTCAST_COUNTER_TOKEN": tokens["counter"],
        "PYTHONPATH": str(places.root),
    }
    command = [
        sys.executable, "-m", "locust", "--locustfile", str(places.root / "demo" / "customers.py"),
        "--headless",
        "--host", f"http://127.0.0.1:{ports.api}", "--users", str(LANES), "--spawn-rate", str(LANES),
        "--only-summary", "--exit-code-on-error", "0", "--stop-timeout", "10",
    ]  # fmt: skip
    log = places.var / "log" / "customers.log"
    with log.open("ab") as out:
        customers = subprocess.Popen(
            command,
            cwd=places.root,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        noted(customers.pid)
        try:
            for index, quarter in enumerate(act.quarters):
                wait_until(starts + index * act.quarter_seconds, stopping)
                core.step_clock(quarter, datetime.now(UTC))
                if quarter.minute == 0:
                    told(quarter)
            deadline = time.time() + act.quarter_seconds + OVERTIME_SECONDS
            while customers.poll() is None and time.time() < deadline:
                wait_until(time.time() + 0.3, stopping)
        finally:
            if customers.poll() is None:
                customers.terminate()
                try:
                    customers.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    customers.kill()


def wait_until(moment: float, stopping: threading.Event) -> None:
    """Return at the wall time (epoch seconds). Raises Stopped when the run ends before."""
    if stopping.wait(timeout=max(0.0, moment - time.time())):
        raise Stopped


def wait_for(
    ready: Callable[[], bool],
    *,
    what: str,
    timeout_seconds: float,
    stopping: threading.Event,
    poll_seconds: float = 0.3,
) -> None:
    """Return once it is ready. Raises TimeoutError naming it, Stopped when the run ends meanwhile."""
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{what} did not come up within {timeout_seconds:.0f} s; its log lies in var/log/"
            )
        wait_until(time.time() + poll_seconds, stopping)
