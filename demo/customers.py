"""The live customers, a Locust file: each wish of a file comes at its time and tries to book.

Started by the demo as `locust -f demo/customers.py --headless`. Customers come when the shape of the day
says. Refused ones take the first remedy, try once more, or leave.
Environment: SLOTCAST_DEMO_WISHES (file), SLOTCAST_DEMO_STARTS (epoch seconds of the moment that is
quarter-hour SLOTCAST_DEMO_FROM of the day), SLOTCAST_DEMO_QUARTER_SECONDS, SLOTCAST_CHANNEL_TOKEN,
SLOTCAST_COUNTER_TOKEN (an operator's: who books at the counter is served by staff).
"""

from __future__ import annotations

import heapq
import os
import random
import time
import uuid
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, Final

from locust import FastHttpUser, task
from locust.exception import StopUser

from demo.wishes import Wish, read_wishes

LOOKS_FIRST: Final = 0.2
"""Share of customers who look at the calendar before they try."""
RETRY_AFTER_QUARTERS: Final = 1.0


class Queue:
    """The customers still to come, by wall time; one for all users of the process."""

    def __init__(self) -> None:
        self.quarter_seconds = float(os.environ["SLOTCAST_DEMO_QUARTER_SECONDS"])
        self.slots: dict[tuple[str, str], str] = {}
        """Slot ids by branch and local start, once the branch's calendar was asked for."""
        self._tie = count()
        starts = float(os.environ["SLOTCAST_DEMO_STARTS"])
        first = float(os.environ["SLOTCAST_DEMO_FROM"])
        wishes = read_wishes(Path(os.environ["SLOTCAST_DEMO_WISHES"]))
        self._heap: list[tuple[float, int, Wish, bool]] = [
            (starts + (wish.at_quarters - first) * self.quarter_seconds, next(self._tie), wish, False)
            for wish in wishes
        ]
        heapq.heapify(self._heap)

    def come_back(self, wish: Wish) -> None:
        """Let the refused customer try once more, a quarter-hour later."""
        due = time.time() + RETRY_AFTER_QUARTERS * self.quarter_seconds
        heapq.heappush(self._heap, (due, next(self._tie), wish, True))

    def pop(self) -> tuple[float, Wish, bool] | None:
        """The next customer: when, which wish, whether it comes back; None when all have come."""
        if not self._heap:
            return None
        due, _, wish, again = heapq.heappop(self._heap)
        return due, wish, again


class Customers(FastHttpUser):
    """A lane in which one customer after the other comes; as many lanes as Locust has users."""

    queue: Queue | None = None
    lanes = 0
    """Lanes that still wait for customers; the last one to close ends the process."""
    connection_timeout = 10.0
    network_timeout = 30.0

    def on_start(self) -> None:
        """Read the wishes once, speak as the bank's channel, or at the counter as its staff."""
        if Customers.queue is None:
            Customers.queue = Queue()
        Customers.lanes += 1
        self.headers, self.staff = (
            {"Authorization": f"Bearer {os.environ[f'SLOTCAST_{who}_TOKEN']}", "Accept-Language": "en"}
            for who in ("CHANNEL", "COUNTER")
        )

    def on_stop(self) -> None:
        """End the process once no lane is left."""
        Customers.lanes -= 1
        runner = self.environment.runner
        if Customers.lanes == 0 and runner is not None:
            runner.greenlet.spawn(runner.quit)

    @task
    def next_customer(self) -> None:
        """Wait for the next customer and serve the wish; stop when none is left."""
        queue = Customers.queue
        assert queue is not None
        coming = queue.pop()
        if coming is None:
            raise StopUser
        due, wish, again = coming
        time.sleep(max(0.0, due - time.time()))  # Locust has made it a greenlet's sleep
        if random.random() < LOOKS_FIRST:
            self.look(wish)
        refusal = self.try_slot(wish, self.slot_of(wish), wrong=wish.form == "wrong" and not again)
        if refusal is None or again:
            return
        if refusal.get("cause") == "input" or wish.on_refusal == "retry":
            queue.come_back(wish)
        elif wish.on_refusal == "follow":
            slot = first_slot_remedy(refusal)
            if slot:
                self.try_slot(wish, slot)

    def look(self, wish: Wish) -> Any:
        """The wished day's calendar of the branch."""
        day = wish.day.isoformat()
        url = f"/v1/slots?branch={wish.branch_id}&from={day}&to={day}"
        with self.client.get(url, name="GET /v1/slots", headers=self.headers, catch_response=True) as answer:
            if answer.status_code == 200:  # noqa: PLR2004
                answer.success()
                return answer.json()
            answer.failure(f"HTTP {answer.status_code}")
        return {}

    def slot_of(self, wish: Wish) -> str:
        """The id of the wished slot, from the branch's calendar (asked for once)."""
        queue = Customers.queue
        assert queue is not None
        if (wish.branch_id, wish.start) not in queue.slots:
            for slot in slots_in(self.look(wish)):
                queue.slots[wish.branch_id, slot["start"][11:16]] = slot["slot"]
        return queue.slots.get((wish.branch_id, wish.start), f"{wish.branch_id}-{wish.day}-{wish.start}")

    def try_slot(self, wish: Wish, slot: str, *, wrong: bool = False) -> dict[str, Any] | None:
        """None when the slot was taken, the problem when refused; only faults count as failures."""
        body: dict[str, Any] = {"loan": wish.loan_ref, "slot": slot, "channel": wish.channel}
        form = {"amount": str(wish.payoff_cny), "option": "full", "contact": "synthetic customer"}
        if wrong:
            body |= form | {"amount": str(wish.payoff_cny + Decimal(100000))}
        elif wish.form != "later":
            body |= form
        speaking = self.staff if wish.channel == "counter" else self.headers
        headers = {**speaking, "Idempotency-Key": uuid.uuid4().hex}
        with self.client.post(
            "/v1/bookings", json=body, name="POST /v1/bookings", headers=headers, catch_response=True
        ) as answer:
            if answer.status_code >= 500 or answer.status_code in (0, 401, 403):  # noqa: PLR2004
                answer.failure(f"HTTP {answer.status_code}")
                return None
            answer.success()
            content = answer.json()
        if answer.status_code != 201:  # noqa: PLR2004
            return dict(content)
        if wish.form == "later":
            ref = content["booking"]["ref"]
            self.client.post(
                f"/v1/bookings/{ref}/confirm",
                json=form,
                name="POST /v1/bookings/REF/confirm",
                headers=speaking,
            )
        return None


def first_slot_remedy(problem: dict[str, Any]) -> str | None:
    """The slot of the best remedy that names one."""
    for remedy in problem.get("remedies", ()):
        if remedy.get("slot"):
            return str(remedy["slot"])
    return None


def slots_in(calendar: Any) -> list[dict[str, Any]]:
    """The slots of an answer of GET /v1/slots."""
    return list(calendar.get("slots", ())) if isinstance(calendar, dict) else []
