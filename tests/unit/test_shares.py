"""Worker processes on one machine know which of how many they are."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from booking_core.service.shares import ENVIRONMENT, RECOUNTED_SECONDS, ClaimedShare, share_of_process


def test_each_takes_the_lowest_number_that_is_free(tmp_path: Path) -> None:
    """A number given back is taken by the next, and the others notice within seconds."""
    now = [0.0]
    first, second, third = (ClaimedShare(tmp_path, lambda: now[0]) for _ in range(3))
    now[0] += RECOUNTED_SECONDS
    assert [share() for share in (first, second, third)] == [(0, 3), (1, 3), (2, 3)]
    second.close()
    now[0] += RECOUNTED_SECONDS
    assert first() == (0, 3)  # two is still held
    fourth = ClaimedShare(tmp_path, lambda: now[0])
    assert fourth() == (1, 3)
    third.close()
    now[0] += RECOUNTED_SECONDS
    assert first() == (0, 2)


def test_a_killed_process_gives_its_number_back(tmp_path: Path) -> None:
    """No trace of it is left that would keep its share from the others."""
    child = os.fork()
    if child == 0:
        ClaimedShare(tmp_path)
        time.sleep(60)
    while not (tmp_path / "0").exists():
        time.sleep(0.01)
    time.sleep(0.05)
    assert ClaimedShare(tmp_path)() == (1, 2)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert ClaimedShare(tmp_path)()[0] == 0


def test_a_process_that_serves_alone_has_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Outside `serve` there is one; inside, the run directory tells."""
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert share_of_process()() == (0, 1)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "prometheus"))
    assert share_of_process()() == (0, 1)
    assert (tmp_path / "shares" / "0").exists()
