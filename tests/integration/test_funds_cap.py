"""A day's funds as a guardrail: the narrowest cap above a limit, what is left of it, and the mean payoff."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.event import listen

from booking_core import tables as t
from booking_core.read.forecasts import latest_run
from booking_core.read.funds import mean_payoffs
from forecasting.basis import Basis, proposal_records
from forecasting.caps import Funds, means_by_scope
from forecasting.decisions.funds import funds_units
from forecasting.decisions.policy import Policy
from forecasting.decisions.quotas import QuotaProposal
from tests.support.bank import Bank
from tests.support.planning import add_run, furnish
from tests.support.recorded import put

PERIOD = date(2026, 3, 8)
"""A Sunday."""
MONDAY = PERIOD + timedelta(days=1)


def test_a_scopes_mean_is_that_of_its_branches_by_measured_units() -> None:
    """Without own units a branch counts as one; without a payoff, or with one of 0, not at all."""
    payoffs = pd.DataFrame(
        [("b1", 100.0, 3), ("b2", 500.0, 0), ("b3", 0.0, 40), ("b4", 300.0, 4)],
        columns=["branch_id", "mean_cny", "units"],
    )
    regions = {"b1": "north", "b2": "north", "b3": "west", "b4": "south", "b5": "south"}
    assert means_by_scope(payoffs, regions) == {
        ("branch", "b1"): 100, ("branch", "b2"): 500, ("branch", "b4"): 300,
        ("region", "north"): 800 / 4, ("region", "south"): 300, ("bank", "bank"): 2000 / 8,
    }  # fmt: skip
    assert means_by_scope(payoffs[:0], regions) == {}


@pytest.mark.parametrize(
    ("used", "left", "mean", "units"),
    [
        (0, [[1000.0]], 250.0, 4),
        (2, [[999.0]], 250.0, 5),
        (2, [[-50.0]], 250.0, 2),
        (0, [[1000.0, 500.0]], 250.0, 2),
        (3, [[1000.0], [500.0]], 250.0, 9),
        (0, [[1000.0], []], 250.0, None),
        (0, [], 250.0, None),
    ],
)
def test_units_of_funds(used: int, left: list[list[float]], mean: float, units: int | None) -> None:
    """Those in use and what the narrowest cap of each day still pays out; none where a day has no cap."""
    assert funds_units(used, left, mean) == units


@given(st.integers(0, 100), st.lists(st.floats(-1e6, 1e9), min_size=1, max_size=5), st.floats(1, 1e6))
def test_funds_never_undercut_what_is_used(used: int, left: list[float], mean: float) -> None:
    """However little is left, what is booked stays; more left never means fewer units."""
    units = funds_units(used, [left], mean)
    assert units is not None
    assert units >= used
    richer = funds_units(used, [[each + mean for each in left]], mean)
    assert richer is not None
    assert richer >= units


def proposal(scope: str = "branch:b1", kind: str = "day", start: date = MONDAY, **more: Any) -> QuotaProposal:
    scope_kind, scope_id = scope.split(":")
    known = {"old_units": 20, "used_units": 2, "staff_cap_units": None, "proposed": 30.0, "quantile": 0.9}
    return QuotaProposal(
        scope_kind=scope_kind, scope_id=scope_id, period_kind=kind, period_start=start.isoformat(),
        model="champion", **known | more,
    )  # fmt: skip


def capped(bank: Bank, *proposals: QuotaProposal) -> list[int | None]:
    funds = Funds.of(bank.engine, PERIOD, Policy())
    assert funds is not None
    return [funds.capped(each, MONDAY).funds_cap_units for each in proposals]


def test_without_caps_proposals_stay_as_they_are(bank: Bank) -> None:
    """No funds quota, no cap; and none without a known payoff."""
    assert Funds.of(bank.engine, PERIOD, Policy()) is None
    bank.add_branch("b9")
    bank.add_quota("branch", "b9", "funds_day", 1_000_000)
    assert capped(bank, proposal("branch:b9"), proposal("branch:b1")) == [None, None]


def test_the_narrowest_cap_above_a_limit_counts(bank: Bank) -> None:
    """Branch, region and bank; what is taken of the funds is gone; a week sums the days that remain."""
    bank.add_quota("bank", "bank", "funds_day", 5_000_000)
    assert capped(bank, proposal(), proposal("region:north"), proposal("bank:bank")) == [2 + 20] * 3
    bank.add_quota("region", "north", "funds_day", 2_500_000)
    assert capped(bank, proposal(), proposal("region:north"), proposal("bank:bank")) == [12, 12, 22]
    bank.add_quota("branch", "b1", "funds_day", 1_000_000)
    assert capped(bank, proposal(), proposal("region:north")) == [6, 12]
    put(
        bank, t.quota_periods,
        {
            "scope_kind": "branch", "scope_id": "b1", "channel": "*", "period_kind": "funds_day",
            "period_start": MONDAY, "used_units": 500_000, "limit_units": None,
        },
    )  # fmt: skip
    assert capped(bank, proposal(), proposal(start=MONDAY + timedelta(days=1))) == [4, 6]
    # the week: Monday has 2 left, each of the six other days 4
    assert capped(bank, proposal(kind="week")) == [2 + 2 + 6 * 4]
    # the month is under way: only days after the period count, what is used before is in used_units
    assert capped(bank, proposal(kind="month", start=date(2026, 3, 1))) == [2 + 2 + 22 * 4]


def test_funds_are_read_once_for_all_regions(sqlite_bank: Bank) -> None:
    """Payoffs and funds are asked for as often for both regions as for one, and cap both."""
    furnish(sqlite_bank, PERIOD)
    sqlite_bank.add_loan("S1", branch_id="b3", payoff="70000.00")
    sqlite_bank.add_quota("bank", "bank", "funds_day", 5_000_000)
    add_run(sqlite_bank, PERIOD)
    run = latest_run(sqlite_bank.engine, "demand")
    read: list[str] = []
    listen(sqlite_bank.engine, "before_cursor_execute", lambda *told: read.append(f"{told[2]} {told[3]}"))

    def asked(*regions: str) -> tuple[int, int]:
        read.clear()
        bases = {region: Basis(run, None, "") for region in regions}
        records = proposal_records(sqlite_bank.engine, bases, PERIOD, Policy())
        for region in regions:
            days = [item for item in records[region]["items"] if item["period_kind"] == "day"]
            assert any(item["funds_cap_units"] is not None for item in days), region
        payoffs = sum("avg(loans.payoff_cny)" in statement for statement in read)
        return payoffs, sum("funds_day" in statement for statement in read)

    both = asked("north", "south")
    assert asked("north") == both
    assert both[0] > 0
    assert both[1] > 0


def test_payoffs_are_measured_on_the_last_bookings_where_there_are_enough(bank: Bank) -> None:
    """Twenty that state an amount tell it for their branch, and for a sister that has none of its own."""
    bank.add_region("south")
    for branch, region in (("b2", "north"), ("b3", "south"), ("b4", "south")):
        bank.add_branch(branch, region)
    bank.add_loan("late", payoff="900000.00", eligible_from=MONDAY)
    bank.add_loan("done", payoff="0.00")
    bank.add_loan("S1", branch_id="b3", payoff="70000.00")
    assert payoffs(bank) == {"b1": (250_000, 0), "b3": (70_000, 0)}, "loans that may be prepaid by then"

    booked(bank, "b1", 20, 100_000)
    booked(bank, "b1", 9, 800_000, status="held")
    booked(bank, "b1", 9, 900_000, day=PERIOD - timedelta(days=57))
    booked(bank, "b3", 19, 40_000, region="south")
    everywhere = (20 * 100_009.5 + 19 * 40_009.0) / 39
    assert payoffs(bank) == {
        "b1": (100_009.5, 20), "b2": (100_009.5, 0), "b3": (everywhere, 19), "b4": (everywhere, 0)
    }  # fmt: skip
    assert payoffs(bank, region="south") == {"b3": (70_000, 19)}


def booked(
    bank: Bank, branch: str, count: int, cny: int, *, region: str = "north", status: str = "completed",
    day: date = PERIOD,
) -> None:  # fmt: skip
    """So many bookings of the branch, of so many yuan and one more each."""
    slot = bank.add_slot(branch, day, region_id=region, at=f"{9 + len(status)}:00")
    for n in range(count):
        ref = f"{branch}-{status}-{day}-{n}"
        bank.add_loan(ref, branch_id=branch, status="closed")
        row = {
            "booking_ref": ref, "loan_ref": ref, "slot_id": slot, "branch_id": branch, "region_id": region,
            "service_day": day, "channel": "app", "status": status, "units": 1, "reserved_cny": cny + n,
            "created_utc": datetime(2026, 3, 1, tzinfo=UTC),
        }  # fmt: skip
        put(bank, t.bookings, row)


def payoffs(bank: Bank, region: str | None = None) -> dict[str, tuple[float, int]]:
    """(mean yuan, own units) by branch, of the last 56 days."""
    rows = mean_payoffs(bank.engine, day=PERIOD, days=56, region=region)
    return {row.branch_id: (row.mean_cny, row.units) for row in rows.itertuples()}
