"""What must hold of what-if whatever the region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.decisions.situations import Changes, Outcome, Range, Shock, Situation
from forecasting.decisions.whatif import what_if
from tests.support.regions import layer, small_region

BRANCHES, DAYS, PATHS = 3, 6, 5
units = arrays(np.int64, (BRANCHES, DAYS, PATHS), elements=st.integers(0, 30))
quotas = arrays(np.int64, (BRANCHES, DAYS), elements=st.integers(0, 30))
RANGES = ("demand_units", "refused_units", "waiting_days", "waiting_units", "idle_units", "cost",
          "staff_heads", "workers")  # fmt: skip


@st.composite
def regions(draw: st.DrawFn) -> Situation:
    """Three branches with day quotas, one perhaps without, staff, a week's limit each, a month's of all."""
    demand, day = draw(units), draw(quotas).astype(float)
    day[draw(st.integers(0, BRANCHES - 1))] = draw(st.sampled_from([np.inf, 5.0]))
    week = draw(arrays(np.int64, (BRANCHES, 2), elements=st.integers(0, 100)))
    month, used = draw(st.integers(0, 300)), draw(st.integers(0, 50))
    base = small_region(demand, day)
    layers = (
        *base.layers,
        layer("branch", "week", base.branches, week, group=range(BRANCHES), of_day=[0, 0, 0, 0, 1, 1]),
        layer("region", "month", ["north"], [[month]], group=[0] * BRANCHES, of_day=[0] * DAYS, used=used),
    )
    caps = draw(quotas).astype(float)
    caps[draw(st.integers(0, BRANCHES - 1))] = np.inf
    waiting = draw(arrays(np.int64, BRANCHES, elements=st.integers(0, 9))).astype(float)
    return small_region(demand, day, layers=layers, staff_caps=caps, waiting=waiting)


def ranges(outcome: Outcome) -> dict[str, Range]:
    """The figures by name."""
    return {name: getattr(outcome, name) for name in RANGES}


@settings(max_examples=60, deadline=None)
@given(regions())
def test_no_change_is_no_change_and_every_figure_is_sane(situation: Situation) -> None:
    """Both sides are equal; ranges hold in order; what is told by day adds up; nobody is served twice."""
    before = [array.copy() for array in (situation.demand, situation.staff_caps)]
    told = what_if(situation, Changes())
    assert told.present == told.changed
    for found in ranges(told.present).values():
        assert 0 <= found.low <= found.high
    refused, demand = told.present.refused_units, told.present.demand_units
    assert refused.mean <= demand.mean + 1e-9
    assert sum(told.present.refused_by_day) == pytest.approx(refused.mean, abs=0.01)
    assert sum(told.present.idle_by_day) == pytest.approx(told.present.idle_units.mean, abs=0.01)
    came = demand.mean + (situation.waiting.sum() if situation.waiting is not None else 0)
    assert told.present.waiting_units.mean == pytest.approx(told.present.waiting_by_day[-1], abs=0.01)
    assert told.present.waiting_units.mean <= came + 1e-6
    assert told.present.cost.mean == pytest.approx(
        9.0 * refused.mean + told.present.idle_units.mean, abs=0.02
    )
    assert (before[0] == situation.demand).all()
    assert (before[1] == situation.staff_caps).all()


@settings(max_examples=40, deadline=None)
@given(units, quotas, quotas, st.floats(1.0, 3.0))
def test_more_demand_leaves_no_fewer_waiting_and_idles_no_more(
    demand: np.ndarray, day: np.ndarray, caps: np.ndarray, ratio: float
) -> None:
    """Where a branch's own quotas and staff bind; workers never fall."""
    told = what_if(small_region(demand, day, staff_caps=caps.astype(float)), Changes(shocks=(Shock(ratio),)))
    assert told.changed.waiting_units.mean >= told.present.waiting_units.mean - 0.01
    assert told.changed.idle_units.mean <= told.present.idle_units.mean + 0.01
    assert told.changed.workers.mean >= told.present.workers.mean


@settings(max_examples=40, deadline=None)
@given(units, quotas, st.floats(1.0, 3.0))
def test_higher_day_quotas_refuse_no_more(demand: np.ndarray, day: np.ndarray, ratio: float) -> None:
    """Where day quotas alone bind, raising them all leaves fewer refused and fewer waiting."""
    told = what_if(small_region(demand, day), Changes(quota_ratio=ratio))
    assert told.changed.refused_units.mean <= told.present.refused_units.mean + 0.01
    assert told.changed.waiting_units.mean <= told.present.waiting_units.mean + 0.01
