"""Filling a bank from files: branches, loans, history, pressure; and opening its slots.

A file is read and judged whole before anything is written: a bad row is told as one line (file, line,
column, what was expected) and nothing is imported. Importing the same file again changes nothing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import Connection, select, update

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.clock import utc_now
from booking_core.database import make_engine, write_transaction
from booking_core.service.autonomy import mode_of
from booking_core.service.commands import Command, record_audit
from booking_core.service.core import Caller
from booking_core.settings import load_settings
from booking_core.store.rows import put_rows
from booking_core.tabular import FIRST_YEAR, GREATEST, YEARS_END, BadInputError, Line, lines
from metrics.contract import RegionMode

LOAN_STATUSES: Final = ("active", "closed", "blocked")
QUARTER: Final = timedelta(minutes=15)
DAY_MINUTES: Final = 1440
IMPORTER: Final = "import-branches"
"""Who is noted to have granted what a file grants."""

__all__ = ["BadInputError", "add_commands"]


def import_branches(connection: Connection, path: str) -> str:
    """What was imported of regions and branches.

    `automatic_application` is the mode that a region begins in, and nothing afterwards: what a region has
    earned and what a person has set stays, and where the file says otherwise, the answer does.
    """
    regions: dict[str, dict[str, Any]] = {}
    branches: dict[str, dict[str, Any]] = {}
    modes: dict[str, bool] = {}
    columns = [
        "branch_id",
        "region_id",
        "region_name_en",
        "region_name_zh",
        "name_en",
        "name_zh",
        "staff_cap_units",
    ]
    for line in lines(path, columns):
        branch_id, region_id = line.reference("branch_id"), line.reference("region_id", 32)
        if branch_id in branches:
            raise line.bad("branch_id", "each branch once")
        regions[region_id] = {
            "region_id": region_id,
            "name_en": line.text("region_name_en"),
            "name_zh": line.text("region_name_zh"),
        }
        automatic = line.flag("automatic_application")
        if line.has("automatic_application") and modes.setdefault(region_id, automatic) is not automatic:
            raise line.bad("automatic_application", f"the same in every line of region {region_id}")
        branches[branch_id] = {
            "branch_id": branch_id,
            "region_id": region_id,
            "name_en": line.text("name_en"),
            "name_zh": line.text("name_zh"),
            "staff_cap_units": line.whole("staff_cap_units") if line.has("staff_cap_units") else None,
            "active": True,
        }
    r = t.regions.c
    before = {row.region_id: row for row in connection.execute(select(t.regions).order_by(r.region_id))}
    put_rows(connection, t.regions, list(regions.values()))
    _begin(connection, {region for region, automatic in modes.items() if automatic} - set(before))
    put_rows(connection, t.branches, list(branches.values()))
    kept = [
        f"region {row.region_id} stays {mode_of(row)}, which an import does not change (docs/autonomy.md)"
        for row in before.values()
        if modes.get(row.region_id, row.automatic_application) is not row.automatic_application
    ]
    return "; ".join([f"{len(branches)} branches in {len(regions)} regions", *kept])


def _begin(connection: Connection, granted: set[str]) -> None:
    """Let plans of these new regions be applied, whatever their scores: the decision of who imports them."""
    fixed = {"automatic_application": True, "automatic_fixed": True}
    connection.execute(update(t.regions).where(t.regions.c.region_id.in_(granted)).values(**fixed))
    command = Command(Caller("", IMPORTER, frozenset()), utc_now())
    after = {"mode": RegionMode.AUTOMATIC, "fixed": True, "reason": None}
    for region_id in sorted(granted):
        record_audit(connection, command, "region.mode", region_id, None, after)


def import_loans(connection: Connection, path: str) -> str:
    """What was imported of loans."""
    known = _branch_ids(connection)
    loans: dict[str, dict[str, Any]] = {}
    columns = ["loan_ref", "holder", "branch_id", "status", "payoff_cny", "min_prepayment_cny"]
    for line in lines(path, columns):
        loan_ref = line.reference("loan_ref")
        if loan_ref in loans:
            raise line.bad("loan_ref", "each loan once")
        loans[loan_ref] = {
            "loan_ref": loan_ref,
            "holder": line.reference("holder"),
            "branch_id": _known_branch(line, "branch_id", known),
            "status": line.one_of("status", LOAN_STATUSES),
            "payoff_cny": line.money("payoff_cny"),
            "min_prepayment_cny": line.money("min_prepayment_cny"),
            "eligible_from": line.moment("eligible_from").date() if line.has("eligible_from") else None,
        }
    put_rows(connection, t.loans, list(loans.values()))
    return f"{len(loans)} loans"


def import_history(connection: Connection, path: str, source: str, *, synthetic: bool) -> str:
    """What was imported of demand: rows within a day (hours, say) add up to the day.

    A day is censored (its demand known only as "at least") where one of its rows says so.
    """
    known = _branch_ids(connection)
    units: dict[tuple[str, date], float] = {}
    censored: set[tuple[str, date]] = set()
    seen: set[tuple[str, datetime]] = set()
    for line in lines(path, ["unique_id", "ds", "y"]):
        branch_id, moment, y = _known_branch(line, "unique_id", known), line.moment("ds"), line.number("y")
        if (branch_id, moment) in seen:
            raise line.bad("ds", f"each time once for {branch_id}")
        seen.add((branch_id, moment))
        key = branch_id, moment.date()
        units[key] = units.get(key, 0.0) + y
        if line.flag("censored"):
            censored.add(key)
    rows = [
        {
            "branch_id": key[0],
            "day": key[1],
            "source": source,
            "units": total,
            "synthetic": synthetic,
            "censored": key in censored,
        }
        for key, total in units.items()
    ]
    put_rows(connection, t.demand_history, rows)
    bounds = f', {len(censored)} of them known only as "at least"' if censored else ""
    return f"{len(rows)} branch days of demand from {source}{bounds}"


def import_pressure(connection: Connection, path: str, source: str, *, synthetic: bool) -> str:
    """What was imported of pressure, by business quarter-hour."""
    rows: dict[datetime, dict[str, Any]] = {}
    for line in lines(path, ["starts_utc", "requests", "busy_seconds"]):
        starts = line.moment("starts_utc")
        if starts.tzinfo is None or (starts - datetime(2000, 1, 1, tzinfo=UTC)) % QUARTER:
            raise line.bad(
                "starts_utc", "the start of a quarter-hour with its offset, as 2016-07-28T13:00:00Z"
            )
        starts = starts.astimezone(UTC)
        if starts in rows:
            raise line.bad("starts_utc", "each quarter-hour once")
        rows[starts] = {
            "minute_utc": starts,
            "business_utc": starts,
            "source": f"import:{source}"[:64],
            "requests": line.whole("requests"),
            "refused": 0,
            "failed": 0,
            "busy_seconds": line.number("busy_seconds"),
            "synthetic": synthetic,
        }
    put_rows(connection, tf.pressure_minutes, list(rows.values()))
    return f"{len(rows)} quarter-hours of pressure from {source}"


def open_slots(
    connection: Connection,
    first: date,
    last: date,
    *,
    opens: time,
    last_start: time,
    minutes: int,
    capacity_per_slot: int | None,
) -> str:
    """What was opened: slots of every active branch and day; a slot that exists stays as it is.

    Without a capacity each slot gets its share of the branch's staff cap, rounded up. Raises ValueError
    for days or times out of order, figures out of bounds, and for a branch whose staff cap is unknown.
    """
    if opens.tzinfo or last_start.tzinfo:
        raise ValueError("--first and --last are times of the bank's zone, without an offset, e.g. 08:00")
    if not (first <= last and opens <= last_start and 1 <= minutes <= DAY_MINUTES):
        raise ValueError(
            f"expected --from ≤ --to, --first ≤ --last, --minutes 1 to {DAY_MINUTES}; got {first} to {last}, "
            f"{opens:%H:%M} to {last_start:%H:%M}, {minutes} minutes"
        )
    if capacity_per_slot is not None and not 0 <= capacity_per_slot <= GREATEST:
        raise ValueError(f"--capacity-per-slot {capacity_per_slot}: expected 0 to {GREATEST:,}")
    if not FIRST_YEAR <= first.year <= last.year < YEARS_END:
        raise ValueError(f"--from {first} --to {last}: expected days from {FIRST_YEAR} until {YEARS_END - 1}")
    step = timedelta(minutes=minutes)
    span = datetime.combine(first, last_start) - datetime.combine(first, opens)
    starts = [(datetime.combine(first, opens) + n * step).time() for n in range(span // step + 1)]
    zone = load_settings(connection).tzinfo()
    b = t.branches.c
    rows = []
    for branch in connection.execute(select(b.branch_id, b.region_id, b.staff_cap_units).where(b.active)):
        if capacity_per_slot is None and branch.staff_cap_units is None:
            raise ValueError(f"branch {branch.branch_id} has no staff_cap_units; give --capacity-per-slot")
        share = math.ceil((branch.staff_cap_units or 0) / len(starts))
        for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
            for start in starts:
                start_utc = datetime.combine(day, start, zone).astimezone(UTC)
                if start_utc.astimezone(zone).time() != start:
                    continue  # the clocks skip this time: it would be a later slot's a second time
                rows.append(
                    {
                        "slot_id": f"{branch.branch_id}-{day.isoformat()}-{start:%H%M}",
                        "branch_id": branch.branch_id,
                        "region_id": branch.region_id,
                        "service_day": day,
                        "start_utc": start_utc,
                        "end_utc": start_utc + step,
                        "capacity_units": share if capacity_per_slot is None else capacity_per_slot,
                        "used_units": 0,
                        "offered_units": 0,
                        "closed": False,
                    }
                )
    put_rows(connection, t.slots, rows, replace=False)
    return f"{len(rows)} slots from {first} to {last}"


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the import commands and open-slots to the commands of booking_core."""
    plain: dict[str, tuple[Callable[[Connection, str], str], str]] = {
        "branches": (
            import_branches,
            (
                "Columns branch_id, region_id, region_name_en, region_name_zh, name_en, name_zh, "
                "staff_cap_units and, for regions that are new, automatic_application: true where plans are "
                "applied by themselves from the start, else the region begins in shadow mode."
            ),
        ),
        "loans": (
            import_loans,
            (
                "Columns loan_ref, holder, branch_id, status, payoff_cny, min_prepayment_cny and, where a "
                "loan cannot be prepaid yet, eligible_from."
            ),
        ),
    }
    for name, (load, columns) in plain.items():
        parser = subparsers.add_parser(
            f"import-{name}", help=f"import {name} from a file", description=columns
        )
        parser.add_argument("--input", required=True, metavar="FILE", help="CSV (also .gz) or Parquet")
        parser.set_defaults(run=_runner(lambda c, a, load=load: load(c, a.input)))  # type: ignore[misc]
    sourced = {
        "history": (
            import_history,
            (
                "Columns unique_id, ds, y and, where some days sold out and the refused left no record, "
                "censored: 1 (true) where demand was at least y, 0 (false, empty) where it was y."
            ),
        ),
        "pressure": (import_pressure, "Columns starts_utc, requests, busy_seconds."),
    }
    for name, (load_from, columns) in sourced.items():
        parser = subparsers.add_parser(
            f"import-{name}", help=f"import {name} from a file", description=columns
        )
        parser.add_argument("--input", required=True, metavar="FILE", help="CSV (also .gz) or Parquet")
        parser.add_argument("--source", required=True, help="what to call where it comes from")
        parser.add_argument("--synthetic", action="store_true", help="mark it as made, not observed")
        parser.set_defaults(
            run=_runner(lambda c, a, load=load_from: load(c, a.input, a.source, synthetic=a.synthetic))  # type: ignore[misc]
        )
    parser = subparsers.add_parser("open-slots", help="open slots of every branch on a range of days")
    parser.add_argument("--from", required=True, dest="first_day", type=date.fromisoformat, metavar="DAY")
    parser.add_argument("--to", required=True, dest="last_day", type=date.fromisoformat, metavar="DAY")
    parser.add_argument(
        "--first", default="08:00", type=time.fromisoformat, help="start of the first slot (08:00)"
    )
    parser.add_argument(
        "--last", default="17:30", type=time.fromisoformat, help="start of the last slot (17:30)"
    )
    parser.add_argument("--minutes", type=int, default=30, help="length of a slot (30)")
    parser.add_argument(
        "--capacity-per-slot", type=int, metavar="N", help="(the slot's share of the staff cap)"
    )
    parser.set_defaults(
        run=_runner(
            lambda c, a: open_slots(
                c,
                a.first_day,
                a.last_day,
                opens=a.first,
                last_start=a.last,
                minutes=a.minutes,
                capacity_per_slot=a.capacity_per_slot,
            )
        )
    )


def _runner(load: Callable[[Connection, argparse.Namespace], str]) -> Callable[[argparse.Namespace], int]:
    def run(arguments: argparse.Namespace) -> int:
        engine = make_engine()
        with write_transaction(engine) as connection:
            done = load(connection, arguments)
        print(f"stored: {done}")
        return 0

    return run


def _branch_ids(connection: Connection) -> set[str]:
    return set(connection.scalars(select(t.branches.c.branch_id)))


def _known_branch(line: Line, column: str, known: set[str]) -> str:
    value = line.text(column)
    if value not in known:
        raise line.bad(column, "a branch of this bank (import-branches comes first)")
    return value
