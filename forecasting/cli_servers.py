"""`python -m forecasting replay-servers FILE`: requests through server decisions, under several policies."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forecasting.cli_files import guarded, keep_input, positive

if TYPE_CHECKING:
    from forecasting.replay.server_files import RequestTrace
    from forecasting.replay.server_outcomes import ServerReplay

DAYS: Final = 48
PEAK_WORKERS: Final = 20
TICKS: Final = 6
"""The forecast and five policies."""


def add_commands(subparsers: Any) -> None:
    """Add replay-servers to the subparsers."""
    command = subparsers.add_parser(
        "replay-servers",
        help="what each server policy would have done with a file's requests",
        description="Go through the last days of a file of requests in steps of 15 seconds: forecast from "
        "what was known, decide how many workers there shall be, let them start within 60 to 180 seconds, "
        "count the minutes with too few and the worker-hours. The load is scaled so that its highest step "
        "needs --peak-workers. The same call gives the same numbers; docs/servers.md tells what each is.",
    )
    command.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help=".csv, .csv.gz or .parquet with unique_id, ds, y: requests by steps of 1 to 60 minutes, as the "
        "file has them; an empty y or absent step is unknown, not 0",
    )
    command.add_argument(
        "--country", default="none", metavar="CC", help="ISO 3166 code whose calendar counts (default none)"
    )
    command.add_argument(
        "--days",
        type=positive,
        default=DAYS,
        metavar="N",
        help=f"days judged at most, the last ones (default {DAYS}); the eight before them are learned from",
    )
    command.add_argument(
        "--peak-workers",
        type=_workers,
        default=PEAK_WORKERS,
        metavar="N",
        help=f"workers that the highest step needs, 1 to {PEAK_WORKERS} (default {PEAK_WORKERS})",
    )
    command.add_argument(
        "--quiet-absent", action="store_true", help="an absent step had no request (default: is unknown)"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="figures of every policy as JSON")
    command.add_argument("--chart", type=Path, metavar="FILE", help="a picture (.png) of the policies")
    command.set_defaults(run=guarded(run_replay))


def run_replay(arguments: argparse.Namespace) -> int:
    """Exit code after the replay; prints one row a series and policy."""
    # heavy: not for --help
    from forecasting.files import FileProblemError, check_folder  # noqa: PLC0415
    from forecasting.models.calendar import check_country  # noqa: PLC0415
    from forecasting.replay.server_outcomes import WARM_DAYS  # noqa: PLC0415
    from forecasting.replay.server_report import as_json, as_table, draw_servers  # noqa: PLC0415

    source, country = arguments.file, check_country(arguments.country)
    if arguments.chart and arguments.chart.suffix.lower() != ".png":
        raise FileProblemError(f"{arguments.chart}: a chart is a .png file")
    for path in filter(None, (arguments.json, arguments.chart)):
        check_folder(path)
        keep_input(source, path)
    traces, minutes = _traces(arguments)
    replays, left_out = _replayed(traces, arguments.peak_workers)
    if left_out:
        few = ", ".join(left_out[:5]) + (" …" if len(left_out) > 5 else "")  # noqa: PLR2004
        print(f"left out, too short or without a request: {len(left_out)} series ({few})", file=sys.stderr)
    if not replays:
        raise FileProblemError(
            f"{source}: no series has {WARM_DAYS + 1} days with requests; expected {WARM_DAYS} to learn from "
            "and one or more to judge"
        )
    print(f"{len(replays)} series by {minutes} minutes, at most {arguments.days} days judged")
    print(as_table(replays).to_string(index=False))
    if arguments.json:
        setting = {
            "input": source.name,
            "series": len(replays),
            "left_out": left_out,
            "step_minutes": minutes,
            "days": arguments.days,
            "peak_workers": arguments.peak_workers,
            "country": country,
            "quiet_absent": arguments.quiet_absent,
        }
        arguments.json.write_text(json.dumps(as_json(replays, setting), indent=2, ensure_ascii=False) + "\n")
    if arguments.chart:
        first = {name: traces[name].first for name in replays}
        draw_servers(arguments.chart, replays, first, title=source.name)
    return 0


def _traces(arguments: argparse.Namespace) -> tuple[dict[str, RequestTrace], int]:
    """The file's series as traces, by id, and the minutes of their step."""
    from forecasting.files import FileProblemError, read_series  # noqa: PLC0415
    from forecasting.replay.server_files import request_trace, step_minutes  # noqa: PLC0415
    from forecasting.replay.server_outcomes import WARM_DAYS  # noqa: PLC0415

    frame = read_series(arguments.file, None).frame
    try:
        minutes = step_minutes(frame)
    except ValueError as error:
        raise FileProblemError(f"{arguments.file}: {error}") from error
    traces = {
        str(name): request_trace(
            rows,
            minutes,
            country=arguments.country,
            most_days=WARM_DAYS + arguments.days,
            quiet_absent=arguments.quiet_absent,
        )
        for name, rows in frame.groupby("unique_id")
    }
    return traces, minutes


def _replayed(
    traces: Mapping[str, RequestTrace], peak_workers: int
) -> tuple[dict[str, ServerReplay], list[str]]:
    """The replays by id, and the ids of those too short or without a request on the judged days."""
    from tqdm import tqdm  # noqa: PLC0415

    from forecasting.decisions.policy import Policy  # noqa: PLC0415
    from forecasting.replay.server_outcomes import WARM_DAYS, replay_servers  # noqa: PLC0415

    usable = {name: trace for name, trace in traces.items() if trace.busy_after(WARM_DAYS)}
    with tqdm(total=TICKS * len(usable), desc="replay", unit="policy", file=sys.stderr) as bar:
        replays = {
            name: replay_servers(
                trace.requests,
                trace.grid,
                Policy(),
                peak_workers=peak_workers,
                told=lambda: bar.update(1),
            )
            for name, trace in usable.items()
        }
    return replays, [name for name in traces if name not in usable]


def _workers(text: str) -> int:
    workers = positive(text)
    if workers > PEAK_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to {PEAK_WORKERS}, as the rule was judged")
    return workers
