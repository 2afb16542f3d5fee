"""Series files: CSV (also .gz) and Parquet with `unique_id, ds, y`, read with exact complaints."""

from __future__ import annotations

import csv
import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from forecasting.frames import CENSORED, ID, TIME, VALUE, series_frame

COLUMNS: Final = (ID, TIME, VALUE)
SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")
STEPS_PER_DAY: Final = {"D": 1, "h": 24, "30min": 48}
MARKS: Final = {"1": True, "true": True, "0": False, "false": False, "": False}
"""What `censored` may say, in any case."""
UNKNOWN_TEXTS: Final = ("", "nan", "na", "null", "none")

_OTHER_SEPARATORS = (";", "\t", "|")

_ZONED = r"(?:[zZ]|[+-]\d{2}:?\d{2})$"
_DATE = r"\d{4}-\d{2}-\d{2}"
_TIME = _DATE + r"(?:[ T]\d{2}:\d{2}(?::\d{2}(?:\.0+)?)?)?"
_MINUTES = _DATE + r"[ T]\d{2}:\d{2}"
_YEARS = (1900, 2199)  # a slip of the pen beyond would ask for centuries of unknown days


class FileProblemError(ValueError):
    """A file cannot be used; the text names file, line, column and what was expected."""


@dataclass(frozen=True, slots=True)
class SeriesFile:
    """A read file: `frame` is a frames.series_frame (one row an observation, sorted).

    time_format is how `ds` is written back ("" = as a timestamp, for Parquet); integer_ids, whether ids
    were numbers.
    """

    frame: pd.DataFrame
    time_format: str
    integer_ids: bool


def check_suffix(path: Path) -> str:
    """The suffix that decides the file's format; FileProblemError for any other."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise FileProblemError(f"{path}: the name ends in no known format; expected {', '.join(SUFFIXES)}")


def check_writable(path: Path) -> None:
    """FileProblemError now rather than after the work, when `path` could not be written."""
    check_suffix(path)
    check_folder(path)


def check_folder(path: Path) -> None:
    """FileProblemError where no file of this name, of whatever format, could be written."""
    if path.is_dir():
        raise FileProblemError(f"{path}: is a folder; expected a file name")
    if not path.absolute().parent.is_dir():
        raise FileProblemError(f"{path}: its folder does not exist; create it first")
    try:
        # tried, not asked: permissions say little about a read-only or special file system
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise FileProblemError(
            f"{path}: its folder cannot be written to ({error.strerror}); choose another one"
        ) from error


def make_folder(path: Path) -> None:
    """The folder, made if absent; FileProblemError where files could not be written into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileProblemError(f"{path}: is no folder and cannot be made one ({error.strerror})") from error
    check_folder(path / "file")


def read_series(path: Path, freq: str | None) -> SeriesFile:
    """The series of a file at a grain (D, h, 30min); FileProblemError tells what is wrong and where.

    freq None: at any times, on no grid. An empty `y` (or nan, NA, null) is unknown. `ds` is naive local time
    on the grain's grid. Each pair of id and `ds` stands once. `y` is a finite number, 0 or more: it counts
    demand. An optional column `censored` (1 or true, 0 or false or nothing) marks days whose demand is known
    only as at least `y`; it is kept where it marks any. Further columns are ignored.
    """
    suffix = check_suffix(path)
    if path.is_dir():
        raise FileProblemError(f"{path}: is a folder; expected a file")
    if not path.is_file():
        raise FileProblemError(f"{path}: no such file")
    place = "row" if suffix == ".parquet" else "line"
    raw = _read_parquet(path) if suffix == ".parquet" else _read_csv(path)
    if raw.empty:
        raise FileProblemError(f"{path}: no rows after the header; expected {', '.join(COLUMNS)}")
    complain = _Complaints(path, place)
    integer_ids = pd.api.types.is_integer_dtype(raw[ID])
    ids = raw[ID].astype("str").where(raw[ID].notna(), "")  # as given, blanks included: callers join on it
    complain.where(ids.str.strip() == "", ID, ids, "is empty; expected the name of a series")
    times, time_format = _times(raw[TIME], complain)
    strange = (times.dt.year < _YEARS[0]) | (times.dt.year > _YEARS[1])
    complain.where(strange, TIME, raw[TIME], f"is no likely time; expected a year {_YEARS[0]} to {_YEARS[1]}")
    if freq is not None:
        _check_grid(times, raw[TIME], freq, complain)
    values = _values(raw[VALUE], complain)
    keys = pd.DataFrame({ID: ids, TIME: times})
    again = keys.duplicated()
    if again.any():
        second = _first(again)
        clock = "" if freq == "D" else "; add up the hour that the clocks go through twice in autumn"
        same = (ids == ids.loc[second]) & (times == times.loc[second])
        raise FileProblemError(
            f"{path}: {place} {second} repeats {place} {_first(same)}: {ID} {ids.loc[second]!r}, "
            f"{TIME} {raw[TIME].loc[second]}; expected each pair once (add the two up, or drop one{clock})"
        )
    columns = {ID: ids, TIME: times, VALUE: values}
    if CENSORED in raw:
        marked = _marks(raw[CENSORED], complain)
        if freq != "D":
            complain.where(marked, CENSORED, raw[CENSORED], "marks a step of the day; expected --freq D")
        columns |= {CENSORED: marked} if marked.any() else {}
    frame = series_frame(pd.DataFrame(columns))
    return SeriesFile(frame, time_format, integer_ids)


def _check_grid(times: pd.Series, texts: pd.Series, freq: str, complain: _Complaints) -> None:
    """FileProblemError where a time lies off the grain's grid."""
    step = pd.Timedelta(days=1) / STEPS_PER_DAY[freq]
    off_grid = (times - times.dt.normalize()) % step != pd.Timedelta(0)
    grid = {"D": "a day without a time of day", "h": "a full hour", "30min": "a full or half hour"}[freq]
    complain.where(off_grid, TIME, texts, f"is off the grid of --freq {freq}; expected {grid}")
    if freq != "D" and times.min() != times.max() and (times == times.dt.normalize()).all():
        raise FileProblemError(
            f"{complain.path}: {complain.place} {texts.index[0]}, column {TIME}: {str(texts.iloc[0])!r} and "
            f"all others are whole days; expected times of day for --freq {freq}, or --freq D"
        )


def write_table(table: pd.DataFrame, path: Path, *, time_format: str = "", integer_ids: bool = False) -> None:
    """Write the table in the format of the name's suffix; readers see the old file or all of the new one."""
    suffix = check_suffix(path)
    written = table.assign(**{ID: table[ID].astype("int64")}) if integer_ids else table
    with _replacing(path) as temporary:
        if suffix == ".parquet":
            written.to_parquet(temporary, index=False)
        else:
            text = written.to_csv(index=False, float_format="%.10g", date_format=time_format or None)
            data = text.encode()
            # no time in the header: the same numbers are the same bytes
            temporary.write_bytes(gzip.compress(data, mtime=0) if suffix == ".csv.gz" else data)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place if all goes well."""
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Complaints:
    path: Path
    place: str

    def where(self, bad: pd.Series, column: str, texts: pd.Series, expected: str) -> None:
        """Raise for the first bad row, if any; rows are indexed by their line."""
        if bad.any():
            line = _first(bad)
            more = f" ({int(bad.sum()) - 1} more such)" if bad.sum() > 1 else ""
            raise FileProblemError(
                f"{self.path}: {self.place} {line}, column {column}: {str(texts.loc[line])!r} "
                f"{expected}{more}"
            )


def _first(flags: pd.Series) -> int:
    """The line of the first row that is flagged."""
    return int(flags.index[int(flags.to_numpy().argmax())])


def _read_csv(path: Path) -> pd.DataFrame:
    """The columns as text, indexed by the line they stand on."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.name.lower().endswith(".gz") else path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise FileProblemError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise FileProblemError(f"{path}: is no whole gzip file ({error}); compress it again") from error
    except OSError as error:
        raise FileProblemError(f"{path}: cannot be read: {error.strerror}") from error
    lines: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        places = _places(path, header)
        columns: dict[str, list[str]] = {name: [] for name, _ in places}
        for row in reader:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if len(row) != len(header):
                raise FileProblemError(
                    f"{path}: line {reader.line_num} has {len(row)} fields; "
                    f"expected {len(header)} as in the header"
                )
            lines.append(reader.line_num)
            for name, place in places:
                columns[name].append(row[place])
    except csv.Error as error:
        raise FileProblemError(f"{path}: line {reader.line_num}: {error}; expected plain CSV") from error
    return pd.DataFrame(columns, index=lines, dtype="str")


def _places(path: Path, header: list[str]) -> list[tuple[str, int]]:
    """Where each column stands; `censored` only where there is one."""
    if not any(header):
        raise FileProblemError(f"{path}: is empty; expected a header line with {', '.join(COLUMNS)}")
    names = (*COLUMNS, CENSORED) if CENSORED in header else COLUMNS
    for name in names:
        if header.count(name) != 1:
            found = "is missing" if name not in header else "stands more than once"
            other = next((sign for sign in _OTHER_SEPARATORS if len(header) == 1 and sign in header[0]), None)
            remedy = "" if other is None else f" separated by commas, not by {other!r}"
            raise FileProblemError(
                f"{path}: line 1: column {name} {found} in {', '.join(header)}; "
                f"expected {', '.join(COLUMNS)}{remedy}"
            )
    return [(name, header.index(name)) for name in names]


def _read_parquet(path: Path) -> pd.DataFrame:
    """The columns, indexed by row from 1."""
    try:
        table = pd.read_parquet(path)
    except (ArrowException, OSError, ValueError) as error:
        raise FileProblemError(f"{path}: is no Parquet file: {str(error).splitlines()[0]}") from error
    if set(COLUMNS) & set(table.index.names):
        table = table.reset_index()
    places = _places(path, [str(name) for name in table.columns])
    chosen = table[[name for name, _ in places]]
    return chosen.set_axis(np.arange(1, len(chosen) + 1), axis=0)


def _times(texts: pd.Series, complain: _Complaints) -> tuple[pd.Series, str]:
    """The times, naive, and the format to write times back in."""
    naive = "expected naive local time, without an offset"
    if isinstance(texts.dtype, pd.DatetimeTZDtype):
        complain.where(texts.notna(), TIME, texts, f"has a zone; {naive}")
    if pd.api.types.is_datetime64_dtype(texts.dtype):
        complain.where(texts.isna(), TIME, texts, "is empty; expected a time")
        return texts, ""
    written = texts.astype("str").str.strip()
    zoned = written.str.contains(_ZONED, regex=True) & ~written.str.fullmatch(_DATE)
    complain.where(zoned, TIME, texts, f"has an offset; {naive}")
    times = pd.to_datetime(written.where(written.str.fullmatch(_TIME)), format="ISO8601", errors="coerce")
    complain.where(times.isna(), TIME, texts, "is no time; expected YYYY-MM-DD or YYYY-MM-DD HH:MM:SS")
    if written.str.fullmatch(_DATE).all():
        return times, "%Y-%m-%d"
    between = "T" if written.str.contains("T").any() else " "
    seconds = "" if written.str.fullmatch(_MINUTES).all() else ":%S"
    return times, f"%Y-%m-%d{between}%H:%M{seconds}"


def _values(texts: pd.Series, complain: _Complaints) -> pd.Series:
    """The numbers; unknown ones are NaN."""
    if pd.api.types.is_numeric_dtype(texts.dtype):
        values = pd.Series(texts.to_numpy(dtype="float64", na_value=np.nan), index=texts.index)
    else:
        written = texts.astype("str").str.strip()
        values = pd.to_numeric(written, errors="coerce").astype("float64")
        unknown = texts.isna() | written.str.lower().isin(UNKNOWN_TEXTS)
        complain.where(
            values.isna() & ~unknown, VALUE, texts, "is no number; expected 0 or more, or nothing if unknown"
        )
    complain.where(
        values.abs() == np.inf, VALUE, texts, "is not finite; expected 0 or more, or nothing if unknown"
    )
    complain.where(values < 0, VALUE, texts, "is negative; demand is 0 or more")
    return values


def _marks(texts: pd.Series, complain: _Complaints) -> pd.Series:
    """Which rows are known only as "at least"; nothing = exact."""
    written = texts.astype("str").str.strip().str.lower().where(texts.notna(), "")
    written = written.str.removesuffix(".0")  # Parquet numbers with a blank among them are 1.0
    complain.where(~written.isin(MARKS), CENSORED, texts, "is no mark; expected 1 or true, 0 or false")
    return written.map(MARKS).astype("bool")
