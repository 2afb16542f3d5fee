"""A picture of one series and its forecast: recent history, the median, the 50 % and the 80 % band."""

from __future__ import annotations

import functools
import hashlib
import textwrap
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from forecasting.frames import TIME, VALUE, quantile_column

HISTORY_DAYS: Final = 56
FINE_LEAST_DAYS: Final = 14
"""Below the day as much history as forecast is shown, from two weeks on: more would hide the steps."""

BLUE: Final = "#0072B2"
GREY: Final = "#444444"
"""Of Okabe and Ito's palette ("Color Universal Design", 2008), apart for every kind of colour vision."""
FONTS: Final = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Serif CJK SC",
    "Noto Serif CJK JP",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "SimHei",
    "Arial Unicode MS",
)
"""Asked in this order for each letter; those that the machine lacks are left out."""

LEGEND_ROOM: Final = 1.12
_MOST_NAME_BYTES: Final = 150
_HASH_DIGITS: Final = 10
_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
)
_WHY_WIDTH: Final = 120
_WHY_LINES: Final = 3


def file_names(ids: Sequence[str]) -> dict[str, str]:
    """A file name (.png) for each id, by id: safe on every system, no two alike in any spelling of case.

    Letters and digits of any script, `-`, `_` and `.` stay; others become `_`. A name that is not the id
    itself, or that another id would share, ends in a hash of the id, so that it is the same in every run.
    """
    plain = {name: _plain(name) for name in ids}
    shared = Counter(text.casefold() for text in plain.values())
    names: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(plain, key=lambda one: (plain[one] != one, one)):
        text, digits = plain[name], _HASH_DIGITS
        whole = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        if text != name or shared[text.casefold()] > 1:
            text = f"{plain[name]}-{whole[:digits]}"
        while text.casefold() in taken:
            digits += 1
            text = f"{plain[name]}-{whole[:digits]}"
        taken.add(text.casefold())
        names[name] = f"{text}.png"
    return names


def _plain(name: str) -> str:
    """The id with what file systems dislike replaced, and not too long."""
    letters = unicodedata.normalize("NFC", name)
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in letters)
    kept = kept.strip(".").encode()[:_MOST_NAME_BYTES].decode(errors="ignore") or "_"
    return f"_{kept}" if kept.split(".")[0].lower() in _RESERVED else kept


def draw_series(
    path: Path, name: str, history: pd.DataFrame, bands: pd.DataFrame, *, why: str, freq: str
) -> None:
    """Write the picture to `path` (PNG).

    history: `ds`, `y`; bands: `ds` and q0.1, q0.25, q0.5, q0.75, q0.9. Unknown steps are holes in the line.
    `why`, below the id, begins with the model.
    """
    figure = Figure(figsize=(10.0, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # a figure of its own, not one that pyplot keeps
    axes = figure.add_subplot()
    past = _recent(history, bands, freq)
    times = bands[TIME]
    axes.plot(past.index, past, color=GREY, linewidth=1.2, marker=".", markersize=3, label="history")
    for low, high, label, alpha in ((0.1, 0.9, "80 % band", 0.2), (0.25, 0.75, "50 % band", 0.4)):
        axes.fill_between(
            times,
            bands[quantile_column(low)],
            bands[quantile_column(high)],
            color=BLUE,
            alpha=alpha,
            linewidth=0,
            label=label,
        )
    middle = bands[quantile_column(0.5)]
    marker = "o" if len(times) == 1 else ""
    axes.plot(times, middle, color=BLUE, linewidth=1.8, linestyle="--", marker=marker, label="median")
    axes.axvline(times.iloc[0], color=GREY, linewidth=0.8, linestyle=":")
    top = pd.concat([past, bands[quantile_column(0.9)]]).max()
    axes.set_ylim(0.0, LEGEND_ROOM * top if top > 0 else 1.0)
    axes.margins(x=0.01)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    locator = AutoDateLocator(minticks=4, maxticks=10)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.legend(loc="upper left", ncols=4, frameon=False, fontsize=8)
    families = list(fonts())
    # an id is text, whatever signs it has: no $formulas$
    lines = textwrap.wrap(why, _WHY_WIDTH, max_lines=_WHY_LINES, placeholder=" …")
    pad = 10 + 11 * len(lines)
    axes.set_title(_short(name, 100), loc="left", fontsize=12, pad=pad, family=families, parse_math=False)
    axes.annotate(
        "\n".join(lines),
        (0.0, 1.02),
        xycoords="axes fraction",
        va="bottom",
        fontsize=8,
        color=GREY,
        family=families,
        parse_math=False,
    )
    with warnings.catch_warnings():
        # a letter that no font has is drawn as a box: once is enough to see
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(path, format="png", metadata={"Software": None})


def _recent(history: pd.DataFrame, bands: pd.DataFrame, freq: str) -> pd.Series:
    """The last steps of the history by time, without holes between rows (NaN = unknown)."""
    last = history[TIME].max()
    days = HISTORY_DAYS
    if freq != "D":
        coming = (bands[TIME].iloc[-1] - bands[TIME].iloc[0]).days + 1
        days = min(max(coming, FINE_LEAST_DAYS), HISTORY_DAYS)
    y = history.set_index(TIME)[VALUE]
    first = max(last - pd.Timedelta(days=days), y.index.min())
    return y.reindex(pd.date_range(first, last, freq=freq))


@functools.lru_cache(maxsize=1)
def fonts() -> tuple[str, ...]:
    """Those of FONTS that the machine has."""
    known = set(font_manager.fontManager.get_font_names())
    return tuple(name for name in FONTS if name in known) or ("sans-serif",)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
