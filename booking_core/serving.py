"""`python -m booking_core serve`: gunicorn with asgi workers that can be resized while they run.

Everything of one instance (pidfile, control socket, metric files) lies in SLOTCAST_RUN_DIR, so two
instances on a machine never meet. Workers import nothing anew: the master has the modules, each worker
makes its own engine and instruments after the fork.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.pidfile import Pidfile
from prometheus_client import mmap_dict, multiprocess, values

from booking_core.api.app import create_app
from booking_core.parts import PARTS
from booking_core.service.admission import Limits
from booking_core.service.batching import BATCH_JOBS
from metrics.logs import configure_logs

CONTROL_SOCKET: Final = "gunicorn.ctl"
PIDFILE: Final = "gunicorn.pid"
METRICS_FOLDER: Final = "prometheus"
GRACEFUL_SECONDS: Final = 30
YOUNG_OBJECTS: Final = 20_000
"""Objects made after which the youngest are looked at for cycles (Python: 700)."""
SWITCH_SECONDS: Final = 0.001

prometheus_values: Any = values
prometheus_files: Any = mmap_dict.MmapedDict
mark_process_dead: Any = multiprocess.mark_process_dead
"""Parts of prometheus_client that have no types."""


def run_dir() -> Path:
    """The folder of this instance's files, made if absent (SLOTCAST_RUN_DIR, default var/run)."""
    folder = Path(os.environ.get("SLOTCAST_RUN_DIR", "var/run")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def options(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Gunicorn's settings for these arguments."""
    return {
        "bind": f"{arguments.host}:{arguments.port}",
        "workers": arguments.workers,
        "worker_class": "booking_core.api.direct.DirectWorker",
        "http_parser": "python",  # whose state DirectWorker looks at
        "asgi_lifespan": "on",
        "pidfile": str(folder / PIDFILE),
        "control_socket": str(folder / CONTROL_SOCKET),
        "control_socket_mode": 0o600,
        "graceful_timeout": GRACEFUL_SECONDS,
        "timeout": 60,
        "keepalive": 5,
        "proc_name": "slotcast-api",
        "post_worker_init": settle,
        "child_exit": compact_metrics,
        "logger_class": JsonLogger,
        "loglevel": arguments.log_level,
    }


def serve(arguments: argparse.Namespace) -> int:
    """The exit code of a server that ran until it was stopped.

    Raises ValueError for a port or a number of workers or threads that cannot be, and where another server
    lives in SLOTCAST_RUN_DIR (its metric files would be lost).
    """
    for name, value, greatest in (
        ("port", arguments.port, 65_535),
        ("workers", arguments.workers, 256),
        ("threads", arguments.threads, 256),
        ("batch", arguments.batch, 1_000),
        ("rate-burst", arguments.rate_burst, 1_000_000),
    ):
        if not 1 <= value <= greatest:
            raise ValueError(f"--{name} {value}: expected 1 to {greatest}")
    for name, seconds, greatest in (
        ("deadline", arguments.deadline, GRACEFUL_SECONDS),
        ("rate-per-second", arguments.rate_per_second, 1_000_000),
    ):
        if not 0 < seconds <= greatest:
            raise ValueError(f"--{name} {seconds}: expected above 0 and at most {greatest}")
    folder = run_dir()
    running = Pidfile(str(folder / PIDFILE)).validate()
    if running and running != os.getpid():  # a container begun anew has the numbers of the one before
        raise ValueError(f"process {running} serves from {folder} already; stop it or set SLOTCAST_RUN_DIR")
    metrics_folder = folder / METRICS_FOLDER
    shutil.rmtree(metrics_folder, ignore_errors=True)
    metrics_folder.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_folder)
    prometheus_values.ValueClass = (
        prometheus_values.MultiProcessValue()
    )  # it had looked at the environment when it was imported
    configure_logs(arguments.log_level)
    logging.getLogger("asyncio").addFilter(is_no_fork_artefact)
    _Server(options(arguments, folder), arguments).run()
    return 0


def is_no_fork_artefact(record: logging.LogRecord) -> bool:
    """Whether the line is worth reading.

    Gunicorn 27 stops its control server before every fork; a client that is connecting just then makes
    asyncio log a cancelled task at level error. Nothing is lost: the actuator asks again.
    """
    message = record.getMessage()
    return not ("StreamReaderProtocol.connection_made" in message and "<Task cancell" in message)


def settle(_worker: Any) -> None:
    """Tune the interpreter of a worker, now that all is loaded, for one busy loop beside one batch.

    What is there stays and is looked at no more; in a storm thousands of connections and waiting tries are
    alive, and each full collection walked them all (a third of the loop's time). A batch that has heard
    from the database gets the interpreter back after a millisecond instead of five.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 100)
    sys.setswitchinterval(SWITCH_SECONDS)


def compact_metrics(_arbiter: Any, worker: Any) -> None:
    """Fold a dead worker's counters into the files of pid 0, or resizing would leave files without end."""
    mark_process_dead(worker.pid)
    folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    for dead in folder.glob(f"*_{worker.pid}.db"):
        if not dead.stat().st_size:  # killed while it made the file
            dead.unlink()
            continue
        kept, folded = dead.with_name(f"{dead.stem.rsplit('_', 1)[0]}_0.db"), dead.with_suffix(".folding")
        if kept.exists():
            shutil.copy(kept, folded)
        target = prometheus_files(str(folded))
        for key, value, stamp, _ in prometheus_files.read_all_values_from_file(str(dead)):
            before, _ = target.read_value(key)
            target.write_value(key, before + value, stamp)
        target.close()
        folded.replace(kept)
        dead.unlink()


class JsonLogger(Logger):  # type: ignore[misc]
    """Gunicorn's logger without handlers of its own: its lines go through ours."""

    def setup(self, cfg: Any) -> None:
        """Leave the handlers to the root logger."""
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True


class _Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn with its settings from here instead of the command line."""

    def __init__(self, settings: dict[str, Any], arguments: argparse.Namespace) -> None:
        self._settings = settings
        self._arguments = arguments
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        given = self._arguments
        limits = Limits(given.deadline, given.rate_burst, given.rate_per_second)
        return create_app(threads=given.threads, batch_jobs=given.batch, limits=limits, without=given.without)


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `serve` to the commands of booking_core."""
    parser = subparsers.add_parser("serve", help="serve the booking API")
    parser.add_argument("--host", default="127.0.0.1", help="(127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="(8080)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes at the start (1)")
    parser.add_argument(
        "--threads", type=int, default=8, metavar="N", help="requests at once in a worker (8)"
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=BATCH_JOBS,
        metavar="N",
        help=f"requests judged by one transaction at most; 1 = one each ({BATCH_JOBS})",
    )
    parser.add_argument(
        "--deadline",
        type=float,
        default=Limits.deadline_seconds,
        metavar="SECONDS",
        help=f"seconds to an answer; who would wait longer is refused ({Limits.deadline_seconds:g})",
    )
    parser.add_argument(
        "--rate-burst",
        type=int,
        default=Limits.burst,
        metavar="N",
        help=f"tries of one customer at once, in each worker ({Limits.burst})",
    )
    parser.add_argument(
        "--rate-per-second",
        type=float,
        default=Limits.per_second,
        metavar="N",
        help=f"further tries of one customer ({Limits.per_second:g})",
    )
    parser.add_argument(
        "--without", action="append", default=[], choices=[*PARTS], help="a part that is not served"
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.set_defaults(run=serve)
