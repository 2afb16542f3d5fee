"""Announced events over HTTP: who may announce and end them, what is told, what is written down."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from booking_core import tables as t
from booking_core.events.drafts import EventDraft
from booking_core.parts import routers
from metrics.contract import EventKind
from tests.support.api import Api, api_on
from tests.support.bank import Bank
from tests.support.counts import rows


@pytest.fixture
def api(bank: Bank) -> Iterator[Api]:
    """The API on each database, asked as an operator; region south has branch b2."""
    bank.add_region("south")
    bank.add_branch("b2", "south")
    with api_on(bank) as made:
        made.client.headers.update(made.issue("operator"))
        yield made


def event(event_id: str = "lpr-cut", **other: Any) -> dict[str, Any]:
    """The body of a rate cut on two days of March 2026, for the whole bank."""
    return {
        "event_id": event_id,
        "kind": "rate_cut",
        "name": "贷款利率下调",
        "first_day": "2026-03-20",
        "last_day": "2026-03-21",
        "scope": "bank:bank",
        "confirmed": True,
        "expected_effect_ratio": 1.6,
        "note": "announced by the board",
        **other,
    }


def post(api: Api, body: dict[str, Any], **headers: str) -> Any:
    """The answer to an announcement."""
    return api.client.post("/v1/events", json=body, headers=headers)


def ids(api: Api, query: str = "", **headers: str) -> list[str]:
    """The ids that GET /v1/events tells."""
    return [told["event_id"] for told in listed(api, query, **headers)["events"]]


def listed(api: Api, query: str = "", **headers: str) -> dict[str, Any]:
    """What GET /v1/events tells."""
    answer = api.client.get(f"/v1/events{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_an_event_is_told_as_it_was_announced(api: Api) -> None:
    """With who announced it and when; what may be left out is told with its default."""
    answer = post(api, event())
    assert answer.status_code == 201
    told = answer.json()
    assert told == {**event(), "created": api.wall().isoformat(), "created_by": "test", "ended": None}
    assert listed(api) == {"events": [told], "next_cursor": None}
    short = {name: value for name, value in event("short").items() if name not in OPTIONAL}
    told = post(api, short).json()
    assert {name: told[name] for name in OPTIONAL} == OPTIONAL


OPTIONAL = {"confirmed": True, "expected_effect_ratio": None, "note": None}


def test_a_repetition_changes_nothing(api: Api) -> None:
    """The same id and body answer what is there, even once it has ended; another body is refused."""
    first = post(api, event()).json()
    again = post(api, event())
    assert (again.status_code, again.json()) == (200, first)
    for change in ({"name": "other"}, {"confirmed": False}, {"expected_effect_ratio": None}):
        other = post(api, event(**change))
        assert other.status_code == 400
        assert [e["pointer"] for e in other.json()["errors"]] == ["/event_id"]
    api.wall.move(hours=1)
    api.client.delete("/v1/events/lpr-cut")
    assert post(api, event()).json() == {**first, "ended": api.wall().isoformat()}
    assert len(rows(api.bank.engine, "events")) == 1


def test_ending_keeps_the_row_and_is_idempotent_and_audited(api: Api) -> None:
    """DELETE ends an event once; who announced and who ended it is written down."""
    post(api, event())
    api.wall.move(hours=1)
    ended = api.client.delete("/v1/events/lpr-cut")
    assert (ended.status_code, ended.json()["ended"]) == (200, api.wall().isoformat())
    api.wall.move(hours=1)
    assert api.client.delete("/v1/events/lpr-cut").json() == ended.json()
    assert ids(api) == []
    assert ids(api, "?ended=true") == ["lpr-cut"]
    a = t.audit.c
    with api.bank.engine.connect() as connection:
        written = connection.execute(
            select(a.action, a.target, a.actor, a.before, a.after).order_by(a.audit_id)
        ).all()
    assert [row[:3] for row in written] == [
        ("event.create", "lpr-cut", "test"),
        ("event.end", "lpr-cut", "test"),
    ]
    body = event()
    assert body.pop("event_id") == written[0].target
    assert (written[0].before, written[0].after) == (None, body)
    assert (written[1].before, written[1].after) == ({"ended": None}, {"ended": ended.json()["ended"]})


def test_the_list_is_filtered_by_days_and_kind(api: Api) -> None:
    """An event counts for every day it touches, ends included; the order is that of the first days."""
    post(api, event("late", first_day="2026-03-21", last_day="2026-03-30"))
    post(api, event("early"))
    post(api, event("camp", kind="campaign", first_day="2026-03-01", last_day="2026-03-01"))
    assert ids(api) == ["camp", "early", "late"]
    assert ids(api, "?from=2026-03-21") == ["early", "late"]
    assert ids(api, "?from=2026-03-22") == ["late"]
    assert ids(api, "?to=2026-03-20") == ["camp", "early"]
    assert ids(api, "?from=2026-03-02&to=2026-03-19") == []
    assert ids(api, "?kind=campaign") == ["camp"]
    assert ids(api, "?kind=closure") == []


def test_pages_tell_every_event_once(api: Api) -> None:
    """The cursor goes on after the last one told, though many begin on one day."""
    names = [f"e{n}" for n in range(5)]
    for name in names:
        post(api, event(name))
    page = listed(api, "?limit=2")
    seen = [told["event_id"] for told in page["events"]]
    while page["next_cursor"]:
        page = listed(api, f"?limit=2&cursor={page['next_cursor']}")
        seen += [told["event_id"] for told in page["events"]]
    assert seen == names


def test_what_does_not_fit_is_told_by_field(api: Api) -> None:
    """Wrong kinds, days, scopes and effects, unknown and missing fields: in both languages."""
    for change, pointer, says, zh in (
        ({"kind": "party"}, "/kind", "rate_cut", "不是可选值"),
        ({"first_day": "soon"}, "/first_day", "YYYY-MM-DD", "不是日期"),
        ({"first_day": 20260320}, "/first_day", "YYYY-MM-DD", "不是日期"),
        ({"last_day": "2026-03-19"}, "/last_day", "is before first_day 2026-03-20", "早于 first_day"),
        ({"last_day": "2027-03-21"}, "/last_day", "more than 366 days", "超过 366 天"),
        ({"scope": "branch:b9"}, "/scope", "names no scope of this bank", "不是本行的范围"),
        ({"scope": "bank"}, "/scope", "expected one of bank:bank", "格式为 bank:bank"),
        ({"expected_effect_ratio": 0}, "/expected_effect_ratio", "greater than 0", "必须大于 0"),
        ({"expected_effect_ratio": 101}, "/expected_effect_ratio", "less than or equal to 100", "过大"),
        ({"expected_effect_ratio": "2"}, "/expected_effect_ratio", "number", "须为数字"),
        ({"confirmed": "yes"}, "/confirmed", "boolean", "须为 true 或 false"),
        ({"name": ""}, "/name", "at least 1 character", "不能为空"),
        ({"name": "a\nb"}, "/name", "pattern", "不允许的字符"),
        ({"name": "x" * 201}, "/name", "at most 200 characters", "过长"),
        ({"note": "\x00"}, "/note", "without NUL", "不得含 NUL"),
        ({"event_id": "a b"}, "/event_id", "pattern", "不允许的字符"),
        ({"surplus": 1}, "/surplus", "not permitted", "不认识的字段"),
    ):  # fmt: skip
        english = post(api, event(**change)).json()
        chinese = post(api, event(**change), **{"Accept-Language": "zh"}).json()
        assert [e["pointer"] for e in english["errors"]] == [pointer], english
        assert english["reason"] == "invalid_field"
        assert says in english["errors"][0]["message"]
        assert zh in chinese["errors"][0]["message"]
    missing = event()
    del missing["scope"]
    refused = post(api, missing).json()
    assert (refused["reason"], refused["errors"][0]["pointer"]) == ("missing_field", "/scope")
    assert listed(api)["events"] == []


@pytest.mark.parametrize(
    "query",
    ["?kind=party", "?from=soon", "?from=2026-03-02&to=2026-03-01", "?limit=0", "?cursor=x", "?cursor=%00"],
)
def test_a_query_that_does_not_fit_is_told(api: Api, query: str) -> None:
    """Unknown kinds, days in the wrong order and foreign cursors are input, never a fault."""
    answer = api.client.get(f"/v1/events{query}")
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_field")
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unknown_event_cannot_be_ended(api: Api) -> None:
    """404 in both languages."""
    refused = api.client.delete("/v1/events/none")
    assert (refused.status_code, refused.json()["reason"]) == (404, "resource_not_found")
    zh = api.client.delete("/v1/events/none", headers={"Accept-Language": "zh"}).json()
    assert "没有" in zh["detail"]


def test_operators_and_planners_write_and_readers_read(api: Api) -> None:
    """Each scope may what the design says, and no more."""
    for n, scope in enumerate(("operator", "planner")):
        assert post(api, event(f"e{n}"), **api.issue(scope)).status_code == 201
    reader = api.issue("reader")
    assert ids(api, **reader) == ["e0", "e1"]
    strangers = (api.issue("channel"), api.issue("customer", holder="c-L1"))
    for headers in (reader, *strangers):
        assert post(api, event("e9"), **headers).status_code == 403
        assert api.client.delete("/v1/events/e0", headers=headers).status_code == 403
    for headers in strangers:
        assert api.client.get("/v1/events", headers=headers).status_code == 403
    assert api.client.get("/v1/events", headers={"Authorization": ""}).status_code == 401
    assert ids(api) == ["e0", "e1"]
    assert api.client.delete("/v1/events/e0", headers=api.issue("planner")).status_code == 200


def test_a_region_claim_bounds_what_is_written_and_read(api: Api) -> None:
    """Own region and branches may be written; the bank's events are read too, since they hold there."""
    scopes = ("bank:bank", "region:north", "region:south", "branch:b1", "branch:b2")
    for scope in scopes:
        assert post(api, event(scope.replace(":", "."), scope=scope)).status_code == 201
    south = api.issue("operator", "reader", region="south")
    for scope in scopes:
        own = scope in ("region:south", "branch:b2")
        made = post(api, event(f"by-south.{scope.replace(':', '.')}", scope=scope), **south)
        assert made.status_code == (201 if own else 403), scope
        ended = api.client.delete(f"/v1/events/{scope.replace(':', '.')}", headers=south)
        assert ended.status_code == (200 if own else 403), scope
    seen = {told["scope"] for told in listed(api, "?ended=true", **south)["events"]}
    assert seen == {"bank:bank", "region:south", "branch:b2"}


def test_two_who_announce_the_same_at_once_make_one(postgres_bank: Bank) -> None:
    """One request makes the event, the other is told it."""
    with api_on(postgres_bank) as api:
        api.client.headers.update(api.issue("operator"))
        answers: list[int] = []
        start = threading.Barrier(4)

        def announce() -> None:
            start.wait()
            answers.append(post(api, event()).status_code)

        threads = [threading.Thread(target=announce) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [200, 200, 200, 201]
        assert len(rows(postgres_bank.engine, "events")) == 1


def test_the_part_can_be_left_out(sqlite_bank: Bank) -> None:
    """Without it nothing answers under /v1/events, and all else does."""
    with api_on(sqlite_bank, without=["events"]) as api:
        headers = api.issue("operator")
        assert api.client.get("/v1/events", headers=headers).status_code == 404
        assert api.client.get("/v1/quotas", headers=headers).status_code == 200
        assert "/v1/events" not in api.client.get("/openapi.json").json()["paths"]
    with pytest.raises(ValueError, match="expected some of"):
        routers(["weather"])


def test_the_documentation_names_every_kind(sqlite_bank: Bank) -> None:
    """The body's fields are described in /openapi.json."""
    with api_on(sqlite_bank) as api:
        documented = api.client.get("/openapi.json").json()
    assert set(documented["paths"]["/v1/events"]) == {"get", "post"}
    assert set(documented["paths"]["/v1/events/{event_id}"]) == {"delete"}
    fields = documented["components"]["schemas"]["EventDraft"]["properties"]
    assert fields["kind"]["enum"] == [kind.value for kind in EventKind]
    assert set(fields) == set(EventDraft.model_fields)


def test_an_event_may_lie_in_the_past(api: Api) -> None:
    """What was forgotten is noted late, so that later forecasts learn from it."""
    first = api.bank.today - timedelta(days=400)
    made = post(api, event(first_day=first.isoformat(), last_day=first.isoformat()))
    assert made.status_code == 201
