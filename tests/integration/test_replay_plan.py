"""A past decision made again from its record: the same where nothing was touched, else what was changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.read.plans import plan_record
from forecasting import jobs, store
from forecasting.__main__ import main
from forecasting.decisions.guardrails import Veto, distrusted
from forecasting.decisions.intraday import DayState, correction_plan, correction_record
from forecasting.decisions.plan import server_plan
from forecasting.decisions.policy import Policy
from forecasting.decisions.reliability import Reliability
from forecasting.decisions.retrace import replay_correction, replay_quota_plan, replay_server_plan
from forecasting.decisions.server_needs import server_needs, worth_record
from forecasting.decisions.servers import QuarterPressure
from tests.support.bank import Bank
from tests.support.planning import add_run, core_of, furnish


@pytest.fixture
def made(sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch) -> tuple[Bank, str]:
    """A bank with an applied plan that ran into guardrails, and the plan's id."""
    period = sqlite_bank.today - timedelta(days=1)
    furnish(sqlite_bank, period)
    sqlite_bank.set("policy", {"ceiling_day_units": 29, "plan_days": 7})
    sqlite_bank.add_quota("branch", "b2", "funds_day", 5_000_000)
    for number in range(3):
        sqlite_bank.add_loan(f"F{number}", branch_id="b2", payoff="250000.00")
    add_run(sqlite_bank, period)
    with core_of(sqlite_bank, monkeypatch):
        jobs.propose(period.isoformat())
        outcome = jobs.apply(jobs.guard(period.isoformat(), "north"))
    assert outcome["status"] == "applied"
    return sqlite_bank, outcome["plan_id"]


def replayed(capsys: pytest.CaptureFixture[str], plan_id: str) -> tuple[int, str]:
    """(exit code, what was printed) of the command."""
    code = main(["replay-plan", plan_id])
    told = capsys.readouterr()
    return code, told.out + told.err


def change(bank: Bank, table: Any, where: Any, **values: Any) -> None:
    """Write past every rule."""
    with write_transaction(bank.engine) as connection:
        assert connection.execute(update(table).where(where).values(**values)).rowcount


def test_an_untouched_plan_replays_the_same(
    made: tuple[Bank, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every item again, with its quantile, guardrails and inputs; ceiling and funds have bound and say so."""
    bank, plan_id = made
    plan = plan_record(bank.engine, plan_id)
    assert plan is not None
    code, told = replayed(capsys, plan_id)
    assert (code, told) == (0, f"{plan_id}: same ({len(plan['items'])} items, applied)\n")
    days = [item for item in plan["items"] if item["period_kind"] == "day"]
    bound = {item["scope_id"]: item for item in days if item["guardrail"] in {"ceiling", "funds_cap"}}
    ceiling, funds = bound["b1"], bound["b2"]
    assert (ceiling["new_limit"], ceiling["condition"].split(" is ")[1]) == (29, "above the ceiling of 29")
    assert funds["new_limit"] == funds["inputs"]["funds_cap_units"] == 20
    assert (funds["inputs"]["mean_payoff_cny"], funds["quantile"]) == (250_000, 0.9)
    assert funds["inputs"]["unplanned_units"] == funds["old_limit"]
    assert funds["inputs"]["bound"][-1] == "funds_cap"


Plan = dict[str, Any]


def _item(plan: Plan, number: int, **values: Any) -> Plan:
    items = [item | values if n == number else item for n, item in enumerate(plan["items"])]
    return plan | {"items": items}


TAMPERED: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "a limit": (lambda plan: _item(plan, 3, new_limit=99), "item 3 (branch b1 day"),
    "a proposal": (lambda plan: _item(plan, 3, proposed=1.0), "proposed: the plan says 1.0"),
    "a quantile": (lambda plan: _item(plan, 0, quantile=0.5), "quantile: the plan says 0.5"),
    "a guardrail": (lambda plan: _item(plan, 0, guardrail="frozen"), "guardrail: the plan says 'frozen'"),
    "an input": (lambda plan: _item(plan, 0, inputs={}), "inputs: the plan says {}"),
    "what was applied": (lambda plan: _item(plan, 3, applied_limit=0), "applied_limit: the plan says 0"),
    "its items": (lambda plan: plan | {"items": plan["items"][1:]}, "items: the plan says"),
    "the band": (lambda plan: plan | {"in_band": False}, "in_band: the plan says False"),
    "the policy": (lambda plan: plan | {"policy": Policy().as_record()}, "policy: the plan says"),
    "the verdict": (lambda plan: plan | {"verdict": "total_up"}, "its record leads to None"),
}


def test_a_tampered_plan_or_record_is_found(
    made: tuple[Bank, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The negative control: whatever is changed afterwards is told, with the field and both values."""
    bank, plan_id = made
    plan = plan_record(bank.engine, plan_id)
    record = store.proposal(bank.engine, period=plan_id[6:16], kind="quota", region="north")
    assert plan is not None
    assert record is not None
    assert replay_quota_plan(plan, record) == []
    for what, (tamper, told) in TAMPERED.items():
        found = [str(difference) for difference in replay_quota_plan(tamper(plan), record)]
        assert any(told in line for line in found), what
    record["items"][0]["proposed"] += 5
    assert {d.where.split(" (")[0] for d in replay_quota_plan(plan, record)} <= {"item 0", "inputs"}
    # and through the command, past every rule
    item = t.plan_items.c
    change(bank, t.plan_items, (item.plan_id == plan_id) & (item.seq == 3), new_limit=99)
    code, printed = replayed(capsys, plan_id)
    assert code == 1
    assert "item 3 (branch b1 day" in printed
    assert "the plan says 99" in printed


def test_what_cannot_be_replayed_says_why(made: tuple[Bank, str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown plan, one made by hand, one whose proposal gave way, an extra plan nothing is kept of."""
    bank, plan_id = made
    assert replayed(capsys, "nothing") == (1, "python -m forecasting: the core knows no plan 'nothing'\n")
    p = tf.forecast_proposals
    with bank.engine.connect() as connection:
        body = connection.execute(p.select().where(p.c.region_id == "north")).one().body
    change(bank, p, p.c.region_id == "north", body=body | {"replaces": True})
    assert f"gave way to that of {plan_id}+trained" in replayed(capsys, plan_id)[1]
    old = {k: v for k, v in body["policy"].items() if k != "tune_days"}  # a field made since then
    change(bank, p, p.c.region_id == "north", body=body | {"policy": old})
    change(bank, t.plans, t.plans.c.plan_id == plan_id, policy=old)
    assert replayed(capsys, plan_id)[0] == 0
    change(bank, p, p.c.region_id == "north", region_id="elsewhere")
    assert "has no recorded proposal" in replayed(capsys, plan_id)[1]
    change(bank, t.plans, t.plans.c.plan_id == plan_id, kind="extra")
    code, told = replayed(capsys, plan_id)
    assert code == 1
    assert f"nothing is kept of what plan {plan_id} was made from" in told


def test_tampered_corrections_and_records_are_found() -> None:
    """Negative control: limits, items, band, verdict, policy, and a day whose recorded state was changed."""
    state = DayState(
        "branch", "b1", FIRST.date(), limit_units=48, extra_units=0, used_units=20,
        forecast_units=48.0, need_units=71.0, likely_units=60.0, staff_cap_units=65,
    )  # fmt: skip
    record = correction_record(
        [state], quarter=FIRST, today=FIRST.date(), run_id="r1", policy=Policy(correction_auto_ratio=0.1)
    )
    assert record is not None
    body = correction_plan("north", record, asks=True)
    assert body is not None
    plan = json.loads(json.dumps(body | {"items": [item | {"applied_limit": 65} for item in body["items"]]}))
    assert plan["items"][0]["guardrail"] == "staff_cap"
    assert replay_correction(plan, json.loads(json.dumps(record))) == []
    for what, (tamper, told) in (TAMPERED | TAMPERED_EXTRA).items():
        found = [str(difference) for difference in replay_correction(tamper(plan), record)]
        assert any(told in line for line in found), what
    changed = record | {"states": [record["states"][0] | {"need_units": 60.0}]}
    assert {d.where[-9:] for d in replay_correction(plan, changed)} >= {"new_limit", " proposed"}
    fewer = record | {"states": [record["states"][0] | {"likely_units": 40.0}]}
    assert [str(d) for d in replay_correction(plan, fewer)] == [
        "items: the plan says 1, its record leads to 0"
    ]


TAMPERED_EXTRA: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "a limit": (lambda plan: _item(plan, 0, new_limit=99), "item 0 (branch b1 day"),
    "a proposal": (lambda plan: _item(plan, 0, proposed=1.0), "proposed: the plan says 1.0"),
    "what was applied": (lambda plan: _item(plan, 0, applied_limit=0), "applied_limit: the plan says 0"),
    "the band": (lambda plan: plan | {"in_band": True}, "in_band: the plan says True"),
    "the verdict": (lambda plan: plan | {"verdict": None}, "its record leads to 'emergency'"),
}

FIRST = datetime(2026, 3, 2, 10, tzinfo=UTC)


def server_plan_of(judged: list[float], veto: Veto | None = None) -> dict[str, Any]:
    """A server plan as the core keeps it; the forecast was judged by loads of so many times its median."""
    policy = Policy(max_workers=4)
    reliability = Reliability(policy.reliability_rule(15))
    for n, came in enumerate(judged):
        reliability.observe(5.0 * came, 4.0, 5.0, 6.0, 5.0 + n % 3)
    verdict = distrusted(reliability)
    rates = [
        (rps, *(rps * times for times in (1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7))) for rps in (0, 3, 55, 1e4)
    ]
    pressure = [
        QuarterPressure(FIRST + timedelta(minutes=15 * n), rps[2], rps) for n, rps in enumerate(rates)
    ]
    inputs = {"cost_seconds": 0.05, "worth": worth_record(policy), "reliability": reliability.as_record()}
    plan = server_plan(
        plan_id="server-1", quarter=FIRST, run_id="r", needs=server_needs(pressure, 0.05, policy),
        inputs=inputs | ({"condition": verdict.condition} if verdict.condition else {}),
        veto=veto or (Veto(verdict.reason) if verdict.reason else None), policy=policy,
    )  # fmt: skip
    return plan | {"items": [item | {"channel": "*"} for item in plan["items"]]}


def test_a_server_plan_replays_from_its_inputs() -> None:
    """Workers follow again from quantiles, cost and price; another number of workers or price is found."""
    plan = json.loads(json.dumps(server_plan_of([1.0] * 40)))
    assert (plan["verdict"], plan["items"][1]["new_limit"]) == (None, 1)
    assert replay_server_plan(plan) == []
    other = plan | {"policy": plan["policy"] | {"worker_price": 0.5}}
    assert any("proposed" in str(difference) for difference in replay_server_plan(other))
    plan["items"][2]["new_limit"] += 1
    [difference] = replay_server_plan(plan)
    assert str(difference).startswith("item 2 (bank bank quarter_hour 2026-03-02T10:30:00Z) new_limit")


def test_a_distrusted_plan_replays_its_judgement() -> None:
    """A forecast that was twice the load is vetoed with its numbers; a plan that says otherwise is found."""
    plan = json.loads(json.dumps(server_plan_of([0.3] * 40)))
    assert (plan["verdict"], plan["model"], plan["items"]) == ("distrusted", "keep", [])
    assert "100.0% far below the 0.1 quantile (at most 4.2%)" in plan["inputs"]["condition"]
    assert replay_server_plan(plan) == []
    [difference] = replay_server_plan(plan | {"verdict": None})
    assert str(difference) == "verdict: the plan says None, its record leads to 'distrusted'"


def test_a_server_plan_made_before_workers_had_a_price_replays() -> None:
    """At the 0.9 quantile and the target utilisation, as its record has it; an old veto is taken as told."""
    item = {
        "scope_kind": "bank", "scope_id": "bank", "channel": "*", "period_kind": "quarter_hour",
        "starts": "2026-03-02T10:00:00Z", "old_limit": None, "proposed": 4.625, "new_limit": 4,
        "quantile": 0.9, "guardrail": "max_workers", "condition": "5 is more than the 4 allowed",
        "inputs": {"rps": 55.5},
    }  # fmt: skip
    plan = server_plan_of([]) | {"items": [item], "inputs": {"cost_seconds": 0.05}}
    plan["policy"] = {"max_workers": 4, "target_utilisation": 0.6}
    assert replay_server_plan(plan) == []
    assert [d.where[-9:] for d in replay_server_plan(plan | {"items": [item | {"new_limit": 3}]})] == [
        "new_limit"
    ]
    kept = plan | {"items": [], "verdict": "stale", "model": "keep", "inputs": {"condition": "too old"}}
    assert replay_server_plan(kept) == []
