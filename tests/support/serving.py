"""The real `python -m booking_core serve` on a free port, for a database URL."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from booking_core.database import make_engine, write_transaction
from booking_core.migrating import stamp, upgrade
from booking_core.service.tokens import issue_token
from tests.support.tools import free_port

ROOT = Path(__file__).parents[2]


@dataclass
class Served:
    """A running core with one token of each scope (by scope name) and its files."""

    url: str
    database_url: str
    run_dir: Path
    process: subprocess.Popen[bytes]
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, scope: str = "channel", **headers: str) -> httpx.Client:
        """A client that bears the scope's token."""
        bearer = {"Authorization": f"Bearer {self.tokens[scope]}", **headers}
        return httpx.Client(base_url=self.url, headers=bearer, timeout=30)

    def environment(self) -> dict[str, str]:
        """What other programs of ours need to work with this core."""
        return {
            **os.environ,
            "SLOTCAST_DATABASE_URL": self.database_url,
            "SLOTCAST_API_URL": self.url,
            "SLOTCAST_PLANNER_TOKEN": self.tokens["planner"],
            "SLOTCAST_OPERATOR_TOKEN": self.tokens["operator"],
            "SLOTCAST_RUN_DIR": str(self.run_dir),
        }

    def log(self) -> str:
        """What the server has logged so far."""
        return (self.run_dir / "serve.log").read_text()


@contextmanager
def serve(
    database_url: str,
    *,
    workers: int = 1,
    threads: int = 8,
    ready_seconds: float = 30,
    arguments: Sequence[str] = (),
    module: str = "booking_core",
) -> Iterator[Served]:
    """A core that answers /readyz, stopped gracefully on exit; an empty database is migrated first.

    `arguments` are further ones of `serve`; `module` stands in for booking_core where it is to be watched.
    """
    engine = make_engine(database_url)
    with engine.connect() as connection:
        furnished = engine.dialect.has_table(connection, "slots")
        stamped = engine.dialect.has_table(connection, "alembic_version")
    if not furnished:
        upgrade(engine)
    elif not stamped:
        stamp(engine)
    with write_transaction(engine) as connection:
        tokens = {
            scope: issue_token(connection, name=f"test-{scope}", scopes=[scope])
            for scope in ("channel", "operator", "planner", "reader")
        }
    engine.dispose()
    with tempfile.TemporaryDirectory(prefix="slotcast-run-") as folder:
        run_dir, port = Path(folder), free_port()
        environment = {**os.environ, "SLOTCAST_DATABASE_URL": database_url, "SLOTCAST_RUN_DIR": folder}
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
        command = [
            sys.executable,
            "-m",
            module,
            "serve",
            "--port",
            str(port),
            "--workers",
            str(workers),
            "--threads",
            str(threads),
            *arguments,
        ]
        with (run_dir / "serve.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)
        served = Served(f"http://127.0.0.1:{port}", database_url, run_dir, process, tokens)
        try:
            _await(served, ready_seconds)
            yield served
        finally:
            process.terminate()
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(served: Served, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if served.process.poll() is not None:
            raise RuntimeError(f"the server ended with {served.process.returncode}:\n{served.log()}")
        try:
            if httpx.get(f"{served.url}/readyz", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"not ready after {seconds} s:\n{served.log()}")
