"""The outer ring's endpoints: what the application serves beside the core, each of which can be left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from fastapi import APIRouter

from booking_core.events import api as events
from booking_core.rosters import api as rosters

PARTS: Final[Mapping[str, APIRouter]] = {"events": events.router, "rosters": rosters.router}


def routers(without: Collection[str] = ()) -> list[APIRouter]:
    """The endpoints of every part but those named. Raises ValueError for a name that is no part."""
    if unknown := set(without) - set(PARTS):
        raise ValueError(f"no such part: {sorted(unknown)}; expected some of {sorted(PARTS)}")
    return [router for name, router in PARTS.items() if name not in without]
