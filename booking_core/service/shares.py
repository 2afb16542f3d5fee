"""Which of how many worker processes this is: each holds the lock of the lowest number that is free."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

from booking_core.choosing import Share

RECOUNTED_SECONDS: Final = 0.25
"""How often the others are counted anew: workers come and go."""
ENVIRONMENT: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Names a folder inside the run directory where several worker processes serve."""


class ClaimedShare:
    """The share of this process among those of one folder; it is given back when the process ends."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)
        for number in count():
            descriptor = self._locked(number)
            if descriptor is not None:
                self._number, self._descriptor = number, descriptor
                break
        self._count, self._counted = self._recount(), clock()

    def __call__(self) -> Share:
        """(number of this process, how many there are)."""
        now = self._clock()
        if now - self._counted >= RECOUNTED_SECONDS:
            self._count, self._counted = self._recount(), now
        return self._number, self._count

    def close(self) -> None:
        """Give the number back."""
        os.close(self._descriptor)

    def _recount(self) -> int:
        """The highest number that is held, plus one: the numbers below are, or soon will be."""
        for number in range(len(list(self._folder.iterdir())) - 1, self._number, -1):
            descriptor = self._locked(number)
            if descriptor is None:
                return number + 1
            os.close(descriptor)
        return self._number + 1

    def _locked(self, number: int) -> int | None:
        """The open lock file, locked, or None if another process holds it."""
        descriptor = os.open(self._folder / str(number), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor


def share_of_process() -> Callable[[], Share]:
    """The share of a worker of `serve`; (0, 1) for a process that serves alone."""
    folder = os.environ.get(ENVIRONMENT)
    return ClaimedShare(Path(folder).parent / "shares") if folder else lambda: (0, 1)
