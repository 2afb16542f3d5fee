"""The loop end to end on the sample: surge → refusals with reasons → train → retune → the surge is served.

Real core behind gunicorn, real jobs (as the DAGs call them), real Prophet, real actuator; three branches.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from booking_core.__main__ import main as booking_core
from booking_core.database import make_engine
from booking_core.read.bank import bank_settings
from booking_core.read.failures import by_reason, over_time
from booking_core.read.plans import plan_items
from booking_core.read.servers import scaling_decisions
from booking_core.settings import BankSettings
from dashboard.figures import described, refusals_over_time
from demo import clock, overlay, sample
from demo.judge import judge_day, limits_of, served_share
from demo.wishes import Wish, write_loans
from forecasting import jobs
from metrics.contract import Channel, Reason
from tests.support.serving import ROOT, Served, serve

BRANCHES = ("Austin", "California", "Clinton")
EVE = sample.FIRST_EVE
DAY = date(2016, 7, 29)
PERIOD = EVE.isoformat()
HISTORY_FROM = date(2014, 7, 1)
LANES = 8
MOST_WORKERS = 3

Answer = tuple[Wish, int, dict[str, Any]]


def furnish(folder: Path, wishes: list[Wish]) -> None:
    """Three branches of the sample: history up to the eve, loans, slots, a clock at the eve's opening."""
    branches = pd.read_csv(sample.DATA / "branches.csv")
    branches[branches["branch_id"].isin(BRANCHES)].to_csv(folder / "branches.csv", index=False)
    write_loans(wishes, folder / "loans.csv")
    opens = clock.opening(EVE, BankSettings(zone=overlay.ZONE))
    offset = clock.offset_for(opens, datetime.now(UTC))
    zone, country = f"zone={overlay.ZONE}", f"country={overlay.COUNTRY}"
    commands = [
        ["set", zone, country, f"business_offset_seconds={offset}", "quarter_seconds=0.1"],
        ["import-branches", "--input", str(folder / "branches.csv")],
        ["import-loans", "--input", str(folder / "loans.csv")],
        ["open-slots", "--from", DAY.isoformat(), "--to", (EVE + timedelta(days=28)).isoformat()],
    ]
    for frame, source, flags in (
        (sample.real(), overlay.SOURCE_REAL, []),
        (sample.surge(), overlay.SOURCE_MONTH_END, ["--synthetic"]),
    ):
        spanned = frame["ds"].between(pd.Timestamp(HISTORY_FROM), pd.Timestamp(EVE))
        known = frame[frame["unique_id"].isin(BRANCHES) & spanned]
        path = folder / f"history-{len(commands)}.csv"
        known.assign(ds=known["ds"].dt.strftime("%Y-%m-%d")).to_csv(path, index=False)
        commands.append(["import-history", "--input", str(path), "--source", source, *flags])
    pressure = str(sample.DATA / "overlay_pressure.csv.gz")
    source = ["--source", overlay.SOURCE_PRESSURE, "--synthetic"]
    commands.append(["import-pressure", "--input", pressure, *source])
    for command in commands:
        assert booking_core(command) == 0, command


def customers(core: Served, wishes: Iterable[Wish]) -> list[Answer]:
    """What each customer was told: the wish, the status, the body."""

    def ask(client: httpx.Client, wish: Wish) -> Answer:
        slot = f"{wish.branch_id}-{wish.day}-{wish.start.replace(':', '')}"
        body = {
            "loan": wish.loan_ref,
            "slot": slot,
            "channel": wish.channel,
            "amount": str(wish.payoff_cny),
            "option": "full",
        }
        answer = client.post("/v1/bookings", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
        return wish, answer.status_code, answer.json()

    with (
        core.client("channel") as app,
        core.client("operator") as staff,  # books at the counter for customers
        ThreadPoolExecutor(LANES) as lanes,
    ):
        return list(
            lanes.map(lambda wish: ask(staff if wish.channel == Channel.COUNTER else app, wish), wishes)
        )


def train_and_retune(period: str) -> list[dict[str, Any]]:
    """What became of each region's plan, made by the jobs in the order of the DAGs."""
    jobs.start_training(period)
    for batch in jobs.series_batches(period):
        jobs.train_batch(period, batch)
    assert jobs.finish_training(period)["status"] == "ready"
    return [jobs.apply(jobs.guard(period, region)) for region in jobs.propose(period)]


def scale_once(core: Served) -> None:
    """One look of the actuator, in a process of its own."""
    most = ["--max", str(MOST_WORKERS)]
    command = [sys.executable, "-m", "booking_core", "scale", "--once", *most, "--lead-seconds", "25"]
    subprocess.run(command, env=core.environment(), cwd=ROOT, check=True, capture_output=True)


@pytest.mark.timeout(240)
def test_a_refused_surge_is_served_after_the_retune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals are recorded with reasons and charted; after the retune the same surge is served."""
    wishes = sample.wishes_of(DAY, only=BRANCHES)
    url = f"sqlite:///{tmp_path}/slotcast.db"
    with serve(url) as core:
        for name, value in core.environment().items():
            monkeypatch.setenv(name, value)
        furnish(tmp_path, wishes)
        engine = make_engine(url)
        with core.client("operator") as operator:
            for limit in sample.standing_limits(EVE, only=BRANCHES):
                answer = operator.put(f"/v1/quotas/{limit.quota_id}", json={"limit_units": limit.limit_units})
                assert answer.status_code == httpx.codes.OK, answer.text

        scale_once(core)

        # the surge meets quotas that were guessed
        told = customers(core, wishes)
        refused = {wish.loan_ref: body for wish, status, body in told if status != httpx.codes.CREATED}
        assert len(refused) > len(wishes) / 2
        for body in refused.values():
            assert body["cause"] == "capacity"
            assert body["violations"]
            assert body["remedies"]

        # every refusal is on record with its reason, and on the chart
        since = clock.opening(EVE, bank_settings(engine)).astimezone(UTC)
        span = {"since": since, "until": since + timedelta(hours=10)}
        recorded = by_reason(engine, **span).set_index("reason")["attempts"].to_dict()
        assert recorded == Counter(body["reason"] for body in refused.values())
        assert recorded[Reason.QUOTA_DAY_FULL] > len(refused) / 2
        course = over_time(engine, grain="quarter_hour", **span)
        chart = refusals_over_time(course, overlay.ZONE, "en", 900)
        assert sum(sum(bars.y) for bars in chart.data) == len(refused), described(chart)

        # train, retune: quotas change
        before = limits_of(engine, DAY, DAY)
        outcomes = train_and_retune(PERIOD)
        assert [outcome["status"] for outcome in outcomes] == ["applied"] * 2
        after = limits_of(engine, DAY, DAY)
        raised = {key for key, limit in after.items() if limit > before[key]}
        assert {f"branch:{branch}:*:day" for branch in BRANCHES} <= {key.quota_id for key, _ in raised}
        items = pd.concat([plan_items(engine, outcome["plan_id"]) for outcome in outcomes])
        assert items["quantile"].notna().any()

        # the same surge, judged again by the same rules, and live for those who were refused
        assert served_share(judge_day(engine, DAY, before)) < 0.5
        assert served_share(judge_day(engine, DAY, after)) > 0.85
        again = customers(core, (wish for wish in wishes if wish.loan_ref in refused))
        assert sum(status == httpx.codes.CREATED for _, status, _ in again) > 0.75 * len(refused)

        # the servers follow the pressure that is forecast, before it is there
        morning = clock.quarters_of(date(2016, 7, 31), bank_settings(engine))[0]
        with core.client("operator") as operator:
            offset = clock.offset_for(morning, datetime.now(UTC))
            assert operator.put("/v1/clock", json={"offset_seconds": offset}).status_code == httpx.codes.OK
        assert jobs.prescale(morning.isoformat())["status"] == "applied"
        scale_once(core)
        decisions = scaling_decisions(engine, since_wall=datetime.now(UTC) - timedelta(hours=1))
        first, last = decisions.iloc[0], decisions.iloc[-1]
        assert (first["running"], first["target"]) == (1, 1)
        assert last["forecast_need"] > 1
        assert last["target"] == min(last["forecast_need"], MOST_WORKERS)
        assert last["running"] == last["target"]
        engine.dispose()
