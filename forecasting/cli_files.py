"""The commands that go from file to file: `python -m forecasting forecast | backtest`."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import pandas as pd

    from forecasting.models.evaluate import Score

FREQUENCIES: Final = ("D", "h", "30min")
DEFAULT_QUANTILES: Final = "0.1,0.25,0.5,0.75,0.9"
PLAIN_PATHS: Final = 500
BATCH_SERIES: Final = 40
"""Series judged together, and held at a time by each process."""
LEAST_BATCH: Final = 6
"""Fewer are not parted: they learn from each other, and a process takes seconds to start."""
EXPLAINED_SERIES: Final = 20
MOST_STEPS: Final = 20_000  # 54 years of days, a year of half-hours; beyond, paths outgrow memory
BACKTEST_HORIZON_DAYS: Final = {"D": 28, "h": 14 * 24, "30min": 14 * 48}

Result = TypeVar("Result")


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
    forecast.set_defaults(run=_guarded(run_forecast))
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
        "--folds", type=_positive, default=2, metavar="N", help="origins a series (default 2)"
    )
    backtest.add_argument(
        "--challengers", action="store_true", help="judge StatsForecast's AutoETS, AutoTheta and MSTL, too"
    )
    backtest.add_argument(
        "--output", type=Path, metavar="FILE", help="scores of each series, model and origin"
    )
    backtest.add_argument("--json", type=Path, metavar="FILE", help="the table as JSON")
    backtest.set_defaults(run=_guarded(run_backtest))


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="FILE",
        help=".csv, .csv.gz or .parquet with unique_id, ds, y; an empty y or absent step is unknown, not 0",
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
    import pandas as pd  # noqa: PLC0415  (heavy; not for --help)

    from forecasting.files import check_writable, read_series, write_table  # noqa: PLC0415
    from forecasting.models.calendar import check_country  # noqa: PLC0415

    country = check_country(arguments.country)
    check_writable(arguments.output)
    _keep_input(arguments.input, arguments.output)
    source = read_series(arguments.input, arguments.freq)
    task = ForecastTask(arguments.horizon, arguments.freq, country, arguments.seed, arguments.quantiles)
    answers = _in_batches(source.frame, task, "forecast")
    tables = [answers[name].table.assign(unique_id=name) for name in answers]
    table = pd.concat(tables, ignore_index=True)
    columns = ["unique_id", *[name for name in table.columns if name != "unique_id"]]
    write_table(
        table[columns], arguments.output, time_format=source.time_format, integer_ids=source.integer_ids
    )
    for name, answer in answers.items():
        if len(answers) <= EXPLAINED_SERIES or answer.failed:
            print(f"{name}: {answer.why}")
    champions = Counter(answer.champion for answer in answers.values()).most_common()
    chosen = ", ".join(f"{champion} {count}" for champion, count in champions)
    print(f"{arguments.output}: {len(answers)} series, {arguments.horizon} steps each; models: {chosen}")
    return 0


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
        _keep_input(arguments.input, arguments.output)
    if arguments.json:
        check_folder(arguments.json)
        _keep_input(arguments.input, arguments.json)
    horizon = arguments.horizon or BACKTEST_HORIZON_DAYS[arguments.freq]
    source = read_series(arguments.input, arguments.freq)
    task = BacktestTask(
        horizon, arguments.freq, country, arguments.seed, arguments.folds, arguments.challengers
    )
    answers = _in_batches(source.frame, task, "backtest")
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


@dataclass(frozen=True, slots=True)
class Answer:
    """The forecast of one series: `ds`, `mean` and the quantiles; `failed` when its models broke down."""

    table: pd.DataFrame
    champion: str
    why: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ForecastTask:
    """What to do with each series of a file; picklable."""

    horizon: int
    freq: str
    country: str
    seed: int
    quantiles: tuple[float, ...]

    def __call__(self, histories: Mapping[str, pd.DataFrame]) -> dict[str, Answer]:
        """The answer for each series; never fails for histories that were read from a checked file."""
        try:
            return self._forecast(histories)
        except Exception as error:  # noqa: BLE001 - one odd series must not cost the other thousand
            if len(histories) > 1:
                return {name: self({name: history})[name] for name, history in histories.items()}
            reason = f"{type(error).__name__}: {error}"
            return {name: self._plain(history, reason) for name, history in histories.items()}

    def _forecast(self, histories: Mapping[str, pd.DataFrame]) -> dict[str, Answer]:
        from forecasting.models.intraday import train_intraday  # noqa: PLC0415
        from forecasting.models.train import train_panel  # noqa: PLC0415

        if self.freq == "D":
            daily = train_panel(histories, self.horizon, country=self.country, seed=self.seed)
            return {
                name: Answer(made.table(self.quantiles), made.champion, made.why)
                for name, made in daily.items()
            }
        answers = {}
        for name, history in histories.items():
            fine = train_intraday(history, self.horizon, freq=self.freq, country=self.country, seed=self.seed)
            answers[name] = Answer(fine.table(self.quantiles), fine.champion, fine.why)
        return answers

    def _plain(self, history: pd.DataFrame, reason: str) -> Answer:
        """Seasonal naive, which needs nothing, and why it had to stand in."""
        import numpy as np  # noqa: PLC0415
        import pandas as pd  # noqa: PLC0415

        from forecasting.frames import forecast_frame  # noqa: PLC0415
        from forecasting.models.seasonal_naive import seasonal_naive_paths  # noqa: PLC0415
        from forecasting.models.train import SEASONAL_NAIVE, regular_series  # noqa: PLC0415

        y = regular_series(history, self.freq)
        per_day = {"D": 1, "h": 24, "30min": 48}[self.freq]
        steps = pd.date_range(y.index[-1], periods=self.horizon + 1, freq=self.freq, unit="us")[1:]
        paths = seasonal_naive_paths(
            y.to_numpy(),
            self.horizon,
            season=7 * per_day,
            paths=PLAIN_PATHS,
            rng=np.random.default_rng(self.seed),
            per_day=per_day,
        )
        table = forecast_frame(steps, paths, self.quantiles)
        return Answer(table, SEASONAL_NAIVE, f"{SEASONAL_NAIVE}: the models failed ({reason})", failed=True)


@dataclass(frozen=True, slots=True)
class BacktestTask:
    """What to score for each series of a file; picklable."""

    horizon: int
    freq: str
    country: str
    seed: int
    folds: int
    challengers: bool

    def __call__(self, histories: Mapping[str, pd.DataFrame]) -> dict[str, list[Score]]:
        """The scores of each series."""
        from forecasting.models.evaluate import evaluate_panel  # noqa: PLC0415

        scores: dict[str, list[Score]] = {name: [] for name in histories}
        for name, score in evaluate_panel(
            histories,
            self.horizon,
            freq=self.freq,
            country=self.country,
            seed=self.seed,
            folds=self.folds,
            challengers=self.challengers,
        ):
            scores[name].append(score)
        return scores


def _in_batches(
    frame: pd.DataFrame, task: Callable[[Mapping[str, pd.DataFrame]], dict[str, Result]], label: str
) -> dict[str, Result]:
    """The task's result of each series, by id in the order of the ids; in processes when there are many.

    Series of a batch are judged together; a batch bounds what a process holds.
    """
    from tqdm import tqdm  # noqa: PLC0415

    series = {str(name): group[["ds", "y"]] for name, group in frame.groupby("unique_id", sort=True)}
    names = list(series)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    size = min(BATCH_SERIES, max(LEAST_BATCH, -(-len(names) // cores)))
    batches = [names[start : start + size] for start in range(0, len(names), size)]
    results: dict[str, Result] = {}
    with tqdm(total=len(names), desc=label, unit="series", file=sys.stderr) as bar:
        if len(batches) == 1 or cores == 1:
            for batch in batches:
                results |= task({name: series[name] for name in batch})
                bar.update(len(batch))
            return results
        # spawn: a fork would copy the threads that pandas and Arrow have started
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(cores, len(batches)), mp_context=context) as pool:
            waiting = [pool.submit(task, {name: series[name] for name in batch}) for batch in batches]
            for done in as_completed(waiting):
                found = done.result()
                results |= found
                bar.update(len(found))
    return {name: results[name] for name in names}


def _guarded(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The command with errors told in one line: exit 2 for bad input, 1 where the machine fails."""

    def guarded(arguments: argparse.Namespace) -> int:
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

    return guarded


def _keep_input(source: Path, output: Path) -> None:
    """FileProblemError where the output would take the input's place."""
    from forecasting.files import FileProblemError  # noqa: PLC0415

    if source.exists() and output.exists() and source.samefile(output):
        raise FileProblemError(f"{output}: is the input; expected another file, so that nothing is lost")


def _positive(text: str) -> int:
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
    steps = _positive(text)
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
