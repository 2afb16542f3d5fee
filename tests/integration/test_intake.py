"""The lean way to a booking: it says what the documented route says, and lets in by time and by customer."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from booking_core.api.access import TokenCache
from booking_core.api.forms import parse
from booking_core.api.late import LateRecords, Unrecorded
from booking_core.database import make_engine
from booking_core.service.admission import Limits
from booking_core.service.batch import Batch, Job, Needs
from booking_core.service.batching import Batcher, TooLate, run
from booking_core.service.bookings import Taken, taking
from metrics.contract import Reason
from tests.support.api import Api, api_on
from tests.support.bank import Bank
from tests.support.counts import rows
from tests.support.serving import serve
from tests.support.wishes import asking, core_on, wish

LEAN, DOCUMENTED = "", "?dry_run=false"
"""A query goes through FastAPI's routing, nothing else does."""
MANY = Limits(burst=1_000_000)


@pytest.fixture
def api(sqlite_bank: Bank) -> Iterator[Api]:
    """The application on SQLite."""
    with api_on(sqlite_bank, limits=MANY) as running:
        yield running


def told(answer: httpx.Response) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body, but for what differs from request to request."""
    trace_id = answer.headers["x-trace-id"]
    assert len(trace_id) == 32
    body = answer.json()
    assert body["trace_id"] == trace_id or answer.headers.get("idempotent-replay")
    varying = {"x-trace-id", "content-length", "date", "retry-after"}
    headers = {name: value for name, value in answer.headers.items() if name not in varying}
    assert ("retry-after" in answer.headers) is (body.get("retry_after") is not None)
    body = {**body, "trace_id": "", "retry_after": bool(body.get("retry_after"))}
    if "booking" in body:
        body["booking"] = {**body["booking"], "ref": ""}
    return answer.status_code, headers, body


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({}, {}, 201),
        ({}, {"Accept-Language": "zh-CN", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}, 201),
        ({"amount": 20000.5, "option": "full", "contact": "六"}, {}, 201),
        ({"slot": "full"}, {}, 409),
        ({"slot": "full"}, {"Accept-Language": "zh"}, 409),
        ({"slot": "none"}, {}, 400),
        ({"loan": "L999"}, {}, 404),
        ({"channel": "counter"}, {}, 403),
        ({"channel": "fax", "loan": 7}, {}, 400),
        ({"amount": 1}, {}, 422),
        ({}, {"Idempotency-Key": ""}, 400),
        ({}, {"Idempotency-Key": "ä b"}, 400),
        ({}, {"Authorization": ""}, 401),
        ({}, {"Authorization": "Basic eA=="}, 401),
        ({}, {"Authorization": "Bearer wrong"}, 401),
        (b"", {}, 400),
        (b"[1]", {"Accept-Language": "zh"}, 400),
        (b"{" + b" " * 70_000, {}, 400),
    ],
)
def test_both_ways_say_the_same(
    api: Api, body: dict[str, Any] | bytes, headers: dict[str, str], status: int
) -> None:
    """Status, headers, body and what is put on record are the same, whichever way a request came."""
    slot, full = api.bank.add_slot(), api.bank.add_slot(at="11:00", capacity=0)
    answers, records = [], []
    for way, loan in ((LEAN, "L1"), (DOCUMENTED, "L2")):
        sent: Any = body
        if isinstance(body, dict):
            sent = {"loan": loan, "slot": slot, "channel": "app", **body}
            sent["slot"] = full if sent["slot"] == "full" else sent["slot"]
            sent = httpx.Request("POST", "http://x", json=sent).content
        key = {"Idempotency-Key": f"key-{loan}".encode()}
        given = {name: value.encode() for name, value in headers.items()}
        answer = api.client.post(f"/v1/bookings{way}", content=sent, headers={**key, **given})
        answers.append(str(told(answer)).replace(loan, "LOAN"))
        assert answer.status_code == status, answer.text
        [*_, record] = rows(api.bank.engine, "attempts") or [{}]
        records.append([record.get(name) for name in ("outcome", "reason", "cause", "channel", "slot_id")])
        assert len(rows(api.bank.engine, "attempts")) == (len(records) if status not in {401, 403} else 0)
    assert answers[0] == answers[1]
    assert records[0] == records[1]


def test_both_ways_replay_the_same_booking(api: Api) -> None:
    """A key used one way answers the other way too."""
    slot = api.bank.add_slot()
    first = api.book("L1", slot, key="k")
    again = [api.book("L1", slot, key="k", query=way) for way in (LEAN, DOCUMENTED)]
    assert [answer.headers["idempotent-replay"] for answer in again] == ["true", "true"]
    assert [answer.json() for answer in again] == [first.json()] * 2


def test_without_a_batcher_a_booking_is_a_transaction_of_its_own(sqlite_bank: Bank) -> None:
    """`--batch 1` says the same, with one transaction for each request."""
    slot = sqlite_bank.add_slot(capacity=1)
    with api_on(sqlite_bank, batch_jobs=1) as api:
        assert api.book("L1", slot).status_code == 201
        refused = api.book("L2", slot)
        assert (refused.status_code, refused.json()["reason"]) == (409, "slot_full")
        assert api.metric("booking_batch_size_count") == 2


def test_figures_count_each_request_once(api: Api) -> None:
    """Attempts, requests and pressure agree about who was held, refused and unknown."""
    slot = api.bank.add_slot(capacity=1)
    api.book("L1", slot)
    api.book("L2", slot)
    api.book("L3", slot, headers={"Authorization": "Bearer wrong"})
    held = {"channel": "app", "outcome": "held", "reason": ""}
    assert api.metric("booking_attempts_total", **held) == 1
    full = {"channel": "app", "outcome": "refused", "reason": "slot_full"}
    assert api.metric("booking_attempts_total", **full) == 1
    for status in ("201", "409", "401"):
        asked = {"method": "POST", "route": "/v1/bookings", "status": status}
        assert api.metric("booking_request_duration_seconds_count", **asked) == 1
    assert api.metric("booking_requests_in_flight") == 1, "this very look"
    app: Any = api.client.app
    counted = sum(sums.requests for sums in app.state.pressure._sums.values())
    stored = sum(row["requests"] for row in rows(api.bank.engine, "pressure_minutes"))
    assert counted + stored == 3


def test_the_log_tells_what_is_worth_a_line(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A try that a rule refused is a line with its reason; one that was held or found no place is none."""
    slot = api.bank.add_slot(capacity=1)
    with caplog.at_level(logging.INFO, "booking_core.access"):
        for loan in ("L1", "L2", "L1", "L999"):
            api.book(loan, slot)
    assert [line.reason for line in caplog.records] == ["duplicate_booking", "loan_not_found"]  # type: ignore[attr-defined]


def test_a_stop_waits_for_who_waits(sqlite_bank: Bank) -> None:
    """Told to end, the server answers every request that it has taken, and only then is gone."""
    slot = sqlite_bank.add_slot()
    loans = [sqlite_bank.add_loan(f"R{n}") for n in range(20)]
    with serve(sqlite_bank.url, arguments=("--deadline", "20")) as served:

        def ask(loan: str) -> int:
            body = {"loan": loan, "slot": slot, "channel": "app"}
            with served.client() as client:
                return client.post("/v1/bookings", json=body, headers={"Idempotency-Key": loan}).status_code

        with (
            Path(f"{sqlite_bank.engine.url.database}.writer").open("w") as lock,
            ThreadPoolExecutor(20) as pool,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)
            asked = [pool.submit(ask, loan) for loan in loans]
            time.sleep(2)
            served.process.terminate()
            time.sleep(1)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert [answer.result() for answer in asked] == [201] * 20
        assert served.process.wait(timeout=30) == 0
    assert len(rows(sqlite_bank.engine, "bookings")) == 20


def test_a_customer_who_hammers_is_told_when_to_come_back(sqlite_bank: Bank) -> None:
    """By holder for a customer's token, by loan for a channel's; others are not held up."""
    slot = sqlite_bank.add_slot()
    with api_on(sqlite_bank, limits=Limits(burst=3, per_second=0.25)) as api:
        mine = api.issue("customer", holder="c-L1")
        told = [api.book("L1", slot, headers=mine) for _ in range(4)]
        assert [answer.status_code for answer in told] == [201, 409, 409, 429]
        assert (told[3].json()["reason"], told[3].headers["retry-after"]) == ("rate_limited", "4")
        assert [api.book("L2", slot).status_code for _ in range(4)] == [201, 409, 409, 429]
        assert api.book("L3", slot).status_code == 201
        limited = {"channel": "app", "outcome": "refused", "reason": "rate_limited"}
        assert api.metric("booking_attempts_total", **limited) == 2
    late = [row for row in rows(sqlite_bank.engine, "attempts") if row["reason"] == "rate_limited"]
    assert [(row["slot_id"], row["channel"], row["cause"]) for row in late] == [(slot, "app", "access")] * 2
    episodes = rows(sqlite_bank.engine, "wish_episodes")
    assert {episode["outcome"] for episode in episodes} == {"booked"}


def test_who_is_shed_is_on_record_when_there_is_room(sqlite_bank: Bank) -> None:
    """A shed wish is told before it is read; its attempt and wish episode are written later, as of then."""
    slot = sqlite_bank.add_slot()
    with api_on(sqlite_bank, limits=Limits(deadline_seconds=0)) as api:
        answer = api.book("L1", slot, headers={"Accept-Language": "zh"})
        assert (answer.status_code, answer.json()["reason"]) == (503, "system_busy")
        assert answer.headers["content-language"] == "zh"
        assert 1 <= int(answer.headers["retry-after"]) == answer.json()["retry_after"] <= 3
        assert answer.json()["trace_id"] == answer.headers["x-trace-id"]
        nobody = {"Authorization": "Bearer wrong"}
        assert api.book("L2", slot, headers=nobody).status_code == 503
        _until(lambda: rows(sqlite_bank.engine, "attempts"))
        shed = {"channel": "unknown", "outcome": "refused", "reason": "system_busy"}
        assert api.metric("booking_attempts_total", **shed) == 2
        assert api.metric("booking_attempts_unrecorded_total") == 0
    [attempt] = rows(sqlite_bank.engine, "attempts")
    assert (attempt["reason"], attempt["slot_id"], attempt["channel"]) == ("system_busy", slot, "app")
    assert attempt["trace_id"] == answer.headers["x-trace-id"]
    assert 0 <= attempt["duration_seconds"] < 1
    [episode] = rows(sqlite_bank.engine, "wish_episodes")
    assert (episode["loan_ref"], episode["outcome"], episode["tries"]) == ("L1", "open", 1)
    assert episode["first_reason"] == "system_busy"


def test_a_late_record_opens_no_wish_of_who_has_booked_since(sqlite_bank: Bank) -> None:
    """Shed, tried again, booked: the shed try is an attempt on record, but no open wish."""
    slot = sqlite_bank.add_slot()
    with api_on(sqlite_bank) as api:
        assert api.book("L1", slot).status_code == 201
        late = LateRecords(core_on(sqlite_bank.engine))
        secret = api.client.headers["authorization"].removeprefix("Bearer ")
        late.keep(_unrecorded(secret, slot))
        late._flush()
    assert [row["reason"] for row in rows(sqlite_bank.engine, "attempts")] == [None, "system_busy"]
    assert [row["outcome"] for row in rows(sqlite_bank.engine, "wish_episodes")] == ["booked"]


def test_what_is_not_put_on_record_is_counted(sqlite_bank: Bank) -> None:
    """Beyond the bound of the buffer, and where the record cannot be written, the figure rises."""
    core = core_on(sqlite_bank.engine)
    late = LateRecords(core, kept=2)
    with api_on(sqlite_bank) as api:
        secret = api.client.headers["authorization"].removeprefix("Bearer ")
    for _ in range(5):
        late.keep(_unrecorded(secret, "any"))
    unrecorded = core.instruments.attempts_unrecorded._value
    assert unrecorded.get() == 3
    with sqlite_bank.engine.begin() as connection:
        connection.execute(text("DROP TABLE attempts"))
    late._flush()
    assert unrecorded.get() == 5


def test_what_cannot_be_read_does_not_end_the_record(
    sqlite_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal that no parser takes is counted as unrecorded; the thread goes on to the next ones."""
    core = core_on(sqlite_bank.engine)
    with api_on(sqlite_bank) as api:
        secret = api.client.headers["authorization"].removeprefix("Bearer ")
    late, name = LateRecords(core, every_seconds=0.01), "booking_core.api.late.parse"

    def unreadable_once(*form: Any) -> Any:
        monkeypatch.setattr(name, parse)
        raise ArithmeticError

    monkeypatch.setattr(name, unreadable_once)
    late.keep(_unrecorded(secret, "any"))
    late.start()
    _until(lambda: core.instruments.attempts_unrecorded._value.get() == 1)
    late.keep(_unrecorded(secret, "any"))
    _until(lambda: rows(sqlite_bank.engine, "attempts"))
    late.stop()


def test_a_job_past_its_deadline_is_not_judged_and_none_is_left_at_the_end(sqlite_bank: Bank) -> None:
    """Who waited too long is told so unjudged; after the end nothing is taken and nobody hangs."""
    core = core_on(sqlite_bank.engine)
    batcher = Batcher(core, limit=1)
    core = replace(core, batcher=batcher)
    batcher._core = core
    judged: list[str] = []

    def job(name: str, seconds: float = 0.0) -> Job[None]:
        def work(_batch: Batch) -> None:
            judged.append(name)
            time.sleep(seconds)

        return Job(Needs(), work)

    async def ask() -> list[Any]:
        asked = [batcher.do_async(job("slow", 0.3)), batcher.do_async(job("late"), 0.1)]
        tasks = [asyncio.ensure_future(each) for each in (*asked, batcher.do_async(job("patient"), 5))]
        await asyncio.sleep(0)
        batcher.start()
        await asyncio.sleep(0.2)
        assert batcher.wait_seconds() > 0.1
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(ask())
    assert [type(answer) for answer in answers] == [type(None), TooLate, type(None)]
    assert judged == ["slow", "patient"]
    batcher.stop()
    assert batcher.wait_seconds() == 0
    with pytest.raises(TooLate):
        batcher.do(job("after the end"))


def test_a_database_that_stands_still_fails_a_batch_once(postgres_bank: Bank) -> None:
    """Behind a forgotten lock all that wait are told after one time-out, not after one for each half."""
    slot = postgres_bank.add_slot()
    engine = make_engine(postgres_bank.url, statement_seconds=1)
    jobs = [taking(asking(), wish(f"L{n}", slot), f"k{n}") for n in range(1, 6)]
    with postgres_bank.engine.begin() as forgotten:
        forgotten.execute(text("SELECT * FROM slots FOR UPDATE"))
        began = time.monotonic()
        answers = run(core_on(engine), jobs)
        assert time.monotonic() - began < 2.9
    assert [type(answer) for answer in answers] == [OperationalError] * 5
    assert [type(answer) for answer in run(core_on(engine), jobs)] == [Taken] * 5
    engine.dispose()


def test_tokens_are_looked_up_once_and_not_without_bound(sqlite_bank: Bank) -> None:
    """A crowd with one token asks the database once; a crowd of unknown ones is refused beyond a bound."""
    with api_on(sqlite_bank) as api:
        known = api.client.headers["authorization"].removeprefix("Bearer ")
    looked: list[Any] = []
    event.listen(sqlite_bank.engine, "checkout", lambda *_: looked.append(_))
    tokens = TokenCache(core_on(sqlite_bank.engine))

    async def ask(*secrets: str) -> list[Any]:
        return await asyncio.gather(*(tokens.caller(s) for s in secrets), return_exceptions=True)

    callers = asyncio.run(ask(*[known] * 300))
    assert (len(looked), {caller.name for caller in callers}) == (1, {"test"})
    answers = asyncio.run(ask(*(f"unknown {n}" for n in range(300))))
    assert [answers.count(None), sum(isinstance(a, TooLate) for a in answers)] == [200, 100]


def test_a_client_that_leaves_keeps_its_booking(sqlite_bank: Bank) -> None:
    """The job of a request that was cancelled is judged all the same, and its key answers the retry."""
    slot = sqlite_bank.add_slot()
    body, key = {"loan": "L1", "slot": slot, "channel": "app"}, {"Idempotency-Key": "k"}
    with serve(sqlite_bank.url) as served, served.client() as client:
        with Path(f"{sqlite_bank.engine.url.database}.writer").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/bookings", json=body, headers=key, timeout=1)
        _until(lambda: rows(sqlite_bank.engine, "bookings"))
        again = client.post("/v1/bookings", json=body, headers=key)
        assert (again.status_code, again.headers["idempotent-replay"]) == (201, "true")


def test_a_client_of_fifty_connections_gets_no_more_than_its_share(sqlite_bank: Bank) -> None:
    """Fifty connections that hammer for one customer take no turn of fifty customers with one each."""
    slot = sqlite_bank.add_slot(capacity=0)
    loans = [sqlite_bank.add_loan(f"R{n}") for n in range(51)]
    answers: list[tuple[str, int]] = []
    arguments = ("--rate-burst", "4", "--rate-per-second", "1", "--deadline", "25")
    with serve(sqlite_bank.url, arguments=arguments) as served:
        began = time.monotonic()

        def ask(loan: str) -> None:
            body = {"loan": loan, "slot": slot, "channel": "app"}
            with served.client() as client:
                while True:
                    answer = client.post("/v1/bookings", json=body, headers={"Idempotency-Key": "k"})
                    answers.append((loan, answer.status_code))
                    if time.monotonic() > began + 5:
                        return
                    time.sleep(0 if loan == loans[0] else 1)

        with ThreadPoolExecutor(100) as pool:
            list(pool.map(ask, [*loans[1:], *loans[:1] * 50]))
        took = time.monotonic() - began
    judged = Counter(loan for loan, status in answers if status == 409)
    assert judged[loans[0]] <= 4 + took + 1
    assert [loan for loan in loans if not judged[loan]] == []
    assert {loan for loan, status in answers if status == 429} == {loans[0]}


def _unrecorded(secret: str, slot: str) -> Unrecorded:
    body = f'{{"loan": "L1", "slot": "{slot}", "channel": "app"}}'.encode()
    return Unrecorded(secret, body, Reason.SYSTEM_BUSY, "ab" * 16, time.perf_counter())


def _until(found: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)
