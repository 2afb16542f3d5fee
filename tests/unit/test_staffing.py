"""Heads by half-hour, the roster's shifts, and how many may be booked beyond them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from forecasting.decisions.erlang import agents_needed
from forecasting.decisions.half_hours import clock_text, half_hour
from forecasting.decisions.overbooking import overbooked, shrunk_ratio
from forecasting.decisions.policy import Policy, policy_from
from forecasting.decisions.roster import (
    Available,
    DayRoster,
    Shift,
    ShiftRules,
    Shortage,
    propose_roster,
    working_half_hours,
)
from forecasting.decisions.staffing import (
    blended_shares,
    calls_of,
    comes_of,
    queue_target,
    staff_need,
    units_served,
)
from metrics.contract import Skill

POLICY = Policy()
COUNTER = queue_target(Skill.COUNTER, POLICY)
FLAT = np.full(20, 1 / 20)
RULES = ShiftRules.of(POLICY)


def poisson_days(mean: float, spread: float = 0.0, paths: int = 4000) -> np.ndarray:
    """Sample paths of one day: counts whose rate varies by so much of itself."""
    rng = np.random.default_rng(11)
    rates = mean * np.maximum(1 + spread * rng.standard_normal(paths), 0)
    return rng.poisson(rates).astype(float)[:, None]


def need(**heads: int) -> list[int]:
    """Heads by half-hour from times: h0900=2 is two heads from 09:00 to 09:30."""
    found = [0] * 48
    for name, count in heads.items():
        found[half_hour(f"{name[1:3]}:{name[3:]}")] = count
    return found


def from_to(first: str, until: str, heads: int) -> list[int]:
    """So many heads needed between two times."""
    return [heads if half_hour(first) <= at < half_hour(until) else 0 for at in range(48)]


# --- heads by half-hour ---------------------------------------------------------------------------


def test_where_customers_chance_rules_erlang_staffs_the_mean() -> None:
    """A well forecast day of 200 units is staffed as its mean load asks."""
    units = poisson_days(200)
    found = staff_need(units, FLAT, COUNTER, POLICY.staff_quantile)
    assert not found.newsvendor.any()
    assert found.load == pytest.approx(np.full((1, 20), units.mean() / 20 / 2))
    assert (found.heads == agents_needed(found.load, COUNTER)).all()


def test_where_the_forecasts_error_dominates_the_quantile_of_the_load_is_staffed() -> None:
    """At a load of 16, 1/√16 = 0.25: a rate known to ± 40 % is a newsvendor's, one known to ± 10 % is not."""
    wide = staff_need(poisson_days(640, 0.4), FLAT, COUNTER, 0.8)
    assert wide.newsvendor.all()
    assert wide.heads[0, 0] == int(np.ceil(np.quantile(poisson_days(640, 0.4), 0.8) / 40))
    assert not staff_need(poisson_days(640, 0.1), FLAT, COUNTER, 0.8).newsvendor.any()


def test_no_shows_need_no_heads_and_a_closed_day_none() -> None:
    """Who does not come is not served; a day without units has neither load nor heads."""
    units = np.hstack([poisson_days(200), np.zeros((4000, 1))])
    found = staff_need(units, FLAT, COUNTER, 0.8, per_unit=comes_of(0.5, 2, 2))
    assert found.load[0].sum() == pytest.approx(units[:, 0].mean() * 0.5 * 0.5)
    assert not found.heads[1].any()
    assert not found.newsvendor[1].any()


def test_calls_come_before_the_day_they_are_about() -> None:
    """Half of the calls on the day itself, half the day before; at the end of what is known all are near."""
    units = np.array([[10.0, 20.0, 40.0]])
    assert (units @ calls_of(np.array([0.5, 0.5]), 0.2, 3, 3)).tolist() == [[3.0, 6.0, 8.0]]


def test_how_well_a_rate_is_known_does_not_hang_on_the_share_of_it_that_comes() -> None:
    """A day known to ± 65 % is a newsvendor's at a load of 3.2 (1/√3.2 = 0.56), however few of it come.

    A tenth of 64 spreads less than a count of 6.4 would by itself; a day that is known stays Erlang's.
    """
    once = np.ones(1)
    for units, comes in ((6.4, 1.0), (64, 0.1)):
        per_unit = np.array([[comes]])
        assert staff_need(poisson_days(units, 0.7), once, COUNTER, 0.8, per_unit=per_unit).newsvendor.all()
        assert not staff_need(poisson_days(units), once, COUNTER, 0.8, per_unit=per_unit).newsvendor.any()


def test_the_shape_of_a_small_branchs_day_leans_on_its_regions() -> None:
    """Half and half at 200 customers; all the region's where it knows none, whatever the prior; else flat."""
    own, wider = np.zeros(48), np.zeros(48)
    own[20], wider[21] = 200, 9000
    opening = slice(20, 22)
    assert blended_shares(own, wider, 200, opening).tolist() == [0.5, 0.5]
    for prior in (200, 0):
        assert blended_shares(np.zeros(48), wider, prior, opening).tolist() == [0.0, 1.0]
    assert blended_shares(own, wider, 0, opening).tolist() == [1.0, 0.0]
    assert blended_shares(np.zeros(48), np.zeros(48), 200, opening).tolist() == [0.5, 0.5]


def test_units_that_heads_can_serve() -> None:
    """Three heads for eight hours, a quarter of an hour each, 85 % booked: 81 units."""
    assert units_served(3 * 16, 900, 0.85) == 81
    assert units_served(0, 900, 0.85) == 0


def test_breaks_and_time_before_the_doors_open_serve_nobody() -> None:
    """07:00 to 17:00 is nine open hours of which one is a break; four hours have none."""
    long, short = Available(14, 34, 2), Available(16, 24, 1)
    assert working_half_hours([long, short], RULES) == 2 * (18 - 2) + 8


# --- rosters --------------------------------------------------------------------------------------


def test_a_full_day_is_one_shift_with_its_break_covered_by_another() -> None:
    """Eight hours of one head cost one long shift and a short one for its break."""
    shifts, short = propose_roster(from_to("09:00", "17:00", 1), None, RULES)
    assert short == ()
    there = sum(shift.at_work() for shift in shifts)
    assert (there[half_hour("09:00") : half_hour("17:00")] >= 1).all()
    assert sum(shift.end - shift.start for shift in shifts) == 16


def test_what_the_staff_there_cannot_cover_is_named() -> None:
    """Two are needed at ten, one is there: one head missing, and told when."""
    wanted = need(h1000=2, h1030=1)
    shifts, short = propose_roster(wanted, [Available(16, 36, 1)], RULES)
    assert short == (Shortage(half_hour("10:00"), 1),)
    assert sum(shift.heads for shift in shifts) == 1


def test_nobody_there_is_all_short() -> None:
    """An empty roster, and one of zero heads, cover nothing."""
    for available in ([], [Available(16, 36, 0)]):
        shifts, short = propose_roster(need(h1000=2), available, RULES)
        assert (shifts, short) == ((), (Shortage(20, 2),))


def test_shifts_keep_within_who_is_there_and_the_opening_hours() -> None:
    """Nobody works before they come, after they go, or before the doors open."""
    wanted = from_to("07:00", "18:00", 2)
    available = [Available(half_hour("07:00"), half_hour("12:00"), 1), Available(half_hour("13:00"), 36, 1)]
    shifts, short = propose_roster(wanted, available, RULES)
    assert all(shift.start >= half_hour("08:00") for shift in shifts)
    assert {missing.half_hour for missing in short} >= {14, 15, half_hour("12:00")}
    for shift in shifts:
        assert any(group.first <= shift.start and shift.end <= group.until for group in available)


def test_breaks_lie_in_the_middle_third_of_long_shifts_only() -> None:
    """An hour off between a third and two thirds of eight hours; four hours have none."""
    for shift in RULES.shifts(0, 48):
        if shift.end - shift.start == 8:
            assert shift.break_start is None
        else:
            assert shift.break_start is not None
            assert shift.break_end is not None
            assert shift.start + 5 <= shift.break_start
            assert shift.break_end <= shift.start + 11
            assert shift.break_end - shift.break_start == 2


def test_no_half_hour_stays_short_that_two_more_shifts_would_cover() -> None:
    """Need at 8:00, 15:30 and 23:30: one shift covers all but one of them, three of three people's all."""
    rules = ShiftRules(opens=0, closes=48, lengths=(16,), starts=(), break_after=99, break_length=0)
    there = [Available(0, 48, 1), Available(1, 17, 1), Available(31, 47, 1)]
    shifts, short = propose_roster(need(h0800=1, h1530=1, h2330=1), there, rules)
    assert short == ()
    assert [shift.start for shift in shifts] == [1, 31, 32]


def test_the_optimum_is_that_of_trying_everything() -> None:
    """On days small enough to try every roster of every group: the same heads missing, half-hours paid."""
    rng = np.random.default_rng(4)
    for trial in range(60):
        pause = 1 if trial % 3 == 2 else 0
        rules = ShiftRules(18, 24, lengths=(2, 3, 5), starts=(), break_after=4, break_length=pause)
        wanted = [0] * 18 + [int(n) for n in rng.integers(0, 3, 6)] + [0] * 24
        firsts = [18] if trial % 2 else [int(at) for at in rng.integers(18, 22, 3)]
        groups = [Available(at, 24 if trial % 2 else min(24, at + 4), 2 if trial % 2 else 1) for at in firsts]
        shifts, short = propose_roster(wanted, groups, rules)
        choices = [[None, *rules.shifts(g.first, g.until)] for g in groups for _ in range(g.heads)]
        best = min(
            (
                int(np.maximum(np.array(wanted) - sum(s.at_work() for s in chosen if s), 0).sum()),
                sum(s.end - s.start for s in chosen if s),
            )
            for chosen in product(*choices)
        )
        assert (
            sum(missing.heads for missing in short),
            sum((s.end - s.start) * s.heads for s in shifts),
        ) == best


def test_a_roster_is_told_in_times() -> None:
    """The record names half-hours by the clock, with what is missing."""
    told = DayRoster(
        "b1", "2026-03-02", Skill.COUNTER, tuple(need(h0930=2)), (Shift(18, 34, 1, 24, 26),),
        (Shortage(19, 1),), rostered=True,
    ).as_record()  # fmt: skip
    assert told["need"] == {"09:30": 2}
    assert told["shifts"] == [{"from": "09:00", "to": "17:00", "heads": 1, "break": ["12:00", "13:00"]}]
    assert told["shortages"] == [{"from": "09:30", "heads": 1}]
    assert (told["heads"], told["skill"], told["rostered"]) == (1, "counter", True)


# --- overbooking ----------------------------------------------------------------------------------


def overbooked_one(cap: int, absent: float, cost: float) -> int:
    """The units to book of one branch and day."""
    return int(overbooked(np.array([cap]), np.array([absent]), cost)[0])


def test_one_more_than_twenty_at_twelve_percent() -> None:
    """The published case: 20 places, 12 % no-shows, a customer too many costs four idle units: 21."""
    assert overbooked_one(20, 0.12, 4.0) == 21


def test_the_rule_stops_where_full_is_likely_enough() -> None:
    """At the number booked the chance of a full desk has reached the ratio, one before it had not."""
    for cap, absent, cost in product((1, 5, 40), (0.05, 0.2), (1.0, 4.0, 9.0)):
        booked = overbooked_one(cap, absent, cost)
        worth = 1 / (1 + cost)
        assert binom.sf(cap - 1, booked, 1 - absent) >= worth
        assert booked == cap or binom.sf(cap - 1, booked - 1, 1 - absent) < worth


def test_where_everybody_comes_or_nobody_is_there_nothing_is_overbooked() -> None:
    """No no-shows, no places: no more bookings than places; where nobody comes there is no answer."""
    absent = np.array([0.0, 0.3, 0.12])
    assert overbooked(np.array([20, 0, 20]), absent, 4.0).tolist() == [20, 0, 21]
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match="shares from 0 to below 1"):
            overbooked_one(20, share, 4.0)


def test_a_no_show_share_of_few_bookings_is_the_regions() -> None:
    """Two of four absent is not half: it leans on the region's tenth."""
    assert shrunk_ratio(2, 4, 0.1, 200) == pytest.approx(0.108, abs=1e-3)
    assert shrunk_ratio(0, 0, 0.1, 0) == 0.1


# --- the policy's fields --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("opens", "9:00", "whole half-hour"),
        ("closes", "07:00", "later than 08:00"),
        ("shift_hours", [], "lengths in hours"),
        ("shift_hours", ["4"], "lengths in hours"),
        ("shift_starts", ["09:15"], "whole half-hour"),
        ("counter_level", 1.0, "less than 1"),
        ("break_minutes", 45, "whole half-hours"),
        ("overbooking_cost", 0, "more than 0"),
        ("overbooking_most_no_shows_ratio", 1.0, "below 1"),
    ],
)
def test_a_policy_on_staff_that_cannot_be_is_refused(field: str, value: object, expected: str) -> None:
    """By the field's name and what was expected."""
    with pytest.raises(ValueError, match=f"{field}.*{expected}"):
        policy_from({field: value})


def test_the_policy_survives_its_record() -> None:
    """Tuples come back from JSON's lists; half-hours and their texts are each other's reverse."""
    policy = Policy(shift_starts=("08:00", "13:30"), shift_hours=(4.0, 7.5))
    assert policy_from(policy.as_record()) == policy
    assert [clock_text(half_hour(text)) for text in ("00:00", "13:30", "24:00")] == [
        "00:00",
        "13:30",
        "24:00",
    ]
