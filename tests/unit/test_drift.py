"""Drift watch: a broken forecast is vetoed within its period, a healthy one almost never."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from forecasting.decisions.drift import LiveDay, Promise, drift_score, drift_verdict, live_days
from forecasting.decisions.guardrails import Veto
from forecasting.decisions.policy import Policy
from forecasting.decisions.score import ForecastScore
from forecasting.frames import Floats

POLICY = Policy()
FIRST = date(2026, 3, 2)
WEEK = 7
BACKTEST_DAYS = 84
BAND = 1.2816
"""Deviations from the median to either end of the 80 % band."""

Break = Callable[[Floats], Floats]
"""Turns right medians (days, branches) into the broken forecast's."""


def branch_days(
    rng: np.random.Generator,
    *,
    branches: int = 20,
    days: int = WEEK,
    deviation: float = 0.25,
    correlation: float = 0.3,
    broken: Break | None = None,
    dead: bool = False,
) -> list[LiveDay]:
    """Scores of branches of unequal size whose errors correlate within a day; `dead`: nobody comes at all."""
    size = 60.0 * np.exp(0.8 * np.random.default_rng(branches).standard_normal(branches))
    week = np.array([1.4, 1.0, 1.0, 1.0, 1.2, 0.6, 0.4])[np.arange(days) % WEEK]
    right = size * week[:, None]
    shared, own = rng.standard_normal((days, 1)), rng.standard_normal((days, branches))
    errors = np.sqrt(correlation) * shared + np.sqrt(1.0 - correlation) * own
    actual = np.zeros_like(right) if dead else right * np.exp(deviation * errors)
    told = right if broken is None else broken(right)
    mean = told * np.exp(deviation**2 / 2.0)
    low, high = told * np.exp(-BAND * deviation), told * np.exp(BAND * deviation)
    return [
        live_days(
            ForecastScore(
                run_id="r",
                branch_id=str(branch),
                day=FIRST + timedelta(days=day),
                horizon_days=1,
                actual=float(actual[day, branch]),
                mean=float(mean[day, branch]),
                inside80=bool(low[day, branch] <= actual[day, branch] <= high[day, branch]),
                pinball=0.0,
            )
            for branch in range(branches)
        )[0]
        for day in range(days)
    ]


def promise_of(rng: np.random.Generator, *, branches: int = 20, deviation: float = 0.25) -> Promise:
    """What twelve weeks of backtest say of such a forecast while it is healthy."""
    past = branch_days(rng, branches=branches, days=BACKTEST_DAYS, deviation=deviation)
    return Promise(
        coverage80=sum(day.inside80 for day in past) / sum(day.scores for day in past),
        wape=sum(day.error_units for day in past) / sum(day.actual_units for day in past),
        series=branches,
        days=BACKTEST_DAYS,
    )


def days_until_veto(live: list[LiveDay], promise: Promise) -> int | None:
    """After how many days the watch, asked every day, vetoes; None = not within these days."""
    looks = range(1, len(live) + 1)
    return next((look for look in looks if not drift_verdict(live[:look], promise, POLICY).fit), None)


def vetoed_periods(branches: int, deviation: float, periods: int, correlation: float = 0.3) -> float:
    """The share of weeks in which a healthy forecast, looked at every day, is vetoed at least once."""
    rng = np.random.default_rng(7)
    vetoed = 0
    for _ in range(periods // 20):  # a new backtest every twenty weeks
        promise = promise_of(rng, branches=branches, deviation=deviation)
        live = branch_days(
            rng, branches=branches, days=20 * WEEK, deviation=deviation, correlation=correlation
        )
        fit = [
            drift_verdict(live[max(0, day - 6) : day + 1], promise, POLICY).fit for day in range(len(live))
        ]
        vetoed += sum(not all(fit[start : start + WEEK]) for start in range(0, len(fit), WEEK))
    return vetoed / periods


def half(right: Floats) -> Floats:
    return right / 2.0


def double(right: Floats) -> Floats:
    return right * 2.0


def dead_week(right: Floats) -> Floats:
    return np.zeros_like(right)


def spikes(right: Floats) -> Floats:
    told = right.copy()
    told[1::3] *= 4.0
    return told


def shuffled_week(right: Floats) -> Floats:
    return np.roll(right, 3, axis=0)


def branches_mixed_up(right: Floats) -> Floats:
    return np.roll(right, 1, axis=1)


@pytest.mark.parametrize(("branches", "deviation"), [(1, 0.25), (5, 0.4), (20, 0.15), (20, 0.4), (40, 0.25)])
def test_a_healthy_forecast_is_vetoed_in_less_than_one_period_of_a_hundred(
    branches: int, deviation: float
) -> None:
    """Looked at every day, few or many branches, steady or lively: fewer than 1 % of weeks see a veto."""
    assert vetoed_periods(branches, deviation, periods=400) < 0.01


def test_without_size_and_correlation_healthy_forecasts_would_be_vetoed() -> None:
    """The control: any departure large enough and branches taken for independent, good weeks see vetoes."""
    hasty = Policy(
        drift_day_correlation=1e-9, drift_coverage_gap=1e-9, drift_wape_ratio=1.0, drift_level_ratio=1e-9
    )
    rng = np.random.default_rng(7)
    promise = promise_of(rng, branches=100)
    weeks = [branch_days(rng, branches=100) for _ in range(100)]
    assert np.mean([not drift_verdict(week, promise, hasty).fit for week in weeks]) > 0.2


@pytest.mark.parametrize("broken", [half, double, dead_week, spikes, shuffled_week, branches_mixed_up])
def test_a_broken_forecast_is_vetoed_within_its_period(broken: Break) -> None:
    """Half or twice the level, a dead week, spikes, wrong weekdays or branches: found in 7 days."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        promise = promise_of(rng)
        live = branch_days(rng, broken=broken)
        verdict = drift_verdict(live, promise, POLICY)
        found.append(days_until_veto(live, promise))
        assert verdict.reason == Veto.DRIFT
    assert None not in found


def test_a_forecast_of_half_the_level_is_vetoed_within_two_days() -> None:
    """With twenty branches two days suffice; the same two days rightly forecast, the control, stay fit."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        promise = promise_of(rng)
        assert days_until_veto(branch_days(rng, days=2, broken=half), promise) == 2
        assert days_until_veto(branch_days(rng, days=2), promise) is None


def test_a_week_in_which_nobody_comes_is_vetoed() -> None:
    """Where all demand ends, forecasts of it are unfit, though no WAPE can be reckoned."""
    rng = np.random.default_rng(1)
    promise, live = promise_of(rng), branch_days(rng, dead=True)
    assert drift_verdict(live, promise, POLICY).reason == Veto.DRIFT
    score = drift_score("r", "bank", live, promise, POLICY)
    assert score is not None
    assert score.wape is None


def test_one_stormy_day_is_no_drift() -> None:
    """A day on which a tenth comes leaves the forecast fit; three such days in a week do not."""
    rng = np.random.default_rng(2)
    promise, healthy = promise_of(rng), branch_days(rng)

    def stormy(day: LiveDay) -> LiveDay:
        told = day.mean_units
        return replace(day, inside80=0, error_units=0.9 * told, actual_units=0.1 * told)

    assert drift_verdict([*healthy[:3], stormy(healthy[3]), *healthy[4:]], promise, POLICY).fit
    storms = [stormy(day) for day in healthy[2:5]]
    assert not drift_verdict([*healthy[:2], *storms, *healthy[5:]], promise, POLICY).fit


def test_a_veto_tells_its_numbers() -> None:
    """The condition says what came, what was promised, on which days and how unlikely that is."""
    rng = np.random.default_rng(3)
    verdict = drift_verdict(branch_days(rng, broken=half), promise_of(rng), POLICY)
    assert "units came (2026-03-02 to 2026-03-08)" in verdict.condition
    assert "were forecast; chance" in verdict.condition


def test_bands_too_narrow_are_vetoed_by_their_coverage() -> None:
    """Medians that are right under a band that holds a third of the days: only the coverage tells."""
    rng = np.random.default_rng(4)
    live = branch_days(rng)
    narrow = [replace(day, inside80=day.scores // 3) for day in live]
    verdict = drift_verdict(narrow, promise_of(rng), POLICY)
    assert verdict.condition.startswith("80 % band held 30% of 140 branch days")


def test_thousands_of_branches_are_judged_however_little_their_errors_correlate() -> None:
    """A week of 5,000 branches at ρ = 0.005: thousands of trials, fit at 80 %, vetoed at 60 %."""
    policy = replace(POLICY, drift_day_correlation=0.005)
    promise = Promise(0.8, None, series=5_000, days=BACKTEST_DAYS)
    for held, fit in ((4_000, True), (3_000, False)):
        live = [
            LiveDay(FIRST + timedelta(days=n), 5_000, held, 1.0, 5_000.0, 5_000.0, 5_000.0)
            for n in range(WEEK)
        ]
        assert drift_verdict(live, promise, policy).fit is fit


def test_a_band_wider_than_asked_for_is_no_promise() -> None:
    """A backtest that held 97 % does not make 80 % drift, nor does one that promised nothing."""
    rng = np.random.default_rng(5)
    live = [replace(day, inside80=16) for day in branch_days(rng)]
    wide = Promise(0.97, promise_of(rng).wape, series=20, days=BACKTEST_DAYS)
    assert drift_verdict(live, wide, POLICY).fit
    assert drift_verdict(branch_days(rng, broken=half), None, POLICY).fit
    assert drift_verdict(branch_days(rng, broken=half), Promise(None, None, 20, 0), POLICY).fit


def test_without_days_there_is_nothing_to_judge() -> None:
    """One day is too few, none is no record."""
    rng = np.random.default_rng(6)
    promise = promise_of(rng)
    assert drift_verdict(branch_days(rng, days=1, broken=half), promise, POLICY).fit
    assert drift_score("r", "bank", [], promise, POLICY) is None


def test_the_latest_forecast_of_a_day_counts() -> None:
    """Of two runs' scores of one branch and day the one made later is judged, whatever their order."""

    def score(horizon: int, actual: float, mean: float) -> ForecastScore:
        return ForecastScore(f"r{horizon}", "a", FIRST, horizon, actual, mean, horizon == 1, 0.0)

    (day,) = live_days([score(3, 10.0, 99.0), score(1, 10.0, 8.0), score(2, 10.0, 50.0)])
    assert (day.scores, day.inside80, day.error_units, day.mean_units, day.sizes) == (1, 1, 2.0, 8.0, 1.0)


def test_a_record_holds_what_was_judged() -> None:
    """The drift record of a week: its last day, what was held and promised, and the veto."""
    rng = np.random.default_rng(8)
    promise, live = promise_of(rng), branch_days(rng, broken=half)
    score = drift_score("r", "group:big", live, promise, POLICY)
    assert score is not None
    assert (score.day, score.scope, score.days, score.verdict) == (
        date(2026, 3, 8),
        "group:big",
        140,
        "drift",
    )
    assert score.coverage80 < 0.3
    assert (score.coverage80_promised or 0.0) > 0.7
    assert (score.wape or 0.0) > 1.5 * (score.wape_promised or 0.0)
