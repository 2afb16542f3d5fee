"""What the staff of each branch can serve on a day: by its roster where one stands, else as imported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd
from sqlalchemy import Engine

from booking_core.read.bank import branches
from forecasting.decisions.overbooking import overbooked
from forecasting.decisions.policy import Policy
from forecasting.decisions.roster import ShiftRules, working_half_hours
from forecasting.decisions.staffing import units_served
from forecasting.staff_measures import measure_staff, who_is_there
from metrics.contract import Skill


@dataclass(frozen=True, slots=True)
class StaffCaps:
    """Units a day; overbooked where the policy says so."""

    standing: dict[str, int | None]
    """By branch, as imported; None = unknown."""
    rostered: dict[tuple[str, date], int]
    """By branch and day where a roster tells who is at the counter: it wins."""

    def of(self, branch: str, day: date) -> int | None:
        """The cap of the branch on the day; None = unknown."""
        return self.rostered.get((branch, day), self.standing.get(branch))


def staff_caps(engine: Engine, region: str | None, first: date, last: date, policy: Policy) -> StaffCaps:
    """The caps of the region's active branches (None = the bank's) for the days first..last.

    A roster's units = heads × time at work × `staff_utilisation` ÷ handling time, as measured before `first`.
    """
    known = branches(engine, region)
    known = known[known["active"]]
    standing = {
        row["branch_id"]: None if pd.isna(row["staff_cap_units"]) else int(row["staff_cap_units"])
        for row in known.to_dict("records")
    }
    there = {
        (branch, day): groups
        for (branch, day, skill), groups in who_is_there(engine, first, last, region).items()
        if skill is Skill.COUNTER and branch in standing
    }
    if not there and not policy.overbooking:
        return StaffCaps(standing, {})
    measures = measure_staff(engine, first - timedelta(days=1), policy, region)
    rules = ShiftRules.of(policy)

    def booked(branch: str, cap: int) -> int:
        """The cap, overbooked where that is on."""
        absent = measures[branch].no_show_ratio if policy.overbooking else 0.0
        return overbooked(cap, absent, policy.overbooking_cost)

    rostered = {
        (branch, day): booked(
            branch,
            units_served(
                working_half_hours(groups, rules),
                measures[branch].handling_seconds,
                policy.staff_utilisation,
            ),
        )
        for (branch, day), groups in there.items()
    }
    return StaffCaps(
        {branch: None if cap is None else booked(branch, cap) for branch, cap in standing.items()}, rostered
    )
