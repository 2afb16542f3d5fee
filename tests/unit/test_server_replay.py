"""Servers replayed on traces: fleets, Kubernetes' rule, what a forecast is worth, trust, the budget."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.figures.server_replay import outcome_of
from benchmarks.support.traces import Trace
from booking_core.scaling import ScalingInputs, ScalingRule, decide_workers, drawn_on
from forecasting.decisions.policy import Policy
from forecasting.decisions.reliability import Reliability
from forecasting.decisions.thrift import LEVELS, Balance, ThriftRule, price_at, rule_at
from forecasting.decisions.worth import workers_worth
from forecasting.frames import Floats
from forecasting.models.steps import step_grid
from forecasting.replay.server_policies import REPLAYED_RULE, Autoscaler, foretell, needs_ahead, slotcast
from forecasting.replay.servers import Load, foresight, judge, load_of, replay, start_delays

MINUTE = 4
"""Steps of 15 s."""


def load(*minutes: float) -> Load:
    """A load of so many workers in each minute."""
    workers = np.repeat(np.array(minutes, dtype=np.float64), MINUTE)
    return Load(workers, np.ones(len(workers), dtype=bool), 1.0)


def busy_days(days: int, seed: int = 1) -> Floats:
    """Requests by five minutes: a daily wave, steep in the morning, with the noise of counting."""
    rng, slot = np.random.default_rng(seed), np.arange(days * 288) % 288
    wave = 20.0 + 380.0 * ((slot > 96) & (slot < 216))
    return rng.poisson(wave).astype(np.float64)


# --- fleets ---------------------------------------------------------------------------------------


def test_a_worker_serves_after_its_start_and_is_paid_from_the_order() -> None:
    """Ordered in the first step with a start-up of two minutes: paid at once, serving from the ninth."""
    delays = start_delays(40, 1, (120, 120))
    fleet = replay(load(*[1.5] * 10), delays, lambda *_: 2)
    assert fleet.paid.tolist() == [2] * 40
    assert fleet.serving.tolist() == [1] * 8 + [2] * 32


def test_who_still_starts_goes_first() -> None:
    """Scaling in right after an order takes the order back and leaves who serves."""
    fleet = replay(load(1, 1), start_delays(8, 1, (180, 180)), lambda step, *_: 5 if step < 2 else 1)
    assert fleet.paid.tolist() == [5, 5, 1, 1, 1, 1, 1, 1]
    assert set(fleet.serving.tolist()) == {1}


def test_a_minute_violates_when_any_of_its_steps_does() -> None:
    """Two minutes need more than serves; the unknown one is not judged, neither are its worker-hours."""
    given_load = load(0.5, 1.5, 1.0, 3.0, 1.2)
    known = given_load.known.copy()
    known[3 * MINUTE : 4 * MINUTE] = False
    fleet = replay(given_load, start_delays(20, 1), lambda *_: 1)
    judged = judge(Load(given_load.workers, known, 1.0), fleet, 0)
    assert judged.violating_minutes == 2
    assert judged.worker_hours == pytest.approx(4 / 60)


def test_foresight_never_violates() -> None:
    """Perfect foresight has no violating minute, whatever comes, and pays start-ups."""
    rng = np.random.default_rng(3)
    spiky = load(*rng.uniform(0, 12, 500))
    judged = judge(spiky, foresight(spiky, 8), 0)
    assert judged.violating_minutes == 0
    assert judged.worker_hours > np.ceil(spiky.workers).sum() / 240


def test_only_a_trace_with_nothing_to_judge_is_left_out_of_the_figures() -> None:
    """Too short, or quiet where judged: none. Any other error goes through, so that no trace vanishes."""
    first, quiet = pd.Timestamp("2024-01-01"), busy_days(9)
    quiet[8 * 288 :] = 0.0
    assert outcome_of(Trace("short", 5, first, busy_days(9)[:-1], "none"), quick=True) is None
    assert outcome_of(Trace("quiet", 5, first, quiet, "none"), quick=True) is None
    with pytest.raises(ValueError, match="low"):
        outcome_of(Trace("busy", 5, first, busy_days(9), "none"), quick=True, start_seconds=(180, 60))


def test_a_trace_is_scaled_to_its_judged_part_and_holds_what_is_unknown() -> None:
    """The largest of the judged steps needs all workers; an unknown step keeps the load before it."""
    made = load_of(np.array([900.0, 10.0, np.nan, 40.0]), 1, most_workers=20, since=1)
    assert made.workers[::MINUTE].tolist() == [450.0, 5.0, 5.0, 20.0]
    assert made.known[::MINUTE].tolist() == [True, True, False, True]
    with pytest.raises(ValueError, match="no request"):
        load_of(np.zeros(5), 1, most_workers=20, since=1)


# --- Kubernetes' rule -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "observed", "serving", "starting", "pods"),
    [
        ("within a tenth of the target nothing is done", 0.76, 1, 0, 1),
        ("ceil(pods × utilisation ÷ target)", 2.0, 2, 0, 3),
        ("pods not yet ready count as idle when scaling up", 2.0, 1, 1, 3),
        ("so that an order under way is not repeated", 1.4, 1, 1, 2),
        ("at most four pods more …", 9.0, 1, 0, 5),
        ("… or twice as many", 40.0, 8, 0, 16),
    ],
)
def test_the_autoscaler_as_documented(
    case: str, observed: float, serving: int, starting: int, pods: int
) -> None:
    """Kubernetes' documented rule at target 0.7, tolerance 10 %, default behaviour."""
    assert Autoscaler()(0, observed, serving, starting) == pods, case


def test_the_autoscaler_scales_in_to_the_highest_desire_of_five_minutes() -> None:
    """After a peak the pods stay for twenty syncs of 15 s, then all go at once."""
    scaler, pods, seen = Autoscaler(), 10, []
    for step in range(30):
        pods = scaler(step, 6.0 if step == 0 else 0.6, pods, 0)
        seen.append(pods)
    assert seen[:20] == [9] + [9] * 19
    assert seen[20] == 1


# --- what a forecast is worth ---------------------------------------------------------------------


@given(st.lists(st.floats(0.1, 25), min_size=3, max_size=6), st.floats(0.01, 0.4))
def test_workers_worth_their_price(places: list[float], price: float) -> None:
    """The workers minimise P(load > workers) + price × workers, checked against every other number."""
    levels = np.linspace(0.1, 0.95, len(places))
    quantiles = np.sort(np.array(places))
    most = 40
    worth = int(workers_worth(levels.tolist(), quantiles[:, None], price, most)[0])
    edges = np.concatenate([[0.0], quantiles, [quantiles[-1] + 1.5 * (quantiles[-1] - quantiles[-2])]])
    shares = np.concatenate([[0.0], levels, [1 - 0.2 * (1 - levels[-1])]])

    def cost(workers: int) -> float:
        held = 1.0 if workers >= edges[-1] else float(np.interp(workers, edges, shares))
        return 1.0 - held + price * workers

    assert cost(worth) <= min(cost(r) for r in range(most + 1)) + 0.02


def test_a_dearer_worker_is_bought_less_and_an_unknown_forecast_buys_none() -> None:
    """Workers fall as their price rises; NaN is worth nothing; impossible arguments are refused."""
    quantiles = np.array([[2.0, np.nan], [4.0, 4.0], [8.0, 8.0]])
    bought = [workers_worth((0.1, 0.5, 0.9), quantiles, price, 20).tolist() for price in (0.01, 0.1, 0.3)]
    assert [row[1] for row in bought] == [0, 0, 0]
    assert bought[0][0] >= bought[1][0] >= bought[2][0]
    with pytest.raises(ValueError, match="price"):
        workers_worth((0.1, 0.5, 0.9), quantiles, 1.5, 20)
    with pytest.raises(ValueError, match="levels"):
        workers_worth((0.5,), quantiles, 0.1, 20)


# --- trust ----------------------------------------------------------------------------------------


def judged(told: Floats, came: Floats) -> list[bool]:
    """Whether a forecast (q10, q50, q90 by step) is trusted after each step; the last value is the rival."""
    reliability = Reliability(Policy().reliability_rule(15))
    return [
        reliability.observe(float(came[n]), *(float(q) for q in told[:, n]), float(came[n - 1]))
        for n in range(1, len(came))
    ]


def healthy(steps: int = 400) -> tuple[Floats, Floats]:
    """A calibrated forecast of a load that wanders: quantiles by step, and what came."""
    rng = np.random.default_rng(2)
    level = 6 + 3 * np.sin(np.arange(steps) / 3)
    return np.array([level - 0.64, level, level + 0.64]), level + rng.normal(0, 0.5, steps)


def test_a_healthy_forecast_earns_trust_and_keeps_it() -> None:
    """Distrusted at first, trusted after enough judged steps, and then always."""
    trusted = judged(*healthy())
    assert not any(trusted[:20])
    assert np.mean(trusted[60:]) > 0.95


@pytest.mark.parametrize("fault", ["half", "dead", "double", "spikes", "shifted"])
def test_a_broken_forecast_loses_trust_for_good(fault: str) -> None:
    """Each fault is found within forty steps and not trusted again while it lasts."""
    told, came = healthy()
    broken = told.copy()
    hit = np.random.default_rng(4).random(told.shape[1]) < 0.2
    broken[:, 200:] = {
        "half": told[:, 200:] * 0.5,
        "dead": told[:, 200:] * 0.0,
        "double": told[:, 200:] * 2.0,
        "spikes": told[:, 200:] * np.where(hit[200:], 5.0, 1.0),
        "shifted": told[:, 191:-9],
    }[fault]
    trusted = judged(broken, came)
    assert np.mean(trusted[100:199]) > 0.9, "negative control: healthy until then"
    assert not any(trusted[245:])


def test_steps_below_one_worker_say_nothing() -> None:
    """Where neither load nor forecast reaches a worker, nothing is decided and nothing judged."""
    reliability = Reliability(Policy().reliability_rule(15))
    for _ in range(200):
        reliability.observe(0.2, 0.1, 0.2, 0.4, 0.2)
        reliability.observe(math.nan, 1.0, 2.0, 3.0, 2.0)
    assert reliability.steps == 0


# --- the budget -----------------------------------------------------------------------------------


def test_the_budget_is_what_a_plain_autoscaler_idles() -> None:
    """Taking as much as allowed keeps level 0; more makes workers dearer step by step, until none counts."""
    rule = ThriftRule(idle_ratio=0.5, step_worker_hours=1.0)
    balance = Balance(rule)
    assert balance.book(needed=2, plain=4, taken=3, hours=10.0) == 0
    assert [balance.book(needed=2, plain=4, taken=4, hours=0.7) for _ in range(5)] == [1, 2, 3, 3, 4]
    assert price_at(0.04, 2) == pytest.approx(0.16)
    scaling = ScalingRule(target_utilisation=0.7, trusted_utilisation=0.8, trend_gain=1.0)
    targets = [round(rule_at(scaling, rule, n).target_utilisation, 2) for n in range(4)]
    assert targets == [0.7, 0.75, 0.8, 0.8]
    assert rule_at(scaling, rule, LEVELS).trend_gain == 0.0


# --- the server rule's trend and trust ------------------------------------------------------------


def test_a_rise_is_drawn_on_and_a_fall_is_not() -> None:
    """The rate counts as observed + gain × rise; without an earlier rate as it is."""
    rule = ScalingRule(trend_gain=0.5)
    assert drawn_on(rule, 30.0, 10.0) == 40.0
    assert drawn_on(rule, 10.0, 30.0) == 10.0
    assert drawn_on(rule, 10.0, None) == 10.0


def test_a_forecast_in_force_may_hold_the_headroom() -> None:
    """With a trusted utilisation the observed load is planned tighter while a forecast counts."""
    inputs = ScalingInputs(4, 6.0, 6.0, 1.0, 0.0, None)
    rule = ScalingRule(max_workers=20, target_utilisation=0.5, trusted_utilisation=0.75, step_up_workers=20)
    assert decide_workers(rule, inputs).target == 12
    trusted = ScalingInputs(4, 6.0, 6.0, 1.0, 0.0, 2)
    assert decide_workers(rule, trusted).target == 8
    with pytest.raises(ValueError, match="trusted_utilisation"):
        ScalingRule(trusted_utilisation=1.5)


# --- Slotcast's policy ----------------------------------------------------------------------------


def test_nothing_is_seen_before_its_time() -> None:
    """Changing what comes later leaves every earlier decision as it was."""
    requests = busy_days(4)
    other = requests.copy()
    changed = 3 * 288 + 100
    other[changed:] *= 3.0
    paid = []
    for each in (requests, other):
        local = np.datetime64("2026-03-02T00:00") + np.arange(5 * 288) * np.timedelta64(5, "m")
        told = foretell(step_grid(local, 5), each, 0.02)
        made = Load(np.repeat(each * 0.02, 20), np.ones(len(each) * 20, dtype=bool), 0.02)
        paid.append(
            replay(made, start_delays(len(made.workers), 1), slotcast(told, len(made.workers), Policy())).paid
        )
    first = changed * 20
    assert (paid[0][: first + 1] == paid[1][: first + 1]).all()
    assert (paid[0][first + 1 :] != paid[1][first + 1 :]).any()


def test_a_daily_jump_is_met_where_the_autoscaler_is_late() -> None:
    """A jump from one to eight workers each morning: the autoscaler is late each day, the forecast is not."""
    slot, rng = np.arange(16 * 48) % 48, np.random.default_rng(1)
    requests = rng.poisson(100.0 + 700.0 * ((slot > 16) & (slot < 36))).astype(np.float64)
    local = np.datetime64("2026-03-02T00:00") + np.arange(19 * 48) * np.timedelta64(30, "m")
    since = 8 * 48
    made = load_of(requests, 30, most_workers=9, since=since)
    told = foretell(step_grid(local, 30), requests, made.scale)
    delays = start_delays(len(made.workers), 1)
    results = {
        name: judge(made, replay(made, delays, policy), since * 120)
        for name, policy in {
            "autoscaler": Autoscaler(),
            "slotcast": slotcast(told, len(made.workers), Policy()),
            "blind": slotcast(None, len(made.workers), Policy()),
        }.items()
    }
    assert results["autoscaler"].violating_minutes >= 8
    assert results["slotcast"].violating_minutes <= results["autoscaler"].violating_minutes / 4
    assert results["slotcast"].worker_hours < results["autoscaler"].worker_hours
    assert results["blind"].violating_minutes >= 8, "negative control: without the forecast it is late too"


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_a_forecast_is_needed_only_at_the_lead_time(seed: int) -> None:
    """Between the step's start and the lead time before the next one the forecast asks for nothing."""
    rng = np.random.default_rng(seed)
    requests = rng.poisson(100, 24).astype(np.float64)
    local = np.datetime64("2026-03-02T00:00") + np.arange(48) * np.timedelta64(60, "m")
    told = foretell(step_grid(local, 60), requests, 0.05)
    needs = needs_ahead(told, 0.04, None, present_too=False).reshape(24, 240)
    assert (needs[:, 1 : 240 - 13] == 0).all()
    assert REPLAYED_RULE.trusted_utilisation == 0.9
