"""What may become of a booking: which status may follow which, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from booking_core import lifecycle
from booking_core.domain import Booking, Refused
from booking_core.lifecycle import NEXT, judge_step
from booking_core.store.quotas import COUNTED_STATUSES
from booking_core.store.slots import LIVE
from metrics.contract import Reason

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
DAY = date(2026, 3, 2)
STATUSES = {"offered", "held", "confirmed", "checked_in", "completed", "no_show", "cancelled", "expired"}


def booking(status: str = "confirmed", **changes: Any) -> Booking:
    """A booking of today, checked in now unless told otherwise."""
    plain: dict[str, Any] = {
        "booking_ref": "B1",
        "loan_ref": "L1",
        "slot_id": "s1",
        "branch_id": "b1",
        "region_id": "north",
        "service_day": DAY,
        "channel": "app",
        "status": status,
        "units": 1,
        "amount_cny": None,
        "option": None,
        "contact": None,
        "created_utc": NOW - timedelta(days=3),
        "held_until_utc": None,
        "checked_in_utc": NOW if status in {"checked_in", "completed"} else None,
        "version": 3,
    }
    return Booking(**{**plain, **changes})


def refusal(outcome: Booking | Refused | None) -> Refused:
    """The refusal that it is."""
    assert isinstance(outcome, Refused), outcome
    return outcome


def test_every_status_is_known_and_some_are_an_end() -> None:
    """What may follow is a status too; completed, no_show, cancelled and expired end the story."""
    assert {status for some in NEXT.values() for status in some} | set(NEXT) == STATUSES
    assert STATUSES - set(NEXT) == {"completed", "no_show", "cancelled", "expired"}
    assert set(NEXT) == set(LIVE)
    assert STATUSES - set(COUNTED_STATUSES) == lifecycle.GIVEN_BACK


@pytest.mark.parametrize("status", sorted(STATUSES))
def test_a_step_that_is_not_allowed_says_the_status(status: str) -> None:
    """From each status only its own successors are allowed; the refusal of others names the status."""
    for wanted in STATUSES:
        refused = judge_step(booking(status), wanted)
        assert (refused is None) == (wanted in NEXT.get(status, ()))
        if refused:
            assert (refused.reason, refused.context["status"]) == (Reason.HOLD_EXPIRED, status)


@pytest.mark.parametrize("days", [-1, 1])
def test_check_in_is_on_the_service_day(days: int) -> None:
    """A customer is checked in on the day of the appointment, neither before nor after."""
    arrived = lifecycle.check_in(booking(), today=DAY, now=NOW)
    assert arrived == booking("checked_in")
    refused = refusal(lifecycle.check_in(booking(), today=DAY + timedelta(days=days), now=NOW))
    assert (refused.reason, refused.context["case"]) == (Reason.OUTSIDE_BOOKING_WINDOW, "other_day")


def test_nobody_is_a_no_show_before_the_slot_begins() -> None:
    """That a customer stayed away is known from the slot's start on."""
    absent = lifecycle.no_show(booking(), slot_start=NOW, business_now=NOW)
    assert absent == booking("no_show")
    early = lifecycle.no_show(booking(), slot_start=NOW, business_now=NOW - timedelta(seconds=1))
    assert (refusal(early).reason, refusal(early).context["case"]) == (Reason.NOTICE_TOO_SHORT, "not_begun")


def test_a_service_lasts_from_check_in_until_now_unless_told() -> None:
    """Without times the service began at the check-in and ends now."""
    later = NOW + timedelta(minutes=20)
    served = lifecycle.complete(booking("checked_in"), now=later)
    assert isinstance(served, Booking)
    assert (served.status, served.service_started_utc, served.service_ended_utc) == ("completed", NOW, later)


@pytest.mark.parametrize(
    ("started", "ended", "pointers"),
    [
        (-30, 5, []),
        (-24 * 60, 10, []),
        (-24 * 60 - 1, 10, ["/service_started"]),
        (5, 4, ["/service_ended"]),
        (5, 15, []),
        (5, 16, ["/service_ended"]),
        (30, None, ["/service_ended"]),
        (-24 * 60 - 1, -24 * 60 - 2, ["/service_started", "/service_ended"]),
    ],
)
def test_service_times_make_sense(started: int, ended: int | None, pointers: list[str]) -> None:
    """Start ≤ end ≤ five minutes from now, and no start more than a day before the check-in."""
    outcome = lifecycle.complete(
        booking("checked_in"),
        now=NOW + timedelta(minutes=10),
        started=NOW + timedelta(minutes=started),
        ended=None if ended is None else NOW + timedelta(minutes=ended),
    )
    errors = outcome.errors if isinstance(outcome, Refused) else ()
    assert [error.pointer for error in errors] == pointers


def test_a_repetition_changes_nothing_and_another_time_is_a_conflict() -> None:
    """What was noted once is not noted again; other service times than the noted ones are refused."""
    arrived, absent = booking("checked_in"), booking("no_show")
    assert lifecycle.check_in(arrived, today=DAY + timedelta(days=1), now=NOW) is arrived
    assert lifecycle.no_show(absent, slot_start=NOW, business_now=NOW) is absent
    served = replace(arrived, status="completed", service_started_utc=NOW, service_ended_utc=NOW)
    assert lifecycle.complete(served, now=NOW) is served
    assert lifecycle.complete(served, now=NOW, started=NOW) is served
    other = lifecycle.complete(served, now=NOW, ended=NOW - timedelta(minutes=1))
    assert refusal(other).reason is Reason.IDEMPOTENCY_CONFLICT
