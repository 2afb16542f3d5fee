"""`python -m forecasting replay`: a demand file through the whole decision loop, under several policies."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forecasting.cli_files import guarded, keep_input, positive
from forecasting.file_tasks import BATCH_SERIES

if TYPE_CHECKING:
    import pandas as pd

    from forecasting.replay.quotas import QuotaReplay

LEAST_WEEKS: Final = 4
WEEKS: Final = 26
SERVICE_LEVEL: Final = 0.9


def add_commands(subparsers: Any) -> None:
    """Add replay to the subparsers."""
    replay = subparsers.add_parser(
        "replay",
        help="what each quota policy would have done with a file's demand",
        description="Go through the last weeks of a demand file day by day: train on what was known, plan "
        "the next day's quotas, keep a waitlist, score. Twice: with the same total units a week for every "
        "policy, and each at its own quantile of the service level. The same call gives the same numbers.",
    )
    replay.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="FILE",
        help=".csv, .csv.gz or .parquet with unique_id, ds, y; one row a day",
    )
    replay.add_argument(
        "--country", default="none", metavar="CC", help="ISO 3166 code whose calendar counts (default none)"
    )
    replay.add_argument(
        "--weeks", type=_weeks, default=WEEKS, metavar="N", help=f"weeks replayed at most (default {WEEKS})"
    )
    replay.add_argument(
        "--service-level",
        type=_level,
        default=SERVICE_LEVEL,
        metavar="P",
        help=f"refused ÷ (refused + idle) cost, 0 to 1 (default {SERVICE_LEVEL}: 9 to 1)",
    )
    replay.add_argument("--json", type=Path, metavar="FILE", help="figures of every policy as JSON")
    replay.add_argument("--chart", type=Path, metavar="FILE", help="a picture (.png) of the policies")
    replay.add_argument(
        "--output", type=Path, metavar="FILE", help="demand and every policy's quota by series and day"
    )
    replay.set_defaults(run=guarded(run_replay))


def run_replay(arguments: argparse.Namespace) -> int:
    """Exit code after the replay; prints one row a policy and setting."""
    # heavy: not for --help
    import pandas as pd  # noqa: PLC0415
    from tqdm import tqdm  # noqa: PLC0415

    from forecasting.files import (  # noqa: PLC0415
        FileProblemError,
        check_folder,
        check_writable,
        read_series,
        write_table,
    )
    from forecasting.models.calendar import check_country  # noqa: PLC0415
    from forecasting.models.train import regular_series  # noqa: PLC0415
    from forecasting.replay.quotas import replay_quotas, window_of  # noqa: PLC0415
    from forecasting.replay.report import as_json, as_table, merged, quota_rows  # noqa: PLC0415

    country = check_country(arguments.country)
    if arguments.output:
        check_writable(arguments.output)
    if arguments.chart and arguments.chart.suffix.lower() != ".png":
        raise FileProblemError(f"{arguments.chart}: a chart is a .png file")
    for path in filter(None, (arguments.json, arguments.chart, arguments.output)):
        check_folder(path)
        keep_input(arguments.input, path)
    source = read_series(arguments.input, "D")
    series = {str(name): regular_series(rows, "D") for name, rows in source.frame.groupby("unique_id")}
    window = window_of(series, arguments.weeks)
    if window is None:
        raise FileProblemError(
            f"{arguments.input}: no series has 56 weeks; expected 52 to learn from and 4 to replay"
        )
    if not any(y.loc[window.first :].sum() > 0 for y in window.series.values()):
        raise FileProblemError(
            f"{arguments.input}: no demand in the {window.weeks} weeks from {window.first.date()}; expected "
            "some to serve, or fewer --weeks"
        )
    if window.left_out:
        few = ", ".join(window.left_out[:5]) + (" …" if len(window.left_out) > 5 else "")  # noqa: PLR2004
        print(f"left out, too short or ended before: {len(window.left_out)} series ({few})", file=sys.stderr)
    batches = list(window.batches(BATCH_SERIES))
    with tqdm(total=window.days * len(batches), desc="replay", unit="night", file=sys.stderr) as bar:
        done = [
            replay_quotas(
                batch, country=country, service_level=arguments.service_level, told=lambda: bar.update(1)
            )
            for batch in batches
        ]
    results = merged(done)
    print(f"{len(window.series)} series, {window.weeks} weeks from {window.first.date()}")
    print(as_table(results).to_string(index=False))
    if arguments.json:
        setting = {
            "input": arguments.input.name,
            "series": len(window.series),
            "left_out": list(window.left_out),
            "first_day": window.first.date().isoformat(),
            "weeks": window.weeks,
            "country": country,
            "service_level": arguments.service_level,
        }
        arguments.json.write_text(json.dumps(as_json(results, setting), indent=2, ensure_ascii=False) + "\n")
    if arguments.output:
        rows = pd.concat([quota_rows(replay) for replay in done], ignore_index=True)
        write_table(rows, arguments.output, time_format=source.time_format, integer_ids=source.integer_ids)
    if arguments.chart:
        from forecasting.replay.chart import draw_replay  # noqa: PLC0415

        draw_replay(arguments.chart, results, _weekly(done), title=arguments.input.name)
    return 0


def _weekly(done: Iterable[QuotaReplay]) -> pd.DataFrame:
    """Refused units by week and policy at the same total, over all batches."""
    from forecasting.replay.report import weekly_unmet  # noqa: PLC0415

    tables = [weekly_unmet(replay) for replay in done]
    total = tables[0]
    for table in tables[1:]:
        total = total.add(table)
    return total


def _weeks(text: str) -> int:
    weeks = positive(text)
    if weeks < LEAST_WEEKS:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {LEAST_WEEKS} weeks or more")
    return weeks


def _level(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        level = -1.0
    if not 0.0 < level < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number between 0 and 1, such as 0.9")
    return level
