"""Hundreds of thousands of attempts race for fewer units, on several worker processes; then all is recounted.

Two storms on a bank whose slots, branches, regions and bank are all limited, by day, week and month. In the
first nobody cancels, so that every refusal can be checked against the sequence of what was taken; in the
second three of ten cancel at once, and what is free afterwards is booked to the last unit.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from benchmarks.support.audit import Audit, audit
from benchmarks.support.banks import Shape
from benchmarks.support.rounds import Figure, figure
from benchmarks.support.stage import Server, Stage

CLIENTS: Final = 64
WORKERS: Final = 4
"""More than cores: they interrupt each other in the middle of what they do."""
CANCELLED: Final = 0.3
WITHOUT_CANCELLING: Final = 0.7
"""The share of the attempts in the first storm."""
REGIONS, BRANCHES, DAYS, SLOTS = 4, 5, 10, 5
UNITS_AN_ATTEMPT: Final = 0.2
"""Capacity of all slots together ÷ attempts: many sell out, on the way and at different times."""
AROUND_SECONDS: Final = 45.0
"""For the banks, the servers and the recounts."""
LEAST_SECONDS: Final = 60.0
"""However late a quick run is."""
LEFTOVERS: Final = 2_000
"""Units that are free after the second storm and are booked to see that they are."""


def races(stage: Stage) -> list[Figure]:
    """Refusals for capacity while units were free, and units sold that were not there, over all attempts."""
    audits: list[Audit] = []
    longest = max(LEAST_SECONDS, stage.seconds_left() - AROUND_SECONDS)
    for cancelled, share in ((0.0, WITHOUT_CANCELLING), (CANCELLED, 1 - WITHOUT_CANCELLING)):
        attempts = int(stage.attempts * share) + 1
        shape = _bank(attempts)
        with stage.server(shape, workers=max(WORKERS, stage.workers)) as server:
            slots = [slot for day in range(DAYS) for slot in shape.slot_ids(day)]
            seen = server.load(
                CLIENTS, loans=attempts, slots=slots, cancelled=cancelled, seconds=longest * share, ramp=0.0
            )
            found = audit(server.engine_url, gone_for_good=not cancelled)
            if cancelled:
                found.leftover_refused = _book_what_is_free(server, found, attempts)
            found.told |= {
                "seconds": round(seen.seconds, 1),
                "answers": seen.answers,
                "accepted": seen.accepted,
                "cancelled": seen.counts.get("cancelled", 0),
                "refused": seen.refused,
                "dropped": seen.dropped,
            }
            audits.append(found)
    stage.notes["races"] = {
        "workers": max(WORKERS, stage.workers),
        "attempts": sum(a.attempts for a in audits),
        "storms": [_note(a) for a in audits],
    }
    false = [a.false_refusals + a.leftover_refused for a in audits]
    return [_sum("false_refusals", false), _sum("oversell", [a.oversold for a in audits])]


def _bank(attempts: int) -> Shape:
    """A bank where every kind of limit binds somewhere: each a little narrower than what lies below it."""
    slot = max(1, round(attempts * UNITS_AN_ATTEMPT / (REGIONS * BRANCHES * DAYS * SLOTS)))
    branch_day = round(slot * SLOTS * 0.95)
    region_day = round(branch_day * BRANCHES * 0.97)
    bank_day = round(region_day * REGIONS * 0.98)
    # ten days lie in two or three weeks and one or two months, so the longer limits bind in the fuller ones
    week, month = 4.6, 8.0
    limits = {
        (scope, kind): round(day * times)
        for scope, day in (("branch", branch_day), ("region", region_day), ("bank", bank_day))
        for kind, times in (("day", 1.0), ("week", week), ("month", month))
    }
    return Shape(
        REGIONS, BRANCHES, DAYS, slots_each_day=SLOTS, capacity=slot, loans=2 * attempts, limits=limits
    )


def _book_what_is_free(server: Server, found: Audit, attempts: int) -> int:
    """How many of the units that the recount calls free could not be booked, one customer after the other."""
    slots = list(islice(found.free_slots(), LEFTOVERS))
    if not slots:
        return 0
    seen = server.load(1, wishes=[(attempts + n, slot) for n, slot in enumerate(slots)])
    found.told["leftovers"] = len(slots)
    return len(slots) - seen.counts.get("held_at_once", 0)


def _sum(name: str, values: list[int]) -> Figure:
    """A count over all storms: one number, no range."""
    return figure(name, [float(sum(values))], at_most=0)


def _note(found: Audit) -> dict[str, Any]:
    return {
        **found.told,
        "attempts": found.attempts,
        "refused_by_level": found.refused_by_level,
        "false_refusals": found.false_refusals,
        "leftover_refused": found.leftover_refused,
        "oversold": found.oversold,
        "counters_off": found.drift,
    }
