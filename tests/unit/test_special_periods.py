"""Special periods: what is asked for named days, and what never is."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from forecasting.decisions.policy import Policy
from forecasting.decisions.special_periods import (
    MONTH_END,
    limited,
    month_ends,
    special_plan,
    special_record,
)

FRIDAY = date(2016, 7, 29)
SALE = {("a", FRIDAY): ["Rate cut"]}


def item(old: int, new: int | None, proposed: float | None, **changes: Any) -> dict[str, Any]:
    """A quota plan's item for a Friday of branch a, held back by the step limit."""
    values: dict[str, Any] = {
        "scope_kind": "branch",
        "scope_id": "a",
        "channel": "*",
        "period_kind": "day",
        "period_start": str(FRIDAY),
        "old_limit": old,
        "new_limit": new,
        "proposed": proposed,
        "quantile": 0.9,
        "guardrail": "max_step_up",
        "condition": "too steep",
        "inputs": {"used_units": 0, "bound": ["max_step_up"]},
    }
    return values | changes


def plan(*items: dict[str, Any]) -> dict[str, Any]:
    """A quota plan of region north."""
    return {
        "plan_id": "quota-2016-07-28-north",
        "region": "north",
        "period": "2016-07-28",
        "model": "champion",
        "forecast_run_id": "r1",
        "items": list(items),
    }


def asked_for(*items: dict[str, Any], names: Any = SALE, asked: Any = None) -> list[tuple[int, int]]:
    """(planned, wanted) of each item of the extra plan; none where there is no plan."""
    made = special_plan(plan(*items), special_record(names, asked or {}), Policy())
    return [] if made is None else [(i["old_limit"], i["new_limit"]) for i in made["items"]]


def test_a_named_day_that_guardrails_hold_down_is_put_to_a_person() -> None:
    """The extra plan asks for what the forecast wants, names the event, and never applies by itself."""
    made = special_plan(plan(item(20, 60, 80.2)), special_record(SALE, {}), Policy())
    assert made is not None
    assert (made["plan_id"], made["kind"], made["in_band"]) == ("special-2016-07-28-north", "extra", False)
    assert made["approval_hours"] == Policy().approval_hours
    assert made["inputs"]["special_periods"] == ["Rate cut"]
    assert made["inputs"]["extra_units"] == 21
    [extra] = made["items"]
    assert (extra["old_limit"], extra["new_limit"]) == (60, 81)
    assert extra["condition"].startswith("Rate cut: 81 are forecast, 60 planned (max_step_up)")


def test_a_day_without_a_name_keeps_the_plans_decision() -> None:
    """Negative control: the same shortfall on an ordinary day asks for nothing."""
    assert asked_for(item(20, 60, 80.0), names={}) == []
    assert asked_for(item(20, 60, 80.0), names={("b", FRIDAY): ["Rate cut"]}) == []


def test_a_frozen_day_may_be_raised_for_its_event() -> None:
    """A frozen day is kept by the plan; what the forecast would have asked for is put to a person."""
    frozen = item(20, None, None, guardrail="frozen", inputs={"asked_units": 33.0, "bound": []})
    assert asked_for(frozen) == [(20, 33)]
    assert asked_for(item(20, None, None, guardrail="short", inputs={"bound": []})) == []


def test_staff_and_funds_that_are_not_there_are_not_asked_for() -> None:
    """No extra unit lies above what the staff can serve or the day's funds pay out."""

    def capped(**caps: int) -> list[tuple[int, int]]:
        return asked_for(item(20, 60, 80.0, inputs={"used_units": 0, "bound": [], **caps}))

    assert capped(staff_cap_units=70) == capped(funds_cap_units=70, staff_cap_units=75) == [(60, 70)]
    assert capped(staff_cap_units=60) == []


def test_few_missing_units_are_no_reason_to_ask() -> None:
    """From `special_least_units` on a person is asked; and again only for clearly more than before."""
    assert asked_for(item(20, 60, 62.0)) == []
    assert asked_for(item(20, 60, 63.0)) == [(60, 63)]
    before = {limited(item(20, 60, 80.0)): 80}
    assert asked_for(item(20, 60, 82.0), asked=before) == []
    assert asked_for(item(20, 60, 83.0), asked=before) == [(60, 83)]


def test_the_levels_above_a_special_day_are_raised_with_it() -> None:
    """Its week, its region and its region's month, where these too are held down; other weeks are not."""
    items = [
        item(20, 60, 80.0),
        item(100, 300, 340.0, period_kind="week", period_start="2016-07-25"),
        item(100, 300, 340.0, period_kind="week", period_start="2016-08-01"),
        item(100, 300, 340.0, period_kind="week", period_start="2016-07-25", scope_id="b"),
        item(999, 999, 900.0, period_kind="month", period_start="2016-07-01"),
        item(900, 990, 999.0, period_kind="month", period_start="2016-07-01", scope_kind="region"),
        item(20, 60, 80.0, channel="phone"),
    ]
    assert asked_for(*items) == [(60, 80), (300, 340), (990, 999)]
    assert asked_for(*items[1:]) == []


@pytest.mark.parametrize(("days", "found"), [(1, ["2016-02-29"]), (2, ["2016-02-28", "2016-02-29"]), (0, [])])
def test_month_ends_follow_the_calendar(days: int, found: list[str]) -> None:
    """The last days of a month, leap years too."""
    assert [str(day) for day in month_ends(date(2016, 2, 20), date(2016, 3, 29), days)] == found
    assert MONTH_END == "month end"
