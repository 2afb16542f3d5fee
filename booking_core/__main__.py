"""`python -m booking_core COMMAND`: the commands of the booking core."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Final, NoReturn

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from booking_core import actuator, importing, migrating, serving
from booking_core.clock import utc_now
from booking_core.database import make_engine, write_transaction
from booking_core.service.tokens import issue_token
from booking_core.settings import save_settings
from booking_core.tables import regions, settings
from metrics.contract import TokenScope

RECORDS: Final = ("policy", "scaling")
"""Settings that are whole JSON objects: forecasting's Policy, and the fields of ScalingRule."""


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0 done, 2 for bad input or a database that cannot take it, told in one line."""
    parser = argparse.ArgumentParser(prog="python -m booking_core", description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    serving.add_command(subparsers)
    actuator.add_command(subparsers)
    importing.add_commands(subparsers)
    _add_own(subparsers)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (importing.BadInputError, ValueError) as fault:
        print(f"{parser.prog}: {fault}", file=sys.stderr)
    except SQLAlchemyError as fault:
        print(f"{parser.prog}: {_of_database(fault)}", file=sys.stderr)
    return 2


def _of_database(fault: SQLAlchemyError) -> str:
    """A fault of the database as one line with what to do."""
    line = " ".join(str(getattr(fault, "orig", None) or fault).split())
    if isinstance(fault, ArgumentError):
        return "SLOTCAST_DATABASE_URL: expected sqlite:///FILE or postgresql://USER@HOST/NAME"
    if "no such table" in line or "UndefinedTable" in type(getattr(fault, "orig", None)).__name__:
        return "the database has no tables yet; run: python -m booking_core migrate"
    return f"the database refused ({line}); see SLOTCAST_DATABASE_URL"


def migrate(_arguments: argparse.Namespace) -> int:
    """Bring the database to the newest schema."""
    engine = make_engine()
    migrating.upgrade(engine)
    print(f"{engine.url.render_as_string()} is at the newest schema")
    return 0


def token(arguments: argparse.Namespace) -> int:
    """Print the secret of a new token, once."""
    with write_transaction(make_engine()) as connection:
        known = connection.scalars(select(regions.c.region_id)).all()
        if arguments.region is not None and arguments.region not in known:
            raise ValueError(f"--region {arguments.region}: expected one of {', '.join(known) or 'none yet'}")
        secret = issue_token(
            connection,
            name=arguments.name,
            scopes=arguments.scope,
            region=arguments.region,
            holder=arguments.holder,
        )
    print(secret)
    return 0


def change_settings(arguments: argparse.Namespace) -> int:
    """Store settings given as KEY=VALUE; a value is JSON, or text where it is none."""
    changes: dict[str, Any] = {}
    for pair in arguments.pairs:
        key, sign, text = pair.partition("=")
        if not sign:
            raise ValueError(f"{pair!r}: expected KEY=VALUE")
        try:
            changes[key] = json.loads(text, parse_constant=_no_constant)
        except json.JSONDecodeError:
            changes[key] = text
    records = {key: changes.pop(key) for key in RECORDS if key in changes}
    if unfit := [key for key, value in records.items() if not isinstance(value, dict)]:
        raise ValueError(f"{', '.join(unfit)}: expected a JSON object")
    now = utc_now()
    with write_transaction(make_engine()) as connection:
        save_settings(connection, changes, now)
        for key, value in records.items():
            connection.execute(delete(settings).where(settings.c.key == key))
            connection.execute(insert(settings).values(key=key, value=value, updated_utc=now))
    print("stored: " + ", ".join([*changes, *records]))
    return 0


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number that can be stored")


def _add_own(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("migrate", help="bring the database to the newest schema")
    parser.set_defaults(run=migrate)
    parser = subparsers.add_parser("token", help="issue a token and print its secret once")
    parser.add_argument("--name", required=True, help="who will use it")
    scopes = [scope.value for scope in TokenScope]
    parser.add_argument("--scope", required=True, action="append", choices=scopes, help="may be repeated")
    parser.add_argument("--region", help="limit it to one region")
    parser.add_argument("--holder", help="customer tokens: whose loans")
    parser.set_defaults(run=token)
    parser = subparsers.add_parser("set", help="store settings, e.g. zone=America/Chicago")
    parser.add_argument("pairs", nargs="+", metavar="KEY=VALUE")
    parser.set_defaults(run=change_settings)


if __name__ == "__main__":
    sys.exit(main())
