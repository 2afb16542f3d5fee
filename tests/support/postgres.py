"""A real PostgreSQL of the test run's own: started in a temporary folder, stopped afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

from tests.support.tools import free_port, require_tool


@dataclass
class PostgresCluster:
    """A running cluster; trust authentication on loopback."""

    port: int
    data: Path
    pg_ctl: str
    options: str
    """What the server is started with."""
    _names: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def _admin(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def fresh_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"slotcast_{next(self._names)}"
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def control(self, *arguments: str) -> None:
        """Run pg_ctl (start, stop -m immediate, restart …) on this cluster."""
        _as_postgres([self.pg_ctl, "-D", str(self.data), "-w", *arguments])

    def up(self) -> None:
        """Start the server, the first time or again."""
        self.control("-l", str(self.data / "log"), "-o", self.options, "start")

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[PostgresCluster]:
        """A started cluster, removed on exit; skips where PostgreSQL is not installed."""
        initdb = require_tool("initdb", "postgresql")
        pg_ctl = require_tool("pg_ctl", "postgresql")
        folder = Path(tempfile.mkdtemp(prefix="slotcast-pg-"))
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir()
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(data, owner.pw_uid, owner.pw_gid)
        port = free_port()
        _as_postgres([initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"])
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": data, "max_connections": 200}
        options = " ".join([f"-p {port}", *(f"-c {name}={value}" for name, value in settings.items())])
        cluster = cls(port, data, pg_ctl, options)
        cluster.up()
        try:
            yield cluster
        finally:
            cluster.control("-m", "immediate", "stop")
            shutil.rmtree(folder, ignore_errors=True)


def _as_postgres(command: list[str]) -> None:
    """Run the command as the postgres user when root (PostgreSQL refuses to run as root)."""
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
