"""One customer's wish, and the file of wishes that the live customers read. Standard library only."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import date
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wish:
    """One customer's wish: a loan, a branch, a day, a slot, and when and how it arrives."""

    loan_ref: str
    branch_id: str
    day: date
    start: str
    """Bank-local start of the wished slot, "HH:MM"."""
    channel: str
    at_quarters: float
    """Business quarter-hours after opening at which the customer comes (0 to 40)."""
    on_refusal: str
    """follow (take the first remedy) | retry (once more) | leave."""
    form: str
    """complete (amount and option at once) | later (held, then confirmed) | wrong (too large an amount)."""
    payoff_cny: Decimal


def write_wishes(wishes: Iterable[Wish], path: Path) -> None:
    """The wishes as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Wish)])
        writer.writeheader()
        writer.writerows(asdict(wish) for wish in wishes)


def read_wishes(path: Path) -> list[Wish]:
    """The wishes of a file that `write_wishes` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Wish(
                loan_ref=row["loan_ref"],
                branch_id=row["branch_id"],
                day=date.fromisoformat(row["day"]),
                start=row["start"],
                channel=row["channel"],
                at_quarters=float(row["at_quarters"]),
                on_refusal=row["on_refusal"],
                form=row["form"],
                payoff_cny=Decimal(row["payoff_cny"]),
            )
            for row in csv.DictReader(file)
        ]


def write_loans(wishes: Iterable[Wish], path: Path) -> None:
    """The (synthetic) loan behind each wish, as CSV for `import-loans`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["loan_ref", "holder", "branch_id", "status", "payoff_cny", "min_prepayment_cny", "eligible_from"]
        )
        for wish in wishes:
            holder = f"C{wish.loan_ref.removeprefix('L')}"
            writer.writerow(
                [wish.loan_ref, holder, wish.branch_id, "active", wish.payoff_cny, "10000.00", ""]
            )
