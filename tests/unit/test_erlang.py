"""Erlang B, C and A against published figures and against a simulated queue."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import simpy

from forecasting.decisions.erlang import (
    QueueTarget,
    agents_needed,
    erlang_a,
    erlang_b,
    erlang_c,
    greatest_loads,
    level_reached,
    mean_wait_seconds,
    service_level,
)

COUNTER = QueueTarget(service_level=0.8, wait_seconds=600, handling_seconds=900)
PHONE = QueueTarget(service_level=0.8, wait_seconds=20, handling_seconds=180)


@pytest.mark.parametrize(("load", "agents"), [(5, 7), (15, 17), (50, 52)])
def test_counters_as_published(load: float, agents: int) -> None:
    """15 minutes a customer, 80 % within 10 minutes: two or so beyond the load."""
    assert agents_needed(load, COUNTER) == agents


def test_a_hundred_calls_in_half_an_hour_need_fourteen_agents() -> None:
    """The textbook's call centre: 3 minutes each, 80 % within 20 s; 17.4 % wait, 88.8 % in time, 7.8 s."""
    load = 100 * 180 / 1800
    assert agents_needed(load, PHONE) == 14
    assert erlang_c(load, 14) == pytest.approx(0.174, abs=5e-4)
    assert service_level(load, 14, 20, 180) == pytest.approx(0.888, abs=5e-4)
    assert mean_wait_seconds(load, 14, 180) == pytest.approx(7.8, abs=0.05)


def test_the_worked_example_of_360_calls() -> None:
    """360 calls of 4 minutes in half an hour, 55 agents: 23.9 % wait, 8.2 s on average, 84.6 % in 15 s."""
    load = 360 * 240 / 1800
    assert erlang_c(load, 55) == pytest.approx(0.239, abs=5e-4)
    assert mean_wait_seconds(load, 55, 240) == pytest.approx(8.2, abs=0.05)
    assert service_level(load, 55, 15, 240) == pytest.approx(0.846, abs=5e-4)


@pytest.mark.parametrize(("trunks", "load"), [(10, 4.461), (20, 12.03), (50, 37.90), (100, 84.06)])
def test_erlang_b_loses_one_in_a_hundred_at_the_tables_loads(trunks: int, load: float) -> None:
    """The traffic tables' loads at 1 % loss."""
    assert erlang_b(load, trunks) == pytest.approx(0.01, rel=2e-3)


def test_a_little_impatience_spares_most_of_the_wait() -> None:
    """Garnett, Mandelbaum, Reiman 2002: 48 calls a minute of a minute each, 50 agents, patience 2 minutes.

    Nobody leaving they wait 20.8 s on average; with 3.1 % leaving, 3.7 s.
    """
    assert mean_wait_seconds(48, 50, 60) == pytest.approx(20.8, abs=0.05)
    found = erlang_a(48, 50, 20, 60, 120)
    assert found.abandoned == pytest.approx(0.031, abs=5e-4)
    assert found.mean_wait_seconds == pytest.approx(3.7, abs=0.05)


def test_endless_patience_is_erlang_c() -> None:
    """Erlang A with a patience of years says what Erlang C says."""
    loads, agents = np.array([3.0, 10.0, 18.0]), np.array([5, 13, 21])
    found = erlang_a(loads, agents, 20, 180, 1e7)
    assert found.waiting == pytest.approx(erlang_c(loads, agents), abs=1e-4)
    assert found.service_level == pytest.approx(service_level(loads, agents, 20, 180), abs=1e-4)


def test_the_recursion_is_stable_where_factorials_are_not() -> None:
    """Thousands of agents and loads far from them give shares, never infinities or NaN."""
    loads = np.array([0.0, 1e-9, 0.5, 300.0, 2999.0, 3001.0, 1e6])
    for shares in (erlang_b(loads, 3000), erlang_c(loads, 3000), erlang_c(loads, 0)):
        assert np.isfinite(shares).all()
        assert ((shares >= 0) & (shares <= 1)).all()
    crowded = erlang_a([100.0, 0.0, 1e-6], [1, 150, 0], 20, 60, 1200)
    assert crowded.abandoned == pytest.approx([0.99, 0.0, 1.0], abs=1e-6)


def test_the_table_of_loads_and_the_search_agree() -> None:
    """Each count of agents carries exactly its own greatest load, with and without hanging up."""
    for target in (PHONE, QueueTarget(0.8, 20, 180, 60)):
        carried = greatest_loads(30, target)
        assert (np.diff(carried) > 0).all()
        assert list(agents_needed(carried[1:] * (1 - 1e-6), target)) == list(range(1, 31))
        assert list(agents_needed(carried[1:] * (1 + 1e-6), target)) == list(range(2, 32))


def test_no_customers_need_no_agents() -> None:
    """A load of zero is served by nobody."""
    assert list(agents_needed([0.0, 1e-12], PHONE)) == [0, 1]


@pytest.mark.parametrize("level", [0.0, 1.0, math.nan])
def test_a_target_that_cannot_be_is_refused(level: float) -> None:
    """Nobody can promise that nobody ever waits."""
    with pytest.raises(ValueError, match="below 1"):
        QueueTarget(level, 20, 180)


@pytest.mark.parametrize("load", [-1.0, math.nan, math.inf])
def test_a_load_that_cannot_be_is_refused(load: float) -> None:
    """A load is finite and not negative."""
    with pytest.raises(ValueError, match="finite loads"):
        agents_needed(load, PHONE)


# --- against a simulated queue --------------------------------------------------------------------

CUSTOMERS = 40_000


def simulated(load: float, agents: int, target: QueueTarget, seed: int) -> tuple[float, float]:
    """Share served within the target's wait, share that left: M/M/n+M in simpy, its beginning left out."""
    rng = np.random.default_rng(seed)
    environment = simpy.Environment()
    desk = simpy.Resource(environment, capacity=agents)
    came: list[tuple[bool, bool]] = []
    gaps = rng.exponential(target.handling_seconds / load, CUSTOMERS)
    handling = rng.exponential(target.handling_seconds, CUSTOMERS)
    patient = target.patience_seconds if math.isfinite(target.patience_seconds) else 1e12
    patience = rng.exponential(patient, CUSTOMERS)

    def customer(n: int) -> Iterator[simpy.Event]:
        arrived = environment.now
        with desk.request() as turn:
            outcome = yield turn | environment.timeout(patience[n])
            served = turn in outcome
            came.append((served and environment.now - arrived <= target.wait_seconds, not served))
            if served:
                yield environment.timeout(handling[n])

    def arrivals() -> Iterator[simpy.Event]:
        for n in range(CUSTOMERS):
            yield environment.timeout(gaps[n])
            environment.process(customer(n))

    environment.process(arrivals())
    environment.run()
    in_time, left = np.array(came[CUSTOMERS // 10 :]).mean(axis=0)
    return float(in_time), float(left)


@pytest.mark.parametrize(
    ("load", "agents", "target"),
    [
        (5.0, 7, COUNTER),
        (10.0, 13, PHONE),
        (10.0, 10, QueueTarget(0.8, 20, 180, 90)),
        (6.0, 4, QueueTarget(0.8, 60, 180, 300)),
    ],
)
def test_a_simulated_queue_agrees(load: float, agents: int, target: QueueTarget) -> None:
    """Within what 36,000 customers can tell, also where more come than can be served."""
    in_time, left = simulated(load, agents, target, seed=3)
    assert in_time == pytest.approx(float(level_reached(load, agents, target)), abs=0.015)
    if math.isfinite(target.patience_seconds):
        found = erlang_a(load, agents, target.wait_seconds, target.handling_seconds, target.patience_seconds)
        assert left == pytest.approx(float(found.abandoned), abs=0.015)
