"""What is done with the series of a file, batch by batch, in processes when there are many."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    import pandas as pd

    from forecasting.models.evaluate import Score
    from forecasting.models.intraday import IntradayForecast
    from forecasting.models.train import SeriesForecast

PLAIN_PATHS: Final = 500
BATCH_SERIES: Final = 40
"""Series judged together, and held at a time by each process."""
LEAST_BATCH: Final = 6
"""Fewer are not parted: they learn from each other, and a process takes seconds to start."""
BAND_LEVELS: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
"""What a plot shows, whatever levels were asked for: the median, the 50 % and the 80 % band."""
ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The libraries' own threads: with a process on each core they stand in each other's way (4 × slower)."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answer:
    """The forecast of one series: `ds`, `mean` and the quantiles; `failed` when its models broke down.

    bands (BAND_LEVELS) and explanation are made where a plot or an explanation was asked for.
    """

    table: pd.DataFrame
    champion: str
    why: str
    failed: bool = False
    bands: pd.DataFrame | None = None
    explanation: pd.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class ForecastTask:
    """What to do with each series of a file; picklable."""

    horizon: int
    freq: str
    country: str
    seed: int
    quantiles: tuple[float, ...]
    plot: bool = False
    explain: bool = False

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
            made = train_panel(
                histories, self.horizon, country=self.country, seed=self.seed, explain=self.explain
            )
            return {name: self._answer(daily) for name, daily in made.items()}
        return {
            name: self._answer(
                train_intraday(
                    history,
                    self.horizon,
                    freq=self.freq,
                    country=self.country,
                    seed=self.seed,
                    explain=self.explain,
                )
            )
            for name, history in histories.items()
        }

    def _answer(self, made: SeriesForecast | IntradayForecast) -> Answer:
        return Answer(
            made.table(self.quantiles),
            made.champion,
            made.why,
            bands=made.table(BAND_LEVELS) if self.plot else None,
            explanation=made.explanation,
        )

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
        return Answer(
            forecast_frame(steps, paths, self.quantiles),
            SEASONAL_NAIVE,
            f"{SEASONAL_NAIVE}: the models failed ({reason})",
            failed=True,
            bands=forecast_frame(steps, paths, BAND_LEVELS) if self.plot else None,
        )


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


def in_batches(
    frame: pd.DataFrame, task: Callable[[Mapping[str, pd.DataFrame]], dict[str, Result]], label: str
) -> dict[str, Result]:
    """The task's result of each series, by id in the order of the ids; in processes when there are many.

    Series of a batch are judged together; a batch bounds what a process holds.
    """
    from tqdm import tqdm  # noqa: PLC0415

    series = {
        str(name): group.drop(columns="unique_id") for name, group in frame.groupby("unique_id", sort=True)
    }
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
        with (
            _one_thread_each(),
            ProcessPoolExecutor(min(cores, len(batches)), mp_context=context) as pool,
        ):
            waiting = [pool.submit(task, {name: series[name] for name in batch}) for batch in batches]
            for done in as_completed(waiting):
                found = done.result()
                results |= found
                bar.update(len(found))
    return {name: results[name] for name in names}


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile keep to one thread; a number that the user has set stands."""
    added = [name for name in ONE_THREAD if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
