"""Whatever the branches and totals: everything adds up, nothing is negative, closed days stay closed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.frames import Floats
from forecasting.models.reconcile import joint_paths, matched, past_days, reconciled

LEVELS = (0.1, 0.5, 0.9)
units = st.one_of(st.just(0.0), st.integers(0, 40).map(float), st.floats(0, 1e6))
some = settings(max_examples=60, deadline=None)


def tables(first: int, second: int) -> st.SearchStrategy[Floats]:
    """(1 to 5, second, 4) of units; the first axis is branches or regions."""
    return arrays(np.float64, st.tuples(st.integers(1, first), st.just(second), st.just(4)), elements=units)


@some
@given(tables(5, 12), st.integers(0, 9), st.floats(0, 1), st.data())
def test_branches_add_up_to_regions_and_regions_to_the_bank(
    paths: Floats, seed: int, share: float, data: st.DataObject
) -> None:
    """In each path and step the parts sum to the whole exactly, ≥ 0, and a closed branch stays at 0."""
    parents = [f"r{number}" for number in np.random.default_rng(seed).integers(0, 3, len(paths))]
    total = st.none() | arrays(np.float64, (3, 4), elements=units)
    totals = {name: data.draw(total) for name in sorted(set(parents))}
    known = {name: values for name, values in totals.items() if values is not None}
    made = reconciled(paths, parents, known, LEVELS, bank_quantiles=data.draw(total), share=share)
    assert (made.branches >= 0).all()
    for name, region in made.regions.items():
        members = np.array([parent == name for parent in parents])
        assert np.array_equal(region, made.branches[members].sum(axis=0))
    assert np.array_equal(made.bank, np.sum(list(made.regions.values()), axis=0))
    closed = (paths == 0).all(axis=1)
    assert (made.branches.transpose(0, 2, 1)[closed] == 0).all()


@some
@given(tables(5, 12), arrays(np.float64, (12, 4), elements=units))
def test_matched_paths_sum_to_their_total(paths: Floats, totals: Floats) -> None:
    """Wherever a branch is open the sum is the total, up to rounding."""
    moved = matched(paths, totals)
    opened = (paths > 0).any(axis=(0, 1))
    assert np.allclose(moved.sum(axis=0)[:, opened], totals[:, opened], rtol=1e-9, atol=1e-9)
    assert (moved.sum(axis=0)[:, ~opened] == 0).all()


@some
@given(tables(5, 12))
def test_paths_that_match_are_left_alone(paths: Floats) -> None:
    """A total that the branches reach already changes nothing."""
    assert np.allclose(matched(paths, paths.sum(axis=0)), paths, rtol=1e-9, atol=1e-9)


@some
@given(
    tables(4, 3),
    arrays(np.float64, (4, 20), elements=st.one_of(st.just(float("nan")), st.floats(-9, 9))),
    st.integers(0, 20).map(lambda half: 2 * half + 1),
    st.integers(0, 99),
)
def test_joint_paths_have_the_quantiles_they_were_given(
    quantiles: Floats, residuals: Floats, paths: int, seed: int
) -> None:
    """Whatever the residuals, a branch's paths have the same values; a second call gives the same paths."""
    ordered = np.sort(quantiles, axis=1)
    days = past_days(20, paths=paths, steps=4, rng=np.random.default_rng(seed))

    def made(errors: Floats) -> Floats:
        rng = np.random.default_rng(seed)
        return joint_paths(ordered, LEVELS, errors[: len(ordered)], days, rng)

    one, other = made(residuals), made(residuals[::-1] ** 2)
    assert np.array_equal(np.sort(one, axis=1), np.sort(other, axis=1))
    assert np.array_equal(one, made(residuals))
    assert (one >= 0).all()
    assert (one.transpose(0, 2, 1)[(ordered == 0).all(axis=1)] == 0).all()
    assert np.allclose(np.median(one, axis=1), ordered[:, 1], rtol=1e-9)
