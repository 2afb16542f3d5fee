"""The commands that go from file to file: `python -m forecasting forecast | backtest`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forecasting.file_tasks import Answer, BacktestTask, ForecastTask, in_batches

if TYPE_CHECKING:
    import pandas as pd

FREQUENCIES: Final = ("D", "h", "30min")
DEFAULT_QUANTILES: Final = "0.1,0.25,0.5,0.75,0.9"
EXPLAINED_SERIES: Final = 20
"""Of more, only a file tells why: nobody reads on in a terminal."""
MOST_STEPS: Final = 20_000  # 54 years of days, a year of half-hours; beyond, paths outgrow memory
BACKTEST_HORIZON_DAYS: Final = {"D": 28, "h": 14 * 24, "30min": 14 * 48}


def add_commands(subparsers: Any) -> None:
    """Add forecast and backtest to the subparsers; each sets `run`, a function of the arguments."""
    forecast = subparsers.add_parser(
        "forecast",
        help="forecast every series of a file",
        description="Forecast every series of a file. Each gets the model that did best on its own past; "
        "closed days are 0, quantiles never cross. The same call gives the same numbers.",
    )
    _add_common(forecast)
    forecast.add_argument(
        "--horizon", type=_horizon, required=True, metavar="N", help="steps after each series' own last ds"
    )
    forecast.add_argument("--output", type=Path, required=True, metavar="FILE", help="written at once")
    forecast.add_argument(
        "--quantiles",
        type=_levels,
        default=_levels(DEFAULT_QUANTILES),
        metavar="LIST",
        help=f"levels between 0 and 1 (default {DEFAULT_QUANTILES})",
    )
    forecast.add_argument(
        "--plot", type=Path, metavar="DIR", help="a picture of each series into this folder, made if absent"
    )
    forecast.add_argument(
        "--explain",
        type=Path,
        metavar="FILE",
        help="what made each day's forecast: parts, models, weights (- prints a short table)",
    )
    forecast.set_defaults(run=guarded(run_forecast))
    backtest = subparsers.add_parser(
        "backtest",
        help="how each model would have done on a file",
        description="Forecast the last stretches of every series from what came before, with every model and "
        "with the champion chosen then, and print WQL, MASE, coverage of the 80 %% band and cost at 9:1.",
    )
    _add_common(backtest)
    backtest.add_argument(
        "--horizon", type=_horizon, metavar="N", help="steps an origin (default: 28 days, 14 below the day)"
    )
    backtest.add_argument(
        "--folds", type=positive, default=2, metavar="N", help="origins a series (default 2)"
    )
    backtest.add_argument(
        "--challengers", action="store_true", help="judge StatsForecast's AutoETS, AutoTheta and MSTL, too"
    )
    backtest.add_argument(
        "--output", type=Path, metavar="FILE", help="scores of each series, model and origin"
    )
    backtest.add_argument("--json", type=Path, metavar="FILE", help="the table as JSON")
    backtest.set_defaults(run=guarded(run_backtest))


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="FILE",
        help=".csv, .csv.gz or .parquet with unique_id, ds, y; an empty y or absent step is unknown, not 0. "
        "With --freq D a column censored (1 or 0) may mark days whose demand was at least y: they are filled "
        "in to learn from, and no forecast is judged by them",
    )
    parser.add_argument("--freq", choices=FREQUENCIES, default="D", help="grain of ds (default D)")
    parser.add_argument(
        "--country",
        default="none",
        metavar="CC",
        help="ISO 3166 code whose holidays and make-up workdays count, e.g. CN (default none: weekdays only)",
    )
    parser.add_argument("--seed", type=_seed, default=1, help="of the sample paths (default 1)")


def run_forecast(arguments: argparse.Namespace) -> int:
    """Exit code after forecasting; prints each series' model and why."""
    # heavy: not for --help
    from forecasting.files import (  # noqa: PLC0415
        FileProblemError,
        check_writable,
        make_folder,
        read_series,
        write_table,
    )
    from forecasting.models.calendar import check_country  # noqa: PLC0415

    country = check_country(arguments.country)
    explained = None if str(arguments.explain) == "-" else arguments.explain
    for path in filter(None, (arguments.output, explained)):
        check_writable(path)
        keep_input(arguments.input, path)
    if explained and explained.absolute() == arguments.output.absolute():
        raise FileProblemError(f"{explained}: is the output, too; expected another file for --explain")
    if arguments.plot:
        make_folder(arguments.plot)
    source = read_series(arguments.input, arguments.freq)
    task = ForecastTask(
        arguments.horizon,
        arguments.freq,
        country,
        arguments.seed,
        arguments.quantiles,
        plot=arguments.plot is not None,
        explain=arguments.explain is not None,
    )
    answers = in_batches(source.frame, task, "forecast")
    table = _named({name: answer.table for name, answer in answers.items()})
    write_table(table, arguments.output, time_format=source.time_format, integer_ids=source.integer_ids)
    for name, answer in answers.items():
        if len(answers) <= EXPLAINED_SERIES or answer.failed:
            print(f"{name}: {answer.why}")
    if arguments.explain:
        _explain(answers, explained, integer_ids=source.integer_ids)
    if arguments.plot:
        _plot(answers, source.frame, arguments.plot, arguments.freq)
    champions = Counter(answer.champion for answer in answers.values()).most_common()
    chosen = ", ".join(f"{champion} {count}" for champion, count in champions)
    print(f"{arguments.output}: {len(answers)} series, {arguments.horizon} steps each; models: {chosen}")
    return 0


def _named(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The series' tables in one, `unique_id` first."""
    import pandas as pd  # noqa: PLC0415

    table = pd.concat([table.assign(unique_id=name) for name, table in tables.items()], ignore_index=True)
    return table[["unique_id", *[name for name in table.columns if name != "unique_id"]]]


def _explain(answers: Mapping[str, Answer], path: Path | None, *, integer_ids: bool) -> None:
    """Write the explanations, or print those of the first series; say whose are missing."""
    from forecasting.files import write_table  # noqa: PLC0415
    from forecasting.models.explain import COLUMNS, short_table  # noqa: PLC0415

    told = {name: answer.explanation for name, answer in answers.items() if answer.explanation is not None}
    if path is None:
        for name, table in list(told.items())[:EXPLAINED_SERIES]:
            print(f"\n{name}, days: units, parts as factors, models with their weights")
            print(short_table(table))
    else:
        import pandas as pd  # noqa: PLC0415

        empty = pd.DataFrame(columns=["unique_id", *COLUMNS])
        write_table(_named(told) if told else empty, path, time_format="%Y-%m-%d", integer_ids=integer_ids)
    if without := len(answers) - len(told):
        print(f"without an explanation: {without} series too short or odd for the models")


def _plot(answers: Mapping[str, Answer], frame: pd.DataFrame, folder: Path, freq: str) -> None:
    """One picture a series into the folder."""
    from tqdm import tqdm  # noqa: PLC0415

    from forecasting.plots import draw_series, file_names  # noqa: PLC0415

    histories = {str(name): group for name, group in frame.groupby("unique_id", sort=False)}
    names = file_names(list(answers))
    for name, answer in tqdm(answers.items(), desc="plot", unit="series", file=sys.stderr):
        if answer.bands is not None:
            draw_series(folder / names[name], name, histories[name], answer.bands, why=answer.why, freq=freq)


def run_backtest(arguments: argparse.Namespace) -> int:
    """Exit code after the backtest; prints one row a model."""
    import pandas as pd  # noqa: PLC0415

    from forecasting.files import (  # noqa: PLC0415
        FileProblemError,
        check_folder,
        check_writable,
        read_series,
        write_table,
    )
    from forecasting.models.calendar import check_country  # noqa: PLC0415
    from forecasting.models.evaluate import pooled  # noqa: PLC0415

    country = check_country(arguments.country)
    if arguments.output:
        check_writable(arguments.output)
        keep_input(arguments.input, arguments.output)
    if arguments.json:
        check_folder(arguments.json)
        keep_input(arguments.input, arguments.json)
    horizon = arguments.horizon or BACKTEST_HORIZON_DAYS[arguments.freq]
    source = read_series(arguments.input, arguments.freq)
    task = BacktestTask(
        horizon, arguments.freq, country, arguments.seed, arguments.folds, arguments.challengers
    )
    answers = in_batches(source.frame, task, "backtest")
    rows = [{"unique_id": name} | asdict(score) for name, scores in answers.items() for score in scores]
    if not rows:
        raise FileProblemError(
            f"{arguments.input}: every series is too short; "
            f"expected two weeks before the last {horizon} steps"
        )
    scores = pd.DataFrame(rows)
    table = pooled(scores)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    if arguments.output:
        named = scores.rename(columns={"origin": "ds"})
        write_table(named, arguments.output, time_format=source.time_format, integer_ids=source.integer_ids)
    if arguments.json:
        figures = {
            f"{figure}_{row['model']}": round(float(row[figure]), 6)
            for row in table.to_dict("records")
            for figure in ("wql", "mase", "coverage80", "newsvendor")
            if pd.notna(row[figure])
        }
        setting = {
            "input": arguments.input.name,
            "series": int(scores["unique_id"].nunique()),
            "horizon": horizon,
            "freq": arguments.freq,
            "country": country,
            "folds": arguments.folds,
            "seed": arguments.seed,
        }
        arguments.json.write_text(json.dumps({"figures": figures, "setting": setting}, indent=2) + "\n")
    return 0


def guarded(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The command with errors told in one line: exit 2 for bad input, 1 where the machine fails."""

    def checked(arguments: argparse.Namespace) -> int:
        from forecasting.files import FileProblemError  # noqa: PLC0415
        from forecasting.models.calendar import UnknownCountryError  # noqa: PLC0415

        try:
            return run(arguments)
        except (FileProblemError, UnknownCountryError) as error:
            print(f"python -m forecasting: {error}", file=sys.stderr)
            return 2
        except OSError as error:
            print(f"python -m forecasting: {error}", file=sys.stderr)
            return 1

    return checked


def keep_input(source: Path, output: Path) -> None:
    """FileProblemError where the output would take the input's place."""
    from forecasting.files import FileProblemError  # noqa: PLC0415

    if source.exists() and output.exists() and source.samefile(output):
        raise FileProblemError(f"{output}: is the input; expected another file, so that nothing is lost")


def positive(text: str) -> int:
    """The whole number, 1 or more."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 or more")
    return number


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 0 or more")
    return int(text)


def _horizon(text: str) -> int:
    steps = positive(text)
    if steps > MOST_STEPS:
        raise argparse.ArgumentTypeError(f"{text!r}: expected at most {MOST_STEPS} steps")
    return steps


def _levels(text: str) -> tuple[float, ...]:
    levels: Sequence[float] = ()
    try:
        levels = sorted({float(part) for part in text.split(",")})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers such as {DEFAULT_QUANTILES}") from error
    if not all(0.0 < level < 1.0 for level in levels):
        raise argparse.ArgumentTypeError(f"{text!r}: expected levels between 0 and 1")
    return tuple(levels)
