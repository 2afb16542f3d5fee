"""Plans as the service keeps them: created once, applied and taken back without a wrong counter."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import func, select, text

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.domain import QuotaKey
from booking_core.service import quotas as quota_service
from booking_core.service.commands import CommandRefused, InvalidCommand, OutsideClaim
from booking_core.service.control import set_paused
from booking_core.service.plan_drafts import PlanDraft
from booking_core.service.plans import StoredPlan
from booking_core.store import quotas
from metrics.contract import PlanRefusal
from tests.support.bank import Bank, make_bank
from tests.support.desk import MONDAY, NOW, Desk, command, draft, insert_booking, item, server_draft


@pytest.fixture
def desk(bank: Bank) -> Desk:
    """A desk on each database."""
    return Desk(bank)


@pytest.mark.parametrize(
    ("region_auto", "other", "status"),
    [
        (True, {}, "proposed"),
        (True, {"in_band": False}, "pending"),
        (False, {}, "shadow"),
        (False, {"in_band": False}, "shadow"),
        (True, {"model": "keep"}, "kept"),
        (True, {"items": []}, "kept"),
    ],
)
def test_a_new_plan_has_the_status_it_deserves(
    engine: Any, sqlite_bank: Bank, region_auto: bool, other: dict[str, Any], status: str
) -> None:
    """Guard band, shadow mode and keeping decide the first status."""
    sqlite_bank.add_region("south", automatic_application=region_auto)
    sqlite_bank.add_branch("s1", "south")
    made = Desk(sqlite_bank)("create", draft("p1", item(scope="branch:s1"), **{"region": "south", **other}))
    assert made.created
    assert made.row.status == status


def test_creating_is_idempotent_by_id_and_body(desk: Desk) -> None:
    """The same plan twice is one plan; the same id with another body is refused."""
    first, second = desk("create", draft("p1")), desk("create", draft("p1"))
    assert (first.created, second.created) == (True, False)
    assert second.row.created_utc == first.row.created_utc
    conflict = desk("create", draft("p1", item(6)))
    assert conflict.reason is PlanRefusal.PLAN_ID_CONFLICT


def test_scopes_must_lie_in_the_plans_region(desk: Desk) -> None:
    """Unknown branches, other regions and the bank itself are no scopes of a region's plan."""
    desk.bank.add_region("south")
    bad = desk(
        "create",
        draft(
            "p1", item(), item(scope="branch:nowhere"), item(scope="region:south"), item(scope="bank:bank")
        ),
    )
    assert isinstance(bad, InvalidCommand)
    assert [e.pointer for e in bad.errors] == ["/items/1/scope_id", "/items/2/scope_id", "/items/3/scope_id"]
    assert isinstance(desk("create", draft("p2", region="west")), InvalidCommand)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": [item(kind="week", start=date(2026, 3, 11))]}, "starts on 2026-03-09"),
        ({"items": [item(), item(7)]}, "second time"),
        ({"items": [item(-1)]}, "greater than or equal to 0"),
        ({"items": [item(start=MONDAY, starts="2026-03-09T10:00:00Z")]}, "no `starts`"),
        ({"items": [item(channel="fax")]}, r"items.0.channel\n  Input should be '\*' or 'app'"),
        ({"items": [item(scope="bank:b1")]}, "scope_id of the bank"),
        ({"period": "next week"}, "is no period of this kind"),
        ({"kind": "server", "period": "2026-03-09T10:00:00"}, "UTC offset"),
        ({"plan_id": "a/b"}, "pattern"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_malformed_plans_are_refused(change: dict[str, Any], message: str) -> None:
    """Each mistake of form gets a message that names it."""
    body = draft().model_dump(mode="json") | change
    with pytest.raises(ValidationError, match=message):
        PlanDraft.model_validate(body)


def test_applying_sets_overrides_never_below_used(desk: Desk) -> None:
    """Counters of new rows are the live bookings; a limit below them is raised to them."""
    for n in range(3):
        desk.book(f"X{n}", channel="app" if n else "phone")
    desk.book("gone", status="cancelled")
    desk.book("sunday", date(2026, 3, 15), status="completed")
    applied = desk.make(
        "p1",
        item(2),
        item(9, kind="week"),
        item(9, scope="region:north", kind="month", start=date(2026, 3, 1)),
        item(5, channel="phone"),
        item(None, start=date(2026, 3, 10)),
    )
    assert [i.applied_limit for i in applied.items] == [3, 9, 9, 5, None]
    assert desk.counter(kind="week") == (4, 9, "p1")
    assert desk.counter("region:north", "month", date(2026, 3, 1)) == (4, 9, "p1")
    assert desk.counter(start=date(2026, 3, 10)) is None
    with desk.bank.engine.connect() as connection:
        c = t.quota_periods.c
        assert dict(
            connection.execute(select(c.channel, c.used_units).where(c.period_kind == "day")).all()
        ) == {"*": 3, "phone": 1}


def test_existing_counters_are_trusted(desk: Desk) -> None:
    """A row that bookings already keep is not counted again."""
    desk.make("p1", item(5))
    with write_transaction(desk.bank.engine) as connection:
        connection.execute(t.quota_periods.update().values(used_units=4))
    desk.make("p2", item(2))
    assert desk.counter() == (4, 4, "p2")


def test_applying_twice_changes_nothing(desk: Desk) -> None:
    """The second application answers the same plan and leaves no second audit row."""
    first = desk.make("p1")
    again = desk("apply", "p1")
    assert again == first
    with desk.bank.engine.connect() as connection:
        actions = connection.scalars(select(t.audit.c.action).order_by(t.audit.c.audit_id)).all()
    assert actions == ["plan.create", "plan.apply"]


def test_a_plan_supersedes_and_rolls_back_to_the_one_before(desk: Desk) -> None:
    """Rollback restores override, its plan, and the superseded plan's status, step by step to none."""
    desk.make("p1", item(5), item(50, kind="week"))
    desk.make("p2", item(6), period="2026-03-03")
    desk.make("p3", item(7), item(70, kind="week"), period="2026-03-04")
    assert [desk.status(p) for p in ("p1", "p2", "p3")] == ["superseded", "superseded", "applied"]
    assert desk("rollback", "p3").row.status == "rolled_back"
    assert desk.counter() == (0, 6, "p2")
    assert desk.counter(kind="week") == (0, 50, "p1")
    assert [desk.status(p) for p in ("p1", "p2", "p3")] == ["superseded", "applied", "rolled_back"]
    assert desk("rollback", "p3").row.status == "rolled_back"
    assert desk.counter() == (0, 6, "p2"), "rolling back twice changes nothing"
    desk("rollback", "p2")
    assert desk.counter() == (0, 5, "p1")
    desk("rollback", "p1")
    assert desk.counter() == (0, None, None)
    assert desk("rollback", "p2").row.status == "rolled_back"


def test_an_older_period_is_refused(desk: Desk) -> None:
    """Within kind and region a plan for an older period than the applied one is never applied."""
    desk("create", draft("old", period="2026-03-01"))
    desk.make("new", period="2026-03-02")
    refused = desk("apply", "old")
    assert refused.reason is PlanRefusal.PLAN_OLDER_PERIOD
    desk.make("same-day", period="2026-03-02")
    desk.bank.add_region("south")
    desk.bank.add_branch("s1", "south")
    desk.make("elsewhere", item(scope="branch:s1"), region="south", period="2026-02-01")
    assert desk.status("same-day") == "applied"


def test_server_periods_compare_as_times(desk: Desk) -> None:
    """A back-filled server plan, whatever its zone's spelling, leaves the newer one in force."""
    desk("create", server_draft("now", "2026-03-02T18:00:00+08:00", 2, 3))
    assert desk("apply", "now").row.period == "2026-03-02T10:00:00Z"
    desk("create", server_draft("past", "2026-03-02T09:45:00+00:00", 9))
    assert desk("apply", "past").reason is PlanRefusal.PLAN_OLDER_PERIOD
    desk("create", server_draft("next", "2026-03-02T10:15:00+00:00", 4))
    applied = desk("apply", "next")
    assert [i.applied_limit for i in applied.items] == [4]
    assert desk.status("now") == "superseded"


def test_statuses_forbid_what_they_must(desk: Desk) -> None:
    """Pending waits for approval; shadow, kept, rejected and rolled back plans are not applied."""
    desk("create", draft("pending", in_band=False))
    assert desk("apply", "pending").reason is PlanRefusal.PLAN_NEEDS_APPROVAL
    assert desk("rollback", "pending").reason is PlanRefusal.PLAN_WRONG_STATUS
    assert desk("approve", "pending").row.status == "approved"
    assert desk("approve", "pending").row.decided_by == "nightly"
    assert desk("apply", "pending").row.status == "applied"
    assert desk("reject", "pending").reason is PlanRefusal.PLAN_WRONG_STATUS
    desk("create", draft("kept", model="keep"))
    assert desk("apply", "kept").reason is PlanRefusal.PLAN_WRONG_STATUS
    assert desk("approve", "kept").reason is PlanRefusal.PLAN_WRONG_STATUS
    desk("create", draft("bad"))
    assert desk("reject", "bad").row.status == "rejected"
    assert desk("apply", "bad").reason is PlanRefusal.PLAN_WRONG_STATUS
    assert desk("apply", "nothing").reason is PlanRefusal.PLAN_NOT_FOUND


def test_shadow_regions_are_never_changed(desk: Desk) -> None:
    """Neither a shadow plan nor one whose region went back to shadow mode is applied."""
    desk("create", draft("before"))
    with write_transaction(desk.bank.engine) as connection:
        connection.execute(t.regions.update().values(automatic_application=False))
    assert desk("apply", "before").reason is PlanRefusal.REGION_IN_SHADOW
    assert desk("create", draft("after")).row.status == "shadow"
    assert desk("apply", "after").reason is PlanRefusal.REGION_IN_SHADOW
    assert desk.counter() is None


def test_nothing_is_applied_while_paused(desk: Desk) -> None:
    """The pause switch stops applications; resuming lets them through; rollbacks are never stopped."""
    desk.make("p1")
    desk("create", draft("p2", item(8)))
    with write_transaction(desk.bank.engine) as connection:
        assert set_paused(connection, True, command()) is True
    assert desk("apply", "p2").reason is PlanRefusal.PAUSED
    assert desk("apply", "p1").row.status == "applied", "it already is"
    assert desk("rollback", "p1").row.status == "rolled_back"
    with write_transaction(desk.bank.engine) as connection:
        assert isinstance(set_paused(connection, False, command("north")), OutsideClaim)
        assert set_paused(connection, False, command()) is False
    assert desk("apply", "p2").row.status == "applied"


def test_a_region_claim_covers_only_its_region(desk: Desk) -> None:
    """A token of one region neither creates, reads nor applies another's plans, nor the bank's."""
    desk.bank.add_region("south")
    desk("create", draft("p1"))
    for name in ("get", "apply", "rollback", "approve", "reject"):
        assert desk(name, "p1", region="south") == OutsideClaim("north")
    assert desk("create", draft("p2"), region="south") == OutsideClaim("north")
    assert desk("create", server_draft("s", "2026-03-02T10:00:00Z", 1), region="south") == OutsideClaim(
        "bank"
    )
    assert isinstance(desk("apply", "p1", region="north"), StoredPlan)


@pytest.mark.parametrize("quota_id", ["branch:b1:*:day", "region:north:phone:month", "bank:bank:*:week"])
def test_a_standing_limit_starts_counting_where_there_was_none(desk: Desk, quota_id: str) -> None:
    """Setting a limit cancels nothing and gives each booked period its true counter."""
    today = NOW.date()
    for n, day in enumerate((today, today, MONDAY, MONDAY - timedelta(days=30))):
        desk.book(f"X{n}", day, channel="phone" if n < 3 else "app")
    for limit in (1, 2):
        with write_transaction(desk.bank.engine) as connection:
            key = quota_service.put_quota(connection, quota_id, limit, command())
    assert isinstance(key, QuotaKey)
    assert key.quota_id == quota_id
    with desk.bank.engine.connect() as connection:
        used = dict(
            connection.execute(select(t.quota_periods.c.period_start, t.quota_periods.c.used_units)).all()
        )
        assert connection.scalar(select(t.quotas.c.limit_units)) == 2
        assert connection.scalar(select(func.count()).where(t.bookings.c.status == "held")) == 4
    assert (
        used
        == {
            "branch:b1:*:day": {today: 2, MONDAY: 1},
            "region:north:phone:month": {today.replace(day=1): 3},
            "bank:bank:*:week": {today: 2, MONDAY: 1},
        }[quota_id]
    )


@pytest.mark.parametrize(
    "quota_id", ["", "branch:b1:*", "branch:zz:*:day", "branch:b1:fax:day", "shop:b1:*:day"]
)
def test_unknown_quotas_are_told_apart(desk: Desk, quota_id: str) -> None:
    """An id that names no quota is refused and writes nothing."""
    with write_transaction(desk.bank.engine) as connection:
        refused = quota_service.put_quota(connection, quota_id, 1, command())
        assert refused == CommandRefused(PlanRefusal.QUOTA_NOT_FOUND, {"quota_id": quota_id})
        assert connection.scalar(select(func.count()).select_from(t.quotas)) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["make", "rollback"]), st.integers(0, 9), st.integers(0, 3)), max_size=12
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rollbacks_retrace_every_step(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple]) -> None:
    """After any plans and rollbacks the override is that of the newest plan still in force."""
    desk = Desk(make_bank(f"sqlite:///{tmp_path_factory.mktemp('p')}/b.db"))
    stack: list[tuple[str, int, date]] = []
    for n, (verb, limit, day) in enumerate(steps):
        start = MONDAY + timedelta(days=day)
        if verb == "make":
            desk.make(f"p{n}", item(limit, start=start))
            stack.append((f"p{n}", limit, start))
        elif stack:
            desk("rollback", stack.pop()[0])
    for day in range(4):
        start = MONDAY + timedelta(days=day)
        expected = next(((limit, plan) for plan, limit, on in reversed(stack) if on == start), (None, None))
        found = desk.counter(start=start)
        assert (found or (0, None, None))[1:] == expected
    desk.bank.engine.dispose()


def race_a_booking_against_an_application(bank: Bank) -> tuple[int, int]:
    """(counter, bookings) after a booking that had seen no limit commits beside a plan's application."""
    desk = Desk(bank)
    desk.book("first")
    bank.add_loan("second")
    desk("create", draft("p1", item(9)))
    done = threading.Event()

    def apply() -> None:
        desk("apply", "p1")
        done.set()

    applying = threading.Thread(target=apply)
    with bank.engine.begin() as booking:
        slot = f"b1-{MONDAY}"
        booking.execute(text("SELECT slot_id FROM slots WHERE slot_id = :s FOR UPDATE"), {"s": slot})
        levels = booking.scalar(select(func.count()).select_from(t.quota_periods))
        assert levels == 0, "no limit stands yet, so this booking will move no counter"
        insert_booking(booking, "second", slot, MONDAY)
        applying.start()
        done.wait(1.0)
    applying.join()
    used = desk.counter()
    assert used is not None
    with bank.engine.connect() as connection:
        return used[0], connection.scalar(select(func.count()).select_from(t.bookings))


def test_an_application_waits_for_bookings_on_their_way(postgres_bank: Bank) -> None:
    """On PostgreSQL the slots lock holds the count back until the booking is seen."""
    assert race_a_booking_against_an_application(postgres_bank) == (2, 2)


def test_without_the_slots_lock_a_booking_slips_past(
    postgres_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: with the lock taken away the same race leaves the counter one short."""
    monkeypatch.setattr(quotas, "lock_slots", lambda _: None)
    assert race_a_booking_against_an_application(postgres_bank) == (1, 2)
