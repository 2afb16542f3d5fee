"""How a row is locked: the one place, so that a test can take it away and watch the race oversell."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select


def lock_clause(statement: Select[Any]) -> Select[Any]:
    """The statement with its rows locked, in the order it reads them, until the transaction ends.

    SQLite knows no row locks: there the writer lock of `write_transaction` covers the whole file.
    """
    return statement.with_for_update()
