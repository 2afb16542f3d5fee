"""Whatever happens in whatever order: no level oversells, every try is on record, all is counted, in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from booking_core.domain import Booking
from booking_core.service.batch import Batch
from booking_core.store import attempts, quotas, waitlist
from tests.support.every_operation import EveryOperation

QUICK = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)

CONTROL = settings(
    QUICK, max_examples=200, phases=[Phase.generate], database=None, print_blob=False, derandomize=True
)
"""Finding one example is enough here; making it small takes minutes."""


def test_no_sequence_of_events_oversells_or_loses_a_try() -> None:
    """All that moves units, alone or in one batch, in any order, oversells nothing and loses no try."""
    run_state_machine_as_test(EveryOperation, settings=QUICK)


def blind_to_quotas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are left out of the judgement."""
    real = quotas.lock_levels

    def blind(*arguments: Any) -> Any:
        asked = real(*arguments)
        return lambda: {place: replace(levels, judged=[]) for place, levels in asked().items()}

    monkeypatch.setattr(quotas, "lock_levels", blind)


def keeping_what_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A booking that moves does not give its old units back."""
    real = Batch.put

    def put(batch: Batch, before: Booking | None, after: Booking, actor: str) -> Booking:
        if before is not None and before.slot_id != after.slot_id:
            batch._count(before, +1)
        return real(batch, before, after, actor)

    monkeypatch.setattr(Batch, "put", put)


def last_come_first_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waitlist is read from its end."""
    real = waitlist.queue
    monkeypatch.setattr(waitlist, "queue", lambda *arguments: real(*arguments)[::-1])


def blind_to_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newcomers take what others wait for."""
    monkeypatch.setattr(waitlist, "ahead", lambda *_: 0)


def promising_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free is offered to nobody."""
    monkeypatch.setattr(waitlist, "queue", lambda *_: [])


def forgetting_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the tries of a batch only the first is put on record."""
    real = attempts.add_attempts
    monkeypatch.setattr(attempts, "add_attempts", lambda connection, rows: real(connection, rows[:1]))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (blind_to_quotas, "oversold"),
        (keeping_what_was_left, "its bookings say"),
        (last_come_first_served, "were earlier"),
        (blind_to_those_who_wait, "a newcomer went before"),
        (promising_nothing, "are free and"),
        (forgetting_tries, "on record are"),
    ],
)
def test_the_machine_notices_a_core_that_is_broken(
    broken: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same machine finds what each breakage does: it can see it."""
    broken(monkeypatch)
    with pytest.raises(AssertionError, match=told):
        run_state_machine_as_test(EveryOperation, settings=CONTROL)
