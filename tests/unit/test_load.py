"""From minute counts to rates: sharp where the meter watched, whole minutes where it did not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from booking_core.load import Load, LoadMeter
from booking_core.pressure import Sums, wall_minute

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def counts(
    rate: Callable[[float], float], until: float, *, cost: float = 0.1, failed: float = 0.0
) -> dict[datetime, Sums]:
    """Counts by minute of a load of rate(second) requests a second, up to `until` seconds after noon."""
    totals: dict[datetime, Sums] = {}
    for second in range(-300, int(until)):
        sums = totals.setdefault(wall_minute(NOON + timedelta(seconds=second)), Sums())
        n = int(rate(second))
        sums.add(Sums(n, 0, int(n * failed), n * cost))
    return totals


def polls(meter: LoadMeter, rate: Callable[[float], float], seconds: range, **other: float) -> Iterator[Load]:
    """The loads that a meter sees, poll by poll."""
    for second in seconds:
        yield meter.observe(NOON + timedelta(seconds=second), counts(rate, second, **other))


def test_the_first_poll_speaks_from_whole_minutes() -> None:
    """A restarted meter knows the rate of the last one to two minutes, the peak of minutes, and the cost."""
    load = LoadMeter(300).observe(NOON + timedelta(seconds=30), counts(lambda s: 20 if s < -60 else 5, 30))
    assert load.rps == pytest.approx(5)
    assert load.peak_rps == pytest.approx(20)
    assert load.cost_seconds == pytest.approx(0.1)


def test_a_step_is_seen_within_the_window() -> None:
    """Fifteen seconds after a step the recent rate is the new one; a fall keeps the peak."""
    meter = LoadMeter(60)
    up = list(polls(meter, lambda s: 40 if s >= 10 else 2, range(0, 28, 2)))[-1]
    assert up.rps == pytest.approx(40)
    down = list(polls(meter, lambda s: 40 if 10 <= s < 28 else 0, range(28, 60, 2)))[-1]
    assert down.rps == 0
    assert down.peak_rps >= 40


def test_the_peak_is_forgotten_after_the_stabilisation_time() -> None:
    """Only what the stabilisation time still holds counts as peak."""
    *_, last = polls(LoadMeter(60), lambda s: 40 if s < 10 else 1, range(0, 240, 2))
    assert last.peak_rps == pytest.approx(1)


def test_failures_of_the_stabilisation_time_are_remembered() -> None:
    """The highest share of failures counts; a handful of requests proves none."""
    meter = LoadMeter(60)
    *_, storm = polls(meter, lambda s: 40 if s < 20 else 0, range(0, 40, 2), failed=0.5)
    assert storm.failed_ratio == pytest.approx(0.5)
    *_, few = polls(LoadMeter(60), lambda s: 1 if s % 10 == 0 else 0, range(0, 40, 2), failed=1.0)
    assert few.failed_ratio == 0.0


def test_an_outage_of_the_meter_is_no_load() -> None:
    """After minutes without a poll the counts of that time are not taken for those of the last seconds."""
    meter = LoadMeter(60)
    list(polls(meter, lambda _: 10, range(0, 20, 2)))
    load = meter.observe(NOON + timedelta(seconds=200), counts(lambda _: 10, 200))
    assert load.rps == pytest.approx(10)


def test_a_rise_from_no_load_at_all_is_drawn_on() -> None:
    """Minutes without requests leave no counts: where the meter watched them, they are known to be none."""

    def rising(seconds: range) -> list[float]:
        meter = LoadMeter(60, trend_gain=0.5, trend_seconds=120)
        loads = []
        for second in seconds:
            totals = counts(lambda s: 40 if s >= 200 else 0, second)
            counted = {minute: sums for minute, sums in totals.items() if sums.requests}
            loads.append(meter.observe(NOON + timedelta(seconds=second), counted))
        assert loads[-1].rps == pytest.approx(40)
        return [load.rising_rps for load in loads]

    chance = 2 * math.sqrt(40 / 15)
    assert rising(range(0, 232, 2))[-1] == pytest.approx(40 + 0.5 * (40 - chance))
    assert rising(range(180, 232, 2))[-1] == pytest.approx(40)
    *_, later = rising(range(0, 400, 2))
    assert later == pytest.approx(40), "a load that stands is no rise"


def test_settings_that_change_are_followed() -> None:
    """A gain, a trend and a stabilisation time of now count from now on, without a new meter."""
    meter = LoadMeter(0.0)
    loads = polls(meter, lambda s: 40 if s >= 0 else 10, range(-30, 300, 2))
    seen = [next(loads) for _ in range(60)]
    assert seen[-1].rising_rps == pytest.approx(40)
    meter.follow(600.0, trend_gain=0.5, trend_seconds=180.0)
    assert meter.since(NOON) == NOON - timedelta(seconds=600)
    assert next(loads).rising_rps > 50


def test_no_requests_cost_nothing_known() -> None:
    """Without requests there is no rate and no measured cost."""
    assert LoadMeter(60).observe(NOON, {}) == Load(0.0, 0.0, 0.0, None)
