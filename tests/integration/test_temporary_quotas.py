"""Temporary quotas and funds caps over HTTP: extra units until they expire, a day's funds in CNY."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, text, update

from booking_core import tables as t
from booking_core.database import write_transaction
from booking_core.service.housekeeping import sweep
from booking_core.service.plans import apply_plan, create_plan
from booking_core.store import temporaries
from metrics.contract import UNIT_PERIODS
from tests.support.api import Api, api_on
from tests.support.bank import Bank
from tests.support.counts import drift, rows
from tests.support.desk import command, draft, item
from tests.support.wishes import Wall, book, core_on

QUOTA = "branch:b1:*:day"


@pytest.fixture
def api(bank: Bank) -> Iterator[Api]:
    """The API on each database, asked as an operator."""
    with api_on(bank) as made:
        made.client.headers.update(made.issue("operator"))
        yield made


def extra(api: Api, temporary_id: str = "T1", **other: Any) -> dict[str, Any]:
    """The body of two extra units at b1 in two days, for an hour."""
    return {
        "temporary_id": temporary_id,
        "quota_id": QUOTA,
        "period_start": service_day(api).isoformat(),
        "extra_units": 2,
        "expires": (api.wall() + timedelta(hours=1)).isoformat(),
        **other,
    }


def service_day(api: Api) -> date:
    """The day that slots are built on."""
    return api.bank.today + timedelta(days=2)


def post(api: Api, body: dict[str, Any], **headers: str) -> Any:
    """The answer to a request for extra units."""
    return api.client.post("/v1/quotas/temporary", json=body, headers=headers)


def period(api: Api, quota_id: str = QUOTA) -> dict[str, Any]:
    """The quota's only counted period as GET /v1/quotas tells it."""
    [found] = [p for p in listed(api)["periods"] if p["quota_id"] == quota_id]
    return found


def listed(api: Api, query: str = "", **headers: str) -> dict[str, Any]:
    """What GET /v1/quotas tells."""
    answer: dict[str, Any] = api.client.get(f"/v1/quotas{query}", headers=headers).json()
    return answer


def swept(api: Api) -> None:
    """The sweep, now."""
    sweep(core_on(api.bank.engine, api.wall))


def test_extra_units_can_be_booked_until_they_expire(api: Api) -> None:
    """They stand on top of the standing limit; when they end, what was booked stays booked."""
    channel = api.issue("channel")
    api.bank.add_quota("branch", "b1", "day", 1)
    slot = api.bank.add_slot()
    soon = api.wall() + timedelta(minutes=5)
    assert post(api, extra(api, expires=soon.isoformat())).status_code == 201
    assert (period(api)["limit_units"], period(api)["extra_units"]) == (3, 2)
    for loan in ("L1", "L2"):
        assert api.book(loan, slot, headers=channel).status_code == 201
    api.wall.now = soon
    swept(api)
    assert (period(api)["limit_units"], period(api)["extra_units"], period(api)["used_units"]) == (1, 0, 2)
    refused = api.book("L3", slot, headers=channel).json()
    assert refused["reason"] == "quota_day_full"
    assert [(v["limit"], v["used"]) for v in refused["violations"]] == [(1, 2)]
    assert listed(api)["temporaries"] == []
    assert drift(api.bank.engine) == []


def test_the_list_tells_what_is_in_force(api: Api) -> None:
    """Each with its id, period, units, end and who made it; filters and region claims hold."""
    api.bank.add_quota("branch", "b1", "day", 1)
    body = extra(api)
    told = post(api, body).json()
    assert told == {**body, "created_by": "test", "ended": None}
    assert listed(api)["temporaries"] == [told]
    assert listed(api, "?scope_kind=region")["temporaries"] == []
    assert listed(api, f"?from={service_day(api) + timedelta(days=1)}")["temporaries"] == []
    assert listed(api, f"?to={service_day(api)}")["temporaries"] == [told]
    assert listed(api, **api.issue("reader", region="elsewhere"))["temporaries"] == []


def test_several_add_up_and_each_ends_on_its_own(api: Api) -> None:
    """The counter holds the sum of those in force."""
    api.bank.add_quota("branch", "b1", "day", 1)
    hour = api.wall() + timedelta(hours=1)
    assert post(api, extra(api)).status_code == 201
    assert post(api, extra(api, "T2", extra_units=5, expires=(hour + timedelta(hours=1)).isoformat()))
    assert period(api)["extra_units"] == 7
    api.wall.now = hour
    swept(api)
    assert period(api)["extra_units"] == 5
    assert api.client.delete("/v1/quotas/temporary/T2").status_code == 200
    assert period(api)["extra_units"] == 0


def test_a_repetition_changes_nothing(api: Api) -> None:
    """The same id and body answer what is there, even once it has ended; another body is refused."""
    api.bank.add_quota("branch", "b1", "day", 1)
    body = extra(api)
    assert post(api, body).status_code == 201
    again = post(api, body)
    assert (again.status_code, again.json()["temporary_id"]) == (200, "T1")
    other = post(api, extra(api, extra_units=3)).json()
    assert [e["pointer"] for e in other["errors"]] == ["/temporary_id"]
    assert period(api)["extra_units"] == 2
    api.wall.move(hours=2)
    swept(api)
    swept(api)
    assert post(api, body).json()["ended"] == api.wall().isoformat()
    assert period(api)["extra_units"] == 0


def test_ending_early_is_idempotent_and_audited(api: Api) -> None:
    """DELETE gives the units back once; who made and who ended it is written down."""
    api.bank.add_quota("branch", "b1", "day", 1)
    post(api, extra(api))
    for _ in range(2):
        assert api.client.delete("/v1/quotas/temporary/T1").json() == {"temporary_id": "T1"}
        assert period(api)["extra_units"] == 0
    api.wall.move(hours=2)
    swept(api)
    assert period(api)["extra_units"] == 0
    a = t.audit.c
    with api.bank.engine.connect() as connection:
        rows = connection.execute(select(a.action, a.target, a.before, a.after).order_by(a.audit_id)).all()
    assert [(r.action, r.target) for r in rows] == [("quota.temporary", "T1"), ("quota.temporary_end", "T1")]
    assert (rows[0].after["extra_units"], rows[1].before) == (2, {"extra_units": 2})


def test_what_does_not_fit_is_told_by_field(api: Api) -> None:
    """Wrong starts, times that are past, units out of bounds, unknown fields: in both languages."""
    api.bank.add_quota("branch", "b1", "day", 1)
    api.bank.add_quota("branch", "b1", "week", 1)
    monday = api.bank.today - timedelta(days=api.bank.today.weekday())
    past = (api.wall() - timedelta(seconds=1)).isoformat()
    for change, pointer, says, zh in (
        ({"quota_id": "branch:b1:*:week", "period_start": str(monday + timedelta(days=8))}, "/period_start",
         f"starts on {monday + timedelta(days=7)}", "周期始于"),
        ({"period_start": str(api.bank.today - timedelta(days=1))}, "/period_start", "is over", "已结束"),
        ({"period_start": "soon"}, "/period_start", "date", "不是日期"),
        ({"expires": past}, "/expires", "is past", "已过"),
        ({"expires": "2026-03-09T10:00:00"}, "/expires", "timezone", "时区"),
        ({"expires": "later"}, "/expires", "datetime", "不是时间"),
        ({"extra_units": 0}, "/extra_units", "greater than 0", "必须大于 0"),
        ({"extra_units": "2"}, "/extra_units", "integer", "整数"),
        ({"extra_units": 1_000_001}, "/extra_units", "at most 1,000,000 units", "最多 1,000,000"),
        ({"temporary_id": "a b"}, "/temporary_id", "pattern", "不允许的字符"),
        ({"temporary_id": "x1:0"}, "/temporary_id", "plans' extra units", "留给计划"),
        ({"surplus": 1}, "/surplus", "not permitted", "不认识的字段"),
    ):  # fmt: skip
        english = post(api, extra(api, **change)).json()
        chinese = post(api, extra(api, **change), **{"Accept-Language": "zh"}).json()
        assert [e["pointer"] for e in english["errors"]] == [pointer], english
        assert english["reason"] == "invalid_field"
        assert says in english["errors"][0]["message"]
        assert zh in chinese["errors"][0]["message"]
    assert listed(api)["temporaries"] == []


def test_only_an_operator_of_the_region_may(api: Api) -> None:
    """Planners, readers and operators of elsewhere are refused, for making and for ending."""
    api.bank.add_quota("branch", "b1", "day", 1)
    for headers in (api.issue("planner"), api.issue("reader"), api.issue("operator", region="elsewhere")):
        assert post(api, extra(api), **headers).status_code == 403
    assert post(api, extra(api)).status_code == 201
    for headers in (api.issue("planner"), api.issue("operator", region="elsewhere")):
        assert api.client.delete("/v1/quotas/temporary/T1", headers=headers).status_code == 403
    assert api.client.delete("/v1/quotas/temporary/T9").status_code == 404
    assert period(api)["extra_units"] == 2


def test_a_level_without_a_limit_cannot_be_extended(api: Api) -> None:
    """Nothing limits it, so nothing can be added; nor does an unknown scope exist."""
    for quota_id in (QUOTA, "branch:zz:*:day", "branch:b1:*:fortnight"):
        refused = post(api, extra(api, quota_id=quota_id))
        assert (refused.status_code, refused.json()["reason"]) == (404, "quota_not_found")


def test_an_override_is_a_limit_that_can_be_extended(bank: Bank) -> None:
    """The extra units stand on top of what a plan set, before and after the plan is replaced."""
    with api_on(bank) as api:
        api.client.headers.update(api.issue("operator"))
        start = service_day(api)
        for plan_id, limit, period_name in (("p1", 4, "2026-03-02"), ("p2", 6, "2026-03-03")):
            plan = draft(plan_id, item(limit, start=start), period=period_name)
            with write_transaction(bank.engine) as connection:
                create_plan(connection, plan, command())
                apply_plan(connection, plan_id, command())
            assert post(api, extra(api)).status_code in (200, 201)
            assert (period(api)["limit_units"], period(api)["override_units"]) == (limit + 2, limit)


def test_two_sweeps_at_once_end_it_once(postgres_bank: Bank) -> None:
    """The second sweep waits for the first and then finds nothing to end."""
    with api_on(postgres_bank) as api:
        api.client.headers.update(api.issue("operator"))
        postgres_bank.add_quota("branch", "b1", "day", 1)
        post(api, extra(api))
        later = datetime.now(UTC) + timedelta(hours=2)
        engine = postgres_bank.engine
        with engine.begin() as first:
            assert temporaries.end_due(first, later) == 1
            with engine.begin() as second:
                second.exec_driver_sql("SET LOCAL lock_timeout = '200ms'")
                with pytest.raises(Exception, match="lock timeout"):
                    temporaries.end_due(second, later)
        with engine.begin() as third:
            assert temporaries.end_due(third, later) == 0
        assert period(api)["extra_units"] == 0


def test_a_sweep_locks_counters_before_wishes(postgres_bank: Bank) -> None:
    """Where a counter is locked the sweep waits with no wish locked: a batch has them in that order too."""
    with api_on(postgres_bank) as api:
        api.client.headers.update(api.issue("operator"))
        postgres_bank.add_quota("branch", "b1", "day", 1)
        post(api, extra(api))
        engine, wall = postgres_bank.engine, Wall(api.wall() + timedelta(days=30))
        slot = postgres_bank.add_slot(capacity=0)
        book(core_on(engine), "L1", slot)
        with engine.begin() as batch:
            batch.exec_driver_sql("SELECT 1 FROM quota_periods FOR UPDATE")
            sweeping = threading.Thread(target=sweep, args=(core_on(engine, wall),))
            sweeping.start()
            _until_one_waits(engine)
            batch.exec_driver_sql("SELECT 1 FROM wish_episodes FOR UPDATE NOWAIT")
        sweeping.join()
        [episode] = rows(engine, "wish_episodes")
        assert (episode["outcome"], period(api)["extra_units"]) == ("unmet", 0)


def _until_one_waits(engine: Engine) -> None:
    """Return when a transaction waits for a lock."""
    deadline = time.monotonic() + 10
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_funds_cap_counts_yuan(api: Api) -> None:
    """Set over the API in CNY, above an INTEGER; a hold reserves the payoff and is refused beyond the cap."""
    channel = api.issue("channel")
    slot = api.bank.add_slot()
    answer = api.client.put("/v1/quotas/bank:bank:*:funds_day", json={"limit_units": 3 * 10**9})
    assert (answer.status_code, answer.json()["limit_units"]) == (200, 3 * 10**9)
    api.client.put("/v1/quotas/bank:bank:*:funds_day", json={"limit_units": 300_000})
    assert api.book("L1", slot, headers=channel).status_code == 201
    refused = api.book("L2", slot, headers=channel).json()
    assert refused["reason"] == "funds_cap_reached"
    assert [(v["quota"], v["limit"], v["used"]) for v in refused["violations"]] == [
        ("bank:bank:*:funds_day", 300_000, 250_000)
    ]
    zh = api.book("L2", slot, headers={**channel, "Accept-Language": "zh"}).json()
    assert "额度为 300000 元，已占用 250000 元" in zh["detail"]
    assert post(api, extra(api, quota_id="bank:bank:*:funds_day", extra_units=200_000)).status_code == 201
    assert api.book("L2", slot, headers=channel).status_code == 201
    assert drift(api.bank.engine) == []


def test_a_cap_set_late_counts_what_is_held_already(api: Api) -> None:
    """The day's counter starts with the yuan of the bookings there are."""
    channel = api.issue("channel")
    slot = api.bank.add_slot()
    assert api.book("L1", slot, headers=channel).status_code == 201
    api.client.put("/v1/quotas/region:north:*:funds_day", json={"limit_units": 300_000})
    assert period(api, "region:north:*:funds_day")["used_units"] == 250_000
    assert api.book("L2", slot, headers=channel).json()["reason"] == "funds_cap_reached"


def test_funds_are_not_narrowed_and_units_have_their_own_bound(api: Api) -> None:
    """A channel has no funds of its own; a million units is the most that a unit quota may allow."""
    narrowed = api.client.put("/v1/quotas/bank:bank:app:funds_day", json={"limit_units": 5})
    assert (narrowed.status_code, narrowed.json()["reason"]) == (404, "quota_not_found")
    assert "channel * for a funds_day" in narrowed.json()["detail"]
    for kind in UNIT_PERIODS:
        many = api.client.put(f"/v1/quotas/bank:bank:*:{kind}", json={"limit_units": 1_000_001})
        assert (many.status_code, many.json()["errors"][0]["pointer"]) == (400, "/limit_units")
    most = api.client.put("/v1/quotas/bank:bank:*:funds_day", json={"limit_units": 10**12 + 1})
    assert most.status_code == 400
    assert listed(api)["quotas"] == []


def test_dashboards_see_units_only(api: Api) -> None:
    """A funds cap is no limit of units in the gauges; extra units are part of the limit in force."""
    api.bank.add_quota("branch", "b1", "day", 4)
    api.client.put("/v1/quotas/branch:b1:*:funds_day", json={"limit_units": 900})
    post(api, extra(api, period_start=api.bank.today.isoformat()))
    with write_transaction(api.bank.engine) as connection:
        connection.execute(update(t.quota_periods).values(used_units=1))
    assert api.metric("booking_quota_limit", period="day", region="north") == 6
    text = api.client.get("/metrics").text
    assert "funds_day" not in text
