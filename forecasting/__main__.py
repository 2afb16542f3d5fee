"""`python -m forecasting COMMAND`: forecasts from files, and the jobs of the scheduled loop."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from forecasting import cli_files, cli_jobs, cli_replay, cli_servers, cli_staff


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command: 0 done, 1 failed, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m forecasting", description="Forecast demand.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    cli_files.add_commands(subparsers)
    cli_replay.add_commands(subparsers)
    cli_servers.add_commands(subparsers)
    cli_jobs.add_commands(subparsers)
    cli_staff.add_commands(subparsers)
    parsed = parser.parse_args(arguments)
    return int(parsed.run(parsed))


if __name__ == "__main__":
    sys.exit(main())
