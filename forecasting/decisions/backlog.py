"""The waitlist's backlog: who waits for a place that no coming day's demand counts, and the days they take.

Whoever waits wished a day first, and that day's demand counts them. Once it is past, or where they wait at
another branch than they first wished, the place they will take comes on top of the coming days' own demand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

Place = tuple[str, date, str]
"""Branch, day and channel."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """So many entries that wait at a branch through a channel for one of the days first_day..latest_day."""

    branch_id: str
    channel: str
    first_day: date
    latest_day: date
    entries: int


def backlog_days(
    backlog: Sequence[Backlog], usual: Mapping[tuple[str, date], float], day_ratio: float
) -> dict[Place, int]:
    """Units of the backlog by the place that they are planned for; each entry is planned for once.

    usual: the mean demand by branch and day, of the days that are forecast. An entry takes the earliest of
    its days that is open (some demand is expected) and has taken up less than `day_ratio` of its usual
    demand from the backlog (at least one unit); where none has room, the last open one. Whose window ends
    first is planned first. An entry without an open day is planned nowhere.
    """
    taken: dict[tuple[str, date], int] = {}
    planned: dict[Place, int] = {}
    for row in sorted(backlog, key=lambda r: (r.branch_id, r.latest_day, r.first_day, r.channel)):
        days = [row.first_day + timedelta(days=n) for n in range((row.latest_day - row.first_day).days + 1)]
        days = [day for day in days if usual.get((row.branch_id, day), 0.0) > 0]
        left = row.entries
        for day in days:
            key = (row.branch_id, day)
            room = max(1, int(day_ratio * usual[key])) - taken.get(key, 0)
            units = left if day == days[-1] else max(0, min(left, room))
            if units:
                taken[key] = taken.get(key, 0) + units
                place = (*key, row.channel)
                planned[place] = planned.get(place, 0) + units
                left -= units
    return planned
