"""Earned autonomy by table: who earns it, who loses it, and what is only luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.decisions.autonomy import Earned, JudgedDay, autonomy_verdict, bad_plans
from forecasting.decisions.guardrails import Veto
from forecasting.decisions.policy import Policy
from metrics.contract import RegionMode

POLICY = Policy()
FIRST = date(2026, 3, 2)
SHADOW, AUTOMATIC = RegionMode.SHADOW, RegionMode.AUTOMATIC


def days(costs: Sequence[float], without: Sequence[float] | float = 100.0) -> list[JudgedDay]:
    """Judged days in order, one for each cost."""
    old = [without] * len(costs) if isinstance(without, int | float) else without
    return [
        JudgedDay(FIRST + timedelta(days=n), float(cost), float(other))
        for n, (cost, other) in enumerate(zip(costs, old, strict=True))
    ]


def wavering(mean: float, count: int = 28, spread: float = 10.0) -> list[float]:
    """Costs about the mean, above and below it in turn."""
    return [mean + spread * (-1) ** n for n in range(count)]


@pytest.mark.parametrize(
    ("costs", "shadow", "automatic"),
    [
        (wavering(80), (AUTOMATIC, Earned.BETTER), (AUTOMATIC, None)),
        (wavering(94), (AUTOMATIC, Earned.BETTER), (AUTOMATIC, None)),
        (wavering(96), (SHADOW, None), (AUTOMATIC, None)),
        (wavering(100), (SHADOW, None), (AUTOMATIC, None)),
        (wavering(104), (SHADOW, None), (AUTOMATIC, None)),
        (wavering(107), (SHADOW, None), (SHADOW, Earned.WORSE)),
        (wavering(80, 27), (SHADOW, None), (AUTOMATIC, None)),
        (wavering(107, 27), (SHADOW, None), (AUTOMATIC, None)),
        (wavering(80, spread=150), (SHADOW, None), (AUTOMATIC, None)),
        ([100.0] * 27 + [-1700.0], (SHADOW, None), (AUTOMATIC, None)),
        ([90.0] * 28, (AUTOMATIC, Earned.BETTER), (AUTOMATIC, None)),
        (wavering(80, 21) + wavering(150, 7), (SHADOW, None), (SHADOW, Earned.BAD_PLANS)),
        (wavering(150, 7), (SHADOW, None), (SHADOW, Earned.BAD_PLANS)),
        (wavering(150, 21) + wavering(80, 7), (SHADOW, None), (SHADOW, Earned.WORSE)),
        ([20.0] * 21 + [150.0] * 6 + [20.0], (SHADOW, None), (AUTOMATIC, None)),
        ([20.0] * 24 + [150.0] * 2 + [20.0] * 2, (AUTOMATIC, Earned.BETTER), (AUTOMATIC, None)),
        (wavering(20, 21) + wavering(150, 7) + wavering(20, 27), (SHADOW, None), (AUTOMATIC, None)),
        (
            wavering(20, 21) + wavering(150, 7) + wavering(20, 28),
            (AUTOMATIC, Earned.BETTER),
            (AUTOMATIC, None),
        ),
        ([], (SHADOW, None), (AUTOMATIC, None)),
    ],
)
def test_the_last_days_earn_or_lose_autonomy(
    costs: list[float],
    shadow: tuple[RegionMode, Earned | None],
    automatic: tuple[RegionMode, Earned | None],
) -> None:
    """By a margin, by no chance, over enough days; never by one great day, and not while plans are bad."""
    for mode, wanted in ((SHADOW, shadow), (AUTOMATIC, automatic)):
        verdict = autonomy_verdict(days(costs), mode, POLICY)
        assert (verdict.mode, verdict.reason) == wanted
        assert verdict.condition or not costs


def test_a_change_says_its_numbers() -> None:
    """The condition tells the days and both costs."""
    verdict = autonomy_verdict(days(wavering(80)), SHADOW, POLICY)
    assert verdict.condition == (
        "2026-03-02 to 2026-03-29: 28 days cost 2240 idle units with plans, 2800 without"
    )


@pytest.mark.parametrize(
    ("costs", "fit"),
    [
        (wavering(150, 7), False),
        (wavering(150, 6), True),
        (wavering(120, 7), True),
        (wavering(150, 7, spread=150), True),
        (wavering(300, 20) + wavering(100, 7), True),
    ],
)
def test_bad_plans_are_vetoed_within_a_week(costs: list[float], fit: bool) -> None:
    """A quarter more than without plans, by no chance, over the last seven judged days; then forgiven."""
    verdict = bad_plans(days(costs), POLICY)
    assert (verdict.fit, verdict.reason) == (fit, None if fit else Veto.BAD_PLANS)


def test_luck_rarely_earns_autonomy() -> None:
    """Of 400 regions with plans no better than none few are let loose; with truly better ones most."""
    rng = np.random.default_rng(5)
    without = rng.gamma(4.0, 25.0, (400, 28))

    def share(factor: float) -> float:
        with_plans = rng.gamma(4.0, 25.0 * factor, (400, 28))
        earned = [
            autonomy_verdict(days(list(costs), list(old)), SHADOW, POLICY).reason is Earned.BETTER
            for costs, old in zip(with_plans, without, strict=True)
        ]
        return float(np.mean(earned))

    assert share(1.0) <= 0.03
    assert share(0.6) >= 0.85


costs = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=0, max_size=40)


@given(costs, st.randoms(use_true_random=False))
def test_the_order_in_which_days_are_told_does_not_matter(told: list[float], random: object) -> None:
    """Days are judged by their dates."""
    known = days(told)
    shuffled = list(known)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert autonomy_verdict(shuffled, SHADOW, POLICY) == autonomy_verdict(known, SHADOW, POLICY)


@given(costs)
def test_what_was_earned_is_not_lost_by_the_same_days(told: list[float]) -> None:
    """Deciding twice on the same days changes nothing more: no region flaps."""
    first = autonomy_verdict(days(told), SHADOW, POLICY)
    assert autonomy_verdict(days(told), first.mode, POLICY).mode is first.mode
    lost = autonomy_verdict(days(told), AUTOMATIC, POLICY)
    assert autonomy_verdict(days(told), lost.mode, POLICY).mode is lost.mode


def test_without_the_test_of_chance_one_great_day_would_earn_it() -> None:
    """The negative control: with any chance allowed, luck is taken for merit."""
    lucky = days([100.0] * 27 + [-1700.0])
    assert autonomy_verdict(lucky, SHADOW, POLICY).reason is None
    assert autonomy_verdict(lucky, SHADOW, replace(POLICY, autonomy_chance=1.0)).reason is Earned.BETTER
