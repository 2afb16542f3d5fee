"""A replay's picture: what each policy refused, over all and week by week."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd
from matplotlib.ticker import PercentFormatter

from forecasting.plots import BLUE, GREY
from forecasting.replay.pictures import bars, begun, ended
from forecasting.replay.quotas import FORESIGHT, OWN_QUANTILE, SAME_TOTAL, SLOTCAST, STATIC, PolicyResult

DRAWN: Final = (STATIC, SLOTCAST, FORESIGHT)
"""Of all policies those that a line is drawn of: today's practice, ours, and what could be had."""
STYLES: Final = {STATIC: (GREY, "-"), SLOTCAST: (BLUE, "-"), FORESIGHT: (GREY, ":")}


def draw_replay(path: Path, results: Sequence[PolicyResult], weekly: pd.DataFrame, *, title: str) -> None:
    """Write the picture to `path` (PNG). weekly: refused units by week and policy at the same total."""
    figure, same, own, lines = begun()
    for axes, setting, name in (
        (same, SAME_TOTAL, "refused, same total a week"),
        (own, OWN_QUANTILE, "cost (refused and idle), each at its own quantile"),
    ):
        chosen = [r for r in results if r.setting == setting]
        shares = [(r.unmet if setting == SAME_TOTAL else r.cost) / r.demand for r in chosen]
        colours = [BLUE if r.policy == SLOTCAST else GREY for r in chosen]
        labels = [r.policy.replace("_", " ") for r in chosen]
        bars(axes, labels, shares, colours, [f"{share:.1%}" for share in shares])
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title(f"{name}\nshare of demand", loc="left", fontsize=9)
    for policy in DRAWN:
        colour, style = STYLES[policy]
        lines.plot(weekly.index, weekly[policy], color=colour, linestyle=style, label=policy)
    lines.set_title("refused units a week, same total", loc="left", fontsize=9)
    ended(figure, lines, path, title=title)
