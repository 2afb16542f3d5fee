"""What the demo prints: the changed quotas, the plans, the workers' history."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from booking_core.read.failures import by_reason, totals
from booking_core.read.plans import plan_items
from booking_core.read.servers import scaling_decisions

TOP: Final = 10


def changed_items(engine: Engine, plan_ids: Iterable[str]) -> pd.DataFrame:
    """The items that changed a limit: the columns of plan_items, `now_units` and `change_units`."""
    frames = [plan_items(engine, plan_id) for plan_id in plan_ids]
    if not frames:
        return pd.DataFrame(columns=["change_units"])
    items = pd.concat(frames, ignore_index=True)
    items["now_units"] = items["applied_limit"].fillna(items["new_limit"])
    items["change_units"] = items["now_units"] - items["old_limit"].fillna(0)
    return items[items["now_units"].notna() & (items["change_units"] != 0)]


def why(item: Mapping[Hashable, Any]) -> str:
    """In a few words why the item got its new limit."""
    asked = "no forecast"
    if pd.notna(item["proposed"]):
        asked = f"forecast q{item['quantile'] * 100:.0f} = {item['proposed']:.0f}"
    bound = [str(item[name]) for name in ("guardrail", "condition") if pd.notna(item[name])]
    return "; ".join([asked, ": ".join(bound)]) if bound else asked


def quota_table(items: pd.DataFrame, day: date, *, top: int = TOP) -> Table:
    """The `top` largest changes of the limits of the day."""
    of_day = items[
        (items["period_kind"] == "day") & (pd.to_datetime(items["period_start"]) == pd.Timestamp(day))
    ]
    order = of_day["change_units"].astype(float).abs().sort_values(ascending=False).index[:top]
    table = _table(f"Largest changes for {day:%a %Y-%m-%d}", ("quota", ">from", ">to", "why"))
    for item in of_day.loc[order].to_dict("records"):
        table.add_row(
            f"{item['scope_kind']} {item['scope_id']}",
            "none" if pd.isna(item["old_limit"]) else f"{item['old_limit']:,}",
            f"{item['now_units']:,}",
            why(item),
        )
    return table


def totals_table(items: pd.DataFrame) -> Table:
    """All changed quotas, by level and kind of period: how many, and their limits summed."""
    table = _table("Changed quotas", ("level", "period", ">quotas", ">up", ">down", ">sum from", ">sum to"))
    levels = items.groupby(["scope_kind", "period_kind"], sort=True)
    for (scope, period), rows in levels:
        change = rows["change_units"].astype(float)
        table.add_row(
            str(scope),
            str(period),
            f"{len(rows):,}",
            f"{(change > 0).sum():,}",
            f"{(change < 0).sum():,}",
            f"{int(rows['old_limit'].sum()):,}",
            f"{int(rows['now_units'].sum()):,}",
        )
    return table


def plan_table(plans: Sequence[dict[str, Any]], items: pd.DataFrame, day: date) -> Table:
    """One line a region: its plan's status, how many quotas changed, and the day's branch quotas in sum."""
    names = ("region", "status", "model", ">quotas changed", f">branches {day:%m-%d} from", ">to", "note")
    table = _table("Plans by region", names)
    for plan in sorted(plans, key=lambda plan: str(plan["region"])):
        own = items[items["plan_id"] == plan["plan_id"]]
        days = own[(own["period_kind"] == "day") & (own["scope_kind"] == "branch")]
        days = days[pd.to_datetime(days["period_start"]) == pd.Timestamp(day)]
        table.add_row(
            plan["region"],
            plan["status"],
            plan["model"] or "",
            f"{len(own):,}",
            f"{int(days['old_limit'].sum()):,}",
            f"{int(days['now_units'].sum()):,}",
            plan.get("verdict") or "",
        )
    return table


def workers_table(engine: Engine, since_wall: datetime, zone: ZoneInfo) -> Table | None:
    """The moments at which the server target moved since the wall time, None when nothing was decided."""
    rows = scaling_decisions(engine, since_wall=since_wall)
    if rows.empty:
        return None
    moved = rows[rows["target"] != rows["target"].shift()]
    names = ("business time", ">workers", ">target", ">observed rps", ">forecast asks", "rule")
    table = _table("Server workers", names)
    for row in moved.to_dict("records"):
        table.add_row(
            f"{row['business_utc'].astimezone(zone):%a %m-%d %H:%M}",
            str(row["running"]),
            str(row["target"]),
            f"{row['observed_rps']:.0f}",
            "" if pd.isna(row["forecast_need"]) else str(row["forecast_need"]),
            str(row["reason"]),
        )
    return table


def refusals_line(engine: Engine, since: datetime, until: datetime) -> str:
    """Attempts between the business times in one line: held, refused, and the reasons."""
    total = totals(engine, since=since, until=until)
    reasons = by_reason(engine, since=since, until=until).sort_values("attempts", ascending=False)
    told = ", ".join(f"{row['reason']} {row['attempts']:,}" for row in reasons.head(4).to_dict("records"))
    return f"{total.attempts:,} attempts, {total.held:,} held, {total.refused:,} refused" + (
        f" ({told})" if told else ""
    )


def print_tables(console: Console, tables: Iterable[Table | None]) -> None:
    """Print each with a blank line before."""
    for table in tables:
        if table is not None:
            console.print()
            console.print(table)


def _table(title: str, columns: Iterable[str]) -> Table:
    """An empty table; columns marked ">" are aligned to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left")
    return table
