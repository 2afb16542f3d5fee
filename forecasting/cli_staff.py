"""The commands on staff and on what would be: `python -m forecasting roster | what-if --region R`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from forecasting.cli_jobs import guarded
from forecasting.periods import next_monday, parse_day, resolve_period


def add_commands(subparsers: Any) -> None:
    """Add roster and what-if to the subparsers; each sets `run`, a function of the arguments."""
    text = "propose shifts that cover the forecast, and name the heads that are missing"
    parser = _command(subparsers, "roster", text)
    parser.add_argument("--days", type=int, metavar="N", help="days after the period (default: plan_days)")
    text = "of the week that begins after the period, as the DAG roster does; instead of --days"
    parser.add_argument("--week", action="store_true", help=text)
    text = "state the shifts as rosters (POST /v1/rosters) where none stands: quotas are then capped by them"
    parser.add_argument("--state", action="store_true", help=text)
    parser.set_defaults(run=guarded(roster))
    text = "play the coming days through as things stand and with something changed, side by side"
    parser = _command(subparsers, "what-if", text)
    parser.add_argument("--days", type=int, metavar="N", help="days after the period (default: plan_days)")
    costs = "; sets the branches' day quotas anew, at the quantile that the costs ask for"
    parser.add_argument("--refused-cost", type=float, metavar="X", help=f"cost of a refused unit{costs}")
    parser.add_argument("--idle-cost", type=float, metavar="X", help=f"cost of an idle unit{costs}")
    parser.add_argument(
        "--service-level", type=float, metavar="P", help="set the day quotas at this quantile"
    )
    parser.add_argument("--quota-ratio", type=float, metavar="R", help="the branches' day quotas times R")
    parser.add_argument(
        "--limit", action="append", default=[], metavar="SCOPE:PERIOD=UNITS", help="branch:b1:day=40"
    )
    parser.add_argument(
        "--staff", action="append", default=[], metavar="BRANCH=HEADS", help="heads at a branch's counter"
    )
    parser.add_argument(
        "--staff-ratio", type=float, metavar="R", help="what the staff can serve times R, where that is known"
    )
    parser.add_argument(
        "--demand",
        action="append",
        default=[],
        metavar="RATIO[@SCOPE][/FIRST..LAST]",
        help="demand times RATIO: 1.2, or 1.5@branch:b1/2026-12-01..2026-12-05",
    )
    parser.set_defaults(run=guarded(what_if))


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
    if arguments.week and arguments.days is not None:
        raise ValueError("--week and --days: expected one of them")
    period = resolve_period(arguments.period, None)
    days, first = arguments.days, None
    if arguments.week:
        days, first = rostering.WEEK_DAYS, next_monday(parse_day(period))
    made = rostering.roster(period, arguments.region, days, first)
    stated = rostering.state_rosters(made) if arguments.state else []
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
    for roster_id in stated:
        print(f"{roster_id}: stands")
    return 0


def _shift(shift: dict[str, Any]) -> str:
    pause = f" (break {shift['break'][0]})" if shift["break"] else ""
    return f"{shift['heads']} × {shift['from']}–{shift['to']}{pause}"


def what_if(arguments: argparse.Namespace) -> int:
    """Exit code after playing the days through; prints both outcomes side by side."""
    from forecasting import what_if as jobs  # noqa: PLC0415  (loads scipy and pandas: not for --help)

    if arguments.days is not None and arguments.days < 1:
        raise ValueError(f"--days {arguments.days}: expected 1 or more")
    told = jobs.what_if_of(
        resolve_period(arguments.period, None), arguments.region, _changes(arguments), arguments.days
    )
    if arguments.json:
        print(json.dumps(told, ensure_ascii=False, indent=2))
        return 0
    print(f"{told['region']}: {told['days']} days from {told['first_day']}, forecast {told['run_id']}")
    print(f"{'':14}  {'as it stands':>32}  {'changed':>32}")
    for name, present in told["present"].items():
        if isinstance(present, dict):
            print(f"{name:14}  {_range(present):>32}  {_range(told['changed'][name]):>32}")
    if told["without_forecast"]:
        print(f"left out, since they have no forecast: {', '.join(told['without_forecast'])}")
    return 0


def _range(told: dict[str, float]) -> str:
    return f"{told['mean']:,.1f} ({told['low']:,.1f} – {told['high']:,.1f})"


def _changes(arguments: argparse.Namespace) -> Any:
    """The changes asked for; ValueError naming the option that cannot be read."""
    from forecasting.decisions.situations import Changes  # noqa: PLC0415

    heads = [_split("--staff", text, "=", "BRANCH=HEADS") for text in arguments.staff]
    return Changes(
        refused_cost=arguments.refused_cost,
        idle_cost=arguments.idle_cost,
        service_level=arguments.service_level,
        quota_ratio=arguments.quota_ratio,
        limits=tuple(_limit(text) for text in arguments.limit),
        staff_heads={branch: _number("--staff", count) for branch, count in heads},
        staff_ratio=arguments.staff_ratio,
        shocks=tuple(_shock(text) for text in arguments.demand),
    )


def _limit(text: str) -> Any:
    """A limit from SCOPE:PERIOD=UNITS."""
    from forecasting.decisions.situations import LimitChange  # noqa: PLC0415

    wanted = "SCOPE:PERIOD=UNITS, such as branch:b1:day=40 or region:north:month=900"
    name, units = _split("--limit", text, "=", wanted)
    scope, _, period_kind = name.rpartition(":")
    if not scope or not units.isdigit():
        raise ValueError(f"--limit {text!r}: expected {wanted}")
    return LimitChange(scope, period_kind, int(units))


def _shock(text: str) -> Any:
    """A shock from RATIO[@SCOPE][/FIRST..LAST]."""
    from forecasting.decisions.situations import Shock  # noqa: PLC0415

    ahead, _, days = text.partition("/")
    ratio, _, scope = ahead.partition("@")
    first, last = _split("--demand", days, "..", "days as FIRST..LAST") if days else (None, None)
    return Shock(
        ratio=_number("--demand", ratio),
        scope=scope or "bank:bank",
        first=parse_day(first) if first else None,
        last=parse_day(last) if last else None,
    )


def _split(option: str, text: str, mark: str, wanted: str) -> tuple[str, str]:
    left, found, right = text.partition(mark)
    if not found:
        raise ValueError(f"{option} {text!r}: expected {wanted}")
    return left, right


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{option}: {text!r} is no number") from None
