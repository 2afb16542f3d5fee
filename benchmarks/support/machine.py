"""What the figures were measured on: read from the machine itself, printed and kept beside them."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

PACKAGES: Final = ("fastapi", "gunicorn", "uvloop", "sqlalchemy", "psycopg")
SYNCS: Final = 200
PAGE: Final = b"\0" * 8192


def machine() -> dict[str, Any]:
    """Cores, memory, system, versions, and how busy the machine was before anything ran."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def sync_ms(folder: Path) -> dict[str, float]:
    """How long the disk takes to keep a page, as pg_test_fsync measures it: 8 kB overwritten, fdatasync.

    Milliseconds, median and worst. A median far below 0.5 ms says that the disk does not truly sync.
    """
    path, took = folder / "sync.probe", []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.seek(0)
            file.write(PAGE)
            before = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - before)
    path.unlink()
    return {"median": round(median(took) * 1000, 3), "worst": round(max(took) * 1000, 3)}
