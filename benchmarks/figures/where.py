"""Where the time of a booking goes: statements that reach the database, functions that use the CPU."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.figures.overload import CONNECTIONS, RAMP_SECONDS
from benchmarks.figures.throughput import CLIENTS, LOANS_A_SECOND, WARM_SECONDS
from benchmarks.support.banks import HOT, SPREAD, Shape
from benchmarks.support.profiled import FOLDER, told
from benchmarks.support.rounds import Figure, figure
from benchmarks.support.stage import Stage

SECONDS: Final = 2.0
PROFILED_SECONDS: Final = 4.0
STORM_RATE: Final = 10_000.0
"""Arrivals a second: far above what one worker under a profiler can do."""


def goes(stage: Stage) -> list[Figure]:
    """Statements an accepted booking, begin and commit included: 64 clients on the hot slot, and one."""
    shape = replace(HOT, loans=int((SECONDS + WARM_SECONDS + 2) * 2 * LOANS_A_SECOND))
    slots = shape.slot_ids(0)
    log = stage.databases.cluster.data / "log"
    with stage.server(shape) as server:
        name = server.engine_url.rsplit("/", 1)[1]
        # the workers' connections are told on the way: a setting of the database counts for new ones only
        stage.databases.command("ALTER SYSTEM SET log_statement = 'all'")
        stage.databases.command("SELECT pg_reload_conf()")
        server.load(CLIENTS, seconds=WARM_SECONDS, slots=slots)
        per_booking, kinds = {}, {}
        for label, clients in (("64 clients", CLIENTS), ("1 client", 1)):
            before = log.stat().st_size
            seen = server.load(clients, loans=max(200, clients * 30), slots=slots)
            said = _statements(log, before)
            per_booking[label] = round(sum(said.values()) / max(1, seen.accepted), 3)
            kinds[label] = {verb: round(n / max(1, seen.accepted), 3) for verb, n in said.most_common(8)}
        stage.databases.command("ALTER SYSTEM RESET log_statement")
        stage.databases.command("SELECT pg_reload_conf()")
    stage.notes["statements"] = {"database": name, "per_booking": per_booking, "by_verb": kinds}
    if stage.profile:
        calm: dict[str, Any] = {"connections": CLIENTS}
        storm = {"connections": CONNECTIONS, "rate": STORM_RATE, "ramp": RAMP_SECONDS}
        stage.notes["profile"] = {
            "hot": _profile(stage, HOT, calm),
            "spread": _profile(stage, SPREAD, calm),
            "storm": _profile(stage, HOT, storm),
        }
    return [figure("statements_per_booking", [per_booking["64 clients"]])]


def _statements(log: Path, start: int) -> Counter[str]:
    """How many statements the log tells from this byte on, by their first word."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        lines.seek(start)
        said = [line for line in lines if "LOG:  execute " in line or "LOG:  statement: " in line]
    return Counter(line.split(": ", 1)[1].lstrip().split(": ", 1)[-1].split()[0].upper() for line in said)


def _profile(stage: Stage, shape: Shape, load: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Where one worker's CPU goes under the load."""
    loans = int((PROFILED_SECONDS + 3) * LOANS_A_SECOND)
    shape = replace(shape, loans=loans)
    with tempfile.TemporaryDirectory(prefix="slotcast-profile-") as folder:
        os.environ[FOLDER] = folder
        with stage.server(shape, workers=1, module="benchmarks.support.profiled") as server:
            server.load(**load, loans=loans, seconds=PROFILED_SECONDS, slots=shape.slot_ids(0))
        return told(Path(folder))
