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
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

FOLDER: Final = "SLOTCAST_PROFILE_DIR"
BUILT_IN: Final = "~"
_numbers = count(1)


def told(folder: Path, rows: int = 25) -> dict[str, dict[str, float]]:
    """Shares of the CPU, of all threads written down in the folder: by package, and the dearest functions.

    What is built in is charged to the package that called it.
    """
    files = [str(path) for path in sorted(folder.glob("*.prof"))]
    found: Any = pstats.Stats(*files)
    total = sum(own for _, _, own, _, _ in found.stats.values()) or 1.0
    by_package: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, callers) in found.stats.items():
        if file == BUILT_IN and callers:
            for (caller, _, _), (_, _, share, _) in callers.items():
                by_package[_package(caller)] += share / total
        else:
            by_package[_package(file)] += own / total
    by_function = {
        _name(function): (own / total, below / total)
        for function, (_, _, own, below, _) in found.stats.items()
    }
    own = sorted(by_function, key=lambda name: -by_function[name][0])[:rows]
    ours = [_name(function) for function in found.stats if "booking_core" in function[0]]
    below = sorted(ours, key=lambda name: -by_function[name][1])[:rows]
    return {
        "by_package": {name: round(share, 3) for name, share in by_package.most_common(rows)},
        "own_by_function": {name: round(by_function[name][0], 4) for name in own},
        "ours_with_all_they_call": {name: round(by_function[name][1], 4) for name in below},
    }


def _name(function: tuple[str, int, str]) -> str:
    file, line, name = function
    return f"{'/'.join(Path(file).parts[-2:])}:{line}:{name}"


def _package(file: str) -> str:
    """Whose code the file is: a folder of ours, an installed package, or the standard library."""
    parts = Path(file).parts
    for place, depth in (("booking_core", 2), ("metrics", 1), ("site-packages", 2)):
        if place in parts:
            at = parts.index(place)
            return "/".join(parts[at : at + depth]).removeprefix("site-packages/")
    return "built in" if file == BUILT_IN else "standard library"


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
