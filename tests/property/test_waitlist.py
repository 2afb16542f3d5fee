"""The waitlist whatever happens in whatever order: no place lies idle, nobody is overtaken, units add up."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import update

from booking_core import queueing
from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.service import changes, waitlist
from booking_core.service.bookings import Refusal
from booking_core.service.commands import Command
from booking_core.service.housekeeping import sweep
from booking_core.service.quotas import put_quota
from metrics.contract import Channel
from tests.support.bank import make_bank
from tests.support.counts import drift, rows
from tests.support.queueing import join
from tests.support.wishes import Wall, asking, book, core_on

PAYOFFS = ("1000", "5000")
FUNDS = (0, 4000, 20_000)
"""None of the loans, only the small ones, or several of them fit a day's funds."""


class Queueing(RuleBasedStateMachine):
    """A branch of three small slots on three days, with limits so low that most who come have to wait."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="slotcast-property-")
        self.bank = make_bank(f"sqlite:///{Path(self._folder.name)}/slotcast.db", furnished=False)
        self.bank.add_region()
        self.bank.add_branch()
        self.bank.set("offers_at_once", 3)
        self.slots = [
            self.bank.add_slot(day=self.bank.today + timedelta(days=n), capacity=2) for n in (2, 3, 4)
        ]
        eligible = (None, self.bank.today + timedelta(days=4))
        self.loans = [
            self.bank.add_loan(f"P{n}", payoff=PAYOFFS[n % 2], eligible_from=eligible[n % 5 == 0])
            for n in range(14)
        ]
        self.newcomers = 0
        self.wall = Wall()
        self.core = core_on(self.bank.engine, self.wall)

    def teardown(self) -> None:
        """Remove the bank."""
        self.bank.engine.dispose()
        self._folder.cleanup()

    @rule(loan=st.integers(0, 13), slot=st.integers(0, 2))
    def book(self, loan: int, slot: int) -> None:
        """Someone tries to book."""
        book(self.core, self.loans[loan], self.slots[slot])

    @rule(
        loan=st.integers(0, 13),
        days=st.integers(2, 4),
        more=st.integers(0, 2),
        channel=st.sampled_from([Channel.APP, Channel.WEB]),
    )
    def join(self, loan: int, days: int, more: int, channel: Channel) -> None:
        """Someone joins."""
        latest = self.bank.today + timedelta(days=days + more)
        join(self.core, self.bank, self.loans[loan], days=days, latest_day=latest, channel=channel)

    @rule(loan=st.integers(0, 13), accepts=st.booleans())
    def answer(self, loan: int, accepts: bool) -> None:
        """Someone who is on the list accepts or leaves."""
        for row in self._live(self.loans[loan]):
            (waitlist.accept if accepts else waitlist.leave)(self.core, asking(), str(row["entry_ref"]))

    @rule(loan=st.integers(0, 13))
    def cancel(self, loan: int) -> None:
        """Someone cancels."""
        for row in rows(self.bank.engine, "bookings"):
            if row["loan_ref"] == self.loans[loan]:
                changes.cancel(self.core, asking(), str(row["booking_ref"]))

    @rule(kind=st.sampled_from(["day", "week"]), limit=st.integers(0, 5))
    def limit(self, kind: str, limit: int) -> None:
        """An operator moves a limit of the branch."""
        self._put(f"branch:b1:*:{kind}", limit)

    @rule(channel=st.sampled_from(["app", "web"]), limit=st.integers(0, 3))
    def narrow(self, channel: str, limit: int) -> None:
        """An operator moves a channel's limit."""
        self._put(f"branch:b1:{channel}:day", limit)

    @rule(cny=st.sampled_from(FUNDS))
    def fund(self, cny: int) -> None:
        """An operator moves the day's funds."""
        self._put("branch:b1:*:funds_day", cny)

    @rule(loan=st.integers(0, 13), status=st.sampled_from(["active", "closed"]))
    def import_loan(self, loan: int, status: str) -> None:
        """The bank closes a loan, or takes it back."""
        with write_transaction(self.bank.engine) as connection:
            loans = t.loans
            connection.execute(
                update(loans).where(loans.c.loan_ref == self.loans[loan]).values(status=status)
            )

    @rule(seconds=st.sampled_from([60, 601, 1801]))
    def pass_time(self, seconds: int) -> None:
        """Time goes by, and the sweep comes."""
        self.wall.move(seconds=seconds)
        sweep(self.core)

    @rule(slot=st.integers(0, 2), channel=st.sampled_from([Channel.APP, Channel.WEB]))
    def nothing_lies_idle(self, slot: int, channel: Channel) -> None:
        """After two sweeps only those who have an offer within reach keep a newcomer out.

        Two sweeps offer six places, as many as there are: whoever waits still cannot take what is free.
        """
        sweep(self.core)
        sweep(self.core)
        self.newcomers += 1
        newcomer = self.bank.add_loan(f"N{self.newcomers}", payoff="1000")
        outcome = book(self.core, newcomer, self.slots[slot], channel=channel)
        if isinstance(outcome, Refusal):
            kept_out_by = {v.scope_kind for v in outcome.refused.violations}
            assert kept_out_by != {"waitlist"}, "a place lies idle while someone waits who cannot take it"

    @invariant()
    def units_add_up(self) -> None:
        """Slots and counters equal the live bookings, and every offered entry has its offer."""
        assert drift(self.bank.engine) == []

    @invariant()
    def nobody_waits_with_a_booking(self) -> None:
        """A loan with a live booking has no entry that waits; an offered one's booking is that offer."""
        live = {
            r["loan_ref"]: r
            for r in rows(self.bank.engine, "bookings")
            if r["status"] in {"offered", "held", "confirmed"}
        }
        for row in rows(self.bank.engine, "waitlist"):
            if row["status"] == "waiting":
                assert row["loan_ref"] not in live
            if row["status"] == "offered":
                assert live[row["loan_ref"]]["booking_ref"] == row["booking_ref"]

    @invariant()
    def history_tells_every_entry(self) -> None:
        """The last line of each entry's history fits its status, and no reason is told twice running."""
        last: dict[Any, Any] = {}
        for event in rows(self.bank.engine, "waitlist_events"):
            before = last.get(event["entry_ref"])
            told = (event["kind"], event["reason"])
            assert before is None or before != told or event["kind"] != "skipped"
            last[event["entry_ref"]] = told
        kinds = {"joined": "waiting", "skipped": "waiting", "accepted": "booked"}
        for row in rows(self.bank.engine, "waitlist"):
            kind = last[row["entry_ref"]][0]
            assert kinds.get(kind, kind) == row["status"]

    def _live(self, loan: str) -> list[dict[str, object]]:
        found = rows(self.bank.engine, "waitlist")
        return [r for r in found if r["loan_ref"] == loan and r["status"] in {"waiting", "offered"}]

    def _put(self, quota_id: str, limit: int) -> None:
        with write_transaction(self.bank.engine) as connection:
            put_quota(connection, quota_id, limit, Command(asking().caller, datetime.now(UTC)))


QUICK = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
CONTROL = settings(QUICK, phases=[Phase.generate], database=None, print_blob=False)
"""Finding one example is enough here; making it small takes minutes."""


def test_no_sequence_of_events_leaves_a_place_idle_or_loses_one() -> None:
    """Joins, offers, cancellations, limits and closed loans in any order: units add up, none lies idle."""
    run_state_machine_as_test(Queueing, settings=QUICK)


class Stuck(Queueing):
    """The same bank with two who wait for more than a day's funds, or the control would need luck."""

    def __init__(self) -> None:
        super().__init__()
        self._put("branch:b1:*:funds_day", 4000)
        for loan in (self.loans[1], self.loans[3]):
            join(self.core, self.bank, loan)


def test_the_machine_notices_entries_that_hold_newcomers_back_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With nobody ever skipped the same machine finds a place that lies idle: it can see one."""
    monkeypatch.setattr(queueing, "OWN_REASONS", frozenset())
    with pytest.raises(AssertionError, match="lies idle"):
        run_state_machine_as_test(Stuck, settings=CONTROL)
