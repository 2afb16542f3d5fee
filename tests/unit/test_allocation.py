"""Shared totals: as good as trying everything, exact against a solver, within floors and caps."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from forecasting.decisions.allocation import Split, split_total
from forecasting.frames import Floats


def expected_use(paths: Floats, units: Floats) -> float:
    """Units that are used on average."""
    return float(np.minimum(paths, np.asarray(units)[:, None]).mean(axis=1).sum())


def by_trying(total: int, paths: Floats, floors: list[int], caps: list[int]) -> float:
    """The greatest expected use of all splits of exactly the total."""
    ranges = [range(low, high + 1) for low, high in zip(floors, caps, strict=True)]
    return max(
        expected_use(paths, np.array(units, dtype=float)) for units in product(*ranges) if sum(units) == total
    )


def by_solver(total: int, paths: Floats) -> float:
    """The greatest expected use, as an integer program: the u-th unit of a cell is used by paths ≥ u."""
    most = int(paths.max())
    chance = np.array([[(row >= unit).mean() for unit in range(1, most + 1)] for row in paths]).ravel()
    every = LinearConstraint(np.ones((1, len(chance))), ub=total)
    found = milp(-chance, constraints=every, bounds=Bounds(0, 1), integrality=np.ones(len(chance)))
    return float(-found.fun)


cases = st.integers(1, 3).flatmap(
    lambda cells: st.tuples(
        st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4), min_size=cells, max_size=cells),
        st.lists(st.integers(0, 2), min_size=cells, max_size=cells),
        st.lists(st.integers(2, 7), min_size=cells, max_size=cells),
        st.integers(0, 18),
    )
)


@settings(max_examples=150, deadline=None)
@given(cases)
def test_no_other_split_uses_more(case: tuple[list[list[int]], list[int], list[int], int]) -> None:
    """Whatever is tried within floors and caps, no split of the total is expected to use more units."""
    rows, floors, caps, total = case
    total = min(max(total, sum(floors)), sum(caps))
    paths = np.array(rows, dtype=float)
    split = split_total(total, paths, floors=np.array(floors), caps=np.array(caps))
    assert split.units.sum() == total
    assert split.floors_met
    assert split.left_units == 0
    assert (split.units >= floors).all()
    assert (split.units <= caps).all()
    assert expected_use(paths, split.units) == pytest.approx(by_trying(total, paths, floors, caps))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(10, 120))
def test_it_agrees_with_an_exact_solver(seed: int, total: int) -> None:
    """On six cells the expected use is the optimum of the integer program."""
    paths = np.random.default_rng(seed).poisson([[2], [5], [9], [14], [20], [1]], size=(6, 25)).astype(float)
    assert expected_use(paths, split_total(total, paths).units) == pytest.approx(by_solver(total, paths))


def test_a_split_in_proportion_to_the_means_is_worse() -> None:
    """The control: where one day is sure and another is not, shares by the mean use fewer units."""
    rng = np.random.default_rng(1)
    paths = np.stack([np.full(200, 50.0), rng.gamma(1.0, 50.0, 200)])
    shares = 100 * paths.mean(axis=1) / paths.mean(axis=1).sum()
    best = split_total(100, paths).units
    assert expected_use(paths, best) > expected_use(paths, np.floor(shares)) + 1


def test_one_more_unit_is_worth_the_same_everywhere() -> None:
    """Cells that are free to move end at the same chance that a further unit is used."""
    paths = np.random.default_rng(2).poisson([[20], [40], [80]], size=(3, 2000)).astype(float)
    split = split_total(130, paths)
    chances = [(row >= units + 1).mean() for row, units in zip(paths, split.units, strict=True)]
    # a unit of the smallest cell is a step of 0.09
    assert max(chances) - min(chances) < 0.1
    assert split.worth == pytest.approx(max(chances))


@pytest.mark.parametrize(
    ("total", "floors", "caps", "expected"),
    [
        (0, None, None, Split(np.array([0, 0]), 1.0, 0, True)),
        (3, [4, 4], None, Split(np.array([2, 1]), 0.0, 0, False)),
        (90, None, [30, 40], Split(np.array([30, 40]), 0.0, 20, True)),
    ],
)
def test_the_edges_are_told(
    total: int, floors: list[int] | None, caps: list[int] | None, expected: Split
) -> None:
    """Nothing to share, floors beyond the total, caps below it."""
    paths = np.array([[10.0, 10.0], [10.0, 10.0]])
    split = split_total(
        total,
        paths,
        floors=None if floors is None else np.array(floors),
        caps=None if caps is None else np.array(caps),
    )
    assert split.units.sum() == expected.units.sum()
    assert (split.left_units, split.floors_met) == (expected.left_units, expected.floors_met)


def test_what_no_path_wants_goes_where_demand_spreads() -> None:
    """A total beyond every path is not lost: the cell that varies more takes more of it."""
    rng = np.random.default_rng(3)
    paths = np.stack([rng.poisson(50, 200), rng.gamma(2, 25, 200)]).astype(float)
    split = split_total(1000, paths)
    assert split.units.sum() == 1000
    assert split.units[1] > split.units[0]


@pytest.mark.parametrize(
    ("total", "floors", "caps", "told"),
    [
        (-1, None, None, "total is -1"),
        (5, [3, 0], [2, 9], "cell 0 has the floor 3 above its cap 2"),
        (5, [1], None, "a floor and a cap for each cell"),
    ],
)
def test_misfits_are_named(total: int, floors: list[int] | None, caps: list[int] | None, told: str) -> None:
    """A wrong total, floor or shape is told by place and number."""
    with pytest.raises(ValueError, match=told):
        split_total(
            total,
            np.ones((2, 3)),
            floors=None if floors is None else np.array(floors),
            caps=None if caps is None else np.array(caps),
        )
