"""A core that breaks its word: `python -m tests.support.hasty serve …` answers before it commits.

The negative control of the proof that a killed worker loses nothing acknowledged.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from booking_core.__main__ import main
from booking_core.service import batching
from booking_core.service.batch import Batch, Job
from booking_core.service.core import Core

LATE_SECONDS = 0.1
"""How long after the answers the commit comes."""


def hasty(core: Core, jobs: Sequence[Job[Any]]) -> list[Any]:
    """The answers of a batch that is still to be committed."""
    transaction = core.transaction()
    connection = transaction.__enter__()
    batch = Batch.load(connection, core.wall, [job.needs for job in jobs])
    answers = [job.work(batch) for job in jobs]

    def end() -> None:
        batch.write(connection)
        transaction.__exit__(None, None, None)

    threading.Timer(LATE_SECONDS, end).start()
    return answers


if __name__ == "__main__":
    batching.run = hasty
    sys.exit(main(sys.argv[1:]))
