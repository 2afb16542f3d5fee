"""The commands on staff and on what would be: `python -m forecasting roster | what-if --region R`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from forecasting.cli_jobs import guarded
from forecasting.periods import resolve_period


def add_commands(subparsers: Any) -> None:
    """Add roster and what-if to the subparsers; each sets `run`, a function of the arguments."""
    text = "propose shifts that cover the forecast, and name the heads that are missing"
    parser = _command(subparsers, "roster", text)
    parser.add_argument("--days", type=int, metavar="N", help="days after the period (default: plan_days)")
    parser.set_defaults(run=guarded(roster))


def _command(subparsers: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=text, description=text)
    parser.add_argument("--region", required=True, metavar="ID", help="region id")
    parser.add_argument(
        "--period",
        metavar="DAY",
        help="business day, ISO (default: the latest complete one); the days after it are meant",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


def roster(arguments: argparse.Namespace) -> int:
    """Exit code after proposing the region's roster; prints it."""
    from forecasting import rostering  # noqa: PLC0415  (loads scipy and pandas: not for --help)

    if arguments.days is not None and arguments.days < 1:
        raise ValueError(f"--days {arguments.days}: expected 1 or more")
    made = rostering.roster(resolve_period(arguments.period, None), arguments.region, arguments.days)
    if arguments.json:
        print(json.dumps(made, ensure_ascii=False, indent=2))
        return 0
    print(f"{'day':10}  {'branch':16}  {'skill':7}  {'heads':>5}  {'most':>4}  shifts; missing")
    for each in made["rosters"]:
        shifts = ", ".join(_shift(shift) for shift in each["shifts"]) or "none"
        short = ", ".join(f"{missing['from']} −{missing['heads']}" for missing in each["shortages"])
        there = "" if each["rostered"] else " (no roster stands)"
        most = max(each["need"].values())
        print(
            f"{each['day']:10}  {each['branch']:16}  {each['skill']:7}  {each['heads']:5}  {most:4}  {shifts}"
            f"{f'; MISSING {short}' if short else ''}{there}"
        )
    for skill, total in made["totals"].items():
        print(
            f"{skill}: {total['head_days']} head-days; {total['missing_half_hours']} half-hours of a head "
            f"missing on {total['short_days']} branch-days"
        )
    return 0


def _shift(shift: dict[str, Any]) -> str:
    pause = f" (break {shift['break'][0]})" if shift["break"] else ""
    return f"{shift['heads']} × {shift['from']}–{shift['to']}{pause}"
