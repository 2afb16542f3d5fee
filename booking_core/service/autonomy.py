"""Whether a region's plans are applied by themselves: earned and lost by scores, or fixed by a person."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from booking_core.service.commands import Command, CommandRefused, OutsideClaim, record_audit
from booking_core.store import regions
from metrics.contract import PlanRefusal, RegionMode

ModeAnswer = Row[Any] | CommandRefused | OutsideClaim


def mode_of(region: Row[Any]) -> RegionMode:
    """The mode in force."""
    return RegionMode.AUTOMATIC if region.automatic_application else RegionMode.SHADOW


def earn_mode(
    connection: Connection, region_id: str, mode: RegionMode, reason: str, command: Command
) -> ModeAnswer:
    """The region in the mode that its scores say, refused where a person has fixed another one.

    Setting the mode that is in force changes nothing.
    """
    region = _region(connection, region_id, command)
    if not isinstance(region, Row) or mode_of(region) is mode:
        return region
    if region.automatic_fixed:
        return CommandRefused(PlanRefusal.REGION_FIXED, {"region": region_id, "mode": mode_of(region)})
    return _set(connection, region, mode, fixed=False, reason=reason, command=command)


def fix_mode(
    connection: Connection, region_id: str, mode: RegionMode | None, reason: str | None, command: Command
) -> ModeAnswer:
    """The region in the mode that a person says, which no score changes; None hands it back to the scores.

    Saying the same again changes nothing; another reason for it is kept and audited like a change.
    """
    region = _region(connection, region_id, command)
    if not isinstance(region, Row):
        return region
    wanted = (mode or mode_of(region), mode is not None)
    if (mode_of(region), region.automatic_fixed) == wanted and reason in (None, region.automatic_reason):
        return region
    return _set(connection, region, wanted[0], fixed=wanted[1], reason=reason, command=command)


def _region(connection: Connection, region_id: str, command: Command) -> ModeAnswer:
    """The region, locked, if there is one and the caller may steer it."""
    if not command.caller.may_see(region_id):
        return OutsideClaim(region_id)
    region = regions.region_row(connection, region_id, lock=True)
    if region is None:
        missing = {"what": f"region {region_id}", "what_zh": f"分区 {region_id}"}
        return CommandRefused(PlanRefusal.RESOURCE_NOT_FOUND, missing)
    return region


def _set(
    connection: Connection,
    region: Row[Any],
    mode: RegionMode,
    *,
    fixed: bool,
    reason: str | None,
    command: Command,
) -> ModeAnswer:
    automatic = mode is RegionMode.AUTOMATIC
    regions.set_mode(
        connection, region.region_id, automatic=automatic, fixed=fixed, reason=reason, now=command.now
    )
    before = {"mode": mode_of(region), "fixed": region.automatic_fixed}
    after = {"mode": mode, "fixed": fixed, "reason": reason}
    record_audit(connection, command, "region.mode", region.region_id, before, after)
    return _region(connection, region.region_id, command)
