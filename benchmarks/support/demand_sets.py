"""Real demand to judge forecasts on: each file of the data folder, at the grains that it is used at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

ROOT: Final = Path(__file__).parents[2]
SHARED: Final = ROOT.parent / "shared" / "data"
OWN: Final = ROOT / "data"
PER_DAY: Final = {"D": 1, "h": 24, "30min": 48}

COUNTRIES: Final = {
    "ambulance": "GB", "bankcalls_il": "IL", "bikeshare_dc": "US", "chicago": "US", "hotel": "PT",
    "koubei": "CN", "nn5": "GB", "noshow": "BR", "nyc": "US", "xyzbank": "IN", "yancheng": "CN",
    "yuebao": "CN",
}  # fmt: skip
"""By the beginning of a file's name; other files have no known country."""
REQUESTS: Final = ("wc98", "nab")
"""Requests to servers: they judge the scaling of servers (benchmarks/replay.py), not demand."""


@dataclass(frozen=True, slots=True)
class DemandSet:
    """One file at one grain: `series` are regular (NaN = unknown), by id."""

    name: str
    freq: str
    country: str
    series: dict[str, pd.Series]

    @property
    def per_day(self) -> int:
        """Steps a day."""
        return PER_DAY[self.freq]

    @property
    def season(self) -> int:
        """Steps a week."""
        return 7 * self.per_day


def data_folder() -> Path:
    """SLOTCAST_DATA, else the shared folder, else the project's own sample."""
    if named := os.environ.get("SLOTCAST_DATA"):
        return Path(named)
    return SHARED if SHARED.is_dir() else OWN


def demand_sets(folder: Path, *, most_series: int | None = None) -> Iterator[DemandSet]:
    """Every file with `unique_id, ds, y` in the folder (and its `redistributable/`), finer grains summed up.

    `most_series` keeps that many of each file, evenly spread over the ids in their order.
    """
    files = sorted(
        [*folder.glob("*.csv*"), *folder.glob("*.parquet"), *folder.glob("redistributable/*.csv*")]
    )
    for path in files:
        stem = path.name.split(".")[0]
        if stem.startswith(REQUESTS):
            continue
        frame = _read(path)
        if frame is None:
            continue
        ids = sorted(frame["unique_id"].unique())
        if most_series is not None and len(ids) > most_series:
            ids = [ids[place] for place in np.linspace(0, len(ids) - 1, most_series).astype(int)]
        frame = frame[frame["unique_id"].isin(ids)]
        country = next((code for start, code in COUNTRIES.items() if stem.startswith(start)), "none")
        step = frame.groupby("unique_id")["ds"].diff().median()
        fine = [freq for freq in PER_DAY if pd.Timedelta(days=1) / PER_DAY[freq] >= step]
        grains = fine or ["D"]
        for freq in grains:
            series = {str(name): _regular(group, freq) for name, group in frame.groupby("unique_id")}
            suffix = "" if grains == ["D"] else f"_{freq}"
            yield DemandSet(stem + suffix, freq, country, series)


def _read(path: Path) -> pd.DataFrame | None:
    """The file's rows, sorted; None for a file of another form."""
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    if not {"unique_id", "ds", "y"} <= set(frame.columns):
        return None
    kept = frame[["unique_id", "ds", "y"]].assign(ds=pd.to_datetime(frame["ds"]))
    return kept.sort_values(["unique_id", "ds"])


def _regular(rows: pd.DataFrame, freq: str) -> pd.Series:
    """One series without holes; sums of finer steps, unknown where none is known."""
    summed = rows.set_index("ds")["y"].astype("float64").resample(freq).sum(min_count=1)
    return summed.rename(None)
