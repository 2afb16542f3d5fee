"""What the read modules share: typed frames, and the one expression that databases spell differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
from sqlalchemy import ColumnElement, Engine, Executable, Integer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

UTC_TIME: Final = "datetime64[us, UTC]"
DAY: Final = "datetime64[us]"
QUARTER_HOUR_SECONDS: Final = 900


class quarter_index(FunctionElement[int]):  # noqa: N801  (reads as the SQL function that it is)
    """The number of whole quarter-hours since 1970 UTC, of a time column.

    Grouping by it is grouping by quarter-hour; every zone's days and hours are made of whole ones.
    """

    type = Integer()
    inherit_cache = True


@compiles(quarter_index, "sqlite")
def _quarter_index_sqlite(element: quarter_index, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(CAST(strftime('%s', {compiler.process(element.clauses, **kw)}) AS INTEGER) / 900)"


@compiles(quarter_index, "postgresql")
def _quarter_index_postgresql(element: quarter_index, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(floor(extract(epoch FROM {compiler.process(element.clauses, **kw)}) / 900) AS BIGINT)"


def quarter_starts(indexes: pd.Series) -> pd.Series:
    """The aware UTC starts of the quarter-hours with these indexes."""
    seconds = indexes.astype("int64") * QUARTER_HOUR_SECONDS
    return pd.to_datetime(seconds, unit="s", utc=True).astype(UTC_TIME)


def frame(engine: Engine, statement: Executable, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """The statement's rows with exactly these columns and dtypes, in this order."""
    with engine.connect() as connection:
        result = connection.execute(statement)
        names = list(result.keys())
        rows = [tuple(row) for row in result]
    return typed(pd.DataFrame(rows, columns=names), dtypes)


def typed(data: pd.DataFrame, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """The frame cut and cast to these columns and dtypes."""
    return pd.DataFrame({name: cast(data[name], dtype) for name, dtype in dtypes.items()})


def cast(values: pd.Series, dtype: str) -> pd.Series:
    """The column in the dtype; times and days are parsed, since an empty column arrives as `object`."""
    if dtype == UTC_TIME:
        return pd.to_datetime(values, utc=True).astype(UTC_TIME)
    if dtype == DAY:
        return pd.to_datetime(values).astype(DAY)
    converted: pd.Series = values.astype(dtype)  # type: ignore[call-overload]
    return converted


def in_region(column: ColumnElement[Any], region: str | None) -> list[ColumnElement[bool]]:
    """The conditions that keep a query inside the region; none for the whole bank."""
    return [] if region is None else [column == region]
