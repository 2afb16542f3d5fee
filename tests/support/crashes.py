"""Crashes under load: workers killed, the database restarted, while a crowd books."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from sqlalchemy import insert

from booking_core import tables as t
from booking_core.database import write_transaction
from metrics.contract import Reason
from tests.support.bank import Bank
from tests.support.crowd import Answer, Crowd, Teller
from tests.support.postgres import PostgresCluster
from tests.support.serving import Served, serve

SCARCE_UNITS = 60
"""A day of branch b1, which half of the crowd wishes."""


@dataclass(frozen=True)
class Storm:
    """What a crowd went through, by whom it was told what."""

    answers: list[Answer]
    acknowledged: dict[str, str]
    unsettled: set[str]
    broken: int
    kills: int = 0
    back_seconds: tuple[float, ...] = ()
    """From each end of the database until the next booking."""

    @property
    def out_of_form(self) -> list[Answer]:
        """Answers that are not what the contract promises."""
        return [answer for answer in self.answers if answer.status and not answer.in_form]

    @property
    def slowest_seconds(self) -> float:
        """The longest that anyone waited for an answer."""
        return max(answer.seconds for answer in self.answers)

    @property
    def reasons(self) -> set[Reason | None]:
        """All reasons that were told."""
        return {answer.reason for answer in self.answers}


def furnish(bank: Bank, loans: int) -> list[tuple[str, str]]:
    """The crowd's wishes: half for a branch with few units, half for one with plenty, every level limited."""
    bank.add_branch("b2")
    scarce = [bank.add_slot("b1", at=f"{h}:00", capacity=SCARCE_UNITS // 2) for h in (10, 11, 12)]
    plenty = [
        bank.add_slot("b2", at=f"{h}:{m}", capacity=10_000) for h in range(10, 17) for m in ("00", "30")
    ]
    bank.add_quota("branch", "b1", "day", SCARCE_UNITS)
    for kind in ("day", "week", "month"):
        bank.add_quota("region", "north", kind, 100_000)
    bank.add_quota("bank", "bank", "funds_day", 10**11)
    names = [f"R{n}" for n in range(loans)]
    told = {"branch_id": "b1", "status": "active", "payoff_cny": 250_000, "min_prepayment_cny": 1_000}
    with write_transaction(bank.engine) as connection:
        connection.execute(insert(t.loans), [{"loan_ref": n, "holder": n, **told} for n in names])
    return [
        (name, scarce[n % len(scarce)] if n % 2 else plenty[n % len(plenty)]) for n, name in enumerate(names)
    ]


def killed_workers(
    bank: Bank, *, seconds: float, workers: int = 2, every_seconds: float = 0.8, module: str = "booking_core"
) -> Storm:
    """A storm in which one worker after the other, sometimes all at once, is killed with signal 9."""
    wishes, dice, kills = furnish(bank, 20_000), random.Random(7), 0
    with serve(bank.url, workers=workers, module=module) as served:
        crowd = Crowd(served, wishes)
        with crowd.at_it():
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(dice.uniform(0.2, 2) * every_seconds)
                assert served.process.poll() is None, f"the server ended:\n{served.log()[-4000:]}"
                found = psutil.Process(served.process.pid).children()
                for worker in found if dice.random() < 0.2 else dice.sample(found, min(1, len(found))):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        worker.kill()
                        kills += 1
        return Storm(crowd.answers, crowd.acknowledged, crowd.unsettled, crowd.broken, kills)


def restarted_database(
    cluster: PostgresCluster, bank: Bank, *, restarts: int, away_seconds: float = 0, workers: int = 2
) -> Storm:
    """A storm in which the database crashes and is started again, while others look at the calendar."""
    wishes, back = furnish(bank, 20_000), []
    seen: list[Answer] = []
    with serve(bank.url, workers=workers) as served:
        crowd = Crowd(served, wishes)
        with crowd.at_it(), _lookers(served, bank, seen):
            for _ in range(restarts):
                before = len(crowd.acknowledged)
                crowd.wait(lambda c, least=before + 100: len(c.acknowledged) > least, 60)
                cluster.control("-m", "immediate", "stop")
                time.sleep(away_seconds)
                cluster.up()
                up = time.monotonic()
                crowd.wait(lambda c, since=up: any(a.ref and a.at > since for a in c.answers[-50:]), 60)
                back.append(time.monotonic() - up)
        answers = [*crowd.answers, *seen]
        return Storm(answers, crowd.acknowledged, crowd.unsettled, crowd.broken, back_seconds=tuple(back))


@contextlib.contextmanager
def _lookers(served: Served, bank: Bank, seen: list[Answer]) -> Iterator[None]:
    """Someone looks at calendar, quotas and branches all the time; the answers are noted."""
    stop = threading.Event()

    def look() -> None:
        teller, staff = Teller(served), Teller(served, "operator")
        while not stop.wait(0.05):
            seen.append(teller.ask("GET", f"/v1/slots?branch=b2&from={bank.today}&to={bank.today}"))
            seen.append(teller.ask("GET", "/v1/branches"))
            seen.append(staff.ask("GET", "/v1/quotas"))

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    try:
        yield
    finally:
        stop.set()
        looker.join(60)
