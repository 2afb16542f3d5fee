"""`python -m demo run` is what `make run` calls; `python -m demo overlay` rewrites the synthetic files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from demo import overlay, sample
from demo.preflight import NotReady, Ports, alert_programs, check_ports, check_programs

PLAIN_WIDTH: Final = 110
"""Columns of the tables where the output is no terminal."""
PACE_QUARTER_SECONDS: Final = 3.0


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0 done, 1 the story failed, 2 something is missing, 130 Ctrl-C, 143 SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="start everything on the sample; Ctrl-C stops it all")
    run.add_argument("--once", action="store_true", help="stop everything after the story and exit 0")
    run.add_argument("--keep-playing", action="store_true", help="go on with the following real days")
    run.add_argument(
        "--var", type=Path, default=sample.ROOT / "var", metavar="DIR", help="where everything is kept (var)"
    )
    run.add_argument(
        "--quarter-seconds",
        type=float,
        default=PACE_QUARTER_SECONDS,
        metavar="S",
        help=f"wall seconds a business quarter-hour ({PACE_QUARTER_SECONDS:g})",
    )
    run.set_defaults(run=run_demo)
    again = commands.add_parser("overlay", help="write the synthetic files of data/ again")
    again.set_defaults(run=write_overlay)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except NotReady as missing:
        print(f"make run: {missing}", file=sys.stderr)
        return 2


def write_overlay(_arguments: argparse.Namespace) -> int:
    """Write the overlay files and name them."""
    for path in overlay.generate(sample.DATA):
        print(path.relative_to(sample.ROOT))
    return 0


def run_demo(arguments: argparse.Namespace) -> int:
    """Everything started, the story told, everything stopped at Ctrl-C (or at its end with --once)."""
    from demo.running import run_all  # noqa: PLC0415 – the parts take a second to load; check first

    ports = Ports.from_environment()
    check_programs(Path(sys.executable).parent)
    alerts = alert_programs()
    wanted = ["api", "dashboard", "airflow", "airflow_logs"]
    if alerts.remedy is None:
        wanted += ["prometheus", "alertmanager", "alert_log"]
    check_ports(ports, tuple(wanted))
    return run_all(
        ports=ports,
        alerts=alerts,
        var=arguments.var.resolve(),
        quarter_seconds=arguments.quarter_seconds,
        once=arguments.once,
        keep_playing=arguments.keep_playing,
        console=Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH),
    )


if __name__ == "__main__":
    sys.exit(main())
