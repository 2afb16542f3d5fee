"""The bank itself: its settings, policy, regions and branches."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
from sqlalchemy import Engine, inspect, select

from booking_core import tables as t
from booking_core import tables_forecast as tf
from booking_core.read.sql import UTC_TIME, frame, in_region
from booking_core.settings import BankSettings, load_settings

POLICY_KEY: Final = "policy"
"""Key of the settings table that holds forecasting's typed policy."""


def is_migrated(engine: Engine) -> bool:
    """Whether the database holds Slotcast's tables; raises SQLAlchemy's error where it cannot be reached."""
    return inspect(engine).has_table(t.plans.name)


def bank_settings(engine: Engine) -> BankSettings:
    """The bank's settings, defaults where none are stored."""
    with engine.connect() as connection:
        return load_settings(connection)


def policy(engine: Engine) -> dict[str, Any]:
    """The stored policy as plain values; empty where the defaults rule."""
    with engine.connect() as connection:
        stored = connection.scalar(select(t.settings.c.value).where(t.settings.c.key == POLICY_KEY))
    return dict(stored or {})


def has_synthetic(engine: Engine) -> bool:
    """Whether any demand or pressure in the database is marked synthetic."""
    demand = select(t.demand_history.c.day).where(t.demand_history.c.synthetic).limit(1)
    pressure = select(tf.pressure_minutes.c.minute_utc).where(tf.pressure_minutes.c.synthetic).limit(1)
    with engine.connect() as connection:
        return any(connection.execute(each).first() is not None for each in (demand, pressure))


def regions(engine: Engine, region: str | None = None) -> pd.DataFrame:
    """Every region, by id.

    [region_id, name_en, name_zh, automatic_application, automatic_fixed (by a person), automatic_reason,
    automatic_since_utc (wall time; missing = since it was imported)]
    """
    statement = select(t.regions).where(*in_region(t.regions.c.region_id, region)).order_by("region_id")
    return frame(
        engine,
        statement,
        {
            "region_id": "str",
            "name_en": "str",
            "name_zh": "str",
            "automatic_application": "bool",
            "automatic_fixed": "bool",
            "automatic_reason": "str",
            "automatic_since_utc": UTC_TIME,
        },
    )


def branches(engine: Engine, region: str | None = None) -> pd.DataFrame:
    """[branch_id, region_id, name_en, name_zh, staff_cap_units, active] of every branch, by id."""
    statement = select(t.branches).where(*in_region(t.branches.c.region_id, region)).order_by("branch_id")
    return frame(
        engine,
        statement,
        {
            "branch_id": "str",
            "region_id": "str",
            "name_en": "str",
            "name_zh": "str",
            "staff_cap_units": "Int64",
            "active": "bool",
        },
    )
