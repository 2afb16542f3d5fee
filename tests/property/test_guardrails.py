"""What holds for every proposal that passes the guardrails."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from forecasting.decisions.guardrails import Guardrail, LimitInputs, guard_limit
from forecasting.decisions.policy import Policy

units = st.integers(0, 5_000)
proposals = st.floats(0, 20_000, allow_nan=False)
policies = st.builds(
    Policy,
    floor_units=st.integers(0, 50),
    min_step_units=st.integers(0, 20),
    max_step_up_ratio=st.floats(1, 10),
    max_step_down_ratio=st.floats(0.01, 1),
)
inputs = st.builds(
    LimitInputs,
    old_units=st.none() | units,
    used_units=units,
    staff_cap_units=st.none() | units,
    ceiling_units=st.none() | units,
    funds_cap_units=st.none() | units,
)
DOWNWARD = {Guardrail.MAX_STEP_UP, Guardrail.CEILING, Guardrail.STAFF_CAP, Guardrail.FUNDS_CAP}


@given(proposals, inputs, policies)
def test_a_limit_never_lies_below_what_is_used(proposed: float, state: LimitInputs, policy: Policy) -> None:
    """Whatever the forecast says, nobody's booking is undercut."""
    assert guard_limit(proposed, state, policy)[0].value >= state.used_units


@given(proposals, inputs, policies)
def test_what_cannot_be_had_caps_every_limit_that_use_does_not_force(
    proposed: float, state: LimitInputs, policy: Policy
) -> None:
    """A limit exceeds the ceiling, the staff or the funds only where as much is booked already."""
    value = guard_limit(proposed, state, policy)[0].value
    for cap in (state.ceiling_units, state.staff_cap_units, state.funds_cap_units):
        assert cap is None or value <= max(cap, state.used_units)


@given(proposals, inputs, policies)
def test_a_limit_steps_up_no_further_than_allowed(
    proposed: float, state: LimitInputs, policy: Policy
) -> None:
    """A limit rises above its largest step only to the floor or to what is used."""
    value = guard_limit(proposed, state, policy)[0].value
    if state.old_units is not None:
        step = max(state.old_units * policy.max_step_up_ratio, state.old_units + policy.min_step_units)
        assert value <= max(step, policy.floor_units, state.used_units)


@given(proposals, inputs, policies)
def test_only_steps_upward_and_caps_go_below_a_proposal(
    proposed: float, state: LimitInputs, policy: Policy
) -> None:
    """A limit lies below what the forecast asks for only where one of these is named."""
    guarded, bound = guard_limit(proposed, state, policy)
    if not DOWNWARD & set(bound):
        assert guarded.value >= proposed - 1e-6


@given(proposals, inputs, policies)
def test_guarding_twice_changes_nothing(proposed: float, state: LimitInputs, policy: Policy) -> None:
    """A guarded limit passes the same guardrails as it is."""
    once = guard_limit(proposed, state, policy)[0].value
    assert guard_limit(once, state, policy)[0].value == once


@given(proposals, proposals, inputs, policies)
def test_more_demand_never_means_a_lower_limit(
    one: float, other: float, state: LimitInputs, policy: Policy
) -> None:
    """The guardrails keep the order of proposals."""
    low, high = sorted((one, other))
    assert guard_limit(low, state, policy)[0].value <= guard_limit(high, state, policy)[0].value


@given(proposals, inputs, policies)
def test_a_limit_that_no_rule_touched_covers_its_proposal(
    proposed: float, state: LimitInputs, policy: Policy
) -> None:
    """Without a bound rule the limit is the proposal rounded up; with one, its name is told last."""
    guarded, bound = guard_limit(proposed, state, policy)
    if not bound:
        assert 0 <= guarded.value - proposed < 1 or guarded.value == 0
    else:
        assert guarded.reason is bound[-1]
        assert all(isinstance(reason, Guardrail) for reason in bound)


@given(proposals, inputs, policies)
def test_without_the_step_upward_more_would_be_planned(
    proposed: float, state: LimitInputs, policy: Policy
) -> None:
    """The negative control: with a rule taken away a proposal that it bound gets another limit."""
    guarded, bound = guard_limit(proposed, state, policy)
    caps = (state.ceiling_units, state.staff_cap_units, state.funds_cap_units)
    room = all(cap is None or cap > guarded.value for cap in caps)  # else the next rule says the same
    if room and bound == [Guardrail.MAX_STEP_UP]:
        free = replace(state, old_units=None)
        assert guard_limit(proposed, free, policy)[0].value > guarded.value
