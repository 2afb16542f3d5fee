"""Tables from files: CSV (also .gz) or Parquet, line by line, with errors that name file, line and column."""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

REFERENCE: Final = re.compile(r"[A-Za-z0-9._:@-]+")
GREATEST: Final = 10**9
"""Of whole numbers; money stays below a thousand times that."""
FIRST_YEAR, YEARS_END = 1900, 3000
"""Years that a day may lie in, the end excluded."""
FLAGS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


class BadInputError(Exception):
    """A file that cannot be imported; the text is the one line to show."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a file; every reading method raises BadInputError naming file, line and column."""

    path: str
    where: str
    values: dict[str, str]

    def bad(self, column: str, expected: str) -> BadInputError:
        """The error for this column."""
        got = self.values.get(column, "")
        return BadInputError(f"{self.path}: {self.where}, column {column}: got {got!r}, expected {expected}")

    def has(self, column: str) -> bool:
        """Whether the column is there and not empty."""
        return bool(self.values.get(column))

    def text(self, column: str, longest: int = 200) -> str:
        """The value, not empty."""
        value = self.values.get(column, "")
        if not value or "\x00" in value or len(value) > longest:
            raise self.bad(column, f"a value of at most {longest} characters")
        return value

    def reference(self, column: str, longest: int = 64) -> str:
        """An id that can stand in a URL."""
        value = self.text(column)
        if not REFERENCE.fullmatch(value) or len(value) > longest:
            raise self.bad(column, f"at most {longest} letters, digits and . _ : @ -")
        return value

    def one_of(self, column: str, choices: Collection[str]) -> str:
        """One of the choices."""
        value = self.text(column)
        if value not in choices:
            raise self.bad(column, " | ".join(choices))
        return value

    def flag(self, column: str) -> bool:
        """Whether it says true; absent = false."""
        value = self.values.get(column, "").lower()
        if value not in FLAGS:
            raise self.bad(column, "true or false, 1 or 0")
        return FLAGS[value]

    def number(self, column: str) -> float:
        """A finite number ≥ 0."""
        try:
            value = float(self.values.get(column, ""))
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0:
            raise self.bad(column, "a number ≥ 0")
        return value

    def whole(self, column: str) -> int:
        """A whole number ≥ 0."""
        value = self.number(column)
        if value > GREATEST or value != int(value):
            raise self.bad(column, f"a whole number, 0 to {GREATEST:,}")
        return int(value)

    def money(self, column: str) -> Decimal:
        """An amount ≥ 0 with at most two decimals."""
        try:
            value = Decimal(self.values.get(column, ""))
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite() or not 0 <= value < 1000 * GREATEST or value != round(value, 2):
            raise self.bad(column, "an amount ≥ 0 and below 10^12 with at most two decimals")
        return value

    def moment(self, column: str) -> datetime:
        """An ISO 8601 day or time, as given (naive where it has no offset)."""
        try:
            value = datetime.fromisoformat(self.values.get(column, ""))
        except ValueError:
            value = None
        if value is None or not FIRST_YEAR <= value.year < YEARS_END:
            raise self.bad(column, "a day or time as 2016-07-28 or 2016-07-28T13:00:00Z")
        return value


def lines(path: str, columns: Sequence[str]) -> Iterator[Line]:
    """The rows of the file, which must have the columns.

    Raises BadInputError for a file that is absent, unreadable, or lacks a column.
    """
    try:
        yield from _parquet(path, columns) if path.endswith(".parquet") else _csv(path, columns)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as fault:
        raise BadInputError(f"{path}: cannot be read: {fault}") from fault


def _csv(path: str, columns: Sequence[str]) -> Iterator[Line]:
    opener: Any = gzip.open if path.endswith(".gz") else Path.open
    with opener(
        path if path.endswith(".gz") else Path(path), "rt", encoding="utf-8-sig", newline=""
    ) as stream:
        reader = csv.reader(stream)
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header, columns)
        for row in reader:
            if not row:
                continue
            where = f"line {reader.line_num}"
            if len(row) != len(header):
                raise BadInputError(
                    f"{path}: {where}: {len(row)} values, expected {len(header)}: {', '.join(header)}"
                )
            yield Line(path, where, dict(zip(header, (value.strip() for value in row), strict=True)))


def _parquet(path: str, columns: Sequence[str]) -> Iterator[Line]:
    import pyarrow as pa  # noqa: PLC0415 – only who reads Parquet waits for it
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(path)
    except pa.ArrowException as fault:
        raise BadInputError(f"{path}: no Parquet file: {fault}") from fault
    _check_header(path, table.column_names, columns)
    for number, row in enumerate(table.to_pylist(), start=1):
        yield Line(path, f"row {number}", {k: "" if v is None else str(v) for k, v in row.items()})


def _check_header(path: str, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        raise BadInputError(
            f"{path}: line 1: column {', '.join(missing)} is missing; expected {', '.join(columns)}"
        )
