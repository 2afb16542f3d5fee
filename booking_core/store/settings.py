"""The bank's settings, read with all else that a batch reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Select, select

from booking_core import tables as t
from booking_core.settings import BankSettings, settings_of
from booking_core.store.rows import Among, by_keys


def read_settings(connection: Connection) -> Callable[[], BankSettings]:
    """Asks for the bank's settings as stored."""
    rows = _settings(connection)
    return lambda: settings_of({row["key"]: row["value"] for row in rows()})


@by_keys
def _settings(_among: Among) -> Select[Any]:
    return select(t.settings.c.key, t.settings.c.value)
