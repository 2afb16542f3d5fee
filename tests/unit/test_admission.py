"""Admission, the clock in hand: who waits, who is sent away, and for how long."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from booking_core.api.take import Intake
from booking_core.service import admission
from booking_core.service.admission import Admission, Limits


@dataclass
class Door:
    """An admission whose clock stands until it is moved."""

    limits: Limits = field(default_factory=Limits)
    now: float = 100.0

    def __post_init__(self) -> None:
        self.admission = Admission(self.limits, lambda: self.now)

    def tries(self, customer: str, times: int) -> list[float]:
        """What each of some tries is told that are answered at once."""
        told = []
        for _ in range(times):
            told.append(self.admission.enter(customer))
            if not told[-1]:
                self.admission.leave(customer)
        return told


def test_who_would_wait_longer_than_a_third_of_the_deadline_is_not_let_in() -> None:
    """A third of the deadline is for waiting, the rest for being read and answered; none lets nobody in."""
    door = Admission(Limits(deadline_seconds=3))
    assert [door.too_long(wait) for wait in (0, 0.9, 1.0, 5)] == [False, False, True, True]
    assert Admission(Limits(deadline_seconds=0)).too_long(0)


def test_a_customer_has_a_burst_and_then_a_rate() -> None:
    """After the burst the time to the next try is told exactly, and holds."""
    door = Door(Limits(burst=3, per_second=2))
    assert door.tries("a", 5) == [0, 0, 0, 0.5, 0.5]
    assert door.tries("b", 1) == [0]
    door.now += 0.3
    assert door.tries("a", 1) == [pytest.approx(0.2)]
    door.now += 0.2001
    assert door.tries("a", 1) == [0]
    door.now += 3600
    assert door.tries("a", 4) == [0, 0, 0, 0.5]


def test_a_customer_waits_with_two_wishes_at_most() -> None:
    """However many connections a client opens, its wishes take two places of the queue."""
    door = Door(Limits(waiting=2))
    assert [door.admission.enter("a") for _ in range(4)] == [0, 0, 0.5, 0.5]
    assert door.admission.enter("b") == 0
    door.admission.leave("a")
    assert door.admission.enter("a") == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more customers than are remembered the least recent is forgotten; nothing is left of who left."""
    monkeypatch.setattr(admission, "CUSTOMERS", 2)
    door = Door(Limits(burst=1))
    for customer in ("a", "b", "a", "c"):
        door.tries(customer, 1)
    assert list(door.admission._buckets) == ["a", "c"]
    assert door.admission._waiting == Counter()


def test_one_refusal_is_told_at_once_and_a_crowds_are_spread() -> None:
    """As many a second as the limit says, none held back longer than the limit says."""
    door = Door(Limits(told_per_second=10, pause_seconds=1))
    pauses = [door.admission.pause() for _ in range(30)]
    assert pauses[:3] == [0, pytest.approx(0.1), pytest.approx(0.2)]
    assert max(pauses) == pytest.approx(1)
    door.now += 5
    assert door.admission.pause() == 0


def test_a_machine_that_stood_still_refuses_a_crowd_and_not_who_comes_alone() -> None:
    """An event loop five seconds late sheds a newcomer in a crowd; one alone is let in."""
    nothing: Any = SimpleNamespace(batcher=None)
    watch: Any = SimpleNamespace(crowded=False)
    intake = Intake(nothing, nothing, Admission(Limits()), nothing, watch, 10)
    intake._lag = 5.0
    assert not intake.busy()
    watch.crowded = True
    assert intake.busy()
