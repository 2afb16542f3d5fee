"""Many rows of one table at once: as few statements as the database allows, the same text every time.

PostgreSQL takes each column as one array (`unnest`), so that a batch of any size is one prepared statement;
SQLite takes the rows one by one, inside its own process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg
import sqlalchemy as sa
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Row,
    Select,
    String,
    Table,
    any_,
    bindparam,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import UserDefinedType

from booking_core.store import locking

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Among = Callable[[sa.Column[Any], str], ColumnElement[bool]]


class ByKeys(Protocol):
    """A query by lists of keys; nothing is asked where all lists are empty."""

    def __call__(
        self, connection: Connection, *, lock: bool = False, **keys: Collection[str]
    ) -> Iterable[Row[*tuple[Any, ...]]]:
        """The rows; locked in the order of the query until the transaction ends."""


POSTGRESQL: Final = "postgresql"
_DIALECT: Any = postgresql.dialect  # has no types


def by_keys(build: Callable[[Among], Select[Any]]) -> ByKeys:
    """A query by lists of keys, built once: `run(connection, lock=…, ids=[…])` gives its rows.

    `build` takes the condition "column is one of the keys named …". Building such a statement anew costs
    more than running it.
    """
    built: dict[Any, Select[Any]] = {}

    def run(
        connection: Connection, *, lock: bool = False, **keys: Collection[str]
    ) -> Iterable[Row[*tuple[Any, ...]]]:
        if not any(keys.values()):
            return ()
        dialect = connection.dialect.name
        which = (dialect, lock and locking.lock_clause)
        if which not in built:
            statement = build(partial(_among, dialect))
            built[which] = locking.lock_clause(statement) if lock else statement
        return connection.execute(built[which], {n: _listed(dialect, some) for n, some in keys.items()})

    return run


def among(connection: Connection, column: sa.Column[Any], values: Collection[str]) -> ColumnElement[bool]:
    """The condition that the text column has one of the values; its SQL does not depend on their number."""
    dialect = connection.dialect.name
    return _among(dialect, column, None, _listed(dialect, values))


def one_of(column: sa.Column[Any], names: Collection[str]) -> ColumnElement[bool]:
    """The condition that the column has one of our own names, written into the SQL.

    A partial index is used only where the planner sees its condition: a bound value would hide it.
    """
    return column.in_([literal_column(f"'{name}'") for name in names])


def rows_of(instances: Iterable[DataclassInstance]) -> list[dict[str, Any]]:
    """One row for each instance of a dataclass whose fields are named like the columns."""
    return [{name: getattr(instance, name) for name in _fields(type(instance))} for instance in instances]


@cache
def _fields(kind: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@contextmanager
def together(connection: Connection) -> Iterator[None]:
    """What `add_rows` and `change_rows` do inside goes to PostgreSQL at once, faults come at the end."""
    if connection.dialect.name != POSTGRESQL:
        yield
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 – the driver that make_engine names
    with _faults_named(), driver.pipeline():
        yield


def add_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows, all of which name the same columns."""
    if not rows:
        return
    if connection.dialect.name == POSTGRESQL:
        names = tuple(rows[0])
        _send(connection, _insert_sql(table, names), _arrays(table, names, rows))
    else:
        connection.execute(insert(table), rows)


def change_rows(connection: Connection, table: Table, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set the columns that the rows name, each in the row of the table with its `key`."""
    if not rows:
        return
    names = tuple(rows[0])
    if connection.dialect.name == POSTGRESQL:
        _send(connection, _update_sql(table, key, names), _arrays(table, names, rows))
        return
    values: dict[str, Any] = {name: bindparam(f"_{name}") for name in names if name != key}
    statement = sa.update(table).where(table.c[key] == bindparam(f"_{key}")).values(values)
    connection.execute(statement, [{f"_{name}": row[name] for name in names} for row in rows])


def put_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, replace: bool = True
) -> None:
    """Write the rows; one with the same primary key is replaced, or kept where `replace` is off."""
    if not rows:
        return
    insert = postgresql.insert if connection.dialect.name == POSTGRESQL else sqlite.insert
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    values = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    if replace and values:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=values)
    else:
        statement = statement.on_conflict_do_nothing()  # on any key: two may make the same row at once
    connection.execute(statement, list(rows))


class _TextArray(UserDefinedType[str]):
    """An array literal, bound as such: a cast in the SQL would be worked out again for every row."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT[]"


def _send(connection: Connection, sql: str, parameters: dict[str, str]) -> None:
    """Run the statement past SQLAlchemy, which cannot look at the results of a pipeline."""
    driver: Any = connection.connection.driver_connection
    with _faults_named():
        driver.execute(sql, parameters)


@contextmanager
def _faults_named() -> Iterator[None]:
    """The driver's faults as SQLAlchemy's, by which they are told, tried again or given up."""
    try:
        yield
    except psycopg.Error as fault:
        raise DBAPIError.instance("a batch's writes", None, fault, psycopg.Error) from fault


def _among(dialect: str, column: sa.Column[Any], name: str | None, value: Any = None) -> ColumnElement[bool]:
    if dialect == POSTGRESQL:
        return column == any_(bindparam(name, value, type_=_TextArray))
    each = func.json_each(bindparam(name, value, type_=sa.Text)).table_valued("value")
    return column.in_(select(each.c.value))


def _listed(dialect: str, values: Collection[str]) -> str:
    """The keys as one value: an array on PostgreSQL, JSON on SQLite."""
    return _array(values) if dialect == POSTGRESQL else json.dumps(list(values))


def _arrays(table: Table, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The rows as one array literal for each column."""
    return {
        name: _array(
            [None if row[name] is None else json.dumps(row[name]) for row in rows]
            if isinstance(table.c[name].type, JSON)
            else [row[name] for row in rows]
        )
        for name in names
    }


def _array(values: Iterable[Any]) -> str:
    """The values as PostgreSQL writes an array; the driver's own way costs ten times as much."""
    return "{" + ",".join(["NULL" if value is None else _quoted(str(value)) for value in values]) + "}"


def _quoted(value: str) -> str:
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


@cache
def _insert_sql(table: Table, names: tuple[str, ...]) -> str:
    told, rows = ", ".join(_told(table, name) for name in names), _unnested(table, names)
    return f"INSERT INTO {table.name} ({_names(names)}) SELECT {told} FROM {rows}"  # noqa: S608 – our names


@cache
def _update_sql(table: Table, key: str, names: tuple[str, ...]) -> str:
    values = ", ".join(f'"{name}" = {_told(table, name)}' for name in names if name != key)
    own, rows = f'{table.name}."{key}"', _unnested(table, names)
    return f'UPDATE {table.name} SET {values} FROM {rows} WHERE {own} = r."{key}"'  # noqa: S608 – our names


def _names(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _told(table: Table, name: str) -> str:
    return f'r."{name}"::json' if isinstance(table.c[name].type, JSON) else f'r."{name}"'


def _unnested(table: Table, names: Sequence[str]) -> str:
    """`unnest` of one parameter a column; text is cast without its length, which the insertion checks."""

    def type_of(name: str) -> str:
        kind = table.c[name].type
        if isinstance(kind, String | JSON):
            return "text"
        return kind.compile(dialect=_DIALECT()).split("(")[0]

    arrays = ", ".join(f"%({name})s::{type_of(name)}[]" for name in names)
    return f"unnest({arrays}) AS r({_names(names)})"
