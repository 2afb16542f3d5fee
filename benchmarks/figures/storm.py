"""A month end: everybody wants its last day at the popular branches; the refused follow the first remedy.

Each region has room for 1.3 times its customers over six days, but not on the day that all of them want, nor
at the branches that most of them know. A customer refused for capacity sends the body of the refusal's first
remedy at once, if that is a slot; held counts as success, whatever else happens (a place on the waitlist, or
no remedy at all) does not.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Final

from benchmarks.support.banks import Shape
from benchmarks.support.rounds import Figure, figure
from benchmarks.support.stage import Stage, milliseconds

CLIENTS: Final = 64
BRANCHES: Final = 10
REGIONS: Final = 4
"""Of one round; the next round's customers live elsewhere."""
DAYS: Final = 6
MONTH_END: Final = 2
"""The wished day among them."""
BRANCH_DAY, REGION_DAY = 24, 220
"""Limits a day; eight slots of four units stand at each branch."""
SLACK: Final = 1.3
SEED: Final = 20261130
STORM: Final = Shape(
    branches_each=BRANCHES,
    days=DAYS,
    slots_each_day=8,
    capacity=4,
    limits={
        ("branch", "day"): BRANCH_DAY,
        ("region", "day"): REGION_DAY,
        ("branch", "week"): 10 * BRANCH_DAY,
    },
)
CUSTOMERS: Final = int(DAYS * REGION_DAY / SLACK)
"""Of each region."""


def remedies(stage: Stage) -> list[Figure]:
    """The share of the refused whom the first remedy, followed at once, gave a held slot."""
    regions = REGIONS * stage.rounds
    shape = replace(STORM, regions=regions, loans=regions * CUSTOMERS)
    shares, noted = [], []
    with stage.server(shape) as server:
        for n in range(stage.rounds):
            seen = server.load(CLIENTS, wishes=_wishes(shape, n))
            shares.append(seen.counts.get("remedied", 0) / max(1, seen.counts.get("refused", 0)))
            noted.append(_told(seen.counts, seen.seconds, seen.p99))
    stage.notes["remedies"] = {"customers_a_round": REGIONS * CUSTOMERS, "rounds": noted}
    return [figure("remedy_success", shares, at_least=0.95)]


def _wishes(shape: Shape, round_number: int) -> list[tuple[int, str]]:
    """(loan, slot) of the round's customers, in the order in which they come."""
    draw = random.Random(SEED + round_number)
    first = round_number * REGIONS * BRANCHES
    wishes: list[str] = []
    for region in range(REGIONS):
        branches = list(range(first + region * BRANCHES, first + (region + 1) * BRANCHES))
        popularity = [1 / rank for rank in range(1, BRANCHES + 1)]
        wishes += [
            draw.choice(shape.slot_ids(MONTH_END, range(branch, branch + 1)))
            for branch in draw.choices(branches, popularity, k=CUSTOMERS)
        ]
    draw.shuffle(wishes)
    return [(round_number * len(wishes) + n, slot) for n, slot in enumerate(wishes)]


def _told(counts: dict[str, int], seconds: float, p99: float) -> dict[str, Any]:
    return {**counts, "seconds": round(seconds, 1), "p99_ms": milliseconds(p99)}
