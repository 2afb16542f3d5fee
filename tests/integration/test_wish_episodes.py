"""Demand: what becomes of a wish over several tries."""

from __future__ import annotations

from datetime import timedelta

from booking_core.service.calendar import Asked, calendar
from booking_core.service.housekeeping import sweep
from tests.support.bank import Bank
from tests.support.counts import rows
from tests.support.wishes import Wall, asking, book, core_on, reason


def episodes(bank: Bank) -> list[tuple[object, ...]]:
    """Branch, day, tries, first reason and outcome of each episode."""
    names = ("branch_id", "wished_day", "tries", "first_reason", "outcome")
    return [tuple(e[name] for name in names) for e in rows(bank.engine, "wish_episodes")]


def test_tries_fold_into_the_first_wish_until_booked_elsewhere(bank: Bank) -> None:
    """Three tries are one wish for the first day, which a booking on another day displaces."""
    core, day = core_on(bank.engine), bank.today + timedelta(days=2)
    full, later = bank.add_slot(day=day, capacity=0), bank.add_slot(day=day + timedelta(days=1))
    book(core, "L1", full)
    book(core, "L1", full)
    assert episodes(bank) == [("b1", day, 2, "slot_full", "open")]
    book(core, "L1", later)
    assert episodes(bank) == [("b1", day, 3, "slot_full", "displaced")]


def test_a_first_try_that_books_is_a_wish_met(bank: Bank) -> None:
    """A booking at the first try is demand too."""
    core, slot = core_on(bank.engine), bank.add_slot()
    book(core, "L1", slot)
    assert episodes(bank) == [("b1", bank.today + timedelta(days=2), 1, None, "booked")]


def test_rule_refusals_open_no_wish_and_do_not_fold(bank: Bank) -> None:
    """A try against a rule is an attempt, not demand."""
    core = core_on(bank.engine)
    assert reason(book(core, "L1", bank.add_slot(closed=True))) == "slot_closed"
    assert episodes(bank) == []
    assert len(rows(bank.engine, "attempts")) == 1


def test_an_idle_wish_is_closed_as_unmet_by_the_sweep(bank: Bank) -> None:
    """After the idle days of business time a wish is unmet, as of the day they were over."""
    wall = Wall()
    core, full = core_on(bank.engine, wall), bank.add_slot(day=bank.today + timedelta(days=20), capacity=0)
    book(core, "L1", full)
    wall.move(days=14)
    sweep(core)
    assert episodes(bank)[0][-1] == "open"
    wall.move(days=1)
    sweep(core)
    [episode] = rows(bank.engine, "wish_episodes")
    assert episode["outcome"] == "unmet"
    idle = episode["closed_business_utc"] - episode["last_try_business_utc"]  # type: ignore[operator]
    assert idle == timedelta(days=14)


def test_a_try_after_the_idle_days_is_a_new_wish(bank: Bank) -> None:
    """A loan that comes back after its idle days wishes anew, whether or not a sweep came between."""
    wall = Wall()
    core, full = core_on(bank.engine, wall), bank.add_slot(day=bank.today + timedelta(days=30), capacity=0)
    book(core, "L1", full)
    wall.move(days=15)
    book(core, "L1", full)
    assert [e[-1] for e in episodes(bank)] == ["unmet", "open"]


def test_a_look_counts_only_where_the_whole_range_is_full(bank: Bank) -> None:
    """A calendar with a loan is a wish for its first open day if nothing in it can be booked, else none."""
    core, day = core_on(bank.engine), bank.today + timedelta(days=2)
    bank.add_slot(day=day, closed=True)
    bank.add_slot(day=day + timedelta(days=1), capacity=0)
    bank.add_slot(day=day + timedelta(days=2))
    calendar(core, asking(), Asked("b1", day, day + timedelta(days=2), "L1"))
    calendar(core, asking(), Asked("b1", day, day, "L1"))
    assert episodes(bank) == []
    calendar(core, asking(), Asked("b1", day, day + timedelta(days=1), "L1"))
    assert episodes(bank) == [("b1", day + timedelta(days=1), 1, "slot_full", "open")]
    assert rows(bank.engine, "attempts") == []
