"""A picture of each series: names that any file system takes, and drawings of odd series without a word."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.plots import draw_series, file_names

PNG = b"\x89PNG\r\n\x1a\n"


def bands(days: pd.DatetimeIndex, middle: float = 10.0) -> pd.DataFrame:
    levels = {"q0.1": 0.5, "q0.25": 0.8, "q0.5": 1.0, "q0.75": 1.2, "q0.9": 1.5}
    return pd.DataFrame({"ds": days} | {name: middle * share for name, share in levels.items()})


def test_plain_ids_name_their_files() -> None:
    """Letters of any script, digits, dashes and dots stay; nothing is added."""
    assert file_names(["007", "branch-1.a", "浦东"]) == {
        "007": "007.png", "branch-1.a": "branch-1.a.png", "浦东": "浦东.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    "odd", ["../../etc/passwd", "a/b", "a b", "..", "con", "NUL.x", "x" * 500, "\0", "\n"]
)
def test_an_odd_id_stays_in_the_folder_under_a_short_name(odd: str) -> None:
    """No path, no reserved name, no more than file systems take."""
    name = file_names([odd])[odd]
    assert Path(name).name == name
    assert "\0" not in name
    assert not name.startswith(".")
    assert len(name.encode()) <= 200
    assert name.split(".")[0].lower() not in {"con", "nul"}


def test_ids_alike_but_for_case_or_signs_get_files_of_their_own() -> None:
    """Also where an id looks like another one's made name."""
    ids = ["a/b", "a b", "a_b", "A_B", "a:b"]
    first = file_names(ids)
    ids += [first["a/b"].removesuffix(".png")]
    names = file_names(ids)
    assert len({name.casefold() for name in names.values()}) == len(ids)


@given(st.lists(st.text(min_size=1, max_size=30), unique=True, max_size=20))
def test_no_two_ids_share_a_file(ids: list[str]) -> None:
    """Any texts: one name each, without separators, the same whatever the order."""
    names = file_names(ids)
    assert set(names) == set(ids)
    assert len({name.casefold() for name in names.values()}) == len(ids)
    assert not any("/" in name or "\\" in name for name in names.values())
    assert file_names(ids[::-1]) == names


@pytest.mark.parametrize(
    "y", [np.arange(90.0), np.zeros(90), np.full(90, np.nan), np.full(90, 1e12), np.array([3.0])]
)
def test_any_series_is_drawn_without_warnings(tmp_path: Path, y: np.ndarray) -> None:
    """Zeros, unknown, huge, one row; an id with formula signs and letters that no font has."""
    days = pd.date_range("2024-01-01", periods=len(y))
    coming = pd.date_range(days[-1], periods=8)[1:]
    path = tmp_path / "a.png"
    table = pd.DataFrame({"ds": days, "y": y})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_series(path, "支行 $a_b$ \U0001f9ff\U00012345", table, bands(coming), why="weeks8: so", freq="D")
    assert path.read_bytes().startswith(PNG)


def test_a_fine_grain_and_a_single_step_are_drawn(tmp_path: Path) -> None:
    """One coming hour after months of them; a long reason is cut, not run over."""
    index = pd.date_range("2024-01-01", periods=24 * 90, freq="h")
    table = pd.DataFrame({"ds": index, "y": 1.0})
    step = pd.DatetimeIndex([index[-1] + pd.Timedelta(hours=1)])
    draw_series(tmp_path / "a.png", "a", table, bands(step), why="combination: " + "long " * 300, freq="h")
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
