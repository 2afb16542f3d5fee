"""Thousands are told at once what to do instead: what they are told first still works when they come."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from booking_core.choosing import Tally
from metrics.contract import PeriodKind, ScopeKind
from tests.support.storm import TODAY, Bank, storm

BRANCH, REGION = ScopeKind.BRANCH, ScopeKind.REGION
DAY, WEEK, MONTH = PeriodKind.DAY, PeriodKind.WEEK, PeriodKind.MONTH


def anywhere(dice: Random) -> str:
    """The full slot of any day of the first seven branches."""
    return f"b{dice.randrange(7)}-{TODAY + timedelta(days=dice.randrange(1, 11))}-0"


class Forgetful(Tally):
    """A process that does not remember what it recommended, nor that many ask: all are sent to the best."""

    def add(self, name: str, amount: float) -> None:
        """Forget it."""


def test_in_a_storm_the_first_remedy_ends_in_a_held_slot() -> None:
    """2,000 customers refused one slot in a second, told by 4 processes from looks a second old, all fit."""
    bank = Bank(branches=20, capacity=4)
    assert storm(bank).success >= 0.98


def test_they_fit_while_a_third_of_the_capacity_is_spare() -> None:
    """Wishing everywhere, with small slots, they still fit when they leave a third of all units free."""
    bank = Bank(branches=7, capacity=3)
    assert storm(bank, wished=anywhere).success >= 0.95
    assert 0.3 <= bank.spare <= 0.42


def test_a_process_that_forgets_what_it_recommended_sends_all_to_the_same_slots() -> None:
    """Without tally and shares the very same storm fails: the simulation can tell."""
    assert storm(Bank(branches=20, capacity=4), make_tally=Forgetful).success < 0.3


def test_shared_limits_count_once_for_every_process() -> None:
    """Where quotas bind earlier than slots, the processes together stay below them."""
    limits = {(BRANCH, DAY): 25, (REGION, DAY): 380, (BRANCH, MONTH): 400, (REGION, WEEK): 1700}
    bank = Bank(branches=20, capacity=4, limits=limits)
    assert storm(bank, wished=anywhere).success >= 0.95


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_it_holds_for_any_number_of_processes(processes: int) -> None:
    """One worker or eight: each knows its share."""
    assert storm(Bank(branches=40, capacity=4), processes=processes).success >= 0.97


def test_a_process_that_most_customers_ask_learns_that_the_others_do_little() -> None:
    """Where one of four workers has nearly all connections, it comes to use the shares of the others too."""
    bank = Bank(branches=10, days=5, slots_a_day=8, capacity=3)
    outcome = storm(bank, customers=800, a_second=150, seconds_to_follow=0.2, busy=50)
    assert outcome.success >= 0.95
    assert bank.spare <= 0.37


def test_customers_who_follow_a_little_later_fit_as_well() -> None:
    """A recommendation is remembered until its customer has come and the next look shows it."""
    bank = Bank(branches=20, capacity=4)
    assert storm(bank, customers=3000, a_second=800, seconds_to_follow=0.4).success >= 0.97


def test_others_who_book_by_themselves_meanwhile_are_reckoned_with() -> None:
    """With one more customer for every two who takes any slot unguided, the told ones fit all the same."""
    assert storm(Bank(branches=20, capacity=4), others=0.5, wished=anywhere).success >= 0.95


def test_where_nothing_is_safe_nobody_is_sent_anywhere() -> None:
    """With 112 units left for 2,000 customers few are sent in vain: the others are told to wait."""
    outcome = storm(Bank(branches=1, days=7, capacity=1))
    assert outcome.held > 50
    assert outcome.taken <= 0.15 * (outcome.held + outcome.taken)
    assert outcome.other > 1500
