"""What-if, by hand: what a few days bring, and what each change does to them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import critical_units
from forecasting.decisions.situations import Changes, LimitChange, Shock, Situation
from forecasting.decisions.whatif import play_through, what_if
from tests.support.regions import FIRST, layer, small_region


def means(situation: Situation) -> dict[str, float]:
    """The means of the figures that the days bring."""
    told = play_through(situation)
    names = ("refused_units", "waiting_days", "waiting_units", "idle_units", "cost")
    return {name: getattr(told, name).mean for name in names}


def test_who_waits_is_served_before_who_comes_new() -> None:
    """12, 12, 2, 2 wish; 10 fit a day: 2 wait a day, then 4, and on the third day all are served."""
    told = play_through(small_region([[12, 12, 2, 2]], [[10] * 4]))
    assert told.refused_by_day == (2.0, 4.0, 0.0, 0.0)
    assert told.waiting_by_day == (2.0, 4.0, 0.0, 0.0)
    assert told.idle_by_day == (0.0, 0.0, 4.0, 8.0)
    assert (told.refused_units.mean, told.waiting_units.mean) == (6.0, 0.0)
    assert told.waiting_days.mean == 1.0
    assert told.cost.mean == 9.0 * 6 + 12


def test_who_waited_before_is_there_too() -> None:
    """Three on the waitlist take three of the ten, and push three others back by a day."""
    told = play_through(small_region([[10, 5]], [[10, 10]], waiting=np.array([3.0])))
    assert told.refused_by_day == (3.0, 0.0)
    assert told.waiting_days.mean == 0.5
    assert told.waiting_units.mean == 0.0


def test_staff_that_cannot_be_had_caps_what_is_served_and_idle() -> None:
    """Quota 10, staff for 6, 8 wish: 2 are refused, and nobody counts the four as idle."""
    situation = small_region([[8, 4]], [[10, 10]], staff_caps=np.array([[6.0, 6.0]]))
    told = play_through(situation)
    assert (told.refused_by_day, told.idle_by_day) == ((2.0, 0.0), (0.0, 0.0))
    more = what_if(situation, Changes(staff_heads={"a": 1.0})).changed
    assert (more.refused_units.mean, more.idle_units.mean) == (0.0, 2.0 + 6.0)
    fewer = what_if(situation, Changes(staff_ratio=0.5)).changed
    assert (fewer.refused_units.mean, fewer.waiting_units.mean) == (5.0 + 4.0, 6.0)


def test_a_ratio_of_staff_or_quotas_makes_no_limit_where_none_is_known() -> None:
    """Without half of the staff, or any: branch b, of which neither is known, serves all the same."""
    caps = np.array([[6.0], [np.inf]])
    situation = small_region([[8], [8]], [[10], [np.inf]], staff_caps=caps)
    for ratio, refused in ((0.5, 5.0), (0.0, 8.0)):
        assert what_if(situation, Changes(staff_ratio=ratio)).changed.refused_units.mean == refused
    assert what_if(situation, Changes(quota_ratio=0.0)).changed.refused_units.mean == 8.0
    assert what_if(situation, Changes(staff_heads={"b": 0.0})).changed.refused_units.mean == 2.0 + 8.0
    assert situation.staff_caps is caps
    assert caps.tolist() == [[6.0], [np.inf]]


def test_a_common_limit_is_shared_out_evenly() -> None:
    """The region's 12 for 16 wished: three quarters each; the day after, who waits comes first."""
    region = layer("region", "day", ["north"], [[12, 12]], group=[0, 0], of_day=[0, 1])
    situation = small_region([[12, 0], [4, 0]], [[20] * 2] * 2)
    told = play_through(small_region([[12, 0], [4, 0]], [[20] * 2] * 2, layers=(*situation.layers, region)))
    assert told.refused_by_day == (4.0, 0.0)
    assert told.waiting_by_day == (4.0, 0.0)


def test_shares_that_do_not_add_up_to_the_last_bit_leave_nothing_below_zero() -> None:
    """A limit shared out in thirds day by day is used up, not overdrawn."""
    rng = np.random.default_rng(2)
    month = layer("region", "month", ["north"], [[100.0]], group=[0] * 7, of_day=[0] * 20)
    demand = rng.gamma(2.0, 3.0, (7, 20, 50))
    situation = small_region(demand, np.full((7, 20), 50.0), layers=(month,))
    told = play_through(situation)
    assert told.demand_units.mean - told.waiting_units.mean == pytest.approx(100.0, abs=0.01)


def test_weeks_and_months_count_what_was_used_before() -> None:
    """Of a week's 30, 12 are gone: 18 are left for three days; the next week has its own."""
    week = layer("branch", "week", ["a"], [[30, 30]], group=[0], of_day=[0, 0, 0, 1], used=12.0)
    situation = small_region([[10, 10, 10, 10]], [[50] * 4])
    told = play_through(small_region([[10] * 4], [[50] * 4], layers=(*situation.layers, week)))
    assert told.refused_by_day == (0.0, 2.0, 10.0, 10.0 - (18.0 - 12.0))


def test_ranges_are_quantiles_over_the_paths() -> None:
    """Eleven futures of 0 to 10 wishes and no place: mean 5, nine of eleven between 1 and 9."""
    demand = np.arange(11.0)[None, None, :]
    told = play_through(small_region(demand, [[0]])).refused_units
    assert (told.mean, told.low, told.high) == (5.0, 1.0, 9.0)


def test_costs_set_the_day_limits_at_their_ratio() -> None:
    """9 : 1 is the 0.9 quantile, 1 : 1 the median; both sides are valued at the changed costs."""
    demand = np.arange(1.0, 101.0)[None, None, :]
    situation = small_region(demand, [[100]])
    dear = what_if(situation, Changes(refused_cost=9.0))
    even = what_if(situation, Changes(refused_cost=1.0))
    level = what_if(situation, Changes(service_level=0.9))
    assert dear.changed.refused_units.mean == pytest.approx(np.maximum(np.arange(1, 101) - 90, 0).mean())
    assert even.changed.refused_units.mean == pytest.approx(np.maximum(np.arange(1, 101) - 50, 0).mean())
    assert dear.changed == level.changed
    assert even.present.cost.mean == even.present.idle_units.mean
    assert even.changed.cost.mean < even.present.cost.mean


def test_a_changed_level_asks_for_what_a_plan_would() -> None:
    """Of eight quiet futures, one of 5 and one of 20, nine in ten are served by 5: both say so."""
    paths = np.array([0.0] * 8 + [5.0, 20.0])
    planned = critical_units(paths, Policy(service_level=0.9))
    told = what_if(small_region(paths[None, None, :], [[100]]), Changes(service_level=0.9)).changed
    assert (planned, told.refused_units.mean) == (5.0, 1.5)


def test_a_changed_level_never_invents_a_limit() -> None:
    """Where no day quota stood none stands afterwards."""
    situation = small_region([[10], [10]], [[5], [np.inf]])
    told = what_if(situation, Changes(service_level=0.5))
    assert told.present.refused_units.mean == 5.0
    assert told.changed.refused_units.mean == 0.0
    assert told.changed.idle_units.mean == 0.0


def test_quotas_may_be_scaled_or_set() -> None:
    """By a ratio for all branches; by units for one scope and kind of period."""
    situation = small_region([[10], [10]], [[5], [8]])
    assert what_if(situation, Changes(quota_ratio=2.0)).changed.idle_units.mean == 6.0
    one = what_if(situation, Changes(limits=(LimitChange("branch:a", "day", 9),)))
    assert (one.present.refused_units.mean, one.changed.refused_units.mean) == (7.0, 3.0)


def test_a_shock_hits_its_scope_and_days() -> None:
    """One branch, one day; shocks multiply; those of other regions do not reach this one."""
    situation = small_region([[10, 10], [10, 10]], [[10, 10], [10, 10]])
    second = FIRST + timedelta(days=1)
    told = what_if(situation, Changes(shocks=(Shock(1.5, "branch:a", second, second),)))
    assert told.changed.refused_by_day == (0.0, 5.0)
    all_of_it = Changes(shocks=(Shock(2.0), Shock(0.5, "region:north", last=FIRST)))
    assert what_if(situation, all_of_it).changed.refused_by_day == (0.0, 20.0)
    before = Changes(shocks=(Shock(9.0, last=FIRST - timedelta(days=1)),))
    assert what_if(situation, before).changed == told.present


def test_workers_are_the_banks_and_staff_those_who_come_need() -> None:
    """100 units a day here, 100 elsewhere: 200 × 4 requests × 5 % in a quarter-hour at 0.1 s: 1 worker.

    The counter's busiest half-hour has 100 × 10 % of 15 minutes each: 5 erlang, which are 7 heads.
    """
    situation = small_region([[100]], [[np.inf]], elsewhere=np.array([[100.0]]))
    told = what_if(situation, Changes(shocks=(Shock(100.0),)))
    assert told.present.workers.mean == 1.0
    assert told.changed.workers.mean == np.ceil(200 * 100 * 4 * 0.05 / 900 * 0.1 / 0.6)
    assert told.present.staff_heads.mean == 7.0
    here = what_if(situation, Changes(shocks=(Shock(100.0, "region:north"),)))
    assert here.changed.workers.mean == np.ceil((100 * 100 + 100) * 4 * 0.05 / 900 * 0.1 / 0.6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (Changes(quota_ratio=-1.0), "quota_ratio -1.0: expected 0 or more"),
        (Changes(refused_cost=float("nan")), "refused_cost nan"),
        (Changes(refused_cost=0.0, idle_cost=0.0), "both 0"),
        (Changes(service_level=1.0), "share between 0 and 1"),
        (Changes(staff_heads={"z": 1.0}), "'z' is none of region north"),
        (Changes(staff_heads={"a": -1.0}), "staff_heads of a -1.0"),
        (Changes(shocks=(Shock(-0.5),)), "shock at bank:bank -0.5"),
        (Changes(shocks=(Shock(1.0, "region:south"),)), "expected bank:bank, region:north or branch:ID"),
        (Changes(limits=(LimitChange("branch:a", "month", 5),)), "expected one of branch:a:day"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(changes: Changes, says: str) -> None:
    """By its name and what was expected."""
    with pytest.raises(ValueError, match=says):
        what_if(small_region([[10]], [[5]]), changes)


def test_the_record_is_plain_json() -> None:
    """Days as text, ranges as numbers, both sides under their names."""
    told = what_if(small_region([[10, 10]], [[5, 5]]), Changes()).as_record()
    assert (told["region"], told["first_day"], told["days"]) == ("north", "2026-03-02", 2)
    assert told["present"]["refused_units"] == {"mean": 15.0, "low": 15.0, "high": 15.0}
    assert told["present"] == told["changed"]
