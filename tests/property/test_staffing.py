"""What must hold of queues, rosters and overbooking whatever the numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.decisions.erlang import NEVER, QueueTarget, agents_needed, erlang_c, level_reached
from forecasting.decisions.overbooking import overbooked
from forecasting.decisions.policy import Policy
from forecasting.decisions.roster import Available, ShiftRules, propose_roster
from forecasting.decisions.staffing import staff_need

RULES = ShiftRules.of(Policy())
loads = st.floats(0.01, 60)
targets = st.builds(
    QueueTarget,
    service_level=st.floats(0.3, 0.99),
    wait_seconds=st.floats(0, 900),
    handling_seconds=st.floats(30, 1800),
    patience_seconds=st.just(NEVER) | st.floats(30, 1800),
)


@settings(max_examples=60, deadline=None)
@given(loads, st.integers(0, 80), targets)
def test_more_agents_serve_more_in_time_and_more_load_fewer(
    load: float, agents: int, target: QueueTarget
) -> None:
    """The level rises with the agents and falls with the load; it is always a share."""
    levels = level_reached([load, load, load * 1.1], [agents, agents + 1, agents], target)
    assert ((levels >= 0) & (levels <= 1)).all()
    assert levels[1] >= levels[0] - 1e-9
    assert levels[2] <= levels[0] + 1e-9
    assert erlang_c(load, agents + 1) <= erlang_c(load, agents) + 1e-12


@settings(max_examples=60, deadline=None)
@given(loads, targets)
def test_the_least_agents_are_enough_and_one_fewer_is_not(load: float, target: QueueTarget) -> None:
    """And no load asks for fewer than a smaller one."""
    agents, more = agents_needed([load, load + 1.0], target)
    assert level_reached(load, agents, target) >= target.service_level - 1e-6
    assert level_reached(load, agents - 1, target) < target.service_level + 1e-6
    assert more >= agents


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=2, max_size=30), st.floats(0, 1), st.floats(0.5, 0.95))
def test_more_demand_never_needs_fewer_heads(units: list[int], share: float, quantile: float) -> None:
    """In every half-hour that is staffed by the same rule; and where nobody comes nobody is needed."""
    paths = np.array(units, dtype=float)[:, None]
    shares = np.array([share, 1 - share])
    target = QueueTarget(0.8, 600, 900)
    few = staff_need(paths, shares, target, quantile)
    many = staff_need(paths + paths.mean(), shares, target, quantile)
    same_rule = many.newsvendor == few.newsvendor
    assert (many.heads[same_rule] >= few.heads[same_rule]).all()
    assert (few.heads[few.load == 0] == 0).all()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=20, max_size=20),
    st.none() | st.lists(st.tuples(st.integers(14, 30), st.integers(1, 16), st.integers(0, 4)), max_size=3),
)
def test_a_roster_covers_all_but_what_it_names_and_takes_nobody_who_is_not_there(
    wanted: list[int], there: list[tuple[int, int, int]] | None
) -> None:
    """Shifts + shortages meet the need; no more heads than there are; asked again, the same roster."""
    need = [0] * 16 + wanted + [0] * 12
    available = None if there is None else [Available(a, a + length, heads) for a, length, heads in there]
    shifts, short = propose_roster(need, available, RULES)
    work = sum((shift.at_work() for shift in shifts), np.zeros(48, dtype=np.int64))
    missing = np.zeros(48, dtype=np.int64)
    for each in short:
        missing[each.half_hour] = each.heads
    assert (work + missing >= need).all()
    assert (missing <= need).all()
    if available is None:
        assert short == ()
    else:
        assert sum(shift.heads for shift in shifts) <= sum(group.heads for group in available)
        present = np.zeros(48, dtype=np.int64)
        for group in available:
            present[group.first : group.until] += group.heads
        assert (work <= present).all()
    assert propose_roster(need, available, RULES) == (shifts, short)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 150), st.floats(0, 0.9), st.floats(0.1, 20), st.floats(0, 0.09))
def test_overbooking_rises_with_no_shows_and_falls_with_its_cost(
    cap: int, absent: float, cost: float, more: float
) -> None:
    """Never below the places; more absent, more booked; dearer, fewer."""
    caps = np.array([cap, cap])
    booked, of_more = overbooked(caps, np.array([absent, absent + more]), cost)
    assert of_more >= booked >= cap
    assert overbooked(caps[:1], np.array([absent]), cost + more)[0] <= booked
