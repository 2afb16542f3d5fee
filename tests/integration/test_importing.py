"""Importing: files in, rows in; a bad row is one line and nothing is imported."""

from __future__ import annotations

import gzip
from datetime import date
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from booking_core.__main__ import main
from tests.support.bank import Bank
from tests.support.counts import rows

NAMES = "branch_id,region_id,region_name_en,region_name_zh,name_en,name_zh"
BRANCHES = f"{NAMES},staff_cap_units,automatic_application\n"
LOANS = "loan_ref,holder,branch_id,status,payoff_cny,min_prepayment_cny\n"


@pytest.fixture
def files(sqlite_bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for input files; the commands work on the SQLite bank."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", sqlite_bank.url)
    return tmp_path


def put(path: Path, text: str) -> str:
    """The path of a file with this text, compressed where its name says so."""
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def test_branches_and_loans_come_in_and_may_come_again(files: Path, sqlite_bank: Bank) -> None:
    """A second import replaces names and keeps one row for each."""
    branches = put(
        files / "branches.csv", BRANCHES + "b1,north,North,北,One,一,40,true\nb7,east,East,东,Seven,七,,\n"
    )
    loans = put(
        files / "loans.csv",
        "loan_ref,holder,branch_id,status,payoff_cny,min_prepayment_cny,eligible_from\n"
        "X1,c1,b7,active,1000.50,100,2026-01-05\nX2,c1,b7,closed,0,0,\n",
    )
    for _ in range(2):
        assert main(["import-branches", "--input", branches]) == 0
        assert main(["import-loans", "--input", loans]) == 0
    found = {b["branch_id"]: b for b in rows(sqlite_bank.engine, "branches")}
    assert (found["b1"]["staff_cap_units"], found["b7"]["staff_cap_units"]) == (40, None)
    grants = {r["region_id"]: r["automatic_application"] for r in rows(sqlite_bank.engine, "regions")}
    assert grants == {"north": True, "east": False}
    loan = next(x for x in rows(sqlite_bank.engine, "loans") if x["loan_ref"] == "X1")
    assert (str(loan["payoff_cny"]), loan["eligible_from"]) == ("1000.50", date(2026, 1, 5))


@pytest.mark.parametrize("name", ["history.csv", "history.csv.gz", "history.parquet"])
def test_history_adds_up_by_day_and_keeps_its_source(files: Path, sqlite_bank: Bank, name: str) -> None:
    """Hours of a day are one row; the same source again replaces it; another source stands beside it."""
    hours = {
        "unique_id": ["b1"] * 3,
        "ds": ["2026-01-05 09:00", "2026-01-05 10:00", "2026-01-06"],
        "y": [2, 3.5, 0],
    }
    frame = pd.DataFrame(hours)
    path = str(files / name)
    if name.endswith("parquet"):
        frame.assign(ds=pd.to_datetime(frame["ds"], format="mixed")).to_parquet(path)
    else:
        put(Path(path), frame.to_csv(index=False))
    for _ in range(2):
        assert main(["import-history", "--input", path, "--source", "app"]) == 0
    assert main(["import-history", "--input", path, "--source", "overlay", "--synthetic"]) == 0
    found = [
        (r["day"], r["source"], r["units"], r["synthetic"])
        for r in rows(sqlite_bank.engine, "demand_history")
    ]
    assert found == [
        (date(2026, 1, 5), "app", 5.5, False),
        (date(2026, 1, 5), "overlay", 5.5, True),
        (date(2026, 1, 6), "app", 0, False),
        (date(2026, 1, 6), "overlay", 0, True),
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_days_known_only_as_at_least_keep_the_mark(
    files: Path, sqlite_bank: Bank, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """A day is censored where one of its rows is; it is told; an import that knows all takes it away."""
    days = ["2026-01-05 09:00", "2026-01-05 10:00", "2026-01-06", "2026-01-07"]
    frame = pd.DataFrame({"unique_id": "b1", "ds": days, "y": 2, "censored": [True, False, False, True]})
    path = files / f"history.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        put(path, frame.assign(censored=["1", "0", "", "TRUE"]).to_csv(index=False))
    assert main(["import-history", "--input", str(path), "--source", "app"]) == 0
    assert '3 branch days of demand from app, 2 of them known only as "at least"' in capsys.readouterr().out
    assert [r["censored"] for r in rows(sqlite_bank.engine, "demand_history")] == [True, False, True]

    plain = put(files / "plain.csv", frame.drop(columns="censored").to_csv(index=False))
    assert main(["import-history", "--input", plain, "--source", "app"]) == 0
    assert "at least" not in capsys.readouterr().out
    assert [r["censored"] for r in rows(sqlite_bank.engine, "demand_history")] == [False] * 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "unique_id,ds,y,censored\nb1,2026-01-05,1,0\nb1,2026-01-06,1,2\n",
            "line 3, column censored: got '2', expected true or false, 1 or 0",
        ),
        ("unique_id,ds,y,censored\nb1,2026-01-05,1,full\n", "line 2, column censored: got 'full'"),
        (
            "unique_id,ds,y\nb1,2026-01-05,1\nb1,2026-01-06,many\n",
            "line 3, column y: got 'many', expected a number ≥ 0",
        ),
        ("unique_id,ds,y\nb1,2026-01-05,-1\n", "line 2, column y"),
        ("unique_id,ds,y\nb1,2026-01-05,nan\n", "line 2, column y"),
        ("unique_id,ds,y\nb1,2026-13-05,1\n", "line 2, column ds: got '2026-13-05', expected a day or time"),
        ("unique_id,ds,y\nb9,2026-01-05,1\n", "line 2, column unique_id: got 'b9', expected a branch"),
        ("unique_id,ds,y\nb1,2026-01-05,1\nb1,2026-01-05,2\n", "line 3, column ds"),
        ("unique_id,ds,y\nb1,2026-01-05\n", "line 2: 2 values, expected 3"),
        ("unique_id,ds\nb1,2026-01-05\n", "line 1: column y is missing"),
        ("unique_id,ds,y\nb1,0001-01-01T00:00:00+14:00,1\n", "line 2, column ds"),
        ("", "line 1: column unique_id, ds, y is missing"),
    ],
)
def test_a_bad_row_is_one_line_and_nothing_comes_in(
    files: Path, sqlite_bank: Bank, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    """The line names file, line, column and what was expected; the exit code is 2."""
    path = put(files / "bad.csv", text)
    assert main(["import-history", "--input", path, "--source", "s"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert path in told
    assert says in told
    assert rows(sqlite_bank.engine, "demand_history") == []


def test_a_file_that_cannot_be_read_is_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Absent files, text in a .gz or .parquet, and other encodings are one line each."""
    paths = [
        str(files / "absent.csv"),
        put(files / "plain.parquet", "unique_id"),
        str(files / "plain.csv.gz"),
        str(files / "latin.csv"),
        str(files / "corrupt.csv.gz"),
    ]
    packed = bytearray(gzip.compress(b"unique_id,ds,y\n" + b"b1,2026-01-05,1\n" * 5000))
    packed[40:42] = bytes(0xFF ^ byte for byte in packed[40:42])
    (files / "corrupt.csv.gz").write_bytes(packed)
    (files / "plain.csv.gz").write_bytes(b"unique_id,ds,y\n")
    (files / "latin.csv").write_bytes("unique_id,ds,y\nb\xe9,2026-01-05,1\n".encode("latin-1"))
    for path in paths:
        assert main(["import-history", "--input", path, "--source", "s"]) == 2
        told = capsys.readouterr().err
        assert path in told
        assert told.count("\n") == 1


def test_pressure_comes_in_by_quarter_hour(
    files: Path, sqlite_bank: Bank, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quarter-hours are kept as imported; a time off the grid or without offset is refused."""
    header = "starts_utc,requests,busy_seconds\n"
    good = put(files / "p.csv", header + "2026-01-05T01:15:00Z,90,1.5\n")
    assert main(["import-pressure", "--input", good, "--source", "made", "--synthetic"]) == 0
    [row] = rows(sqlite_bank.engine, "pressure_minutes")
    assert (row["requests"], row["source"], row["synthetic"]) == (90, "import:made", True)
    for wrong in ("2026-01-05T01:16:00Z", "2026-01-05T01:15:00"):
        bad = put(files / "bad.csv", f"{header}{wrong},1,1\n")
        assert main(["import-pressure", "--input", bad, "--source", "made"]) == 2
        assert "line 2, column starts_utc" in capsys.readouterr().err


def test_slots_open_in_the_banks_day_and_keep_what_is_booked(files: Path, sqlite_bank: Bank) -> None:
    """Slots tile the opening hours, share out the staff cap, and a second opening changes none."""
    sqlite_bank.add_branch("b2", staff_cap_units=41)
    put_off = ["open-slots", "--from", "2026-01-05", "--to", "2026-01-06"]
    assert main(put_off) == 2  # b1 has no staff cap
    assert main([*put_off, "--capacity-per-slot", "3"]) == 0
    slots = [s for s in rows(sqlite_bank.engine, "slots") if s["branch_id"] == "b2"]
    assert (len(slots), {s["capacity_units"] for s in slots}) == (40, {3})
    assert slots[0]["slot_id"] == "b2-2026-01-05-0800"
    assert str(slots[0]["start_utc"]) == "2026-01-05 00:00:00+00:00"
    assert main([*put_off, "--capacity-per-slot", "9"]) == 0
    assert {s["capacity_units"] for s in rows(sqlite_bank.engine, "slots")} == {3}


def test_settings_tokens_and_migration_are_commands(
    files: Path, sqlite_bank: Bank, capsys: pytest.CaptureFixture[str]
) -> None:
    """`set` stores what it understands, `token` prints a secret once, unknown settings are told."""
    assert main(["set", "hold_seconds=300", "country=none", 'policy={"service_level": 0.8}']) == 0
    stored = {s["key"]: s["value"] for s in rows(sqlite_bank.engine, "settings")}
    assert (stored["hold_seconds"], stored["country"]) == (300, "none")
    assert stored["policy"] == {"service_level": 0.8}
    unfit = ("hold=3", "hold_seconds", "zone=Nowhere/City", "hold_seconds=soon", 'policy={"a": NaN}')
    for wrong in (*unfit, "hold_seconds=99999999999999", "quarter_seconds=1e999"):
        capsys.readouterr()
        assert main(["set", wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    capsys.readouterr()
    assert main(["token", "--name", "t", "--scope", "channel"]) == 0
    secret = capsys.readouterr().out.strip()
    assert secret not in str(rows(sqlite_bank.engine, "tokens"))
    for fault in (["customer"], ["reader", "--region", "nowhere"], ["reader", "--name", "n" * 65]):
        assert main(["token", "--name", "t", "--scope", *fault]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "text", "says"),
    [
        ("branches", f"{BRANCHES}b7,east,East,东,Seven,七,1e300,\n", "line 2, column staff_cap_units"),
        ("branches", f"{BRANCHES}b7,east,{'E' * 201},东,Seven,七,4,\n", "line 2, column region_name_en"),
        ("loans", f"{LOANS}X1,c1,b1,active,1e30,100\n", "line 2, column payoff_cny"),
        ("loans", f"{LOANS}X1,c1,b1,active,1e12,100\n", "line 2, column payoff_cny"),
    ],
)
def test_figures_that_no_column_holds_are_told(
    files: Path, sqlite_bank: Bank, capsys: pytest.CaptureFixture[str], command: str, text: str, says: str
) -> None:
    """A number or name too great for the database is a bad row like any other."""
    before = rows(sqlite_bank.engine, command)
    assert main([f"import-{command}", "--input", put(files / "big.csv", text)]) == 2
    told = capsys.readouterr().err
    assert (told.count("\n"), says in told) == (1, True)
    assert rows(sqlite_bank.engine, command) == before


@pytest.mark.parametrize(
    "unfit",
    [
        ["--capacity-per-slot", "-1"],
        ["--capacity-per-slot", str(10**12)],
        ["--capacity-per-slot", "1", "--minutes", str(10**15)],
        ["--capacity-per-slot", "1", "--first", "08:00Z"],
        ["--capacity-per-slot", "1", "--to", "9999-12-31", "--from", "9999-12-31"],
    ],
)
def test_slots_that_cannot_be_are_not_opened(
    files: Path, sqlite_bank: Bank, capsys: pytest.CaptureFixture[str], unfit: list[str]
) -> None:
    """Capacities, lengths, times and days out of bounds are one line, and no slot is opened."""
    assert files.exists()
    assert main(["open-slots", "--from", "2026-12-01", "--to", "2026-12-01", *unfit]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert rows(sqlite_bank.engine, "slots") == []


def test_times_that_the_clocks_skip_open_no_slot(files: Path, sqlite_bank: Bank) -> None:
    """On the day the clocks go forward each real half-hour has one slot, half an hour long."""
    assert files.exists()
    assert main(["set", "zone=America/Chicago"]) == 0
    night = ["--first", "01:00", "--last", "04:00", "--capacity-per-slot", "2"]
    assert main(["open-slots", "--from", "2027-03-14", "--to", "2027-03-14", *night]) == 0
    opened = sorted(rows(sqlite_bank.engine, "slots"), key=lambda s: s["start_utc"])
    assert [s["slot_id"][-4:] for s in opened] == ["0100", "0130", "0300", "0330", "0400"]
    assert [a["end_utc"] == b["start_utc"] for a, b in pairwise(opened)] == [True] * 4


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:///{folder}/empty.db", "run: python -m booking_core migrate"),
        ("postgresql://nobody@127.0.0.1:1/none", "the database refused (connection failed"),
        ("garbage", "expected sqlite:///FILE or postgresql://"),
    ],
)
def test_a_database_that_is_not_ready_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    """No tables, no server, no URL: each command says what is wrong and what to do, without a traceback."""
    monkeypatch.setenv("SLOTCAST_DATABASE_URL", url.format(folder=tmp_path))
    for command in (["set", "country=none"], ["token", "--name", "t", "--scope", "reader"]):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert (told.count("\n"), says in told) == (1, True)


@pytest.mark.parametrize("unfit", [["--port", "99999"], ["--workers", "0"], ["--threads", "0"]])
def test_a_server_that_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str], unfit: list[str]) -> None:
    """`serve` judges its figures before anything is started or removed."""
    assert main(["serve", *unfit]) == 2
    assert capsys.readouterr().err.count("\n") == 1
