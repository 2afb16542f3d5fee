"""What a waitlist's promise looks at beyond releases: the next plan, and how promises were kept."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_core.domain import QuotaKey, QuotaState
from booking_core.queueing import (
    PROMISED_CHANCE,
    Outlook,
    PlannedDay,
    Promise,
    kept,
    opening,
    promise,
    shortfall,
)
from metrics.contract import PeriodKind, ScopeKind
from tests.support.queueing import TODAY

HISTORIES = st.lists(st.integers(0, 5), min_size=28, max_size=56)


def level(limit: int, used: int, kind: PeriodKind = PeriodKind.DAY, channel: str = "*") -> QuotaState:
    """A limit of branch b1."""
    return QuotaState(QuotaKey(ScopeKind.BRANCH, "b1", kind, channel), TODAY, limit, used)


def test_what_the_next_plan_opens_counts_with_the_chance_of_a_plan() -> None:
    """Five units opened by the next plan promise the fifth in line tomorrow if plans are always applied."""
    latest = TODAY + timedelta(days=9)
    quiet = [0] * 28
    assert promise(quiet, 5, TODAY, latest, Outlook(5, 1.0)) == Promise(TODAY + timedelta(days=1), 1.0, 1.0)
    assert promise(quiet, 6, TODAY, latest, Outlook(5, 1.0)) == Promise(None, 0.0, 0.0)
    # a plan on half of the days: one within four days with 94 %
    told = promise(quiet, 5, TODAY, latest, Outlook(5, 0.5))
    assert told == Promise(TODAY + timedelta(days=4), 1 - 0.5**4, 1 - 0.5**4)


def test_broken_promises_make_the_next_ones_more_careful() -> None:
    """A shortfall of five points asks for 95 %, and tells five points less than the history says."""
    history = [0] * 2 + [1] * 26
    latest = TODAY + timedelta(days=9)
    bold = promise(history, 1, TODAY, latest)
    careful = promise(history, 1, TODAY, latest, Outlook(shortfall=0.05))
    assert bold is not None
    assert careful is not None
    assert bold == Promise(TODAY + timedelta(days=1), 26 / 28, 26 / 28)
    assert careful.by == TODAY + timedelta(days=2)
    assert careful.chance == pytest.approx(27 / 28 - 0.05)
    assert careful.raw == 27 / 28


@given(HISTORIES, st.integers(1, 40), st.floats(0, 1))
def test_a_day_is_promised_at_ninety_percent_or_not_at_all(
    freed: list[int], place: int, short: float
) -> None:
    """However often promises were broken; and they are judged by what was reckoned, cut or not."""
    latest = TODAY + timedelta(days=14)
    told = promise(freed, place, TODAY, latest, Outlook(shortfall=short))
    plain = promise(freed, place, TODAY, latest)
    assert told is not None
    assert plain is not None
    assert told.by is None or told.chance >= PROMISED_CHANCE
    assert told.chance == max(0.0, told.raw - short)
    assert plain.raw == plain.chance <= told.raw <= 1.0


@given(HISTORIES, st.integers(1, 40), st.integers(0, 30), st.floats(0, 1), st.floats(0, 1))
def test_a_better_outlook_never_promises_later(
    freed: list[int], place: int, units: int, chance: float, less: float
) -> None:
    """More units opened, or a likelier plan, never make the date later nor the chance smaller."""
    latest = TODAY + timedelta(days=28)
    worse = promise(freed, place, TODAY, latest, Outlook(units, chance * less))
    better = promise(freed, place, TODAY, latest, Outlook(units + 1, chance))
    if worse is None or better is None:
        assert worse is better
    elif worse.by is not None:
        assert better.by is not None
        assert better.by <= worse.by
    elif better.by is None:
        assert better.chance >= worse.chance - 1e-12


def test_a_plan_is_expected_to_open_what_demand_surely_brings() -> None:
    """A limit below the low quantile rises to it: within one step, staff, slots and every other limit."""

    def opened(*levels: QuotaState, low: int = 18, most: int = 99, free: int = 99) -> int:
        return opening([PlannedDay(low, most, free, levels)])

    full = level(10, 10)
    assert opened(full) == 8
    assert opened(full, low=10) == opened(full, low=9) == 0
    assert opened(full, low=90) == 10  # one step at most doubles
    assert opened(full, most=14) == 4
    assert opened(full, free=3) == 3
    assert opened(full, level(70, 65, PeriodKind.WEEK)) == 5
    assert opened(full, level(70, 70, PeriodKind.MONTH)) == 0
    assert opened(full, level(6, 4, channel="app")) == 2
    assert opened(level(10, 13)) == 5
    assert opened(level(70, 70, PeriodKind.MONTH)) == 0  # no day's limit is what is full


def test_days_of_a_week_share_its_room() -> None:
    """Two days of a week with five units left open five together."""
    week = level(70, 65, PeriodKind.WEEK)
    days = [PlannedDay(18, 99, 99, (level(10, 10), week)) for _ in range(2)]
    assert opening(days) == 5


def test_a_promise_is_kept_by_an_offer_in_time() -> None:
    """Judged once the day is over; who left before, or booked otherwise, tells nothing."""
    due, after = TODAY, TODAY + timedelta(days=1)
    assert kept(due, TODAY, None, None) is None  # the day is not over
    assert kept(due, TODAY, due, None) is None  # else kept ones would count before broken ones do
    assert kept(due, after, due, None) is True
    assert kept(due, after, None, None) is False
    assert kept(due, after, after, None) is False
    assert kept(due, after, None, due) is None
    assert kept(due, after, None, after) is False


def test_few_broken_promises_weigh_little() -> None:
    """Ten of ten broken at 90 % ask for 22 points more; kept promises, or none, for nothing."""
    assert shortfall([0.9] * 10, [False] * 10) == pytest.approx(9 / 40)
    assert shortfall([0.9] * 10, [True] * 10) == shortfall([], []) == 0.0


def test_promises_become_true_when_releases_dry_up() -> None:
    """Where a branch frees less than its history says, what was kept corrects what is told.

    Negative control: without it the share kept stays far below what was told.
    """
    rng = random.Random(7)

    def kept_ratio(*, corrects: bool) -> tuple[float, float]:
        told, raw, came = [], [], []
        for _ in range(1500):
            short = shortfall(raw[-400:], came[-400:]) if corrects else 0.0
            history = [rng.random() < 0.5 for _ in range(56)]
            made = promise(
                [int(d) for d in history], 1, TODAY, TODAY + timedelta(days=28), Outlook(shortfall=short)
            )
            if made is None or made.by is None:
                continue
            days = (made.by - TODAY).days
            told.append(made.chance)
            raw.append(made.raw)
            came.append(any(rng.random() < 0.35 for _ in range(days)))  # it frees less than it did
        half = len(told) // 2
        return sum(told[half:]) / (len(told) - half), sum(came[half:]) / (len(came) - half)

    bold_told, bold_kept = kept_ratio(corrects=False)
    careful_told, careful_kept = kept_ratio(corrects=True)
    assert bold_told - bold_kept > 0.08
    assert careful_kept > bold_kept + 0.05
    assert abs(careful_told - careful_kept) < 0.05
