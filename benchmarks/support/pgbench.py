"""The database alone: pgbench running the least transaction that could be called a booking."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.support.banks import Databases
from tests.support.tools import POSTGRES_BIN

COUNTERS: Final = 100_000
CLIENTS: Final = 64
TABLES: Final = f"""
    CREATE TABLE counters (id integer PRIMARY KEY, used_units integer NOT NULL);
    INSERT INTO counters SELECT n, 0 FROM generate_series(1, {COUNTERS}) n;
    CREATE TABLE booked (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, counter_id integer NOT NULL,
        loan_ref text NOT NULL, created_utc timestamptz NOT NULL DEFAULT now());
    """
BOOK: Final = """
BEGIN;
UPDATE counters SET used_units = used_units + 1 WHERE id = :id;
INSERT INTO booked (counter_id, loan_ref) VALUES (:id, 'L' || :client_id);
COMMIT;
"""
HOT: Final = f"\\set id 1{BOOK}"
SPREAD: Final = f"\\set id random(1, {COUNTERS}){BOOK}"


def program(name: str) -> str | None:
    """The path of a program of PostgreSQL, None where it is not installed."""
    return shutil.which(name) or shutil.which(name, path=str(POSTGRES_BIN))


@dataclass
class Pgbench:
    """A database of its own for pgbench, on the cluster that the bookings use."""

    databases: Databases
    name: str = "pgbench"

    def prepare(self) -> None:
        """Make the tables."""
        self.databases.command(f"CREATE DATABASE {self.name}")
        for statement in (*TABLES.split(";")[:3], "VACUUM ANALYZE", "CHECKPOINT"):
            self.databases.command(statement, self.name)

    def per_second(self, script: str, seconds: float, clients: int = CLIENTS) -> float:
        """Transactions a second of the script with so many clients, default durability."""
        command = [program("pgbench") or "pgbench", "-n", "-h", "127.0.0.1", "-U", "postgres"]
        command += ["-p", str(self.databases.cluster.port), "-c", str(clients), "-j", str(min(2, clients))]
        with tempfile.TemporaryDirectory(prefix="slotcast-pgbench-") as folder:
            path = Path(folder) / "script.sql"
            path.write_text(script)
            command += ["-T", str(max(1, round(seconds))), "-f", str(path), self.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        told = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
        if done.returncode or told is None:
            raise RuntimeError(f"pgbench ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return float(told[1])
