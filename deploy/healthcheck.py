"""Health of one container, told by the exit code: 0 well, 1 not, 2 for a question that makes no sense.

    python deploy/healthcheck.py http http://127.0.0.1:8080/readyz
    python deploy/healthcheck.py http http://HOST:8081/api/v2/monitor/health --field scheduler.status=healthy
    python deploy/healthcheck.py scaling --seconds 180

`http` wants a 2xx answer, and each field of its JSON at the value given. `scaling` wants a decision of the
actuator in the database (SLOTCAST_DATABASE_URL, PostgreSQL) no older than the seconds. It needs nothing of
Slotcast, so that it starts in a blink.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

TIMEOUT_SECONDS = 4.0


class UnwellError(Exception):
    """What is wrong, in one line."""


def check_http(url: str, fields: Sequence[str]) -> str:
    """The status told in one line. Raises UnwellError."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"expected an http URL, got {url!r}")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - scheme checked above
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        raise UnwellError(f"{url} answers {error.code}") from error
    except OSError as error:
        raise UnwellError(f"{url} does not answer: {error}") from error
    for field in fields:
        path, _, wanted = field.partition("=")
        found = _look_up(body, path)
        if found != wanted:
            raise UnwellError(f"{url}: {path} is {found!r}, expected {wanted!r}")
    return f"{url} answers {status}"


def _look_up(body: bytes, path: str) -> str:
    """The value at a dotted path of the JSON body, as text; empty where there is none."""
    try:
        value: Any = json.loads(body)
        for name in path.split("."):
            value = value[name]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(value)


def check_scaling(database_url: str, seconds: float) -> str:
    """The age of the actuator's last decision, told in one line. Raises UnwellError."""
    import psycopg  # noqa: PLC0415 - the other check must not wait for it

    try:
        with psycopg.connect(
            database_url.replace("postgresql+psycopg://", "postgresql://"),
            connect_timeout=int(TIMEOUT_SECONDS),
        ) as connection:
            row = connection.execute(
                "SELECT extract(epoch FROM now() - max(at_utc)) FROM scaling_decisions"
            ).fetchone()
    except psycopg.Error as error:
        raise UnwellError(f"the database does not answer: {error}") from error
    age = row[0] if row else None
    if age is None:
        raise UnwellError("the actuator has decided nothing yet")
    if age > seconds:
        raise UnwellError(f"the actuator's last decision is {age:.0f} s old, more than {seconds:.0f} s")
    return f"the actuator decided {age:.0f} s ago"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check asked for and return the exit code."""
    parser = argparse.ArgumentParser(description="Health of one container.")
    checks = parser.add_subparsers(dest="check", required=True)
    http = checks.add_parser("http", help="a 2xx answer")
    http.add_argument("url")
    http.add_argument("--field", action="append", default=[], metavar="PATH=VALUE")
    scaling = checks.add_parser("scaling", help="a fresh decision of the actuator")
    scaling.add_argument("--seconds", type=float, default=180.0)
    options = parser.parse_args(arguments)
    try:
        if options.check == "http":
            said = check_http(options.url, options.field)
        else:
            said = check_scaling(os.environ.get("SLOTCAST_DATABASE_URL", ""), options.seconds)
    except UnwellError as unwell:
        print(unwell, file=sys.stderr)
        return 1
    except ValueError as fault:
        print(fault, file=sys.stderr)
        return 2
    print(said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
