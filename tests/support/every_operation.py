"""A small bank, everything that moves units at it, and what must hold afterwards: a Hypothesis machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import delete, update

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.domain import QuotaKey, Wish, period_start
from booking_core.queueing import Entry
from booking_core.service import bookings, changes, waitlist
from booking_core.service import quotas as service_quotas
from booking_core.service.bookings import RECORDED, Refusal, Taken
from booking_core.service.commands import Command
from booking_core.service.core import Asking, Caller, Core
from booking_core.service.housekeeping import sweep
from booking_core.service.quotas import TemporaryDraft
from booking_core.service.waitlist import Joining
from booking_core.store import quotas
from booking_core.store import waitlist as waitlist_store
from booking_core.store.slots import LIVE
from metrics.contract import Channel, PeriodKind, ScopeKind, TokenScope
from tests.support.bank import ZONE, Bank, make_bank
from tests.support.counts import attempts_by_outcome, drift
from tests.support.fairness import Queue
from tests.support.levels import Levels, levels
from tests.support.together import together
from tests.support.wishes import Wall, core_on

SCOPES = [("branch", "b1"), ("branch", "b2"), ("region", "north"), ("bank", "bank")]
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where thousands of commits cost no disk."""
PAYOFFS = ["250000.00", "400000.00", "1000.50"]
LOANS = 16
SLOTS = 6
FUNDS_CNY = [0, 250_000, 400_001, 700_000, 2_000_000]
"""Limits of a day's funds, for 0 to 4 units."""

loan, slot, which = st.integers(0, LOANS - 1), st.integers(0, SLOTS - 1), st.integers(0, 11)
channel = st.sampled_from([Channel.APP, Channel.APP, Channel.PHONE, Channel.COUNTER])
kinds = st.sampled_from(list(PeriodKind))
scopes = st.sampled_from(SCOPES)
days = st.integers(0, 2)
operation = st.one_of(
    st.tuples(st.just("book"), loan, slot, channel, st.booleans()),
    st.tuples(st.just("book"), loan, slot, channel, st.booleans()),
    st.tuples(st.just("again"), which),
    st.tuples(st.just("confirm"), which, st.booleans()),
    st.tuples(st.just("cancel"), which),
    st.tuples(st.just("move"), which, slot, st.none() | channel),
    st.tuples(st.sampled_from(["check_in", "complete", "no_show"]), which),
    st.tuples(st.just("join"), loan, st.integers(0, 1), days, st.integers(0, 2), channel, st.booleans()),
    st.tuples(st.just("join"), loan, st.integers(0, 1), days, st.integers(0, 2), channel, st.just(False)),
    st.tuples(st.sampled_from(["accept", "accept", "leave"]), which),
)
"""What one customer, or staff for them, may ask."""

limit = st.integers(0, 4)
"""So low that most examples meet it."""
standing = st.tuples(st.just("standing"), scopes, kinds, limit, st.sampled_from(["*", "*", "app", "phone"]))
mild = st.tuples(st.just("standing"), scopes, kinds, st.integers(2, 4), st.just("*"))
steering = st.one_of(
    standing,
    st.tuples(st.just("override"), scopes, kinds, days, limit),
    st.tuples(st.just("extend"), scopes, kinds, days, st.integers(1, 2), st.sampled_from([5, 40, 3000])),
    st.tuples(st.just("end_extension"), st.integers(1, 3)),
    st.tuples(st.just("drop"), scopes, kinds),
    st.tuples(st.just("close"), slot, st.booleans()),
)
"""What moves limits."""


class EveryOperation(RuleBasedStateMachine):
    """A bank of two branches with small slots on three days, and everything that moves units."""

    @staticmethod
    def url(folder: Path) -> str:
        """The URL of an empty database."""
        return f"sqlite:///{folder}/slotcast.db"

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="slotcast-property-", dir=MEMORY)
        self.bank: Bank = make_bank(self.url(Path(self._folder.name)))
        self.bank.add_branch("b2")
        self.days = [self.bank.today + timedelta(days=n) for n in (0, 1, 31)]
        self.slots = [self.bank.add_slot(b, d, "18:00", capacity=2) for b in ("b1", "b2") for d in self.days]
        self.loans = [self.bank.add_loan(f"P{n}", payoff=PAYOFFS[n % 4 % 3]) for n in range(LOANS)]
        self.payoffs = dict(zip(self.loans, (Decimal(PAYOFFS[n % 4 % 3]) for n in range(LOANS)), strict=True))
        self.wall = Wall(datetime.combine(self.bank.today, time(9), ZoneInfo(ZONE)).astimezone(UTC))
        self.core = core_on(self.bank.engine, self.wall)
        scopes = frozenset({TokenScope.CHANNEL, TokenScope.OPERATOR})
        self.caller = Caller("t1", "test", scopes)
        self.tries = {"held": 0, "refused": 0}
        self.refs: list[str] = []
        """Bookings, in the order of their making."""
        self.entries: list[str] = []
        self.sent: list[tuple[Wish, str]] = []
        """Wishes with their keys."""
        self.temporaries = 0
        self.seen = self.look()

    def teardown(self) -> None:
        """Remove the bank."""
        self.bank.engine.dispose()
        self._folder.cleanup()

    # --- what is done ---------------------------------------------------------------------------

    @initialize(limits=st.lists(mild, max_size=3))
    def limit(self, limits: list[tuple[Any, ...]]) -> None:
        """Some levels have a limit from the start."""
        for how in limits:
            self.steer(how)

    @rule(asked=operation)
    def ask(self, asked: tuple[Any, ...]) -> None:
        """Someone asks for something, alone: what others wait for is not given to them."""
        before = Queue(self.look(), self.wall())
        outcome = self._do([asked])[0]
        if asked[0] in {"book", "again", "move"} and isinstance(outcome, Taken) and not outcome.replayed:
            told = outcome.body["booking"]
            if (place := (told["slot"], told["channel"])) != before.place_of(told["ref"]):
                ahead = before.ahead(*place)
                room = before.room(*place, without=told["ref"])
                assert not ahead or room > len(ahead), f"a newcomer went before {ahead}"

    @rule(asked=st.lists(operation, min_size=2, max_size=6), swept=st.booleans())
    def ask_together(self, asked: list[tuple[Any, ...]], swept: bool) -> None:
        """A crowd asks at the same moment, and perhaps the sweep comes by: one batch."""
        self._do([*asked, ("sweep",)] if swept else asked)

    @rule(slot=slot, many=st.integers(2, 6), channel=channel, waits=st.booleans(), sure=st.booleans())
    def rush(self, slot: int, many: int, channel: Channel, waits: bool, sure: bool) -> None:
        """Many want the same slot, or the waitlist of its day, at the same moment."""
        branch, day = divmod(slot, len(self.days))
        if waits:
            self._do([("join", n, branch, day, n % 3, channel, n == 4) for n in range(many)])
        else:
            self._do([("book", n, slot, channel, sure) for n in range(many)])

    @rule(which=which, swept=st.booleans())
    def overtake(self, which: int, swept: bool) -> None:
        """Someone cancels where others wait, and a newcomer asks for the place before the sweep comes by."""
        rows = self.look().rows
        waiting = [Entry(**row) for row in rows["waitlist"] if row["status"] == "waiting"]
        for entry in waiting[which % len(waiting) :][:1] if waiting else []:
            here = [b for b in rows["bookings"] if b["branch_id"] == entry.branch_id and b["status"] in LIVE]
            for booking in [b for b in here if entry.covers(b["service_day"])][:1]:
                self._tried(changes.cancel, booking["booking_ref"])(self.core)
                self.ask(("book", 0, self.slots.index(booking["slot_id"]), Channel(entry.channel), False))
        if swept:
            self.sweep()

    @rule(minutes=st.sampled_from([1, 11, 31, 10 * 60]))
    def pass_time(self, minutes: int) -> None:
        """Time goes by; holds and offers may be over, nobody has swept."""
        self.wall.move(minutes=minutes)

    @rule()
    def sweep(self) -> None:
        """The sweep comes by: what is free is offered in order, and soon nothing is left for who waits."""
        for _ in range(3):
            before = self.look()
            sweep(self.core)
            self.wall.move(milliseconds=1)
            Queue(self.look(), self.wall()).assert_in_order(since=before)
            self.nothing_is_oversold()
        Queue(self.look(), self.wall()).assert_nobody_waits_for_what_is_free()

    @rule(how=steering)
    def steer(self, how: tuple[Any, ...]) -> None:
        """An operator, or a plan, moves a limit."""
        getattr(self, f"_{how[0]}")(*how[1:])

    # --- what must hold -------------------------------------------------------------------------

    @invariant()
    def nothing_is_oversold(self) -> None:
        """No slot and no level holds more than its limit; what a lowered limit left over only shrinks."""
        before, self.seen = self.seen, self.look()
        for level, told in self.seen.over().items():
            assert not level.startswith("slot:"), told
            assert self.seen.used[level] <= before.used[level], f"{told}, and it grew"

    @invariant()
    def every_try_is_on_record(self) -> None:
        """Attempts on record are the accepted and the refused tries."""
        found, tries = attempts_by_outcome(self.bank.engine), {k: n for k, n in self.tries.items() if n}
        assert found == tries, f"on record are {found} of {tries}"

    @invariant()
    def counters_are_a_recount(self) -> None:
        """Every counter equals the live bookings it stands for, and no loan has two of them."""
        lines = drift(self.bank.engine)
        assert not lines, lines

    @invariant()
    def offers_and_entries_are_pairs(self) -> None:
        """Each offer belongs to an entry, and who has taken a place waits no more."""
        rows = self.seen.rows
        offers = {b["booking_ref"] for b in rows["bookings"] if b["status"] == "offered"}
        assert offers == {e["booking_ref"] for e in rows["waitlist"] if e["status"] == "offered"}
        taken = {
            b["loan_ref"] for b in rows["bookings"] if b["status"] in {"held", "confirmed", "checked_in"}
        }
        assert not taken & {e["loan_ref"] for e in rows["waitlist"] if e["status"] in waitlist_store.LIVE}

    # --- how limits are moved -------------------------------------------------------------------

    def _standing(self, scope: tuple[str, str], kind: PeriodKind, limit: int, narrowed: str) -> None:
        """A standing limit raised, lowered or introduced."""
        narrowed = "*" if kind is PeriodKind.FUNDS_DAY else narrowed
        with write_transaction(self.bank.engine) as connection:
            quota_id = f"{scope[0]}:{scope[1]}:{narrowed}:{kind}"
            command = Command(self.caller, self.wall())
            key = service_quotas.put_quota(connection, quota_id, _units(kind, limit), command)
        assert isinstance(key, QuotaKey)

    def _override(self, scope: tuple[str, str], kind: PeriodKind, day: int, limit: int) -> None:
        """One concrete period overridden as by a plan, never below what is used."""
        key = QuotaKey(ScopeKind(scope[0]), scope[1], kind)
        level = (key, period_start(kind, self.days[day]))
        with write_transaction(self.bank.engine) as connection:
            quotas.lock_slots(connection)
            quotas.make_counters(connection, [level])
            used = quotas.read_counters(connection, [level], lock=True)[level].used_units
            quotas.set_overrides(connection, {level: (max(_units(kind, limit), used), "plan")})

    def _extend(self, scope: tuple[str, str], kind: PeriodKind, day: int, extra: int, minutes: int) -> None:
        """Temporary units added to a level, if it has a limit."""
        self.temporaries += 1
        draft = TemporaryDraft(
            temporary_id=f"t{self.temporaries}",
            quota_id=f"{scope[0]}:{scope[1]}:*:{kind}",
            period_start=period_start(kind, self.days[day]).isoformat(),
            extra_units=_units(kind, extra),
            expires=(self.wall() + timedelta(minutes=minutes)).isoformat(),
        )
        with write_transaction(self.bank.engine) as connection:
            service_quotas.put_temporary(connection, draft, Command(self.caller, self.wall()))

    def _end_extension(self, which: int) -> None:
        """A temporary quota ended before its time."""
        with write_transaction(self.bank.engine) as connection:
            service_quotas.end_temporary(connection, f"t{which}", Command(self.caller, self.wall()))

    def _drop(self, scope: tuple[str, str], kind: PeriodKind) -> None:
        """A limit gone; its counters stay."""
        q, p = t.quotas, t.quota_periods
        with write_transaction(self.bank.engine) as connection:
            connection.execute(delete(q).where(q.c.scope_id == scope[1], q.c.period_kind == kind))
            where = (p.c.scope_id == scope[1], p.c.period_kind == kind)
            connection.execute(update(p).where(*where).values(limit_units=None))

    def _close(self, slot: int, closed: bool) -> None:
        """A slot closed, or opened again."""
        s = t.slots
        with write_transaction(self.bank.engine) as connection:
            connection.execute(update(s).where(s.c.slot_id == self.slots[slot]).values(closed=closed))

    # --- how it is done -------------------------------------------------------------------------

    def look(self) -> Levels:
        """The bank as it now stands."""
        return levels(self.bank.engine)

    def _do(self, asked: list[tuple[Any, ...]]) -> list[Any]:
        """The outcomes of what is asked at one moment; tries are counted."""
        self.wall.move(milliseconds=1)
        known = {b["booking_ref"] for b in self.seen.rows["bookings"]}
        requests = [request for one in asked if (request := getattr(self, f"_{one[0]}")(*one[1:]))]
        outcomes = together(self.core, requests)
        new = [b for b in self.look().rows["bookings"] if b["booking_ref"] not in known]
        self.refs += [b["booking_ref"] for b in sorted(new, key=lambda b: b["loan_ref"])]
        return outcomes or [None]

    def _tried(
        self, ask: Callable[..., Any], *told: Any, takes: bool = False
    ) -> Callable[[Core], Taken | Refusal | None]:
        """The request, counted where it is refused and, if it `takes` a slot, where it is granted anew."""

        def request(core: Core) -> Any:
            outcome = ask(core, self._asking(), *told)
            if isinstance(outcome, Refusal):
                self.tries["refused"] += outcome.refused.reason.cause in RECORDED
            elif isinstance(outcome, Taken) and takes:
                self.tries["held"] += not outcome.replayed
            return outcome

        return request

    def _book(self, loan: int, slot: int, channel: Channel, sure: bool) -> Any:
        more = {"amount_cny": Decimal(1000), "option": "full"} if sure else {}
        wish = Wish(self._loan(loan), self.slots[slot], channel, **more)
        self.sent.append((wish, f"key-{len(self.sent)}"))
        return self._tried(bookings.book, *self.sent[-1], takes=True)

    def _again(self, which: int) -> Any:
        return self.sent and self._tried(bookings.book, *_last(self.sent, which), takes=True)

    def _confirm(self, which: int, part: bool) -> Any:
        if not self.refs:
            return None
        ref = self._ref(which)
        booked = next(b for b in self.look().rows["bookings"] if b["booking_ref"] == ref)
        amount = Decimal("1000.00") if part else self.payoffs[booked["loan_ref"]]
        return self._tried(changes.confirm, ref, changes.Settlement(amount, "full"))

    def _cancel(self, which: int) -> Any:
        return self._note(changes.cancel, which)

    def _move(self, which: int, slot: int, channel: Channel | None) -> Any:
        if not self.refs:
            return None
        return self._tried(changes.reschedule, self._ref(which), self.slots[slot], channel, takes=True)

    def _check_in(self, which: int) -> Any:
        return self._note(changes.check_in, which)

    def _complete(self, which: int) -> Any:
        return self._note(changes.complete, which)

    def _no_show(self, which: int) -> Any:
        return self._note(changes.no_show, which)

    def _note(self, ask: Callable[..., Any], which: int) -> Any:
        return self.refs and (lambda core: ask(core, self._asking(), self._ref(which)))

    def _join(self, loan: int, branch: int, day: int, more: int, channel: Channel, first: bool) -> Any:
        wished, latest = self.days[day], self.days[min(2, day + more)]
        told = (1, "hardship") if first else (None, None)
        wanted = Joining(self._loan(loan), f"b{branch + 1}", wished, channel, latest, *told)
        request = self._tried(waitlist.join, wanted)

        def joined(core: Core) -> Any:
            outcome = request(core)
            if isinstance(outcome, Taken) and (ref := outcome.body["entry"]["ref"]) not in self.entries:
                self.entries.append(ref)
            return outcome

        return joined

    def _accept(self, which: int) -> Any:
        return self.entries and self._tried(waitlist.accept, self._entry(which), takes=True)

    def _leave(self, which: int) -> Any:
        return self.entries and self._tried(waitlist.leave, self._entry(which))

    def _sweep(self) -> Any:
        return sweep

    def _loan(self, n: int) -> str:
        """One of the loans without a booking or entry, mostly; else any."""
        rows = self.seen.rows
        busy = {b["loan_ref"] for b in rows["bookings"] if b["status"] in LIVE}
        busy |= {e["loan_ref"] for e in rows["waitlist"] if e["status"] in waitlist_store.LIVE}
        idle = [loan for loan in self.loans if loan not in busy]
        return idle[n % len(idle)] if idle and n < LOANS // 2 else self.loans[n]

    def _ref(self, which: int) -> str:
        """One of the bookings that can still change, mostly; else any."""
        live = {b["booking_ref"] for b in self.seen.rows["bookings"] if b["status"] in LIVE}
        some = [ref for ref in self.refs if ref in live] if which < 9 else []
        return _last(some or self.refs, which)  # type: ignore[no-any-return]

    def _entry(self, which: int) -> str:
        """One of the entries that can still change, mostly; else any."""
        live = {e["entry_ref"] for e in self.seen.rows["waitlist"] if e["status"] in waitlist_store.LIVE}
        some = [ref for ref in self.entries if ref in live] if which < 9 else []
        return _last(some or self.entries, which)  # type: ignore[no-any-return]

    def _asking(self) -> Asking:
        return Asking(self.caller, "0" * 32, 0.0)


def _units(kind: PeriodKind, units: int) -> int:
    """So many units as the kind of period counts them."""
    return FUNDS_CNY[units] if kind is PeriodKind.FUNDS_DAY else units


def _last(some: list[Any], which: int) -> Any:
    """One of them, counted from the end."""
    return some[-1 - which % len(some)]
