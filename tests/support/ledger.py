"""What a database must hold after a crash: all that was acknowledged, nothing by half, nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Engine

from tests.support.counts import drift, rows
from tests.support.levels import levels, unfair


def faults(engine: Engine, acknowledged: Mapping[str, str]) -> list[str]:
    """One line for each thing that is wrong; `acknowledged` is the reference that each loan was told.

    Each loan was booked under one key, and no booking has left the state that it was made in.
    """
    bookings = {str(row["booking_ref"]): row for row in rows(engine, "bookings")}
    return [
        *_missing(bookings, acknowledged),
        *_twice(bookings),
        *_by_half(engine, bookings),
        *drift(engine),
        *unfair(levels(engine)),
    ]


def _missing(bookings: Mapping[str, Mapping[str, Any]], acknowledged: Mapping[str, str]) -> Iterator[str]:
    for loan, ref in acknowledged.items():
        if ref not in bookings:
            yield f"booking {ref} was acknowledged and is not there"
        elif bookings[ref]["loan_ref"] != loan:
            yield f"booking {ref} was acknowledged to {loan} and is of {bookings[ref]['loan_ref']}"


def _twice(bookings: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for loan, times in Counter(row["loan_ref"] for row in bookings.values()).items():
        if times > 1:
            yield f"loan {loan} was booked {times} times under one key"


def _by_half(engine: Engine, bookings: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Each booking has one event, key, attempt and episode of its own, and none of these is without one."""
    belongings = {
        "event": [row["booking_ref"] for row in rows(engine, "booking_events")],
        "key": [row["body"]["booking"]["ref"] for row in rows(engine, "idempotency_keys")],  # type: ignore[index]
        "attempt": [row["booking_ref"] for row in rows(engine, "attempts") if row["outcome"] == "held"],
        "episode": [row["booking_ref"] for row in rows(engine, "wish_episodes") if row["booking_ref"]],
    }
    for name, refs in belongings.items():
        found = Counter(refs)
        for ref in bookings.keys() | found.keys():
            if (found[ref], ref in bookings) != (1, True):
                known = "known" if ref in bookings else "unknown"
                yield f"{known} booking {ref} has {found[ref]} of {name}"
