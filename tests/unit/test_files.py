"""A bad file is told in one line with file, line, column and what was expected; a good one round-trips."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from forecasting.files import FileProblemError, check_writable, read_series, write_table

HEADER = "unique_id,ds,y\n"


def written(folder: Path, text: str, name: str = "demand.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty; expected a header line with unique_id, ds, y"),
        (HEADER, "no rows after the header"),
        ("id,ds,y\na,2024-01-01,1\n", "line 1: column unique_id is missing in id, ds, y"),
        ("unique_id,ds,y,y\na,2024-01-01,1,2\n", "line 1: column y stands more than once"),
        (HEADER + "a,2024-01-01,1\na,2024-01-02,many\n", "line 3, column y: 'many' is no number; expected"),
        (HEADER + "a,2024-01-01,1\n\na,2024-01-03,1_0\n", "line 4, column y: '1_0' is no number"),
        (HEADER + "a,2024-01-01,-3\n", "line 2, column y: '-3' is negative; demand is 0 or more"),
        (HEADER + "a,2024-01-01,inf\n", "line 2, column y: 'inf' is not finite"),
        (HEADER + "a,01/02/2024,1\n", "line 2, column ds: '01/02/2024' is no time; expected YYYY-MM-DD"),
        (HEADER + "a,2024,1\n", "line 2, column ds: '2024' is no time"),
        (
            HEADER + "a,0224-01-01,1\n",
            "line 2, column ds: '0224-01-01' is no likely time; expected a year 1900",
        ),
        (HEADER + "a,2024-02-30,1\n", "line 2, column ds: '2024-02-30' is no time"),
        (
            HEADER + "a,2024-01-01T00:00:00+08:00,1\n",
            "line 2, column ds: '2024-01-01T00:00:00+08:00' has an offset",
        ),
        (
            HEADER + "a,2024-01-01 09:30:00,1\n",
            "line 2, column ds: '2024-01-01 09:30:00' is off the grid of --freq D",
        ),
        (HEADER + ",2024-01-01,1\n", "line 2, column unique_id: '' is empty"),
        (
            "unique_id,ds,y,censored\na,2024-01-01,1,1\na,2024-01-02,1,full\n",
            "line 3, column censored: 'full' is no mark; expected 1 or true, 0 or false",
        ),
        (
            "unique_id,ds,y,censored,censored\na,2024-01-01,1,1,1\n",
            "line 1: column censored stands more than once",
        ),
        (HEADER + "a,2024-01-01\n", "line 2 has 2 fields; expected 3"),
        (HEADER + "a,2024-01-01,1\nb,2024-01-01,1\na,2024-01-01,2\n", "line 4 repeats line 2: unique_id 'a'"),
        (HEADER + '"a,2024-01-01,1\n', "expected plain CSV"),
        ("unique_id;ds;y\na;2024-01-01;1\n", "expected unique_id, ds, y separated by commas, not by ';'"),
    ],
)
def test_a_bad_file_is_told_where_and_what(tmp_path: Path, text: str, told: str) -> None:
    """The complaint names the file, the line that an editor shows, the column and what was expected."""
    path = written(tmp_path, text)
    with pytest.raises(FileProblemError) as problem:
        read_series(path, "D")
    assert str(problem.value).startswith(f"{path}: ")
    assert told in str(problem.value)
    assert "\n" not in str(problem.value)


def test_many_bad_rows_are_counted(tmp_path: Path) -> None:
    """The first is shown, the others are counted."""
    path = written(tmp_path, HEADER + "".join(f"a,2024-01-{day:02},x\n" for day in range(1, 9)))
    with pytest.raises(FileProblemError, match=r"line 2, column y: .* \(7 more such\)"):
        read_series(path, "D")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("demand.csv.gz", b"no gzip at all", "is no whole gzip file"),
        ("demand.csv.gz", gzip.compress(b"unique_id,ds,y\n" * 50, mtime=0)[:-9], "is no whole gzip file"),
        ("demand.csv", "unique_id,ds,y\n分行,2024-01-01,1\n".encode("gbk"), "line 2 is not UTF-8 text"),
        ("demand.parquet", b"PAR1 or so", "is no Parquet file"),
        ("demand.xlsx", b"", "expected .csv, .csv.gz, .parquet"),
    ],
)
def test_a_file_of_another_kind_is_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    """Broken or foreign content is a complaint, not a trace."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileProblemError, match=told):
        read_series(path, "D")


def test_a_good_file_is_sorted_and_its_unknowns_are_nan(tmp_path: Path) -> None:
    """Rows come sorted, empty y is NaN, further columns and a byte order mark are no trouble."""
    text = "\ufeffds,note,y,unique_id\n2024-01-02,x,,b\n2024-01-02,x,NaN,a\n2024-01-01,x, 2.5 ,a\n"
    frame = read_series(written(tmp_path, text), "D").frame
    assert frame["unique_id"].tolist() == ["a", "a", "b"]
    assert frame["ds"].dt.day.tolist() == [1, 2, 2]
    assert frame["y"].isna().tolist() == [False, True, True]
    assert frame["y"][0] == 2.5


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_times_of_day_are_written_back_as_given(tmp_path: Path, suffix: str) -> None:
    """Minutes without seconds stay without, with the T or blank of the input."""
    for between in "T ":
        path = written(tmp_path, HEADER + f"a,2024-01-01{between}00:30,1\na,2024-01-01{between}01:00,2\n")
        source = read_series(path, "30min")
        out = tmp_path / f"out{suffix}"
        write_table(source.frame, out, time_format=source.time_format)
        data = gzip.decompress(out.read_bytes()) if suffix == ".csv.gz" else out.read_bytes()
        assert data.decode().splitlines()[1].startswith(f"a,2024-01-01{between}00:30,")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_table_round_trips(tmp_path: Path, suffix: str) -> None:
    """What is written is read back the same, in each format, and leaves no temporary file."""
    table = pd.DataFrame(
        {
            "unique_id": ["分行一", "b"],
            "ds": pd.to_datetime(["2024-01-01 00:30", "2024-01-01 01:00"]).astype("datetime64[us]"),
            "y": [1.5, 2e12],
        }
    )
    path = tmp_path / f"out{suffix}"
    write_table(table, path, time_format="" if suffix == ".parquet" else "%Y-%m-%dT%H:%M:%S")
    again = read_series(path, "30min")
    pd.testing.assert_frame_equal(
        again.frame, table.sort_values("unique_id", ignore_index=True).astype({"unique_id": "str"})
    )
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    if suffix != ".parquet":
        assert again.time_format == "%Y-%m-%dT%H:%M:%S"


def test_columns_kept_as_a_parquet_index_are_found(tmp_path: Path) -> None:
    """A frame written with its index is as good as one with columns."""
    table = pd.DataFrame({"unique_id": ["7"], "ds": pd.to_datetime(["2024-01-01"]), "y": [1.0]})
    table.set_index(["unique_id", "ds"]).to_parquet(tmp_path / "in.parquet")
    assert read_series(tmp_path / "in.parquet", "D").frame["unique_id"].tolist() == ["7"]


def test_ids_stay_as_given(tmp_path: Path) -> None:
    """Leading zeros, blanks and numbers that look alike are different ids."""
    ids = ["007", "7", "7.0", " 7", "7 ", "NA", "支行一"]
    source = read_series(written(tmp_path, HEADER + "".join(f"{i},2024-01-01,1\n" for i in ids)), "D")
    assert set(source.frame["unique_id"]) == set(ids)
    write_table(source.frame, tmp_path / "out.csv", integer_ids=source.integer_ids)
    assert {line.split(",")[0] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]} == set(ids)


def test_whole_days_are_no_hours(tmp_path: Path) -> None:
    """A daily file read at a finer grain is told; a single midnight may be an hour."""
    days = written(tmp_path, HEADER + "a,2024-01-01,1\na,2024-01-02,2\n")
    with pytest.raises(FileProblemError, match=r"line 2, column ds: .* expected times of day for --freq h"):
        read_series(days, "h")
    one = written(tmp_path, HEADER + "a,2024-01-01 00:00,1\n", "one.csv")
    assert len(read_series(one, "h").frame) == 1


def test_a_folder_is_no_input(tmp_path: Path) -> None:
    """A folder with a file's name is told from an absent file."""
    (tmp_path / "in.csv").mkdir()
    with pytest.raises(FileProblemError, match="is a folder; expected a file"):
        read_series(tmp_path / "in.csv", "D")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """A table that cannot be written leaves what stood there, and nothing beside it."""
    path = written(tmp_path, "old", "out.parquet")
    with pytest.raises(Exception, match=r"mixed|convert|Expected|Error"):
        write_table(pd.DataFrame({"unique_id": ["a", "b"], "y": [object(), {1}]}), path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.parquet"]


def test_an_output_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    """A missing folder or a folder in the file's place is told at once."""
    with pytest.raises(FileProblemError, match="folder does not exist"):
        check_writable(tmp_path / "absent" / "out.csv")
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(FileProblemError, match="is a folder"):
        check_writable(tmp_path / "out.csv")
    with pytest.raises(FileProblemError, match="cannot be written to"):
        check_writable(Path("/proc/out.csv"))  # refuses root, too


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_marks_of_days_known_only_as_at_least_are_read(tmp_path: Path, suffix: str) -> None:
    """Numbers, words and blanks; a file that marks nothing reads as one without the column."""
    frame = pd.DataFrame({"unique_id": "a", "ds": ["2024-01-01", "2024-01-02", "2024-01-03"], "y": 1})
    path = tmp_path / f"demand.{suffix}"
    for marks, expected in (
        ([1, None, 0], [True, False, False]),
        (["", "TRUE", "false"], [False, True, False]),
    ):
        table = frame.assign(censored=marks)
        table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
        assert read_series(path, "D").frame["censored"].tolist() == expected
    frame.assign(censored=0).to_csv(tmp_path / "none.csv", index=False)
    assert "censored" not in read_series(tmp_path / "none.csv", "D").frame


def test_marks_are_of_days_and_not_of_hours(tmp_path: Path) -> None:
    """At a finer grain nothing fills them in, so they are refused; the column without any mark is not."""
    hours = "unique_id,ds,y,censored\na,2024-01-01 09:00,1,0\na,2024-01-01 10:00,1,{}\n"
    with pytest.raises(FileProblemError, match="line 3, column censored: '1' marks a step of the day"):
        read_series(written(tmp_path, hours.format(1)), "h")
    assert len(read_series(written(tmp_path, hours.format(0)), "h").frame) == 2
