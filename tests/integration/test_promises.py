"""The waitlist's promise on a real database: plans that will open places, and promises judged when due."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import update

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.database import write_transaction
from booking_core.past_clock import past_clock
from booking_core.promises import judged_promises
from booking_core.read.bank import bank_settings
from booking_core.read.waitlist import promise_calibration, promises
from booking_core.service import prospects
from booking_core.service.commands import Command
from booking_core.service.control import move_clock
from booking_core.service.core import Caller, moment
from booking_core.settings import load_settings
from booking_core.store.waitlist import read_entry
from tests.support.bank import Bank
from tests.support.queueing import entry_ref, full_bank, join
from tests.support.recorded import put
from tests.support.wishes import Wall, book, core_on

NOW = datetime.now(UTC)


def forecast(bank: Bank, day: date, q25: float) -> None:
    """A ready run of yesterday whose lower quartile for b1 is so much; a plan applied each day before."""
    run = {
        "run_id": "r1",
        "kind": "demand",
        "period": bank.today - timedelta(days=1),
        "status": "ready",
        "trained_utc": NOW,
        "parameters": {},
    }
    put(bank, tf.forecast_runs, run)
    levels = {"mean": q25 + 2, "q10": 0.0, "q25": q25, "q50": q25 + 2, "q75": q25 + 4, "q90": q25 + 6}
    put(bank, tf.forecast_values, {"run_id": "r1", "branch_id": "b1", "day": day, "model": "m", **levels})
    applied = {
        "kind": "quota",
        "region_id": "north",
        "status": "superseded",
        "in_band": True,
        "policy": {},
        "inputs": {},
        "fingerprint": "",
        "created_utc": NOW,
        "created_by": "test",
    }
    periods = [(bank.today - timedelta(days=n + 1)).isoformat() for n in range(28)]
    put(bank, t.plans, *({**applied, "plan_id": f"p{n}", "period": day} for n, day in enumerate(periods)))


def test_a_limit_below_what_demand_surely_brings_is_expected_to_rise(bank: Bank) -> None:
    """Two more units at least, since one step doubles; none in shadow mode, while paused or without a run."""
    core = core_on(bank.engine)
    bank.add_quota("branch", "b1", "day", 2)
    slot = bank.add_slot(capacity=9)
    for loan in ("L1", "L2"):
        book(core, loan, slot)
    waiting = join(core, bank, "L3")
    day = bank.today + timedelta(days=2)

    def seen() -> tuple[int, float]:
        assert isinstance(core.wall, Wall)
        core.wall.move(minutes=5)  # what was read before is kept no longer
        with bank.engine.connect() as connection:
            entry, now = read_entry(connection, entry_ref(waiting)), moment(core, connection)
        assert entry is not None
        found = prospects.outlook(bank.engine, entry, now)
        assert found is not None
        return found.opening_units, found.plan_chance

    assert seen() == (0, 0.0)
    forecast(bank, day, 7.0)
    assert seen() == (2, 1.0)
    with write_transaction(bank.engine) as connection:
        connection.execute(update(t.regions).values(automatic_application=False))
    assert seen() == (0, 0.0)
    with write_transaction(bank.engine) as connection:
        connection.execute(update(t.regions).values(automatic_application=True))
    bank.set("paused", True)
    assert seen() == (0, 0.0)


def test_promises_are_judged_once_due(bank: Bank) -> None:
    """Kept, broken, left before, and not due yet: the calibration counts the first two, by what was told.

    Also one of who wished for a far-off day and was promised a place before it.
    """
    core = core_on(bank.engine)
    full_bank(bank, core)
    due = bank.today - timedelta(days=1)
    told: dict[str, Any] = {"by": due.isoformat(), "chance": 0.92, "raw": 0.95}
    coming: dict[str, Any] = {"by": (bank.today + timedelta(days=3)).isoformat(), "chance": 0.97}
    joined = NOW - timedelta(days=9)
    lives: dict[str, tuple[dict[str, Any] | None, str, list[tuple[str, int]]]] = {
        "kept": (told, "booked", [("joined", 9), ("offered", 3), ("accepted", 3)]),
        "broken": (told, "waiting", [("joined", 9)]),
        "left": (told, "left", [("joined", 9), ("left", 5)]),
        "coming": (coming, "waiting", [("joined", 9)]),
        "undated": ({"by": None, "chance": 0.4}, "expired", [("joined", 9), ("expired", 0)]),
        "none": (None, "waiting", [("joined", 9)]),
        "far": ({**told, "chance": 0.91}, "offered", [("joined", 9), ("offered", 2)]),
    }
    for name, (promised, status, events) in lives.items():
        bank.add_loan(f"P-{name}")
        latest = bank.today - timedelta(days=1) if name == "undated" else bank.today + timedelta(days=9)
        wished = bank.today + timedelta(days=5 if name == "far" else -8)
        put(
            bank,
            t.waitlist,
            {
                "entry_ref": f"W-{name}", "loan_ref": f"P-{name}", "branch_id": "b1", "region_id": "north",
                "wished_day": wished, "latest_day": latest, "channel": "app",
                "priority": 0, "status": status, "joined_utc": joined, "promise": promised, "actor": "test",
                "due_day": promised and date.fromisoformat(promised["by"] or latest.isoformat()),
            },
        )  # fmt: skip
        for kind, ago in events:
            why = "outside_booking_window" if (name, kind) == ("undated", "expired") else None
            at = NOW - timedelta(days=ago)
            row = {"entry_ref": f"W-{name}", "at_utc": at, "kind": kind, "reason": why, "actor": "test"}
            put(bank, t.waitlist_events, row)
    span = {"since": bank.today - timedelta(days=28), "until": bank.today}
    found = promises(bank.engine, **span)
    rows = found[["entry_ref", "dated", "chance", "kept"]].to_numpy().tolist()
    assert rows == [
        ["W-broken", True, 0.92, False],
        ["W-far", True, 0.91, True],
        ["W-kept", True, 0.92, True],
        ["W-undated", False, 0.4, False],
    ]
    table = promise_calibration(found)
    assert table[["above", "up_to", "promises", "kept_ratio"]].to_numpy().tolist() == [
        [0.0, 0.5, 1.0, 0.0],
        [0.9, 0.95, 3.0, 2 / 3],
    ]
    assert promise_calibration(promises(bank.engine, **span, region="south")).empty
    with bank.engine.connect() as connection:
        judged = judged_promises(connection, NOW, bank_settings(bank.engine), **span)
        last = judged_promises(connection, NOW, bank_settings(bank.engine), **span, at_most=1)
    assert [(told.raw, told.kept) for told in judged] == [
        (0.95, False),
        (0.95, True),
        (0.95, True),
        (0.4, False),
    ]
    assert [told.entry_ref for told in last] == ["W-broken"], "the last to fall due, whoever joined last"


def test_a_promise_is_judged_by_the_days_that_were_then(bank: Bank) -> None:
    """Where the clock jumped since, as over a demo's nights, an offer counts on the day it was made."""
    due, offset = bank.today - timedelta(days=5), -9 * 86_400
    bank.set("business_offset_seconds", offset)
    row = {
        "entry_ref": "W", "loan_ref": "L1", "branch_id": "b1", "region_id": "north", "wished_day": due,
        "latest_day": due, "channel": "app", "priority": 0, "status": "offered", "joined_utc": NOW,
        "due_day": due, "promise": {"by": due.isoformat(), "chance": 0.9}, "actor": "test",
    }  # fmt: skip
    put(bank, t.waitlist, row)
    at = NOW - timedelta(hours=2)
    put(bank, t.waitlist_events, {"entry_ref": "W", "at_utc": at, "kind": "offered", "actor": "test"})
    with write_transaction(bank.engine) as connection:
        for minutes, moved in ((90, offset + 900), (60, 0)):
            command = Command(Caller("t", "test", frozenset()), NOW - timedelta(minutes=minutes))
            assert move_clock(connection, moved, command) == moved
        clock = past_clock(connection, load_settings(connection), at)
    assert clock.offsets == (offset, offset + 900, 0)
    span = {"since": due, "until": bank.today}
    assert promises(bank.engine, **span)["kept"].tolist() == [True]
