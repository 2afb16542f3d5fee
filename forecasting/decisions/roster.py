"""Roster proposals: shifts that cover the heads needed by half-hour with the staff there is.

An integer program for each branch, day and skill (G. Dantzig's set covering of 1954, each place of a break a
column of its own): the fewest missing heads first, then the fewest paid half-hours, then the earliest starts.
HiGHS (through scipy) solves it exactly, and the same input gives the same roster.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Self

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from forecasting.decisions.erlang import Ints
from forecasting.decisions.half_hours import HALF_HOUR_MINUTES, clock_text, half_hour
from forecasting.decisions.policy import Policy
from forecasting.decisions.staffing import HALF_HOURS
from forecasting.frames import Floats
from metrics.contract import Skill

_EARLIER: Final = 1e-4
"""Tie-breaker for each half-hour a shift starts later, in paid half-hours: never worth one."""


@dataclass(frozen=True, slots=True, order=True)
class Available:
    """Heads that are there from one half-hour (0..47) until another (exclusive, at most 48)."""

    first: int
    until: int
    heads: int


@dataclass(frozen=True, slots=True)
class Shift:
    """Heads who work the same shift; half-hours of the bank's day, ends exclusive."""

    start: int
    end: int
    heads: int
    break_start: int | None = None
    break_end: int | None = None

    def at_work(self) -> Ints:
        """The heads of the shift by half-hour, (48,)."""
        work = np.zeros(HALF_HOURS, dtype=np.int64)
        work[self.start : self.end] = self.heads
        if self.break_start is not None:
            work[self.break_start : self.break_end] = 0
        return work

    def as_record(self) -> dict[str, Any]:
        """Plain JSON values, times as bank-local text."""
        pause = None
        if self.break_start is not None and self.break_end is not None:
            pause = [clock_text(self.break_start), clock_text(self.break_end)]
        return {
            "from": clock_text(self.start),
            "to": clock_text(self.end),
            "heads": self.heads,
            "break": pause,
        }


@dataclass(frozen=True, slots=True)
class Shortage:
    """Heads that a half-hour lacks."""

    half_hour: int
    heads: int

    def as_record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"from": clock_text(self.half_hour), "heads": self.heads}


def shortage_text(shortages: Sequence[Mapping[str, Any]]) -> str:
    """The missing heads as recorded, in words: "09:00–10:30 −2, 13:00–13:30 −1"."""
    spans: list[tuple[int, int, int]] = []
    for told in shortages:
        at, heads = half_hour(told["from"]), int(told["heads"])
        if spans and spans[-1][1:] == (at, heads):
            spans[-1] = (spans[-1][0], at + 1, heads)
        else:
            spans.append((at, at + 1, heads))
    return ", ".join(f"{clock_text(first)}–{clock_text(until)} −{heads}" for first, until, heads in spans)


def roster_drafts(proposal: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bodies of POST /v1/rosters that a proposal leads to, one for each branch: its shifts as entries.

    Only of days for which no roster stands: where one does, the proposal says how to use who is there.
    """
    entries: dict[str, list[dict[str, Any]]] = {}
    for each in proposal["rosters"]:
        if not each["rostered"]:
            entries.setdefault(each["branch"], []).extend(
                {
                    "day": each["day"],
                    "from": shift["from"],
                    "to": shift["to"],
                    "heads": shift["heads"],
                    "skill": each["skill"],
                }
                for shift in each["shifts"]
            )
    return [
        {
            "roster_id": f"proposed-{proposal['period']}-{proposal['first_day']}-{branch}",
            "branch": branch,
            "entries": told,
        }
        for branch, told in sorted(entries.items())
        if told
    ]


@dataclass(frozen=True, slots=True)
class ShiftRules:
    """Which shifts there may be, in half-hours."""

    opens: int
    closes: int
    lengths: tuple[int, ...]
    starts: tuple[int, ...]
    """Empty = any."""
    break_after: float
    """A longer shift has a break …"""
    break_length: int

    @classmethod
    def of(cls, policy: Policy) -> ShiftRules:
        """The rules as the policy states them."""
        return cls(
            opens=half_hour(policy.opens),
            closes=half_hour(policy.closes),
            lengths=tuple(sorted({round(hours * 2) for hours in policy.shift_hours})),
            starts=tuple(sorted({half_hour(text) for text in policy.shift_starts})),
            break_after=policy.break_after_hours * 2,
            break_length=policy.break_minutes // HALF_HOUR_MINUTES,
        )

    def shifts(self, first: int, until: int) -> list[Shift]:
        """Every shift of one head within the opening hours and first..until, by start, length and break."""
        first, until = max(first, self.opens), min(until, self.closes)
        found = []
        for start in range(first, until):
            if self.starts and start not in self.starts:
                continue
            for length in self.lengths:
                if start + length <= until:
                    found += [
                        Shift(start, start + length, 1, *pause) for pause in self._breaks(start, length)
                    ]
        return found

    def _breaks(self, start: int, length: int) -> list[tuple[int, int] | tuple[()]]:
        """Where the shift's break may lie: within its middle third, as far as it fits."""
        if length <= self.break_after or not 0 < self.break_length < length:
            return [()]
        earliest = start + length // 3
        latest = max(earliest, start + length - length // 3 - self.break_length)
        return [(at, at + self.break_length) for at in range(earliest, latest + 1)]


@dataclass(frozen=True, slots=True)
class DayRoster:
    """The shifts proposed for one branch, day and skill, and what they leave short."""

    branch: str
    day: str
    """ISO day."""
    skill: Skill
    need: tuple[int, ...]
    """Heads by half-hour of the day, 48."""
    shifts: tuple[Shift, ...]
    shortages: tuple[Shortage, ...]
    rostered: bool
    """Whether a roster says who is there; without one the shifts are those to be staffed."""

    @property
    def heads(self) -> int:
        """Heads who work that day."""
        return sum(shift.heads for shift in self.shifts)

    @property
    def missing_half_hours(self) -> int:
        """Missing heads × half-hours."""
        return sum(shortage.heads for shortage in self.shortages)

    def as_record(self) -> dict[str, Any]:
        """Plain JSON values: the half-hours that need anybody, shifts and shortages."""
        return {
            "branch": self.branch,
            "day": self.day,
            "skill": str(self.skill),
            "rostered": self.rostered,
            "heads": self.heads,
            "need": {clock_text(at): heads for at, heads in enumerate(self.need) if heads},
            "shifts": [shift.as_record() for shift in self.shifts],
            "shortages": [shortage.as_record() for shortage in self.shortages],
        }


def working_half_hours(available: Sequence[Available], rules: ShiftRules) -> int:
    """Heads × half-hours at work within the opening hours, everybody's break taken off."""
    total = 0
    for group in available:
        length = max(0, min(group.until, rules.closes) - max(group.first, rules.opens))
        rests = rules.break_length if length > rules.break_after else 0
        total += group.heads * max(0, length - rests)
    return total


def propose_roster(
    need: Sequence[int], available: Sequence[Available] | None, rules: ShiftRules
) -> tuple[tuple[Shift, ...], tuple[Shortage, ...]]:
    """The shifts that leave the fewest heads missing, at the fewest paid half-hours; what they leave short.

    need: heads by half-hour, 48. available None: nobody says who is there, so as many as are needed are.
    Need outside the opening hours cannot be covered and is told as short.
    """
    wanted = tuple(int(heads) for heads in need)
    anybody = (Available(0, HALF_HOURS, sum(wanted)),)
    return _solved(wanted, anybody if available is None else tuple(sorted(available)), rules)


@lru_cache(maxsize=4096)
def _solved(
    need: tuple[int, ...], groups: tuple[Available, ...], rules: ShiftRules
) -> tuple[tuple[Shift, ...], tuple[Shortage, ...]]:
    """The optimum; kept, since days of one kind need the same."""
    wanted = np.array(need)
    rows = np.flatnonzero(wanted)
    columns = [
        (which, shift)
        for which, group in enumerate(groups)
        for shift in rules.shifts(group.first, group.until)
        if shift.at_work()[rows].any()
    ]
    if not columns:
        return (), _shortages(wanted)
    program = _Program.of(columns, [group.heads for group in groups], wanted[rows], rows)
    counts = program.solved(most_short=None)
    # a missing head weighs more than any one shift, which is too little only where one more shift would move
    # others as well: then the heads missing are counted alone first, as no weight does safely for every size
    if program.short(counts) > program.least_short():
        fewest = program.fewest_short()
        if program.short(counts) > fewest:
            counts = program.solved(most_short=fewest)
    heads: Counter[Shift] = Counter()
    for count, (_, shift) in zip(counts, columns, strict=True):
        heads[shift] += int(count)  # groups that overlap share a shift
    shifts = tuple(replace(shift, heads=count) for shift, count in heads.items() if count)
    there = sum((shift.at_work() for shift in shifts), np.zeros(HALF_HOURS, dtype=np.int64))
    return tuple(sorted(shifts, key=_clock_order)), _shortages(np.maximum(wanted - there, 0))


@dataclass(frozen=True, slots=True)
class _Program:
    """The integer program of one day: how many heads work each column's shift, and what stays short."""

    work: Ints
    """1 where a column's shift is at work, (half-hours with a need, columns)."""
    member: Ints
    """1 where a column's shift is of a group's people, (groups, columns)."""
    paid: Floats
    """Half-hours paid for a head, with the tie-breaker, (columns,)."""
    wanted: Ints
    heads: Ints
    """Heads there by group."""

    @classmethod
    def of(cls, columns: Sequence[tuple[int, Shift]], heads: Sequence[int], wanted: Ints, rows: Ints) -> Self:
        """The program of the columns (group, shift of one head) for the half-hours `rows`."""
        group = np.array([which for which, _ in columns])
        late = np.array([shift.start + (shift.break_start or 0) / HALF_HOURS for _, shift in columns])
        return cls(
            work=np.array([shift.at_work()[rows] for _, shift in columns]).T,
            member=(group == np.arange(len(heads))[:, None]).astype(np.int64),
            paid=np.array([shift.end - shift.start for _, shift in columns]) + _EARLIER * late,
            wanted=wanted,
            heads=np.array(heads),
        )

    def short(self, counts: Ints) -> int:
        """Missing heads × half-hours where so many work each column's shift."""
        return int(np.maximum(self.wanted - self.work @ counts, 0).sum())

    def least_short(self) -> int:
        """Missing heads × half-hours that no roster could cover: more are needed than could be at work."""
        there = (self.work @ self.member.T > 0) @ self.heads
        return int(np.maximum(self.wanted - there, 0).sum())

    def fewest_short(self) -> int:
        """The fewest missing heads × half-hours, whatever is paid."""
        return self.short(self._minimum(np.zeros(len(self.paid)), 1.0, None))

    def solved(self, most_short: int | None) -> Ints:
        """Heads by column, (columns,): the least paid and short, a missing head dearer than any one shift.

        most_short: no more heads × half-hours may be missing; None = any number.
        """
        return self._minimum(self.paid, math.ceil(self.paid.max()) + 1.0, most_short)

    def _minimum(self, costs: Floats, short_cost: float, most_short: int | None) -> Ints:
        """Heads by column at the least cost of shifts and missing heads."""
        rows, columns = self.work.shape
        none = np.zeros((len(self.heads), rows))
        constraints = [
            LinearConstraint(np.hstack([self.work, np.eye(rows)]), lb=self.wanted),
            LinearConstraint(np.hstack([self.member, none]), ub=self.heads),
        ]
        if most_short is not None:
            every = np.concatenate([np.zeros(columns), np.ones(rows)])
            constraints.append(LinearConstraint(every, ub=most_short))
        result = milp(
            np.concatenate([costs, np.full(rows, short_cost)]),
            integrality=np.ones(columns + rows),
            bounds=Bounds(0, np.concatenate([np.full(columns, np.inf), self.wanted])),
            constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )
        if result.x is None:  # leaving everything short is always a solution
            raise RuntimeError(f"no roster found for {self.wanted.tolist()}: {result.message}")
        counts: Ints = np.rint(result.x[:columns]).astype(np.int64)
        return counts


def _clock_order(shift: Shift) -> tuple[int, int, int]:
    return shift.start, shift.end, shift.break_start or 0


def _shortages(missing: Ints) -> tuple[Shortage, ...]:
    return tuple(Shortage(int(at), int(missing[at])) for at in np.flatnonzero(missing))
