"""A replay's picture: what each policy refused, over all and week by week."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from forecasting.plots import BLUE, GREY, fonts
from forecasting.replay.quotas import FORESIGHT, OWN_QUANTILE, SAME_TOTAL, SLOTCAST, STATIC, PolicyResult

DRAWN: Final = (STATIC, SLOTCAST, FORESIGHT)
"""Of all policies those that a line is drawn of: today's practice, ours, and what could be had."""
STYLES: Final = {STATIC: (GREY, "-"), SLOTCAST: (BLUE, "-"), FORESIGHT: (GREY, ":")}


def draw_replay(path: Path, results: Sequence[PolicyResult], weekly: pd.DataFrame, *, title: str) -> None:
    """Write the picture to `path` (PNG). weekly: refused units by week and policy at the same total."""
    figure = Figure(figsize=(11.0, 7.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # a figure of its own, not one that pyplot keeps
    placed = figure.subplot_mosaic([["same", "own"], ["weeks", "weeks"]])
    same, own, lines = placed["same"], placed["own"], placed["weeks"]
    for axes, setting, name in (
        (same, SAME_TOTAL, "refused, same total a week"),
        (own, OWN_QUANTILE, "cost (refused and idle), each at its own quantile"),
    ):
        chosen = [r for r in results if r.setting == setting]
        shares = [(r.unmet if setting == SAME_TOTAL else r.cost) / r.demand for r in chosen]
        colours = [BLUE if r.policy == SLOTCAST else GREY for r in chosen]
        labels = [r.policy.replace("_", " ") for r in chosen]
        bars = axes.barh(labels, shares, color=colours, alpha=0.8)
        axes.bar_label(bars, [f"{share:.1%}" for share in shares], padding=3, fontsize=8)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlim(0.0, 1.18 * max(shares) if max(shares) > 0 else 1.0)
        axes.set_title(f"{name}\nshare of demand", loc="left", fontsize=9)
    for policy in DRAWN:
        colour, style = STYLES[policy]
        lines.plot(weekly.index, weekly[policy], color=colour, linestyle=style, label=policy)
    lines.set_ylim(bottom=0.0)
    lines.set_title("refused units a week, same total", loc="left", fontsize=9)
    locator = AutoDateLocator(minticks=4, maxticks=10)  # type: ignore[no-untyped-call]
    lines.xaxis.set_major_locator(locator)
    lines.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    lines.legend(loc="upper left", ncols=3, frameon=False, fontsize=8)
    for axes in (same, own, lines):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, axis="y" if axes is lines else "x")
    figure.suptitle(title, x=0.01, ha="left", family=list(fonts()), parse_math=False)
    figure.savefig(path, format="png", metadata={"Software": None})
