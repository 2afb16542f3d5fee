"""The commands of the scheduled jobs: `python -m forecasting train | propose | apply | score --period P`.

And of `replay-plan PLAN_ID`, which makes a past decision again from its record.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from forecasting.core_client import CoreError
from forecasting.periods import resolve_period


def add_commands(subparsers: Any) -> None:
    """Add the jobs and replay-plan to the subparsers; each sets `run`, a function of the arguments."""
    commands = {
        "train": (train, "train every branch for the period and forecast the pressure"),
        "propose": (propose, "record what the forecast asks for, before guardrails"),
        "apply": (apply, "guard the proposals, post the plans and apply those inside the guard band"),
        "score": (score, "score forecasts and plans against what came"),
    }
    for name, (run, text) in commands.items():
        parser = subparsers.add_parser(name, help=text, description=text)
        parser.add_argument(
            "--period",
            metavar="DAY",
            help="business day, ISO (default: the latest complete one); demand up to this day is known",
        )
        parser.set_defaults(run=guarded(run))
    text = "correct quotas within the day: held-back and emergency units, channels' shares"
    parser = subparsers.add_parser("correct", help=text, description=text)
    parser.add_argument(
        "--at", metavar="TIME", help="business quarter-hour, RFC 3339 (default: the present one)"
    )
    parser.set_defaults(run=guarded(correct))
    text = "make a past plan again from its record, and say where it differs"
    parser = subparsers.add_parser("replay-plan", help=text, description=text)
    parser.add_argument("plan_id", metavar="PLAN_ID", help="as GET /v1/plans lists it")
    parser.set_defaults(run=guarded(replay_plan))


def train(arguments: argparse.Namespace) -> int:
    """Exit code after training the period; prints the run's verdict."""
    from forecasting import jobs  # noqa: PLC0415  (loads pandas and Prophet: not for --help)

    period = resolve_period(arguments.period, None)
    jobs.start_training(period)
    for batch in jobs.series_batches(period):
        for branch, model in jobs.train_batch(period, batch).items():
            print(f"{branch}: {model}")
    result = jobs.finish_training(period)
    print(f"{result['run_id']}: {result['status']} {result['verdict'] or ''}".rstrip())
    return 0


def propose(arguments: argparse.Namespace) -> int:
    """Exit code after proposing; prints the regions."""
    from forecasting import jobs  # noqa: PLC0415

    period = resolve_period(arguments.period, None)
    for region in jobs.propose(period):
        print(f"{period} {region}: proposed")
    return 0


def apply(arguments: argparse.Namespace) -> int:
    """Exit code after guarding and applying each region's proposal; prints what became of each plan."""
    from forecasting import jobs  # noqa: PLC0415

    period = resolve_period(arguments.period, None)
    for region in jobs.propose(period):
        outcome = jobs.apply(jobs.guard(period, region))
        refused = f" ({outcome['refused']})" if outcome["refused"] else ""
        print(f"{outcome['plan_id']}: {outcome['status']}{refused}, {outcome['limits']} limits set")
    return 0


def score(arguments: argparse.Namespace) -> int:
    """Exit code after scoring; prints the figures."""
    from forecasting import jobs  # noqa: PLC0415

    scores = jobs.score(resolve_period(arguments.period, None))
    modes = scores.pop("regions")
    for name, value in scores.items():
        print(f"{name}: {round(value, 4) if isinstance(value, float) else value}")
    for region, found in modes.items():
        refused = f" ({found['refused']})" if found["refused"] else ""
        print(f"{region}: {found['mode']}{refused}, {found['condition']}")
    return 0


def correct(arguments: argparse.Namespace) -> int:
    """Exit code after correcting; prints what became of each plan."""
    from forecasting import jobs  # noqa: PLC0415

    for outcome in jobs.correct(arguments.at):
        refused = f" ({outcome['refused']})" if outcome["refused"] else ""
        about = outcome["plan_id"] or outcome["region"]
        print(f"{about}: {outcome['status']}{refused}, {outcome['limits']} limits set")
    return 0


def replay_plan(arguments: argparse.Namespace) -> int:
    """Exit code after replaying the plan: 0 the same decision, 1 another one; prints what differs."""
    from forecasting import replaying, store  # noqa: PLC0415

    plan, differences = replaying.replay_plan(store.open_engine(), arguments.plan_id)
    for difference in differences:
        print(f"{plan['plan_id']}: {difference}")
    if not differences:
        print(f"{plan['plan_id']}: same ({len(plan['items'])} items, {plan['status']})")
    return 1 if differences else 0


def guarded(run: Any) -> Any:
    """The command with expected errors told in one line: exit 2 bad input, 1 missing or refused."""

    def guarded(arguments: argparse.Namespace) -> int:
        try:
            return int(run(arguments))
        except ValueError as error:
            print(f"python -m forecasting: {error}", file=sys.stderr)
            return 2
        except (CoreError, LookupError, RuntimeError) as error:
            print(f"python -m forecasting: {error}", file=sys.stderr)
            return 1

    return guarded
