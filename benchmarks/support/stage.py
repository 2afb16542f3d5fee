"""Where figures are measured: one cluster, real servers on copies of a bank, loads with fresh loans."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.support.banks import Databases, Shape, make_bank
from benchmarks.support.generator import Load, Seen, run
from benchmarks.support.pgbench import Pgbench
from benchmarks.support.processes import peak_rss_mb
from tests.support.postgres import PostgresCluster
from tests.support.serving import Served, serve

CORE: Final = "booking_core"
QUICK_SECONDS: Final = 590.0
UNBATCHED: Final = 1
"""--batch: bookings that one transaction judges at most; None is the server's default."""
_runs = count(1)


@dataclass
class Server:
    """A running core with its bank, and the loans that nobody has used yet."""

    served: Served
    shape: Shape
    watched: dict[str, int]
    next_loan: int = 0

    @property
    def engine_url(self) -> str:
        """The database behind it."""
        return self.served.database_url

    def load(self, connections: int, *, loans: int | None = None, **options: Any) -> Seen:
        """What came of a load on this server, each booking with a fresh loan (at most so many)."""
        first = self.next_loan
        last = self.shape.loans if loans is None else min(self.shape.loans, first + loans)
        if options.get("seconds") is None:
            options["ramp"] = 0.0  # what is sent once is seen whole
        parts = urlsplit(self.served.url)
        seen = run(
            Load(
                address=(str(parts.hostname), int(parts.port or 80)),
                token=self.served.tokens["channel"],
                run=f"run{next(_runs)}",
                connections=connections,
                loans=(first, last),
                watched=self.watched,
                **options,
            )
        )
        self.next_loan += seen.counts.get("loans", 0)
        if loans is None and self.next_loan >= last and not options.get("wishes"):
            raise RuntimeError(f"all {last - first} fresh loans were used up: give the bank more")
        return seen

    def peak_rss_mb(self) -> list[float]:
        """The peak memory of each worker."""
        return peak_rss_mb(self.served.process.pid)

    def metrics(self) -> dict[str, float]:
        """The figures of /metrics, by name with labels."""
        with self.served.client() as client:
            lines = client.get("/metrics").text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


@dataclass
class Stage:
    """What every figure is given."""

    databases: Databases
    pgbench: Pgbench
    workers: int
    rounds: int
    seconds: float
    """Length of one measured window of a throughput figure."""
    attempts: int
    quick: bool
    growth_rows: int | None = None
    """Bookings of the large bank, for a trial; None: as many as the figure wants."""
    profile: bool = False
    began: float = field(default_factory=time.monotonic)
    notes: dict[str, Any] = field(default_factory=dict)
    """What figures want to tell beside their numbers; becomes part of "setting"."""

    @contextmanager
    def server(
        self, shape: Shape, *, batch: int | None = None, workers: int | None = None, module: str = CORE
    ) -> Iterator[Server]:
        """A core on a fresh PostgreSQL copy of the bank, which is dropped afterwards."""
        url = self.databases.copy(shape)
        try:
            with self._serve(url, shape, batch, workers, module) as server:
                server.watched["postgres"] = self.postmaster
                yield server
        finally:
            self.databases.drop(url)

    @contextmanager
    def server_on(self, url: str, shape: Shape, *, batch: int | None = None) -> Iterator[Server]:
        """A core on a database that is there already."""
        with self._serve(url, shape, batch, None) as server:
            server.watched["postgres"] = self.postmaster
            yield server

    @contextmanager
    def embedded(
        self, shape: Shape, *, batch: int | None = None, workers: int | None = None
    ) -> Iterator[Server]:
        """A core on a fresh SQLite file."""
        with tempfile.TemporaryDirectory(prefix="slotcast-sqlite-") as folder:
            url = f"sqlite:///{folder}/slotcast.db"
            make_bank(url, shape)
            with self._serve(url, shape, batch, workers) as server:
                yield server

    def seconds_left(self) -> float:
        """What a quick run has left of its ten minutes; more than anything needs where it is not quick."""
        return QUICK_SECONDS - (time.monotonic() - self.began) if self.quick else 24 * 3600.0

    @property
    def postmaster(self) -> int:
        """The process that all of the cluster's descend from."""
        return postmaster(self.databases.cluster)

    @contextmanager
    def _serve(
        self, url: str, shape: Shape, batch: int | None, workers: int | None, module: str = CORE
    ) -> Iterator[Server]:
        arguments = ["--log-level", "warning"]
        if batch is not None:
            arguments += ["--batch", str(batch)]
        with serve(url, workers=workers or self.workers, arguments=arguments, module=module) as served:
            yield Server(served, shape, {"workers": served.process.pid})


def postmaster(cluster: PostgresCluster) -> int:
    """The process that all of the cluster's descend from."""
    return int((Path(cluster.data) / "postmaster.pid").read_text().split()[0])


def milliseconds(seconds: float) -> float:
    """Seconds as rounded milliseconds."""
    return seconds if math.isnan(seconds) else round(seconds * 1000, 2)
