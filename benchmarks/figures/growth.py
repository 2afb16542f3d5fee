"""Whether a booking costs more in a large bank than in a small one.

Three banks on one cluster: a hundred slots and 10⁴ bookings; 100,000 slots and 10⁴ bookings; 100,000 slots
and 5·10⁶ bookings, in proportion with attempts, episodes, events and keys. All get the same load, 64 clients
on fifty slots of ten branches in two regions on one day, so that only the size of the tables differs, not how
many customers share a counter. Cost is the CPU time of workers and database for an accepted booking.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any, Final

from benchmarks.figures.throughput import CLIENTS, LOANS_A_SECOND, batch_load, told
from benchmarks.support.banks import NO_LIMIT, Databases, Shape
from benchmarks.support.generator import Seen
from benchmarks.support.history import LIVE_SHARE, add_history, filling, size_mb
from benchmarks.support.pgbench import Pgbench
from benchmarks.support.rounds import Figure, interleave, ratio
from benchmarks.support.stage import Server, Stage
from tests.support.postgres import PostgresCluster

FEW, MANY = 10_000, 5_000_000
"""Bookings."""
LIMITS: Final = {
    (scope, kind): NO_LIMIT for scope in ("branch", "region") for kind in ("day", "week", "month")
}
SMALL: Final = Shape(regions=2, branches_each=5, days=1, past_days=1, slots_each_day=5, limits=LIMITS)
LARGE: Final = Shape(regions=20, branches_each=10, days=20, past_days=30, slots_each_day=10, limits=LIMITS)
SLOTS_EACH: Final = 5
"""Of each branch, that the load books."""
LARGE_BRANCHES: Final = (range(30, 35), range(110, 115))
LARGE_DAY: Final = 9
WARM_SECONDS: Final = 4.0
"""The first booking of a period counts what is booked already: not a cost of every booking."""


def cost(stage: Stage) -> list[Figure]:
    """The larger of two ratios: of 1,000 times the slots, and of 500 times the bookings."""
    fresh = int((stage.rounds * (stage.seconds + 1) + WARM_SECONDS + 1) * LOANS_A_SECOND)
    rows = stage.growth_rows or MANY
    small = replace(SMALL, loans=FEW + fresh)
    large = replace(LARGE, loans=rows // LIVE_SHARE + fresh)
    with ExitStack() as stack:
        databases = Databases(stack.enter_context(PostgresCluster.start()))
        own = replace(stage, databases=databases, pgbench=Pgbench(databases))
        with filling(databases):
            urls = {
                "small": databases.copy(small),
                "slots": databases.copy(large),
                "bookings": databases.copy(large),
            }
            add_history(databases, urls["small"], rows=FEW, loans=small.loans)
            add_history(databases, urls["slots"], rows=FEW, loans=large.loans)
            add_history(databases, urls["bookings"], rows=rows, loans=large.loans)
        os.sync()
        servers = {
            name: stack.enter_context(own.server_on(url, small if name == "small" else large))
            for name, url in urls.items()
        }
        slots = {name: _slots(name) for name in urls}
        for name, server in servers.items():
            server.next_loan = (FEW if name != "bookings" else rows) // LIVE_SHARE
            server.load(CLIENTS, seconds=WARM_SECONDS, slots=slots[name])
        seen = interleave(
            {name: _measure(server, own, slots[name]) for name, server in servers.items()}, stage.rounds
        )
        sizes = {name: size_mb(databases, url) for name, url in urls.items()}
    costs = {name: [_cpu(s) for s in some] for name, some in seen.items()}
    by_slots = ratio("cost_growth", costs["slots"], costs["small"], at_most=1.2)
    by_bookings = ratio("cost_growth", costs["bookings"], costs["slots"], at_most=1.2)
    stage.notes["growth"] = {
        "rows_of_bookings": [FEW, FEW, rows],
        "database_mb": sizes,
        "cost_ratio_1000_times_the_slots": round(by_slots.value, 3),
        f"cost_ratio_{rows // FEW}_times_the_bookings": round(by_bookings.value, 3),
        "seconds_ratio": {
            "slots": _seconds_ratio(seen, "slots", "small"),
            "bookings": _seconds_ratio(seen, "bookings", "slots"),
        },
        **{f"bank_{name}": told(some) for name, some in seen.items()},
    }
    return [max(by_slots, by_bookings, key=lambda f: f.value)]


def _slots(name: str) -> list[str]:
    """The slots that the load books: as many, of as many branches and regions, in every bank."""
    if name == "small":
        return SMALL.slot_ids(0)
    found = [slot for branches in LARGE_BRANCHES for slot in LARGE.slot_ids(LARGE_DAY, branches)]
    return [slot for slot in found if int(slot.rsplit("-", 1)[1]) < SLOTS_EACH]


def _measure(server: Server, stage: Stage, slots: list[str]) -> Any:
    return lambda: batch_load(server, stage, slots)


def _cpu(seen: Seen) -> float:
    return (seen.cpu["workers"] + seen.cpu["postgres"]) / max(1, seen.accepted)


def _seconds_ratio(seen: dict[str, list[Seen]], above: str, below: str) -> float:
    """The same ratio of wall time for an accepted booking, the machine being full."""
    pairs = zip(seen[above], seen[below], strict=True)
    return round(median(b.goodput / max(1e-9, a.goodput) for a, b in pairs), 3)
