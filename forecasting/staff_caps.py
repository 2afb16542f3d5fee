"""What the staff of each branch can serve on a day: by its roster where one stands, else as imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
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
    distrusted_no_shows: dict[str, float] = field(default_factory=dict)
    """By branch, the measured share of no-shows where overbooking took it for the policy's largest."""

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

    served = {
        (branch, day): units_served(
            working_half_hours(groups, rules), measures[branch].handling_seconds, policy.staff_utilisation
        )
        for (branch, day), groups in there.items()
    }
    if not policy.overbooking:
        return StaffCaps(standing, served)
    absent = {branch: measures[branch].no_show_ratio for branch in standing}
    imported = {branch: cap for branch, cap in standing.items() if cap is not None}
    return StaffCaps(
        standing
        | dict(zip(imported, _booked(list(imported), imported.values(), absent, policy), strict=True)),
        dict(
            zip(
                served,
                _booked([branch for branch, _ in served], served.values(), absent, policy),
                strict=True,
            )
        ),
        {branch: share for branch, share in absent.items() if share > policy.overbooking_most_no_shows_ratio},
    )


def _booked(
    branches: Sequence[str], caps: Iterable[int], absent: Mapping[str, float], policy: Policy
) -> list[int]:
    """The caps of the branches, overbooked by their shares of no-shows."""
    shares = np.array([absent[branch] for branch in branches], dtype=float)
    believed = np.minimum(shares, policy.overbooking_most_no_shows_ratio)
    booked: list[int] = overbooked(
        np.array(list(caps), dtype=np.int64), believed, policy.overbooking_cost
    ).tolist()
    return booked
