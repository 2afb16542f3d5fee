"""Several requests whose jobs meet in one batch, in one thread and always in the same order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from booking_core.service.batch import Job
from booking_core.service.batching import run
from booking_core.service.core import Core

T = TypeVar("T")


@dataclass(frozen=True)
class _Gatherer:
    """Stands where the batcher does: a request with a job waits until all others have one, or an answer."""

    def do(self, job: Job[T]) -> T:
        """The job's answer. Raises what the job raised."""
        answer = getcurrent().parent.switch(job)  # type: ignore[union-attr]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


def together(core: Core, requests: Sequence[Callable[[Core], Any]]) -> list[Any]:
    """The answer of each request, all made at the same moment: their jobs are judged as one batch.

    A request that has several jobs, one after the other, meets the others' next ones.
    """
    gathered = replace(core, batcher=_Gatherer())  # type: ignore[arg-type]
    answers: list[Any] = [None] * len(requests)
    waiting: list[tuple[int, greenlet, Job[Any]]] = []

    def go_on(n: int, request: greenlet, *told: Any) -> None:
        said = request.switch(*told)
        if request.dead:
            answers[n] = said
        else:
            waiting.append((n, request, said))

    for n, request in enumerate(requests):
        go_on(n, greenlet(request), gathered)
    while waiting:
        batch, waiting = waiting, []
        for (n, request, _), answer in zip(batch, run(core, [job for _, _, job in batch]), strict=True):
            go_on(n, request, answer)
    return answers
