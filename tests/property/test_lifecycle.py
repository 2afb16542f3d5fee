"""Whatever is asked of a booking in whatever order: it takes allowed steps only, each one on record."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from booking_core import lifecycle
from booking_core import tables as t
from booking_core.lifecycle import NEXT
from booking_core.service import changes
from booking_core.service.bookings import Taken
from booking_core.service.housekeeping import sweep
from tests.support.bank import ZONE, make_bank
from tests.support.counts import drift, rows
from tests.support.wishes import Wall, asking, book, core_on, reason, ref

LOANS = ["L1", "L2"]


class Life(RuleBasedStateMachine):
    """Two loans, three small slots on two days, and everything that can be asked of a booking."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="slotcast-property-")
        self.bank = make_bank(f"sqlite:///{Path(self._folder.name)}/slotcast.db")
        self.bank.add_quota("branch", "b1", "week", 3)
        self.bank.add_quota("bank", "bank", "funds_day", 400_000)
        day = self.bank.today + timedelta(days=1)
        self.slots = [
            self.bank.add_slot(day=day, at="10:00", capacity=2),
            self.bank.add_slot(day=day, at="16:00", capacity=1),
            self.bank.add_slot(day=day + timedelta(days=1), capacity=2),
        ]
        self.wall = Wall(datetime.combine(day, time(8), ZoneInfo(ZONE)).astimezone(UTC))
        self.core = core_on(self.bank.engine, self.wall)
        self.refs = ["B0"] * len(LOANS)
        self.book(LOANS[0], 0, sure=True)

    def teardown(self) -> None:
        """Remove the bank."""
        self.bank.engine.dispose()
        self._folder.cleanup()

    @rule(loan=st.sampled_from(LOANS), slot=st.integers(0, 2), sure=st.booleans())
    def book(self, loan: str, slot: int, sure: bool) -> None:
        """Someone books, some with their amount at once."""
        more: dict[str, Any] = {"amount_cny": self._payoff, "option": "full"} if sure else {}
        outcome = book(self.core, loan, self.slots[slot], **more)
        if isinstance(outcome, Taken):
            self.refs[LOANS.index(loan)] = ref(outcome)

    @rule(loan=st.integers(0, 1), step=st.sampled_from(["confirm", "cancel", "no_show"]), twice=st.booleans())
    def step(self, loan: int, step: str, twice: bool) -> None:
        """Someone asks for a step."""
        self._ask(loan, step, twice)

    @rule(loan=st.integers(0, 1), twice=st.booleans())
    def arrive(self, loan: int, twice: bool) -> None:
        """A customer comes to the branch."""
        self._ask(loan, "check_in", twice)

    @rule(loan=st.integers(0, 1), twice=st.booleans())
    def leave(self, loan: int, twice: bool) -> None:
        """A customer was served."""
        self._ask(loan, "complete", twice)

    def _ask(self, loan: int, step: str, twice: bool) -> None:
        """Ask for the step; asked again at once, it changes nothing more."""
        more = (changes.Settlement(self._payoff, "full"),) if step == "confirm" else ()
        ask = getattr(changes, step)
        first = ask(self.core, asking(), self.refs[loan], *more)
        if twice:
            before = rows(self.bank.engine, "booking_events")
            again = ask(self.core, asking(), self.refs[loan], *more)
            assert reason(again) == reason(first)
            assert rows(self.bank.engine, "booking_events") == before

    @rule(loan=st.integers(0, 1), slot=st.integers(0, 2))
    def move(self, loan: int, slot: int) -> None:
        """Someone moves a booking: it ends up in the slot, or stays wholly as it was."""
        before = self._booking(self.refs[loan])
        outcome = changes.reschedule(self.core, asking(), self.refs[loan], self.slots[slot])
        after = self._booking(self.refs[loan])
        if isinstance(outcome, Taken):
            assert after["slot_id"] == self.slots[slot]
            kept = ("loan_ref", "status", "held_until_utc", "amount_cny", "channel")
            assert [after[name] for name in kept] == [before[name] for name in kept]
        elif before.get("status") == after.get("status"):
            assert after == before

    @rule(minutes=st.sampled_from([11, 150, 600]), swept=st.booleans())
    def pass_time(self, minutes: int, swept: bool) -> None:
        """Time goes by; holds expire, swept or not."""
        self.wall.move(minutes=minutes)
        if swept:
            sweep(self.core)

    @invariant()
    def every_step_was_allowed_and_is_on_record(self) -> None:
        """The history of each booking is a chain of allowed steps, as many as its version says."""
        for booking in rows(self.bank.engine, "bookings"):
            history = self._history(booking["booking_ref"])
            assert history[0]["from_status"] is None
            for before, after in pairwise(history):
                assert after["from_status"] == before["to_status"]
                assert after["to_status"] in NEXT.get(str(before["to_status"]), ())
                moved = after["slot_id"] != before["slot_id"]
                assert moved == (after["to_status"] == before["to_status"])
            last = history[-1]
            assert (last["to_status"], last["slot_id"]) == (booking["status"], booking["slot_id"])
            assert booking["version"] == len(history)

    @invariant()
    def times_tell_the_story(self) -> None:
        """Whoever was served came first; only who was served has service times, in their order."""
        for booking in rows(self.bank.engine, "bookings"):
            came = booking["checked_in_utc"] is not None
            assert came == (booking["status"] in {"checked_in", "completed"})
            served = (booking["service_started_utc"], booking["service_ended_utc"])
            assert (None not in served) == (booking["status"] == "completed")
            assert booking["status"] != "completed" or served[0] <= served[1]  # type: ignore[operator]

    @invariant()
    def counters_are_a_recount(self) -> None:
        """Slots, quotas and the day's funds equal the bookings they stand for; each loan has one at most."""
        assert drift(self.bank.engine) == []

    @property
    def _payoff(self) -> Any:
        return rows(self.bank.engine, "loans")[0]["payoff_cny"]

    def _booking(self, booking_ref: str) -> dict[str, Any]:
        return next((b for b in rows(self.bank.engine, "bookings") if b["booking_ref"] == booking_ref), {})

    def _history(self, booking_ref: object) -> list[dict[str, Any]]:
        e = t.booking_events
        statement = select(e).where(e.c.booking_ref == booking_ref).order_by(e.c.event_id)
        with self.bank.engine.connect() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]


QUICK = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)

CONTROL = settings(QUICK, phases=[Phase.generate], database=None, print_blob=False)
"""Finding one example is enough here."""


def test_no_sequence_of_requests_leaves_the_life_cycle() -> None:
    """From any state by any sequence a booking takes only allowed steps, all of them on record."""
    run_state_machine_as_test(Life, settings=QUICK)


def test_the_machine_notices_a_step_that_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the judgement of steps taken away the same machine finds a forbidden one: it can see one."""
    for module in (lifecycle, changes):
        monkeypatch.setattr(module, "judge_step", lambda *_: None)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Life, settings=CONTROL)
