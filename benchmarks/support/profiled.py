"""`python -m benchmarks.support.profiled serve …`: the core, whose workers write down where their CPU goes.

Every thread of a worker runs under cProfile with its own CPU clock, so waiting costs nothing and no thread is
charged for another. The profiler itself makes Python calls dearer: shares are to be believed, times are not.
"""

from __future__ import annotations

import atexit
import cProfile
import os
import pstats
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

FOLDER: Final = "SLOTCAST_PROFILE_DIR"
_numbers = count(1)


def shares(folder: Path, rows: int = 40) -> list[dict[str, Any]]:
    """The functions that used most CPU themselves, of all threads that were written down in the folder."""
    files = [str(path) for path in sorted(folder.glob("*.prof"))]
    found: Any = pstats.Stats(*files)
    total = sum(own for _, _, own, _, _ in found.stats.values()) or 1.0
    each = sorted(found.stats.items(), key=lambda item: -item[1][2])[:rows]
    return [
        {
            "function": f"{'/'.join(Path(file).parts[-2:])}:{line}:{name}",
            "calls": calls,
            "own": round(own / total, 4),
            "with_callees": round(below / total, 4),
        }
        for (file, line, name), (_, calls, own, below, _) in each
    ]


def _watch(run: Callable[..., Any]) -> Callable[..., Any]:
    """The thread's work, profiled and written down at its end."""

    def profiled(*arguments: Any) -> Any:
        watcher = cProfile.Profile(time.thread_time)
        watcher.enable()
        try:
            return run(*arguments)
        finally:
            watcher.disable()
            _write(watcher)

    return profiled


def _write(watcher: cProfile.Profile) -> None:
    watcher.dump_stats(Path(os.environ[FOLDER]) / f"{os.getpid()}-{next(_numbers)}.prof")


def _in_worker() -> None:
    """Profile this worker's main thread from now on, and every thread it starts."""
    threading.Thread.run = _watch(threading.Thread.run)  # type: ignore[method-assign]
    watcher = cProfile.Profile(time.thread_time)

    def end() -> None:
        watcher.disable()
        _write(watcher)

    atexit.register(end)
    watcher.enable()


def main() -> int:
    """What the core's own command returns."""
    from booking_core.__main__ import main as command  # noqa: PLC0415 – nothing of it in the tools above

    os.register_at_fork(after_in_child=_in_worker)
    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
