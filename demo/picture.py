"""The before/after picture: the same wishes under the old and the new quotas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from demo.judge import Judged, served_share
from demo.sample import branches

SERVED, REFUSED, INK, FAINT = "#2a7f62", "#d9534f", "#222222", "#888888"
SIZE: Final = (12, 7)


def before_after(
    path: Path, *, day: date, before: Sequence[Judged], after: Sequence[Judged], headline: str | None = None
) -> Path:
    """The path of the PNG: each branch's wishes, served or refused, under the old and the new quotas."""
    wishes = Counter(one.branch_id for one in before)
    order = sorted(wishes, key=lambda branch: wishes[branch])
    names = {branch.branch_id: branch.name_en for branch in branches()}
    figure, axes = plt.subplots(1, 2, figsize=SIZE, sharey=True, layout="constrained")
    for axis, judged, title in zip(axes, (before, after), ("Old quotas", "New quotas"), strict=True):
        served = Counter(one.branch_id for one in judged if one.reason is None)
        refused = Counter(one.branch_id for one in judged if one.reason is not None)
        positions = range(len(order))
        axis.barh(positions, [served[b] for b in order], color=SERVED, label="served")
        axis.barh(
            positions,
            [refused[b] for b in order],
            left=[served[b] for b in order],
            color=REFUSED,
            label="refused for want of quota",
        )
        axis.set_yticks(list(positions), [names.get(b, b) for b in order])
        share, total = served_share(judged), len(judged)
        axis.set_title(
            f"{title}: {sum(served.values()):,} of {total:,} served ({share:.0%})",
            loc="left",
            color=INK,
            weight="bold",
        )
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(left=False, colors=INK)
        axis.grid(axis="x", color="#dddddd", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.set_xlabel(f"wishes for {day:%a %Y-%m-%d}")
    axes[1].legend(loc="lower right", frameon=False)
    told = (
        headline
        or f"The same recorded wishes for {day}, judged by the booking rules before and after the retune"
    )
    figure.suptitle(told, x=0.01, ha="left", fontsize=14, color=INK)
    figure.text(
        0.01,
        -0.02,
        "Demand: real daily counts (data/README.md); the month-end surge on top is synthetic.",
        color=FAINT,
        fontsize=9,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return path
