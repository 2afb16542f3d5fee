"""Rosters over HTTP: who may state and end them, what is told, and that no head counts twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from sqlalchemy import select

from booking_core import tables as t
from booking_core.read.rosters import rostered
from booking_core.rosters import service, store
from booking_core.rosters.drafts import RosterDraft
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


def entry(day: str = "2026-03-20", **other: Any) -> dict[str, Any]:
    """Three heads at the counter from nine to five."""
    return {"day": day, "from": "09:00", "to": "17:00", "heads": 3, "skill": "counter", **other}


def roster(roster_id: str = "march", branch: str = "b1", *entries: dict[str, Any]) -> dict[str, Any]:
    """The body of a roster, of one entry unless told otherwise."""
    return {"roster_id": roster_id, "branch": branch, "entries": list(entries) or [entry()]}


def post(api: Api, body: dict[str, Any], **headers: str) -> Any:
    """The answer to a roster."""
    return api.client.post("/v1/rosters", json=body, headers=headers)


def ids(api: Api, query: str = "", **headers: str) -> list[str]:
    """The ids that GET /v1/rosters tells."""
    answer = api.client.get(f"/v1/rosters{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return [told["roster_id"] for told in answer.json()["rosters"]]


def there(bank: Bank) -> list[tuple[str, str, str, str, str, int]]:
    """What the read model tells of March 2026."""
    found = rostered(bank.engine, since=date(2026, 3, 1), until=date(2026, 3, 31))
    return [(row[0], row[1].date().isoformat(), *row[2:]) for row in found.itertuples(index=False)]


def test_a_roster_is_told_as_it_was_stated_and_read_by_day(api: Api) -> None:
    """Over HTTP with who stated it and when; by the read model as one row for each entry."""
    body = roster("march", "b1", entry(), entry("2026-03-21", heads=0), entry(skill="phone", to="12:30"))
    answer = post(api, body)
    assert answer.status_code == 201
    assert answer.json() == {
        **body, "created": api.wall().isoformat(), "created_by": "test", "ended": None
    }  # fmt: skip
    assert api.client.get("/v1/rosters").json() == {"rosters": [answer.json()], "next_cursor": None}
    assert there(api.bank) == [
        ("b1", "2026-03-20", "counter", "09:00", "17:00", 3),
        ("b1", "2026-03-20", "phone", "09:00", "12:30", 3),
        ("b1", "2026-03-21", "counter", "09:00", "17:00", 0),
    ]


def test_a_repetition_changes_nothing(api: Api) -> None:
    """The same id and body answer what is there, even once it has ended; another body is refused."""
    first = post(api, roster()).json()
    again = post(api, roster())
    assert (again.status_code, again.json()) == (200, first)
    for other in (roster("march", "b2"), roster("march", "b1", entry(heads=4))):
        refused = post(api, other)
        assert refused.status_code == 400
        assert [e["pointer"] for e in refused.json()["errors"]] == ["/roster_id"]
    api.wall.move(hours=1)
    api.client.delete("/v1/rosters/march")
    assert post(api, roster()).json() == {**first, "ended": api.wall().isoformat()}
    assert len(rows(api.bank.engine, "rosters")) == 1


def test_nobody_counts_twice(api: Api) -> None:
    """A second roster for the same counter and day is refused until the first one is ended."""
    post(api, roster("march", "b1", entry("2026-03-19"), entry("2026-03-20")))
    second = roster(
        "more", "b1", entry("2026-03-21"), entry("2026-03-20", **{"from": "17:00", "to": "18:00"})
    )
    for language, says in (("en", "roster march tells already"), ("zh", "的柜台，请先结束该排班")):
        refused = post(api, second, **{"Accept-Language": language}).json()
        assert [e["pointer"] for e in refused["errors"]] == ["/entries/1/day"]
        assert says in refused["errors"][0]["message"]
    assert post(api, roster("phones", "b1", entry(skill="phone"))).status_code == 201
    assert post(api, roster("elsewhere", "b2")).status_code == 201
    api.client.delete("/v1/rosters/march")
    assert post(api, second).status_code == 201
    assert [row[1:] for row in there(api.bank) if row[0] == "b1"] == [
        ("2026-03-20", "counter", "17:00", "18:00", 3),
        ("2026-03-20", "phone", "09:00", "17:00", 3),
        ("2026-03-21", "counter", "09:00", "17:00", 3),
    ]


def test_two_who_state_the_same_counter_at_once_do_not_both_stand(postgres_bank: Bank) -> None:
    """Of rosters that overlap exactly one is stored."""
    with api_on(postgres_bank) as api:
        api.client.headers.update(api.issue("operator"))
        answers: list[int] = []
        start = threading.Barrier(4)

        def state(n: int) -> None:
            start.wait()
            answers.append(post(api, roster(f"r{n}")).status_code)

        threads = [threading.Thread(target=state, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [201, 400, 400, 400]
        assert len(rows(postgres_bank.engine, "rosters")) == 1


def test_without_the_branchs_lock_both_would_stand(
    postgres_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: two who look before either has written count the same heads twice."""
    both_have_looked, looked = threading.Barrier(2), service._told_already

    def look(*arguments: Any) -> Any:
        found = looked(*arguments)
        both_have_looked.wait(timeout=20)
        return found

    monkeypatch.setattr(store, "lock_branch", lambda *_: None)
    monkeypatch.setattr(service, "_told_already", look)
    with api_on(postgres_bank) as api:
        api.client.headers.update(api.issue("operator"))
        threads = [threading.Thread(target=post, args=(api, roster(f"r{n}"))) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(rows(postgres_bank.engine, "rosters")) == 2


def test_ending_keeps_the_row_and_is_idempotent_and_audited(api: Api) -> None:
    """DELETE ends a roster once; who stated and who ended it is written down."""
    post(api, roster())
    api.wall.move(hours=1)
    ended = api.client.delete("/v1/rosters/march")
    assert (ended.status_code, ended.json()["ended"]) == (200, api.wall().isoformat())
    api.wall.move(hours=1)
    assert api.client.delete("/v1/rosters/march").json() == ended.json()
    assert (ids(api), ids(api, "?ended=true"), there(api.bank)) == ([], ["march"], [])
    a = t.audit.c
    with api.bank.engine.connect() as connection:
        written = connection.execute(
            select(a.action, a.target, a.actor, a.before, a.after).order_by(a.audit_id)
        ).all()
    assert [row[:3] for row in written] == [
        ("roster.create", "march", "test"),
        ("roster.end", "march", "test"),
    ]
    assert (written[0].before, written[0].after) == (None, {"branch": "b1", "entries": [entry()]})


def test_the_list_is_filtered_and_paged(api: Api) -> None:
    """By days and branch, in the order of first days; the cursor goes on after the last one told."""
    post(api, roster("late", "b1", entry("2026-03-28"), entry("2026-03-30")))
    post(api, roster("early", "b1", entry("2026-03-02")))
    post(api, roster("south", "b2", entry("2026-03-10")))
    assert ids(api) == ["early", "south", "late"]
    assert ids(api, "?from=2026-03-29") == ["late"]
    assert ids(api, "?to=2026-03-10") == ["early", "south"]
    assert ids(api, "?branch=b2") == ["south"]
    page = api.client.get("/v1/rosters?limit=2").json()
    assert ids(api, f"?limit=2&cursor={page['next_cursor']}") == ["late"]


def test_what_does_not_fit_is_told_by_field(api: Api) -> None:
    """Wrong branches, days, times, heads and skills, unknown and missing fields: in both languages."""
    for change, pointer, says, zh in (
        ({"from": "9:00"}, "/entries/0/from", "whole half-hour", "须为整点或半点"),
        ({"to": "17:15"}, "/entries/0/to", "whole half-hour", "须为整点或半点"),
        ({"to": "24:30"}, "/entries/0/to", "whole half-hour", "须为整点或半点"),
        ({"from": 9}, "/entries/0/from", "string", "须为字符串"),
        ({"to": "09:00"}, "/entries/0/to", "09:00 is not after 09:00", "须晚于开始时间"),
        ({"day": "soon"}, "/entries/0/day", "YYYY-MM-DD", "不是日期"),
        ({"heads": -1}, "/entries/0/heads", "greater than or equal to 0", "过小"),
        ({"heads": 1001}, "/entries/0/heads", "less than or equal to 1000", "过大"),
        ({"heads": "3"}, "/entries/0/heads", "integer", "须为整数"),
        ({"skill": "tea"}, "/entries/0/skill", "counter", "不是可选值"),
        ({"surplus": 1}, "/entries/0/surplus", "not permitted", "不认识的字段"),
    ):  # fmt: skip
        refused(api, roster("march", "b1", entry(**change)), pointer, says, zh)
    refused(api, roster("march", "b9"), "/branch", "no branch of this bank", "不是本行的网点")
    refused(api, roster("a b"), "/roster_id", "pattern", "不允许的字符")
    refused(api, {**roster(), "entries": []}, "/entries", "at least 1 item", "不能为空")
    refused(api, {**roster(), "entries": [entry()] * 1001}, "/entries", "at most 1000 items", "条目过多")
    refused(
        api,
        roster("march", "b1", entry(), entry("2027-03-22")),
        "/entries",
        "more than 366 days",
        "超过 366 天",
    )
    missing = entry()
    del missing["skill"]
    told = post(api, roster("march", "b1", missing)).json()
    assert (told["reason"], told["errors"][0]["pointer"]) == ("missing_field", "/entries/0/skill")
    assert ids(api) == []


def refused(api: Api, body: dict[str, Any], pointer: str, says: str, zh: str) -> None:
    """The body is refused as invalid, with this pointer and these words in English and Chinese."""
    english, chinese = post(api, body).json(), post(api, body, **{"Accept-Language": "zh"}).json()
    assert english["reason"] == "invalid_field"
    assert [e["pointer"] for e in english["errors"]] == [pointer], english
    assert says in english["errors"][0]["message"]
    assert zh in chinese["errors"][0]["message"], chinese


@pytest.mark.parametrize(
    "query", ["?from=soon", "?from=2026-03-02&to=2026-03-01", "?limit=0", "?cursor=x", "?branch=%00"]
)
def test_a_query_that_does_not_fit_is_told(api: Api, query: str) -> None:
    """Days in the wrong order and foreign cursors are input, never a fault."""
    answer = api.client.get(f"/v1/rosters{query}")
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_field")


def test_an_unknown_roster_cannot_be_ended(api: Api) -> None:
    """404 in both languages."""
    answer = api.client.delete("/v1/rosters/none")
    assert (answer.status_code, answer.json()["reason"]) == (404, "resource_not_found")
    assert "没有" in api.client.delete("/v1/rosters/none", headers={"Accept-Language": "zh"}).json()["detail"]


def test_operators_and_planners_write_and_readers_read(api: Api) -> None:
    """Each scope may what the design says, and no more."""
    assert post(api, roster("r0", "b1"), **api.issue("operator")).status_code == 201
    assert post(api, roster("r1", "b2"), **api.issue("planner")).status_code == 201
    reader = api.issue("reader")
    assert ids(api, **reader) == ["r0", "r1"]
    strangers = (api.issue("channel"), api.issue("customer", holder="c-L1"))
    for headers in (reader, *strangers):
        assert post(api, roster("r9", "b1", entry("2026-04-01")), **headers).status_code == 403
        assert api.client.delete("/v1/rosters/r0", headers=headers).status_code == 403
    for headers in strangers:
        assert api.client.get("/v1/rosters", headers=headers).status_code == 403
    assert api.client.get("/v1/rosters", headers={"Authorization": ""}).status_code == 401
    assert ids(api) == ["r0", "r1"]


def test_a_region_claim_bounds_what_is_written_and_read(api: Api) -> None:
    """Only the rosters of the region's own branches may be seen, stated and ended."""
    post(api, roster("north", "b1"))
    post(api, roster("south", "b2"))
    south = api.issue("operator", "reader", region="south")
    assert post(api, roster("by-south", "b1", entry("2026-04-01")), **south).status_code == 403
    assert post(api, roster("by-south", "b2", entry("2026-04-01")), **south).status_code == 201
    assert ids(api, **south) == ["south", "by-south"]
    assert api.client.delete("/v1/rosters/north", headers=south).status_code == 403
    assert api.client.delete("/v1/rosters/south", headers=south).status_code == 200
    assert ids(api) == ["north", "by-south"]


def test_the_part_can_be_left_out_and_is_documented(sqlite_bank: Bank) -> None:
    """Without it nothing answers under /v1/rosters; with it /openapi.json describes every field."""
    with api_on(sqlite_bank, without=["rosters"]) as api:
        headers = api.issue("operator")
        assert api.client.get("/v1/rosters", headers=headers).status_code == 404
        assert api.client.get("/v1/events", headers=headers).status_code == 200
    with api_on(sqlite_bank) as api:
        documented = api.client.get("/openapi.json").json()
    assert set(documented["paths"]["/v1/rosters"]) == {"get", "post"}
    fields = documented["components"]["schemas"]["RosterDraft"]["properties"]
    assert set(fields) == set(RosterDraft.model_fields)
    assert set(documented["components"]["schemas"]["EntryDraft"]["properties"]) == {
        "day", "from", "to", "heads", "skill"
    }  # fmt: skip
