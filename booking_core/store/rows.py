"""Many rows of one table at once: as few statements as the database allows, the same text every time.

PostgreSQL takes each column as one array (`unnest`), so that a batch of any size is one prepared statement;
SQLite takes the rows one by one, inside its own process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row
from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
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
from sqlalchemy.types import TypeDecorator, UserDefinedType

from booking_core.store import locking

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Among = Callable[[sa.Column[Any], str], ColumnElement[bool]]


Rows = Callable[[], Sequence[dict[str, Any]]]
"""The answer to a question that was asked: its rows as columns by name; waits until it is there."""


class ByKeys(Protocol):
    """A query by lists of keys; nothing is asked where all lists are empty."""

    def __call__(self, connection: Connection, *, lock: bool = False, **keys: Collection[str]) -> Rows:
        """The rows; locked in the order of the query until the transaction ends."""


POSTGRESQL: Final = "postgresql"
_DIALECT: Any = postgresql.dialect  # has no types


def by_keys(build: Callable[[Among], Select[Any]]) -> ByKeys:
    """A query by lists of keys, built once: `run(connection, lock=…, ids=[…])()` gives its rows.

    `build` takes the condition "column is one of the keys named …". Building such a statement anew costs
    more than running it. What is asked `together` goes to PostgreSQL at once.
    """
    built: dict[Any, Select[Any]] = {}
    sent: dict[Any, _Sent] = {}

    def run(connection: Connection, *, lock: bool = False, **keys: Collection[str]) -> Rows:
        if keys and not any(keys.values()):
            return tuple
        dialect = connection.dialect.name
        which = (dialect, lock and locking.lock_clause)
        if which not in built:
            statement = build(partial(_among, dialect))
            built[which] = locking.lock_clause(statement) if lock else statement
        values = {n: _listed(dialect, some) for n, some in keys.items()}
        if dialect != POSTGRESQL:
            rows = [dict(row) for row in connection.execute(built[which], values).mappings()]
            return lambda: rows
        if which not in sent:
            sent[which] = _Sent.of(connection, built[which])
        return sent[which].ask(connection, values)

    return run


@dataclass(frozen=True, slots=True)
class _Sent:
    """A query as text for PostgreSQL's driver, run past SQLAlchemy, which cannot wait for later rows."""

    sql: str
    converted: Mapping[str, Callable[[Any], Any]]
    """What makes of the driver's value ours, for the columns of our own types."""

    @classmethod
    def of(cls, connection: Connection, statement: Select[Any]) -> _Sent:
        dialect = connection.dialect
        own = {c.name: c.type for c in statement.selected_columns if isinstance(c.type, TypeDecorator)}
        converted = {name: kind.result_processor(dialect, None) for name, kind in own.items()}
        return cls(str(statement.compile(dialect=dialect)), {n: by for n, by in converted.items() if by})

    def ask(self, connection: Connection, values: Mapping[str, str]) -> Rows:
        driver: Any = connection.connection.driver_connection
        with _faults_named(connection):
            cursor = driver.cursor(row_factory=dict_row).execute(self.sql, values, prepare=True)

        def answer() -> Sequence[dict[str, Any]]:
            with _faults_named(connection):
                rows: list[dict[str, Any]] = cursor.fetchall()
            for name, convert in self.converted.items():
                for row in rows:
                    row[name] = convert(row[name])
            return rows

        return answer


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
    """One row for each instance of one dataclass whose fields are named like the columns."""
    some = list(instances)
    if not some:
        return []
    names = tuple(field.name for field in fields(some[0]))
    values = attrgetter(*names)
    return [dict(zip(names, values(instance), strict=True)) for instance in some]


@contextmanager
def together(connection: Connection) -> Iterator[None]:
    """What is asked, added and changed inside goes to PostgreSQL at once; faults come at the end."""
    if connection.dialect.name != POSTGRESQL:
        yield
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 – the driver that make_engine names
    with _faults_named(connection), driver.pipeline():
        yield


def commit(connection: Connection) -> None:
    """Let the commit go with what is sent `together`; SQLAlchemy's own then finds nothing left to do."""
    if connection.dialect.name == POSTGRESQL:
        driver: Any = connection.connection.driver_connection
        driver.commit()


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
    with _faults_named(connection):
        driver.execute(sql, parameters, prepare=True)


@contextmanager
def _faults_named(connection: Connection) -> Iterator[None]:
    """The driver's faults as SQLAlchemy's, by which they are told, tried again or given up."""
    driver: Any = connection.connection.driver_connection
    try:
        yield
    except psycopg.Error as fault:
        if lost := driver.closed:
            connection.invalidate(fault)
        raise DBAPIError.instance(
            "a batch", None, fault, psycopg.Error, connection_invalidated=lost
        ) from fault


def _among(dialect: str, column: sa.Column[Any], name: str | None, value: Any = None) -> ColumnElement[bool]:
    if dialect == POSTGRESQL:
        return column == any_(bindparam(name, value, type_=_TextArray))
    each = func.json_each(bindparam(name, value, type_=sa.Text)).table_valued("value")
    return column.in_(select(each.c.value))


def _listed(dialect: str, values: Collection[str]) -> str:
    """The keys as one value: an array on PostgreSQL, JSON on SQLite."""
    if dialect != POSTGRESQL:
        return json.dumps(list(values))
    return _array(list(values)) if values else "{}"


def _arrays(table: Table, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The rows as one array literal for each column."""
    return {
        name: _array(
            [None if row[name] is None else to_json(row[name]).decode() for row in rows]
            if isinstance(table.c[name].type, JSON)
            else [row[name] for row in rows]
        )
        for name in names
    }


def _array(values: Sequence[Any]) -> str:
    """The values as PostgreSQL writes an array; the driver's own way costs ten times as much."""
    if values.count(values[0]) == len(values):  # most columns of a batch
        one = _text(values[0])
        return "{" + ",".join([one] * len(values)) + "}"
    if None not in values:
        plain = '","'.join(map(str, values))
        if "\\" not in plain and plain.count('"') == 2 * (len(values) - 1):
            return f'{{"{plain}"}}'
    return "{" + ",".join([_text(value) for value in values]) + "}"


def _text(value: Any) -> str:
    return "NULL" if value is None else _quoted(str(value))


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
