"""What remedies look like: actions that could be sent as they stand."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

from booking_core.domain import Refused, SlotState, Wish


def take_slot(wish: Wish, slot: SlotState, zone: tzinfo) -> dict[str, Any]:
    """The wish, for this slot."""
    told = {
        "loan": wish.loan_ref,
        "slot": slot.slot_id,
        "channel": wish.channel,
        "amount": None if wish.amount_cny is None else str(wish.amount_cny),
        "option": wish.option,
        "contact": wish.contact,
    }
    return {
        "action": "take_slot",
        "slot": slot.slot_id,
        "branch": slot.branch_id,
        "start": slot.start_utc.astimezone(zone).isoformat(),
        "method": "POST",
        "href": "/v1/bookings",
        "body": {name: value for name, value in told.items() if value is not None},
    }


def join_waitlist(wish: Wish, slot: SlotState) -> dict[str, Any]:
    """Waiting for a place at the wished branch, from the wished day on."""
    body = {
        "loan": wish.loan_ref,
        "branch": slot.branch_id,
        "wished_day": slot.service_day.isoformat(),
        "channel": wish.channel,
    }
    return {"action": "join_waitlist", "method": "POST", "href": "/v1/waitlist", "body": body}


def of_booking(booking_ref: str, entry_ref: str | None = None) -> tuple[dict[str, Any], ...]:
    """What can be done with the booking there is; with the waitlist's entry where it is an offer."""
    booking = f"/v1/bookings/{booking_ref}"
    accept = {"action": "accept_offer", "method": "POST", "href": f"/v1/waitlist/{entry_ref}/accept"}
    return (
        *([accept] if entry_ref else []),
        {"action": "view_booking", "method": "GET", "href": booking},
        {"action": "cancel_booking", "method": "DELETE", "href": booking},
    )


def change_field(pointer: str) -> dict[str, Any]:
    """Another value for the field."""
    return {"action": "change_field", "pointer": pointer}


def change_fields(refused: Refused) -> tuple[dict[str, Any], ...]:
    """One action for each field that does not fit."""
    return tuple(change_field(error.pointer) for error in refused.errors)
