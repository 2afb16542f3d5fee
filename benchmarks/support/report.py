"""Figures as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.support.rounds import Figure


def print_table(title: str, figures: Sequence[Figure], console: Console | None = None) -> None:
    """Print each figure with its range and its target."""
    table = Table(title=title)
    for name in ("figure", "median", "range", "target", ""):
        table.add_column(name, justify="left" if name in {"figure", ""} else "right", no_wrap=True)
    for f in figures:
        spread = "" if f.low == f.high else f"{number(f.low)} – {number(f.high)}"
        verdict = {True: "[green]met", False: "[red]missed", None: ""}[f.met]
        table.add_row(f.name, number(f.value), spread, f.target, verdict)
    (console or Console()).print(table)


def number(value: float) -> str:
    """The value in three digits or so; whole numbers whole."""
    if math.isnan(value) or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def as_json(figures: Sequence[Figure], setting: Mapping[str, Any]) -> dict[str, Any]:
    """{"figures": {name: number}, "setting": {…}}; the ranges and targets stand in the setting."""
    return {
        "figures": {f.name: _finite(f.value) for f in figures},
        "setting": {
            **setting,
            "ranges": {f.name: [_finite(f.low), _finite(f.high)] for f in figures},
            "targets": {f.name: f.target for f in figures if f.target},
        },
    }


def write_json(path: Path, figures: Sequence[Figure], setting: Mapping[str, Any]) -> None:
    """Write the JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(figures, setting), indent=2, ensure_ascii=False) + "\n")


def _finite(value: float) -> float | None:
    """The value, None for one that JSON cannot say."""
    return round(value, 5) if math.isfinite(value) else None
