"""What may become of a booking, and when. Pure: no I/O, no clock.

    offered → held → confirmed → checked_in → completed

Offers and holds expire, what has not begun may be cancelled, and a customer who stays away is a no_show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final

from booking_core.domain import Booking, FieldError, Refused
from metrics.contract import Reason

NEXT: Final[Mapping[str, frozenset[str]]] = {
    "offered": frozenset({"held", "cancelled", "expired"}),
    "held": frozenset({"held", "confirmed", "cancelled", "expired"}),
    "confirmed": frozenset({"confirmed", "cancelled", "checked_in", "no_show"}),
    "checked_in": frozenset({"completed"}),
}
"""What each status may become; the same once more = moved to another slot. All others are an end."""

GIVEN_BACK: Final = frozenset({"cancelled", "expired"})
"""Ends at which the booking's units are free again."""
LATEST_END: Final = timedelta(minutes=5)
"""How far a service may end ahead of our clock: the teller's runs differently."""
EARLIEST_START: Final = timedelta(days=1)
"""How long before the check-in was noted a service may have begun."""


def judge_step(booking: Booking, status: str) -> Refused | None:
    """A refusal if the booking may not become this from what it is, or None."""
    if status in NEXT.get(booking.status, ()):
        return None
    case = {} if booking.status in GIVEN_BACK else {"case": "wrong_status"}
    return Refused(Reason.HOLD_EXPIRED, context=_told(booking) | case)


def check_in(booking: Booking, *, today: date, now: datetime) -> Booking | Refused:
    """The booking with its customer at the branch, on its service day only; `today` in business time."""
    if booking.status == "checked_in":
        return booking
    if refused := judge_step(booking, "checked_in"):
        return refused
    if today != booking.service_day:
        context = {"case": "other_day", "day": str(booking.service_day), "today": str(today)}
        return Refused(Reason.OUTSIDE_BOOKING_WINDOW, context=_told(booking) | context)
    return replace(booking, status="checked_in", checked_in_utc=now)


def complete(
    booking: Booking, *, now: datetime, started: datetime | None = None, ended: datetime | None = None
) -> Booking | Refused:
    """The booking with its customer served; wall times, by default from the check-in until now."""
    if booking.status == "completed":
        asked = replace(
            booking,
            service_started_utc=started or booking.service_started_utc,
            service_ended_utc=ended or booking.service_ended_utc,
        )
        return booking if asked == booking else Refused(Reason.IDEMPOTENCY_CONFLICT)
    if refused := judge_step(booking, "completed"):
        return refused
    arrived = booking.checked_in_utc or now
    started, ended = started or arrived, ended or now
    errors = []
    if started < arrived - EARLIEST_START:
        errors.append(_before("/service_started", started, arrived - EARLIEST_START))
    if ended < started:
        errors.append(_before("/service_ended", ended, started))
    if ended > now + LATEST_END:
        text = f"{ended.isoformat()} is in the future"
        errors.append(FieldError("/service_ended", text, f"{ended.isoformat()} 晚于当前时间"))
    if errors:
        fields = ", ".join(error.pointer for error in errors)
        return Refused(Reason.INVALID_FIELD, errors=tuple(errors), context={"fields": fields})
    return replace(booking, status="completed", service_started_utc=started, service_ended_utc=ended)


def no_show(booking: Booking, *, slot_start: datetime, business_now: datetime) -> Booking | Refused:
    """The booking of a customer who did not come, known once its slot has begun."""
    if booking.status == "no_show":
        return booking
    if refused := judge_step(booking, "no_show"):
        return refused
    if business_now < slot_start:
        context = {"case": "not_begun", "start": slot_start.isoformat()}
        return Refused(Reason.NOTICE_TOO_SHORT, context=_told(booking) | context)
    return replace(booking, status="no_show")


def _told(booking: Booking) -> dict[str, str]:
    return {"booking": booking.booking_ref, "status": booking.status}


def _before(pointer: str, moment: datetime, least: datetime) -> FieldError:
    told, bound = moment.isoformat(), least.isoformat(timespec="seconds")
    return FieldError(pointer, f"{told} is before {bound}", f"{told} 早于 {bound}")
