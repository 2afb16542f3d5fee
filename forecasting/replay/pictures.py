"""What the pictures of replays share: two rows of bars above, lines by time below, one way to end them."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from forecasting.plots import fonts


def begun() -> tuple[Figure, Axes, Axes, Axes]:
    """An empty picture: its two places for bars by policy, and the one for lines by time beneath."""
    figure = Figure(figsize=(11.0, 7.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # a figure of its own, not one that pyplot keeps
    placed = figure.subplot_mosaic([["left", "right"], ["lines", "lines"]])
    return figure, placed["left"], placed["right"], placed["lines"]


def bars(axes: Axes, labels: list[str], values: list[float], colours: list[str], told: list[str]) -> None:
    """One bar a policy from above down, each with its value as told beside it."""
    drawn = axes.barh(labels, values, color=colours, alpha=0.8)
    axes.bar_label(drawn, told, padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.18 * max(values) if max(values) > 0 else 1.0)


def ended(figure: Figure, lines: Axes, path: Path, *, title: str) -> None:
    """Write the picture to `path` (PNG), its times and frames drawn; the same data give the same bytes."""
    lines.set_ylim(bottom=0.0)
    locator = AutoDateLocator(minticks=4, maxticks=10)  # type: ignore[no-untyped-call]
    lines.xaxis.set_major_locator(locator)
    lines.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    lines.legend(loc="upper left", ncols=3, frameon=False, fontsize=8)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, axis="y" if axes is lines else "x")
    figure.suptitle(title, x=0.01, ha="left", family=list(fonts()), parse_math=False)
    figure.savefig(path, format="png", metadata={"Software": None})
