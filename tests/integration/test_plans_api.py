"""Plans, quotas and the pause switch over HTTP: status codes, problems, scopes, region claims, pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from booking_core import tables as t
from booking_core.api.app import create_app
from booking_core.database import write_transaction
from booking_core.service.tokens import issue_token
from tests.support.bank import Bank

MONDAY = date(2026, 3, 9)


@dataclass
class Api:
    """The API of one bank, asked with tokens made on the way."""

    bank: Bank
    client: TestClient

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        scope: str = "operator",
        region: str | None = None,
        **more: Any,
    ) -> Response:
        """The answer to a request with a token of the scope."""
        with write_transaction(self.bank.engine) as connection:
            secret = issue_token(
                connection,
                name=f"a {scope}",
                scopes=[scope],
                region=region,
                holder="c" if scope == "customer" else None,
            )
        headers = {"Authorization": f"Bearer {secret}", **more.pop("headers", {})}
        return self.client.request(method, path, json=body, headers=headers, **more)


@pytest.fixture
def api(bank: Bank) -> Iterator[Api]:
    """The API on each database."""
    app = create_app(bank.engine, registry=CollectorRegistry(), housekeeping=False)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Api(bank, client)


def plan(plan_id: str = "p1", **other: Any) -> dict[str, Any]:
    """The body of a quota plan as the planner posts it."""
    item = {
        "scope_kind": "branch",
        "scope_id": "b1",
        "channel": "*",
        "period_kind": "day",
        "period_start": MONDAY.isoformat(),
        "old_limit": None,
        "proposed": 5.2,
        "new_limit": 5,
        "quantile": 0.9,
        "guardrail": None,
        "condition": None,
        "inputs": {"used_units": 0},
    }
    return {
        "plan_id": plan_id,
        "kind": "quota",
        "region": "north",
        "period": "2026-03-02",
        "in_band": True,
        "verdict": None,
        "model": "champion",
        "forecast_run_id": "demand-2026-03-02",
        "policy": {},
        "inputs": {},
        "items": [item],
        **other,
    }


def test_a_plan_from_proposal_to_rollback(api: Api) -> None:
    """Create, repeat, apply, read and roll back, by a planner; every step is in the audit."""
    created = api.ask("POST", "/v1/plans", plan(), scope="planner")
    assert (created.status_code, created.json()["status"]) == (201, "proposed")
    assert api.ask("POST", "/v1/plans", plan(), scope="planner").status_code == 200
    conflict = api.ask("POST", "/v1/plans", plan(verdict="other"), scope="planner")
    assert (conflict.status_code, conflict.json()["reason"]) == (409, "plan_id_conflict")
    applied = api.ask("POST", "/v1/plans/p1/apply", scope="planner")
    assert (applied.status_code, applied.json()["status"]) == (200, "applied")
    assert applied.json()["items"][0]["applied_limit"] == 5
    periods = api.ask(
        "GET", "/v1/quotas?scope_kind=branch&scope_id=b1&from=2026-03-01", scope="reader"
    ).json()
    assert periods["periods"] == [
        {
            "quota_id": "branch:b1:*:day",
            "period_start": "2026-03-09",
            "limit_units": 5,
            "override_units": 5,
            "extra_units": 0,
            "used_units": 0,
            "plan_id": "p1",
        }
    ]
    assert api.ask("POST", "/v1/plans/p1/rollback", scope="planner").json()["status"] == "rolled_back"
    assert api.ask("GET", "/v1/plans/p1", scope="reader").json()["items"][0]["period_start"] == "2026-03-09"
    with api.bank.engine.connect() as connection:
        rows = connection.execute(
            select(t.audit.c.actor, t.audit.c.action).order_by(t.audit.c.audit_id)
        ).all()
    assert [tuple(r) for r in rows] == [
        ("a planner", f"plan.{verb}") for verb in ("create", "apply", "rollback")
    ]


def test_outside_the_guard_band_an_operator_decides(api: Api) -> None:
    """A pending plan is not applied until an operator, not the planner, approves it."""
    api.ask("POST", "/v1/plans", plan(in_band=False), scope="planner")
    waits = api.ask("POST", "/v1/plans/p1/apply", scope="planner", headers={"Accept-Language": "zh"})
    assert (waits.status_code, waits.json()["reason"], waits.json()["cause"]) == (
        409,
        "plan_needs_approval",
        "plan",
    )
    assert waits.json()["title"] == "计划待审批"
    assert waits.headers["content-type"] == "application/problem+json"
    assert api.ask("POST", "/v1/plans/p1/approve", scope="planner").status_code == 403
    assert api.ask("POST", "/v1/plans/p1/reject", scope="planner").status_code == 403
    assert api.ask("POST", "/v1/plans/p1/approve").json()["status"] == "approved"
    assert api.ask("POST", "/v1/plans/p1/apply", scope="planner").json()["status"] == "applied"


def test_the_pause_switch_stops_plans(api: Api) -> None:
    """Paused: 409; only an operator pauses and resumes."""
    api.ask("POST", "/v1/plans", plan())
    assert api.ask("POST", "/v1/control/pause", scope="planner").status_code == 403
    assert api.ask("POST", "/v1/control/pause").json() == {"paused": True}
    assert api.ask("POST", "/v1/plans/p1/apply").json()["reason"] == "paused"
    assert api.ask("POST", "/v1/control/resume").json() == {"paused": False}
    assert api.ask("POST", "/v1/plans/p1/apply").status_code == 200


def test_lists_page_newest_first_within_the_claim(api: Api) -> None:
    """The cursor walks all plans once; a region's token sees its region only."""
    api.bank.add_region("south")
    for n in range(5):
        api.ask("POST", "/v1/plans", plan(f"p{n}"))
    api.ask("POST", "/v1/plans", plan("s", region="south", items=[], model="keep"))
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        page = api.ask(
            "GET", "/v1/plans", params={"kind": "quota", "limit": 2, **({"cursor": cursor} if cursor else {})}
        )
        seen += [p["plan_id"] for p in page.json()["plans"]]
        cursor, pages = page.json()["next_cursor"], pages + 1
    assert (seen, pages) == (["s", "p4", "p3", "p2", "p1", "p0"], 3)
    assert [p["plan_id"] for p in api.ask("GET", "/v1/plans?status=kept").json()["plans"]] == ["s"]
    own = api.ask("GET", "/v1/plans", scope="reader", region="south").json()
    assert [p["plan_id"] for p in own["plans"]] == ["s"]
    assert api.ask("GET", "/v1/plans?region=north", scope="reader", region="south").status_code == 403
    assert api.ask("GET", "/v1/plans/p0", scope="reader", region="south").status_code == 403
    bad = api.ask("GET", "/v1/plans?cursor=x!")
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (400, "query:cursor")


def test_operators_set_standing_limits(api: Api) -> None:
    """PUT sets, GET shows; a wrong id, body or claim is told apart and changes nothing."""
    assert api.ask("PUT", "/v1/quotas/branch:b1:*:day", {"limit_units": 7}).status_code == 200
    listed = api.ask("GET", "/v1/quotas", scope="reader", region="north").json()["quotas"]
    assert listed == [
        {
            "quota_id": "branch:b1:*:day",
            "scope_kind": "branch",
            "scope_id": "b1",
            "channel": "*",
            "period_kind": "day",
            "limit_units": 7,
        }
    ]
    assert api.ask("GET", "/v1/quotas", scope="reader", region="elsewhere").json() == {
        "quotas": [],
        "periods": [],
        "temporaries": [],
    }
    for path, body, scope, region, status, reason in (
        ("branch:zz:*:day", {"limit_units": 7}, "operator", None, 404, "quota_not_found"),
        ("branch:b1:*:day", {"limit_units": -1}, "operator", None, 400, "invalid_field"),
        ("branch:b1:*:day", {"limit_units": "7"}, "operator", None, 400, "invalid_field"),
        ("branch:b1:*:day", {}, "operator", None, 400, "missing_field"),
        ("branch:b1:*:day", {"limit_units": 9}, "planner", None, 403, "forbidden"),
        ("branch:b1:*:day", {"limit_units": 9}, "operator", "south", 403, "forbidden"),
    ):
        answer = api.ask("PUT", f"/v1/quotas/{path}", body, scope=scope, region=region)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert api.ask("GET", "/v1/quotas").json()["quotas"][0]["limit_units"] == 7


def nested(levels: int) -> dict[str, Any]:
    """An object within an object, so many levels deep."""
    body: dict[str, Any] = {}
    for _ in range(levels):
        body = {"a": body}
    return body


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (plan(kind="lunch"), "/kind"),
        (plan(items=[{**plan()["items"][0], "scope_id": "b9"}]), "/items/0/scope_id"),
        (plan(items=[{**plan()["items"][0], "period_start": "9 March"}]), "/items/0/period_start"),
        (plan(period="someday"), "/period"),
        (plan(kind="server", region="bank", period="0001-01-01T00:00:00+23:00", items=[]), "/period"),
        ([1, 2], ""),
        (plan(policy={"a": float("nan")}), "/policy"),
        (plan(policy={"a": "\ud800"}), "/policy"),
        (plan(inputs={"\0": 1}), "/inputs"),
        (plan(inputs=nested(500)), "/inputs"),
        (plan(verdict="\0"), "/verdict"),
        (plan(forecast_run_id="\0"), "/forecast_run_id"),
        (plan(items=[{**plan()["items"][0], "proposed": float("inf")}]), "/items/0/proposed"),
        (plan(items=[{**plan()["items"][0], "condition": "\0"}]), "/items/0/condition"),
        (plan(items=[{**plan()["items"][0], "inputs": {"a": [float("inf")]}}]), "/items/0/inputs"),
        (plan(items=[{**plan()["items"][0], "period_start": "9999-12-31"}]), "/items/0/period_start"),
        (plan(**{"a/b~c": 1}), "/a~1b~0c"),
    ],
)
def test_malformed_plans_name_their_field(api: Api, body: Any, pointer: str) -> None:
    """A plan that does not fit is a problem with a pointer, and nothing is stored."""
    json_type = {"Content-Type": "application/json"}
    answer = api.ask("POST", "/v1/plans", scope="planner", content=json.dumps(body), headers=json_type)
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_field")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert api.ask("GET", "/v1/plans").json()["plans"] == []


@pytest.mark.parametrize(
    ("raw", "content_type", "says"),
    [
        ('{"limit_units": 5', "application/json", "malformed JSON at character 17"),
        ('{"limit_units": 5}', "text/plain", "sent as application/json"),
        ("", "application/json", "sent as application/json"),
    ],
)
def test_an_unfit_body_is_told_as_a_whole(api: Api, raw: str, content_type: str, says: str) -> None:
    """What is wrong with the body as a whole has the empty pointer and says what was expected."""
    headers = {"Content-Type": content_type}
    answer = api.ask("PUT", "/v1/quotas/branch:b1:*:day", content=raw, headers=headers)
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["pointer"]) == (400, "")
    assert says in error["message"]
    assert "the body" in answer.json()["detail"]


def test_a_body_without_end_is_not_read(api: Api) -> None:
    """Above its bound a body is refused while it comes in, whoever sends it."""

    def endless() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 1024 * 1024

    json_type = {"Content-Type": "application/json"}
    answer = api.client.put("/v1/quotas/branch:b1:*:day", content=endless(), headers=json_type)
    assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (
        413,
        413,
        "invalid_field",
    )
    assert "16777216 bytes" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/plans/a%00b"),
        ("POST", "/v1/plans/a%00b/apply"),
        ("GET", "/v1/plans?region=%00"),
        ("GET", "/v1/plans?status=%00"),
        ("GET", "/v1/plans?cursor=MjAyNi0wMS0wMVQwMDowMDowMHwA"),
        ("GET", "/v1/quotas?scope_id=%00"),
        ("PUT", "/v1/plans"),
    ],
)
def test_what_no_database_takes_as_text_is_refused_at_the_door(api: Api, method: str, path: str) -> None:
    """A NUL in a path or parameter, or a wrong method, is the caller's fault, never a 5xx."""
    answer = api.ask(method, path)
    assert answer.status_code in {400, 405}
    assert answer.json()["status"] == answer.status_code
    if answer.status_code == 405:
        assert set(answer.headers["allow"].split(", ")) <= {"GET", "POST"}


def test_a_plans_items_have_the_keys_of_the_contract(api: Api) -> None:
    """Items tell what was posted and what was applied; no key of the store leaks, none goes missing."""
    shared = {"scope_kind", "scope_id", "channel", "period_kind", "old_limit", "proposed", "new_limit"}
    shared |= {"quantile", "guardrail", "condition", "inputs", "applied_limit", "before_override"}
    quarter = {
        "scope_kind": "bank",
        "scope_id": "bank",
        "period_kind": "quarter_hour",
        "starts": "2026-03-09T13:00:00Z",
        "new_limit": 2,
    }
    server = plan("s1", kind="server", region="bank", period=quarter["starts"], items=[quarter])
    for body, own in ((plan(), "period_start"), (server, "starts")):
        api.ask("POST", "/v1/plans", body, scope="planner")
        for verb, path in (("GET", ""), ("POST", "/apply"), ("POST", "/rollback")):
            told = api.ask(verb, f"/v1/plans/{body['plan_id']}{path}", scope="planner").json()
            [item] = told["items"]
            assert set(item) == shared | {own}
            assert item[own] == body["items"][0][own]


def test_customers_have_no_say(api: Api) -> None:
    """Neither reading nor writing plans and quotas is for customers or the nameless."""
    for method, path in (
        ("GET", "/v1/plans"),
        ("POST", "/v1/plans"),
        ("GET", "/v1/quotas"),
        ("POST", "/v1/plans/p1/apply"),
        ("POST", "/v1/control/pause"),
    ):
        assert api.ask(method, path, plan(), scope="customer").status_code == 403
        assert api.client.request(method, path).status_code == 401
    assert api.ask("GET", "/v1/plans/none").json()["reason"] == "plan_not_found"
