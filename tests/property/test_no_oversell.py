"""Whatever happens in whatever order: no level oversells, every try is on record, counters are true."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, update

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.domain import QuotaKey, period_start
from booking_core.service import changes
from booking_core.service.bookings import Refusal, Taken
from booking_core.service.commands import Command
from booking_core.service.housekeeping import sweep
from booking_core.service.quotas import put_quota
from booking_core.store import quotas
from metrics.contract import UNIT_PERIODS, Channel, PeriodKind, ScopeKind
from tests.support.bank import make_bank
from tests.support.counts import attempts_by_outcome, drift, rows
from tests.support.wishes import Wall, asking, book, core_on, reason, ref

SCOPES = [("branch", "b1"), ("branch", "b2"), ("region", "north"), ("bank", "bank")]
CHANNELS = [Channel.APP, Channel.PHONE]
AMOUNTS = st.sampled_from([Decimal("250000.00"), Decimal("50000.01")])
"""The whole of each loan, or a part of it."""
LIMITS = st.integers(0, 4)
"""Limits so low that most examples meet them."""


class Booking(RuleBasedStateMachine):
    """A bank of two branches with small slots, and everything that moves units."""

    booked = Bundle("booked")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="slotcast-property-")
        self.bank = make_bank(f"sqlite:///{Path(self._folder.name)}/slotcast.db")
        self.bank.add_branch("b2")
        day = self.bank.today + timedelta(days=2)
        days = [day, day + timedelta(days=1), day + timedelta(days=30)]
        self.slots = [self.bank.add_slot(b, d, capacity=3) for b in ("b1", "b2") for d in days]
        self.loans = [self.bank.add_loan(f"P{n}") for n in range(40)]
        self.days = days
        self.wall = Wall()
        self.core = core_on(self.bank.engine, self.wall)
        self.tries = {"held": 0, "refused": 0}
        self.frozen: dict[tuple[object, ...], int] = {}
        """Units used of levels whose limit fell below them: those may only fall from there."""

    def teardown(self) -> None:
        """Remove the bank."""
        self.bank.engine.dispose()
        self._folder.cleanup()

    @rule(target=booked, loan=st.integers(0, 39), slot=st.integers(0, 5), channel=st.sampled_from(CHANNELS))
    def book(self, loan: int, slot: int, channel: Channel) -> object:
        """Someone tries to book."""
        outcome = book(self.core, self.loans[loan], self.slots[slot], channel=channel)
        self.tries["refused" if reason(outcome) else "held"] += 1
        return ref(outcome) if isinstance(outcome, Taken) else multiple()

    @rule(booking=booked)
    def cancel(self, booking: str) -> None:
        """Someone cancels; a hold that is over refuses it, which is a recorded try."""
        self.tries["refused"] += reason(changes.cancel(self.core, asking(), booking)) is not None

    @rule(booking=booked, amount=AMOUNTS)
    def confirm(self, booking: str, amount: Decimal) -> None:
        """Someone confirms, for the whole loan or for less."""
        settlement = changes.Settlement(amount_cny=amount, option="full")
        self.tries["refused"] += reason(changes.confirm(self.core, asking(), booking, settlement)) is not None

    @rule(booking=booked, slot=st.integers(0, 5), channel=st.sampled_from([None, *CHANNELS]))
    def move(self, booking: str, slot: int, channel: Channel | None) -> None:
        """Someone moves to another slot; whoever is there already has not tried anything."""
        outcome = changes.reschedule(self.core, asking(), booking, self.slots[slot], channel)
        if isinstance(outcome, Refusal):
            self.tries["refused"] += 1
        elif outcome and not outcome.replayed:
            self.tries["held"] += 1

    @rule(seconds=st.sampled_from([60, 601]), swept=st.booleans())
    def pass_time(self, seconds: int, swept: bool) -> None:
        """Time goes by; holds expire, swept or not."""
        self.wall.move(seconds=seconds)
        if swept:
            sweep(self.core)

    @rule(
        scope=st.sampled_from(SCOPES),
        kind=st.sampled_from(PeriodKind),
        limit=LIMITS,
        channel=st.sampled_from(["*", *CHANNELS]),
    )
    def set_standing(self, scope: tuple[str, str], kind: PeriodKind, limit: int, channel: str) -> None:
        """An operator raises, lowers or introduces a standing limit, of units or of a day's funds."""
        if kind is PeriodKind.FUNDS_DAY:
            channel, limit = "*", limit * 200_000
        with write_transaction(self.bank.engine) as connection:
            put_quota(
                connection,
                f"{scope[0]}:{scope[1]}:{channel}:{kind}",
                limit,
                Command(asking().caller, self.wall()),
            )
        self._freeze()

    @rule(
        scope=st.sampled_from(SCOPES), kind=st.sampled_from(UNIT_PERIODS), day=st.integers(0, 2), limit=LIMITS
    )
    def override(self, scope: tuple[str, str], kind: PeriodKind, day: int, limit: int) -> None:
        """A plan overrides one concrete period, never below what is used."""
        key = QuotaKey(ScopeKind(scope[0]), scope[1], kind)
        level = (key, period_start(kind, self.days[day]))
        with write_transaction(self.bank.engine) as connection:
            quotas.lock_slots(connection)
            quotas.make_counters(connection, [level])
            used = quotas.read_counters(connection, [level], lock=True)[level].used_units
            quotas.set_overrides(connection, {level: (max(limit, used), "plan")})

    @rule(scope=st.sampled_from(SCOPES), kind=st.sampled_from(PeriodKind))
    def drop_limits(self, scope: tuple[str, str], kind: PeriodKind) -> None:
        """A limit goes away; its counters stay."""
        q, p = t.quotas, t.quota_periods
        with write_transaction(self.bank.engine) as connection:
            connection.execute(delete(q).where(q.c.scope_id == scope[1], q.c.period_kind == kind))
            where = (p.c.scope_id == scope[1], p.c.period_kind == kind)
            connection.execute(update(p).where(*where).values(limit_units=None))
        self._freeze()

    @invariant()
    def nothing_is_oversold(self) -> None:
        """No slot and no level holds more than its limit, but where the limit fell below what was used."""
        for slot in rows(self.bank.engine, "slots"):
            assert slot["used_units"] + slot["offered_units"] <= slot["capacity_units"]  # type: ignore[operator]
        for level, used, limit in self._levels():
            assert used <= max(limit, self.frozen.get(level, 0)), f"{level} oversold: {used} of {limit}"
        self._freeze()

    @invariant()
    def every_try_is_on_record(self) -> None:
        """Attempts on record are the accepted and the refused tries."""
        assert attempts_by_outcome(self.bank.engine) == {k: n for k, n in self.tries.items() if n}

    @invariant()
    def counters_are_a_recount(self) -> None:
        """Every counter equals the live bookings it stands for."""
        assert drift(self.bank.engine) == []

    def _freeze(self) -> None:
        self.frozen = {level: used for level, used, limit in self._levels() if used > limit}

    def _levels(self) -> list[tuple[tuple[object, ...], int, int]]:
        standing = {r["quota_id"]: r["limit_units"] for r in rows(self.bank.engine, "quotas")}
        found = []
        for r in rows(self.bank.engine, "quota_periods"):
            quota_id = f"{r['scope_kind']}:{r['scope_id']}:{r['channel']}:{r['period_kind']}"
            limit = standing.get(quota_id) if r["limit_units"] is None else r["limit_units"]
            if limit is not None:
                found.append(((quota_id, r["period_start"]), r["used_units"], limit))
        return found  # type: ignore[return-value]


QUICK = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)

CONTROL = settings(QUICK, phases=[Phase.generate], database=None, print_blob=False)
"""Finding one example is enough here; making it small takes minutes."""


def test_no_sequence_of_events_oversells_or_loses_a_try() -> None:
    """Bookings, moves, cancellations, expiries and changed limits oversell no level and lose no try."""
    run_state_machine_as_test(Booking, settings=QUICK)


def test_the_machine_notices_a_decision_that_forgets_quotas(monkeypatch: pytest.MonkeyPatch) -> None:
    """With limits left out of the judgement the same machine finds an oversold level: it can see one."""
    real = quotas.lock_levels

    def blind(*arguments: object) -> dict[tuple[str, str], quotas.Levels]:
        found = real(*arguments)  # type: ignore[arg-type]
        return {place: quotas.Levels(counted=levels.counted, judged=[]) for place, levels in found.items()}

    monkeypatch.setattr(quotas, "lock_levels", blind)
    with pytest.raises(AssertionError, match="oversold"):
        run_state_machine_as_test(Booking, settings=CONTROL)
