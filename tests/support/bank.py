"""Builders of a small bank: rows put straight into the tables, defaults a test can override."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, insert

from booking_core import tables as t
from booking_core import tables_forecast  # noqa: F401 – its tables are on the same metadata
from booking_core.database import make_engine, write_transaction
from metrics.contract import ALL_CHANNELS, BANK_SCOPE_ID

ZONE = "Asia/Shanghai"


@dataclass
class Bank:
    """A bank's database with the helpers that fill it."""

    url: str
    engine: Engine
    today: date
    """The bank-local business day at the moment of making."""

    def add_region(self, region_id: str = "north", *, automatic_application: bool = True) -> str:
        """A region; its id."""
        self._insert(
            t.regions,
            region_id=region_id,
            name_en=region_id.title(),
            name_zh=region_id,
            automatic_application=automatic_application,
        )
        return region_id

    def add_branch(
        self, branch_id: str = "b1", region_id: str = "north", *, staff_cap_units: int | None = None
    ) -> str:
        """A branch; its id."""
        self._insert(
            t.branches,
            branch_id=branch_id,
            region_id=region_id,
            name_en=branch_id.title(),
            name_zh=branch_id,
            staff_cap_units=staff_cap_units,
            active=True,
        )
        return branch_id

    def add_loan(
        self,
        loan_ref: str,
        *,
        branch_id: str = "b1",
        holder: str | None = None,
        status: str = "active",
        payoff: str = "250000.00",
        eligible_from: date | None = None,
    ) -> str:
        """A loan; its reference."""
        self._insert(
            t.loans,
            loan_ref=loan_ref,
            holder=holder or f"c-{loan_ref}",
            branch_id=branch_id,
            status=status,
            payoff_cny=Decimal(payoff),
            min_prepayment_cny=Decimal("1000.00"),
            eligible_from=eligible_from,
        )
        return loan_ref

    def add_slot(
        self,
        branch_id: str = "b1",
        day: date | None = None,
        at: str = "10:00",
        *,
        region_id: str = "north",
        capacity: int = 100,
        closed: bool = False,
    ) -> str:
        """A half-hour slot on the bank-local day (default: in two days); its id."""
        day = day or self.today + timedelta(days=2)
        start = datetime.combine(day, time.fromisoformat(at), ZoneInfo(ZONE)).astimezone(UTC)
        slot_id = f"{branch_id}-{day.isoformat()}-{at.replace(':', '')}"
        self._insert(
            t.slots,
            slot_id=slot_id,
            branch_id=branch_id,
            region_id=region_id,
            service_day=day,
            start_utc=start,
            end_utc=start + timedelta(minutes=30),
            capacity_units=capacity,
            used_units=0,
            offered_units=0,
            closed=closed,
        )
        return slot_id

    def add_quota(
        self, scope_kind: str, scope_id: str, period_kind: str, limit: int, channel: str = ALL_CHANNELS
    ) -> str:
        """A standing limit; its id."""
        scope_id = BANK_SCOPE_ID if scope_kind == "bank" else scope_id
        quota_id = f"{scope_kind}:{scope_id}:{channel}:{period_kind}"
        self._insert(
            t.quotas,
            quota_id=quota_id,
            scope_kind=scope_kind,
            scope_id=scope_id,
            channel=channel,
            period_kind=period_kind,
            limit_units=limit,
            updated_utc=datetime.now(UTC),
        )
        return quota_id

    def set(self, key: str, value: object) -> None:
        """A row of the settings table."""
        self._insert(t.settings, key=key, value=value, updated_utc=datetime.now(UTC))

    def _insert(self, table: object, **values: object) -> None:
        with write_transaction(self.engine) as connection:
            connection.execute(insert(table).values(**values))  # type: ignore[arg-type]


def make_bank(url: str, *, furnished: bool = True) -> Bank:
    """A bank on the empty database at the URL; furnished: region north, branch b1, loans L1 to L5."""
    engine = make_engine(url)
    t.metadata.create_all(engine)
    today = datetime.now(ZoneInfo(ZONE)).date()
    bank = Bank(url=url, engine=engine, today=today)
    bank.set("zone", ZONE)
    if furnished:
        bank.add_region()
        bank.add_branch()
        for n in range(1, 6):
            bank.add_loan(f"L{n}")
    return bank
